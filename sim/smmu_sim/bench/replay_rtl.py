"""Replay of conformance vectors and traces on the RTL, with progress on the terminal."""

from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smmu_sim.bench.core import run_on_core
from smmu_sim.player import Report, replay
from smmu_sim.scenario_files import load_scenarios

__all__ = ["run"]


def run(build, files, names, report_path, *, waves=False, options=None) -> Report:
    """Play the scenarios called ``names`` of ``files`` on the core; return what was found.

    ``build`` is (config, settings). The report is also saved at ``report_path``. ``options`` are
    those of :class:`bench.backend.RTLBackend`: the delays of the memory.
    """
    config, settings = build
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("building the core", total=len(names))

        def advance(name):
            progress.update(task, advance=1, description=name)

        given = {str(Path(file).resolve()): str(file) for file in files}
        arguments = {"files": list(given), "names": list(names),
                     "report_path": str(Path(report_path).resolve())}
        run_on_core("smmu_sim.bench.replay_rtl:play", arguments, config=config, settings=settings,
                    options=options, on_report=advance, waves=waves, name="replay")
    report = Report.load(report_path)
    for mismatch in report.mismatches:
        mismatch.file = given.get(mismatch.file, mismatch.file)
    report.save(report_path)
    return report


def play(backend, report, files, names, report_path):
    """Inside the simulation: play, reporting the name of each scenario that was played."""
    wanted = set(names)
    scenarios = [scenario for file in files for scenario in load_scenarios(file)
                 if scenario.name in wanted]
    replay(backend, scenarios, lambda scenario: report(scenario.name)).save(report_path)
    return len(scenarios)
