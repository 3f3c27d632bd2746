"""One boot of Linux with a backend as its SMMU."""

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.live import waveform
from smmu_sim.live.bridge import serve
from smmu_sim.live.console import Console
from smmu_sim.live.layout import Layout
from smmu_sim.live.machine import QEMUMachine
from smmu_sim.live.tools import MissingTool, missing_tools
from smmu_sim.memory import Memory

__all__ = ["Session", "SessionResult"]

_BRIDGE = "smmu_sim.live.bridge:serve"
_DISK_SEED = 7
_REASONS = {
    "guest-shutdown": "the guest powered off",
    "guest-reset": "the guest restarted: its kernel has panicked",
    "guest-panic": "the guest's kernel has panicked",
    "timeout": "the guest was not done after {timeout} seconds",
    "gone": "QEMU has ended",
}


@dataclass
class SessionResult:
    """What became of a boot.

    ``ok``: the guest powered itself off in time and nothing on our side failed. It says nothing
    about what the guest found: that is in ``console``. ``reason`` says in words how it ended.
    ``statistics`` is what :class:`smmu_sim.live.statistics.Statistics` counted, ``files`` are the
    paths of what was written: console, device tree, trace.
    """

    console: str
    statistics: dict
    ok: bool
    reason: str
    files: dict = field(default_factory=dict)


class Session:
    """Boot a kernel in QEMU, with a backend in the place of its SMMU.

    Parameters
    ----------
    kernel_image, initramfs
        Paths: an arm64 ``Image`` (``vmlinuz`` of a distribution), and a cpio.
    backend
        ``"rtl"``: the core in the simulator, built first if need be. ``"model"``: the reference
        model.
    config, settings
        The build, as for :meth:`smmu.params.Params.from_settings`.
    cpus, cpu
        Number (1 or 2) and QEMU's name of the processors. 16 KB pages need ``"max"`` or
        ``"cortex-a76"``.
    msi
        The SMMU has GICv2m as its ``msi-parent``: then Linux lets it send its interrupts as MSIs.
    append
        Added to the kernel's command line.
    ram_mib
        Memory of the guest; 256 at least.
    disk_bytes
        Contents of the block device (``bytes``), or how many bytes of a fixed pseudo-random
        pattern. ``statistics["disk"]`` has the MD5 of what it held first and last.
    out_folder
        Where console, device tree and trace are written. It is made.
    record
        Write the run as a trace that ``make replay`` plays.
    waves
        Draw waveforms afterwards: see :mod:`smmu_sim.live.waveform`. Needs ``backend="rtl"``;
        implies ``record``.
    on_progress
        Called with a dict about once a second: ``text`` for people, and what was counted so far.
    on_console_line
        Called with each line of the guest's console.
    interactive
        Connect the guest's console to this terminal. Ctrl-] ends the session.

    The devices, their StreamIDs and the register with which the guest makes a device touch an
    unmapped address are in :class:`smmu_sim.live.layout.Layout`: ``session.layout``.
    """

    def __init__(self, kernel_image, initramfs, *, backend="rtl", config="default", settings="",
                 cpus=1, cpu="cortex-a57", msi=False, append="", ram_mib=512,
                 disk_bytes=1 << 20, out_folder="live", record=False, waves=False,
                 on_progress=None, on_console_line=None, interactive=False):
        if backend not in ("rtl", "model"):
            raise ValueError(f"backend is {backend!r}: expected 'rtl' or 'model'")
        if waves and backend != "rtl":
            raise ValueError("waves=True needs backend='rtl': the model has no signals")
        self.params = Params.from_settings(config, settings)
        self.backend, self.config, self.settings = backend, config, settings
        self.layout = Layout(ram_mib)
        self.machine = QEMUMachine(self.layout, kernel_image, initramfs, cpus=cpus, cpu=cpu,
                                   msi=msi, append=append)
        self.msi, self.disk_bytes = msi, disk_bytes
        self.out_folder = Path(out_folder).resolve()
        self.record, self.waves = record or waves, waves
        self.on_progress = on_progress or (lambda progress: None)
        self.on_console_line, self.interactive = on_console_line, interactive

    def run(self, timeout_seconds=600):
        """Boot, and serve until the guest powers off or the time is over.

        Raises :exc:`smmu_sim.live.tools.MissingTool` if QEMU or dtc is not installed, and
        :exc:`smmu_sim.bench.runner.SimulationFailed` if the simulation fails.
        """
        self.out_folder.mkdir(parents=True, exist_ok=True)
        files = {"console": self.out_folder / "console.txt"}
        if self.record:
            files["trace"] = self.out_folder / "trace.jsonl.gz"
        self._tell("checking what is installed")
        for name, package in missing_tools().items():
            raise MissingTool(name, package)
        build = self._build()
        self._tell("starting QEMU")
        with self.machine as machine:
            disk = machine.folder / "disk"
            disk.write_bytes(self._disk())
            arguments = {"folder": str(machine.folder), "ram_mib": self.layout.ram_mib,
                         "disk": str(disk), "timeout": timeout_seconds,
                         "trace": str(files["trace"]) if self.record else None}
            with Console(machine.path("console"), files["console"], self.on_console_line,
                         machine.stop if self.interactive else None) as console:
                self._tell("booting")
                outcome = self._serve(build, arguments)
                machine.stop()
                machine.settle()
            text = console.text
            shutil.copy(machine.folder / "live.dts", self.out_folder)
        files["device tree"] = self.out_folder / "live.dts"
        if self.waves:
            self._tell("drawing waveforms")
            files |= waveform.draw(files["trace"], self.layout, self.config, self.settings,
                                   self.out_folder)
        ended = outcome["ended"]
        return SessionResult(
            console=text, statistics=outcome["statistics"], ok=ended == "guest-shutdown",
            reason=_REASONS.get(ended, ended).format(timeout=timeout_seconds),
            files={name: str(path) for name, path in files.items()})

    def _tell(self, text):
        self.on_progress({"text": text})

    def _disk(self):
        if isinstance(self.disk_bytes, int):
            return random.Random(_DISK_SEED).randbytes(self.disk_bytes)
        return self.disk_bytes

    def _build(self):
        """The simulator, or None for the model."""
        if self.backend == "model":
            return None
        from smmu_sim.bench.core import build_core

        self._tell("building the core (a minute or two, unless it is there from last time)")
        return build_core(self.config, self.settings)

    def _serve(self, build, arguments):
        """Run the bridge on the model here, or on the core in the simulator."""
        def report(progress):
            self.on_progress({"text": _progress_text(progress), **progress})

        if build is None:
            return serve(ModelBackend(self.params, Memory()), report, **arguments)
        from smmu_sim.bench.core import run_host

        outcome, _ = run_host(build, _BRIDGE, arguments, config=self.config,
                              settings=self.settings, on_report=report, name="live")
        return outcome


def _progress_text(progress):
    clocks = progress["clocks"]
    return (f"{progress['commands']} commands ({progress['syncs']} CMD_SYNC), "
            f"{progress['transactions']} transactions"
            + (f", {clocks} clocks" if clocks is not None else ""))
