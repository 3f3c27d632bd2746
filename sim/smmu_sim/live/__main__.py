"""``python -m smmu_sim.live``: boot an unmodified Linux on the core, or on the model."""

import hashlib
import random
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from smmu.params import CONFIGS, Params, ParamsError
from smmu_sim.bench.runner import SimulationFailed
from smmu_sim.live import checks, results
from smmu_sim.live.debian_archive import DebianArchive
from smmu_sim.live.errors import LiveError
from smmu_sim.live.guest_report import GuestReport
from smmu_sim.live.initramfs import build_initramfs
from smmu_sim.live.layout import Layout
from smmu_sim.live.packages import KERNELS, get_busybox, get_kernel
from smmu_sim.live.session import Session
from smmu_sim.live.tools import missing_tools
from smmu_sim.live.variants import VARIANTS
from smmu_sim.live.verdict import Expected, StrayAccess

_BUILD = Path(__file__).resolve().parents[3] / "build" / "live"
_DISK_SEED = 4
_SMALL_PAGES = 4096
_CPUS = {True: "cortex-a57", False: "cortex-a76"}  # the former has no pages of 16 KB


@click.command(help="Boot an unmodified Linux in QEMU with this SMMU, and check what it does.")
@click.option("--backend", type=click.Choice(["rtl", "model"]), default="rtl", show_default=True,
              help="The core in a simulator, or the reference model.")
@click.option("--config", type=click.Choice(list(CONFIGS)), default="default", show_default=True)
@click.option("--set", "settings", default="", help='Parameters over it, like "oas=44".')
@click.option("--kernel", "spec", default="6.1", show_default=True, metavar="KERNEL",
              help=f"{', '.join(KERNELS)}: Debian's newest; or the path of a .deb or an image.")
@click.option("--variant", type=click.Choice(list(VARIANTS)), default="default",
              show_default=True, help="How the kernel is told to use the SMMU.")
@click.option("--cpus", type=click.IntRange(1, 2), default=2, show_default=True)
@click.option("--msi", is_flag=True, help="The SMMU's interrupts are MSIs.")
@click.option("--shell", is_flag=True, help="A shell in the guest instead of the checks.")
@click.option("--record", is_flag=True, help="Save the run as a trace for `make replay`.")
@click.option("--waves", is_flag=True, help="Draw waveforms; needs the core.")
@click.option("--append", default="", help="More for the kernel's command line.")
@click.option("--disk-kib", type=click.IntRange(64, 16384), default=512, show_default=True,
              help="Size of the block device.")
@click.option("--timeout", type=click.FloatRange(1), default=1200, show_default=True,
              help="Seconds until the guest must be done.")
@click.option("--mirror", default="http://deb.debian.org/debian", show_default=True,
              help="Debian archive.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Where everything is written.  [default: build/live]")
