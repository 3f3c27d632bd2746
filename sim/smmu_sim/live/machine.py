"""QEMU with the machine `virt`, its memory in a file that others can map."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from smmu_sim.live.device_tree import compile_tree
from smmu_sim.live.errors import LiveError
from smmu_sim.live.tools import find_tool

__all__ = ["QEMUMachine"]

_STOP_SECONDS = 10
_PR_SET_PDEATHSIG = 1


def _end_with_parent():
    """In the child: end when the parent does, however it ends."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has this
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class QEMUMachine:
    """One QEMU, as a context manager: entered, it waits stopped before the first instruction.

    Everything is emulated (TCG). Sockets and memory are in a folder of their own, ``folder``:
    ``qmp`` (QMP), ``qtest`` (interrupts, MSIs), ``console`` (the serial port), ``gdb``, and the
    file ``ram``.
    """

    def __init__(self, layout, kernel_image, initramfs, *, cpus=1, cpu="cortex-a57", msi=False,
                 append=""):
        if cpus not in (1, 2):
            raise ValueError(f"cpus is {cpus}: expected 1 or 2")
        self.layout, self.cpus, self.cpu, self.msi = layout, cpus, cpu, msi
        self.kernel_image, self.initramfs = Path(kernel_image), Path(initramfs)
        self.append = append
        self.folder = self._process = None

    def __enter__(self):
        qemu = find_tool("qemu-system-aarch64")
        find_tool("dtc")
        for path in (self.kernel_image, self.initramfs):
            if not path.is_file():
                raise LiveError(f"{path}: no such file")
        self.folder = Path(tempfile.mkdtemp(prefix="smmu-live-", dir=self._memory_folder()))
        try:
            with open(self.folder / "ram", "wb") as ram:
                ram.truncate(self.layout.ram_bytes)
            self._make_tree(qemu)
            with open(self.folder / "qemu.log", "w") as log:
                self._process = subprocess.Popen(
                    [qemu, *self._arguments()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    preexec_fn=_end_with_parent)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._remove()

    def path(self, name):
        """Return the path of a socket, or of ``ram``, as text."""
        return str(self.folder / name)

    def stop(self):
        """End QEMU, whatever the guest does."""
        self._process.terminate()

    def settle(self):
        """Wait until QEMU has ended and all that it printed has left it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)

    def check(self):
        """Raise :exc:`LiveError` with QEMU's own words if it has ended."""
        if self._process.poll() is not None:
            said = (self.folder / "qemu.log").read_text(errors="replace").strip()
            raise LiveError(f"QEMU ended with status {self._process.returncode}: {said}")

    def _remove(self):
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)

    def _memory_folder(self):
        """A file system in memory, if there is one with enough room: the file is written a lot."""
        shared = "/dev/shm"
        if os.access(shared, os.W_OK):
            if shutil.disk_usage(shared).free > 2 * self.layout.ram_bytes:
                return shared
        return None

    def _common(self):
        return ["-cpu", self.cpu, "-smp", str(self.cpus), "-m", f"{self.layout.ram_mib}M",
                "-nodefaults", "-display", "none"]

    def _make_tree(self, qemu):
        blob = self.folder / "qemu.dtb"
        done = subprocess.run(
            [qemu, "-machine", f"virt,gic-version=2,highmem=off,dumpdtb={blob}", *self._common()],
            capture_output=True, text=True)
        if done.returncode or not blob.exists():
            raise LiveError(f"QEMU wrote no device tree: {done.stderr.strip()}")
        compile_tree(blob, self.layout, self.folder / "live.dtb", msi=self.msi)

    def _arguments(self):
        def socket(name):
            return f"socket,id={name},path={self.path(name)},server=on,wait=off"

        return ["-machine", "virt,gic-version=2,highmem=off,memory-backend=ram", "-accel", "tcg",
                *self._common(),
                "-object", f"memory-backend-file,id=ram,mem-path={self.path('ram')},share=on,"
                           f"size={self.layout.ram_bytes}",
                "-kernel", str(self.kernel_image), "-initrd", str(self.initramfs),
                "-dtb", self.path("live.dtb"),
                "-append", f"console=ttyAMA0 panic=-1 {self.append}".strip(),
                "-chardev", socket("console"), "-serial", "chardev:console",
                "-chardev", socket("qmp"), "-mon", "chardev=qmp,mode=control",
                "-chardev", socket("qtest"), "-qtest", "chardev:qtest",
                "-qtest-log", "none",
                "-gdb", f"unix:{self.path('gdb')},server=on,wait=off",
                "-no-reboot", "-S"]
