"""Replay of conformance vectors and recorded traces on a backend.

``python -m smmu_sim.replay --backend model|rtl --config default --set "..." FILE...``
"""

import os
import sys
import tempfile

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smmu.params import CONFIGS, Params, ParamsError
from smmu_sim.backend import ModelBackend
from smmu_sim.memory import Memory
from smmu_sim.player import Mismatch, Report, replay
from smmu_sim.scenario_files import (
    ScenarioFileError, load_scenarios, settings_for, unmet_requirements,
)

__all__ = ["Mismatch", "Report", "assign", "main", "replay"]

# Without --set, what the configuration cannot play is played on it with these settings, and what
# this cannot play either on builds of their own.
SECOND_BUILD = "oas=44 term_model=1"


def assign(scenarios, config, settings):
    """Choose a build for each scenario.

    Returns ``[(settings, params, scenarios)]`` of the builds, the asked-for one first, and
    ``[(scenario, what that build lacks)]`` of the scenarios that none can play. With ``settings``
    there is no other build.
    """
    asked = Params.from_settings(config, settings or "")
    builds = [(settings or "", asked, [])]
    if not settings:
        builds.append((SECOND_BUILD, Params.from_settings(config, SECOND_BUILD), []))
    skipped = []
    for scenario in scenarios:
        lacking = unmet_requirements(scenario, asked)
        fitting = [build for build in builds if not unmet_requirements(scenario, build[1])]
        if not fitting and not settings:
            fitting = _build_for(scenario, config, lacking)
            builds += fitting
        if fitting:
            fitting[0][2].append(scenario)
        else:
            skipped.append((scenario, lacking))
    return [build for build in builds if build[2]], skipped


def _build_for(scenario, config, lacking):
    """Return a build that has what is lacking, in a list that is empty if there can't be one."""
    settings = settings_for(lacking)
    try:
        params = Params.from_settings(config, settings)
    except ParamsError:
        return []
    return [] if unmet_requirements(scenario, params) else [(settings, params, [])]


def _play_model(scenarios, params, console):
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("scenarios", total=len(scenarios))

        def advance(scenario):
            progress.update(task, advance=1, description=scenario.name)

        return replay(ModelBackend(params, Memory()), scenarios, advance)


def _play_rtl(scenarios, config, settings):
    from smmu_sim.bench.replay_rtl import run  # needs cocotb and a simulator

    files = list(dict.fromkeys(scenario.file for scenario in scenarios))
    with tempfile.TemporaryDirectory() as folder:
        return run((config, settings), files, [scenario.name for scenario in scenarios],
                   os.path.join(folder, "report.json"))


@click.command(help=__doc__.splitlines()[0])
@click.option("--backend", type=click.Choice(["model", "rtl"]), default="model", show_default=True)
@click.option("--config", type=click.Choice(list(CONFIGS)), default="default", show_default=True)
@click.option(
    "--set",
    "settings",
    metavar="SETTINGS",
    help='Parameters over the configuration, "oas=44 term_model=1". Without it, scenarios that the '
    f'configuration cannot play are played on it with "{SECOND_BUILD}".',
)
@click.option("--name", "names", multiple=True, help="Only scenarios with this name.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def main(backend, config, settings, names, files):
    console = Console(soft_wrap=True, highlight=False)
    try:
        scenarios = [
            scenario
            for file in files
            for scenario in load_scenarios(file)
            if not names or scenario.name in names
        ]
        if not scenarios:
            raise ScenarioFileError(
                f"no scenario is named {' or '.join(names)}; expected at least one" if names
                else "the files have no scenario; expected at least one")
        builds, skipped = assign(scenarios, config, settings)
    except (ScenarioFileError, ParamsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    report = _play(backend, config, builds, console)
    _print_report(report, skipped, console)
    sys.exit(1 if report.mismatches else 0)


def _play(backend, config, builds, console):
    report = Report()
    for settings, params, scenarios in builds:
        over = f" with {settings}" if settings else ""
        console.print(f"{len(scenarios)} scenarios on {backend}, {config}{over}")
        if backend == "model":
            report += _play_model(scenarios, params, console)
        else:
            report += _play_rtl(scenarios, config, settings)
    return report


def _print_report(report, skipped, console):
    for scenario, lacking in skipped:
        console.print(
            f"skipped: {scenario.file}: {scenario.name}: this build lacks {', '.join(lacking)}",
            markup=False,
        )
    for mismatch in report.mismatches:
        console.print(
            f"{mismatch.file}: {mismatch.scenario}: step {mismatch.step}: {mismatch.what}\n"
            f"    expected {mismatch.expected}\n    got      {mismatch.got}",
            markup=False,
        )
    if skipped:
        lost = sum(scenario.expectations for scenario, _ in skipped)
        console.print(f"skipped: {len(skipped)} scenarios with {lost} expectations")
    console.print(
        f"replayed: {report.expectations} expectations, {len(report.mismatches)} mismatches"
    )


if __name__ == "__main__":
    main()