def main(**options):
    console = Console(highlight=False)
    try:
        sys.exit(_run(console, **options))
    except (LiveError, ParamsError, SimulationFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _run(console, **options):
    Params.from_settings(options["config"], options["settings"])
    _refuse_early(options)
    out = options["out"] or _BUILD
    folder = out / "run"
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with _Progress(console, quiet=options["shell"]) as progress:
        kernel, initramfs = _prepare(options, out, folder, progress)
        disk = random.Random(_DISK_SEED).randbytes(options["disk_kib"] << 10)
        session = _session(options, kernel, initramfs, disk, folder, progress)
        console.print(f"{kernel.name} on {options['backend']}, {options['config']}; "
                      f"console: {folder / 'console.txt'}", soft_wrap=True)
        result = session.run(options["timeout"])
    return _show(console, options, kernel, session, result, folder, time.monotonic() - start)


def _refuse_early(options):
    """Refuse what would only be found after minutes of loading."""
    if missing := missing_tools():
        packages = " ".join(missing.values())
        raise LiveError(f"{' and '.join(missing)} not found: install the Debian "
                        f"packages with `apt install {packages}`")
    if options["waves"] and options["backend"] != "rtl":
        raise LiveError("waveforms need --backend rtl: the model has no signals")
    if options["shell"] and not sys.stdin.isatty():
        raise LiveError("a shell in the guest needs a terminal")


def _prepare(options, out, folder, progress):
    packages = out / "packages"
    archive = DebianArchive(packages, options["mirror"], progress.preparing)
    kernel = get_kernel(options["spec"], archive, packages, progress.preparing)
    progress.preparing("making the initramfs")
    initramfs = folder / "initramfs.gz"
    initramfs.write_bytes(build_initramfs(get_busybox(archive), kernel.modules))
    return kernel, initramfs


def _stray_accesses(layout):
    """A read in the guest's memory, a write where there is none; Linux gives out IOVAs from 4 GB
    downwards, so that neither is one.
    """
    return (StrayAccess(layout.devices["blk"].sid, layout.ram_base + 0x12_3458, False, True),
            StrayAccess(layout.devices["rng"].sid, 0xD_EADB_EEF0, True, False))


def _session(options, kernel, initramfs, disk, folder, progress):
    layout = Layout()
    append = [VARIANTS[options["variant"]].append, options["append"],
              f"smmu_check.disk={hashlib.md5(disk).hexdigest()}",
              f"smmu_check.shell={options['shell']:d}",
              "smmu_check.address=10.0.0.2/24", "smmu_check.peer=10.0.0.1",
              f"smmu_check.rogue={layout.rogue:#x}",
              "smmu_check.stray=" + ",".join(
                  f"{access.sid:#x}:{access.addr:#x}:{1 + access.write}"
                  for access in _stray_accesses(layout))]
    return Session(
        kernel.image, initramfs, backend=options["backend"], config=options["config"],
        settings=options["settings"], cpus=options["cpus"], msi=options["msi"],
        cpu=_CPUS[kernel.page_size == _SMALL_PAGES], append=" ".join(filter(None, append)),
        disk_bytes=disk, out_folder=folder, record=options["record"], waves=options["waves"],
        on_progress=progress.running, on_console_line=progress.console_line,
        interactive=options["shell"])


class _Progress:
    """One line that tells what happens now; where there is no terminal, a line for each stage.

    ``quiet`` when the terminal will be the guest's.
    """

    def __init__(self, console, quiet):
        self._report = GuestReport()
        self._quiet, self._console = quiet, console
        self._progress = Progress(SpinnerColumn(), BarColumn(20), TimeElapsedColumn(),
                                  TextColumn("{task.description}"), console=console,
                                  transient=True)
        self._task = self._progress.add_task("starting", total=1)
        self._stage, self._booting = None, False

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def preparing(self, text, share=None):
        """Something before the boot; ``share`` of it is done."""
        self._say(text, text, share)

    def running(self, progress):
        """What a session tells while it runs."""
        if "seconds" not in progress:  # not booted yet
            self._say(progress["text"], progress["text"])
        elif self._quiet:
            self._progress.stop()
        else:
            self._booting = True
            self._say(self._stage_of_guest(), f"{self._stage_of_guest()}: {progress['text']}")

    def console_line(self, line):
        """A line of the guest's console."""
        self._report.add(line)
        if self._booting and not self._quiet:
            self._say(self._stage_of_guest(), None)

    def _stage_of_guest(self):
        return self._report.stage or "kernel boots"

    def _say(self, stage, text, share=None):
        if stage != self._stage and not self._console.is_terminal:
            self._console.print(stage, markup=False)
        self._stage = stage
        self._progress.update(self._task, description=text or stage, completed=share or 0)


def _show(console, options, kernel, session, result, folder, seconds):
    console.print(results.statistics_table(result.statistics))
    if options["shell"]:
        console.print(result.reason)
        return 0
    expected = _expected(options, kernel, session, result)
    found = checks.judge(result.console, expected, (result.ok, result.reason))
    console.print(results.checks_table(
        found, f"{kernel.name}, {options['variant']}, {options['backend']}"))
    run = {name: options[name] for name in ("backend", "config", "settings", "variant", "cpus",
                                            "msi")}
    report = folder / "result.json"
    results.write_json(report, run | {"kernel": kernel.name, "seconds": seconds}, found,
                       result.statistics)
    for what, path in (result.files | {"results": report}).items():
        console.print(f"  {what:<12} {path}", soft_wrap=True)
    wrong = sum(not check.ok for check in found)
    console.print(f"{options['backend']}, {kernel.name}, {options['variant']}: "
                  f"{f'{wrong} WRONG' if wrong else 'all as expected'}, {seconds:.0f} s",
                  soft_wrap=True)
    return 1 if wrong else 0


def _expected(options, kernel, session, result):
    return Expected(
        variant=VARIANTS[options["variant"]], params=session.params,
        sids={kind: device.sid for kind, device in session.layout.devices.items()},
        cpus=options["cpus"], page_size=kernel.page_size, release=kernel.release,
        msi=options["msi"], stray_accesses=_stray_accesses(session.layout),
        disk_bytes=options["disk_kib"] << 10, statistics=result.statistics)


if __name__ == "__main__":
    main()
