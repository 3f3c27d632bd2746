"""``python -m smmu_sim.run``: the main job."""

import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from smmu.params import CONFIGS, Params, ParamsError

from smmu_sim.driver import DriverError
from smmu_sim.run import msi, report, traces
from smmu_sim.scenario_files import ScenarioFileError

_PARTS = {"msi": "MSIs of two devices of one guest", "traces": "a recorded Linux"}


def _repository():
    return Path(__file__).resolve().parents[3]


def _play_model(params, parts, count, scenarios, step):
    from smmu_sim.backend import ModelBackend
    from smmu_sim.memory import Memory

    def backend():
        return ModelBackend(params, Memory())

    outcome = msi.play(backend(), step, count) if "msi" in parts else None
    return outcome, traces.play(backend(), scenarios, step), None


def _play_rtl(config, settings, parts, count, folder, out, step):
    from smmu_sim.bench.runner import SimulationFailed
    from smmu_sim.run import rtl
    from smmu_sim.waves import WaveformError

    try:
        return rtl.play(config, settings, parts, count, folder, out, step)
    except (SimulationFailed, WaveformError) as error:
        raise click.ClickException(str(error)) from None


@click.command(help="Let a guest's devices send MSIs through nested translation, and replay a "
                    "recorded Linux; print what the SMMU did and draw one MSI.")
@click.option("--backend", type=click.Choice(["rtl", "model"]), default="rtl", show_default=True,
              help="The core in a simulator, or the reference model (seconds, no waveforms).")
@click.option("--config", type=click.Choice(list(CONFIGS)), default="default", show_default=True)
@click.option("--set", "settings", default="", help='Parameters over it, like "oas=44".')
@click.option("--part", "parts", type=click.Choice(list(_PARTS)), multiple=True,
              help="Only this part; both without it.")
@click.option("--transactions", type=click.IntRange(1), default=msi.TRANSACTIONS,
              show_default=True, help="Random transactions of part 1.")
@click.option("--traces", "folder", type=click.Path(path_type=Path), default=None,
              help="Where the recorded Linux lies.  [default: tests/traces]")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Where waveforms go.  [default: build/run]")
def main(backend, config, settings, parts, transactions, folder, out):
    console = Console(highlight=False)
    start = time.monotonic()
    parts = parts or tuple(_PARTS)
    folder = folder or _repository() / "tests" / "traces"
    out = out or _repository() / "build" / "run"
    try:
        params = Params.from_settings(config, settings)
        scenarios = traces.load(folder) if "traces" in parts else {}
        with Progress(SpinnerColumn(), BarColumn(24), TimeElapsedColumn(),
                      TextColumn("{task.description}"), console=console,
                      transient=True) as progress:
            task = progress.add_task("starting", total=1)

            def step(text, share=None):
                progress.update(task, description=text, completed=share or 0)

            if backend == "model":
                outcome, replayed, waves = _play_model(params, parts, transactions, scenarios, step)
            else:
                outcome, replayed, waves = _play_rtl(config, settings, parts, transactions, folder,
                                                     out, step)
    except (ParamsError, ScenarioFileError, DriverError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    _print(console, outcome, replayed, waves)
    wrong = sum(not check.ok for check in outcome.checks) if outcome else 0
    wrong += sum(len(each.mismatches) for each in replayed)
    console.print(f"{backend}, {config}: {'all as expected' if not wrong else f'{wrong} WRONG'}, "
                  f"{time.monotonic() - start:.0f} s")
    sys.exit(1 if wrong else 0)


def _print(console, outcome, replayed, waves):
    columns = {}
    if outcome:
        console.print(report.checks_table(outcome), report.traffic_table(outcome))
        columns["part 1"] = outcome.counters
    if replayed:
        console.print(report.traces_table(replayed))
        columns |= {report.short_name(each.file): each.counters for each in replayed
                    if each.counters}
        for each in replayed:
            for mismatch in each.mismatches[:5]:
                console.print(f"{each.file}: step {mismatch.step}: {mismatch.what}: expected "
                              f"{mismatch.expected}, got {mismatch.got}", markup=False)
    if any(c.get("table_reads") for c in columns.values()):  # the model has no caches
        console.print(report.counters_table(columns))
    if outcome:
        console.print(report.latency_table("Translation latency of part 1", outcome.latencies))
    for each in replayed:
        if each.latencies:
            title = f"Translation latency of {report.short_name(each.file)}"
            console.print(report.latency_table(title, each.latencies))
    if waves:
        console.print("One MSI, from the device's write to the doorbell:")
        for what, path in waves.items():
            console.print(f"  {what:<24} {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
