"""Play scenarios by name, on the model or in the simulator, and narrate them."""

import time

import click

from smmu.params import Params

from smmu_sim.backend import ModelBackend
from smmu_sim.kept_waveform import keep_waveform
from smmu_sim.memory import Memory
from smmu_sim.scenarios import all_scenarios, find_scenario
from smmu_sim.scenarios.outcome import Outcome, play_on
from smmu_sim.scenarios.story import KINDS

__all__ = ["PlayError", "model_backend", "play", "play_in_simulation", "play_on_model"]


class PlayError(Exception):
    """A scenario that cannot be played like that. The message says why."""


def model_backend(scenario, config="default", settings=""):
    """Return the model that a scenario needs."""
    params = Params.from_settings(config, f"{scenario.settings} {settings}")
    options = {"stall": True} if scenario.stall else {}
    return ModelBackend(params, Memory(), **options)


def play_on_model(scenario, config="default", settings="", tell=lambda entry: None):
    """Play a scenario on the reference model; return the :class:`Outcome`."""
    return play_on(model_backend(scenario, config, settings), scenario, tell)


def play_in_simulation(backend, report, names, narrate):
    """Inside the simulation: play scenarios one after the other; return their outcomes."""
    outcomes = []
    for name in names:
        outcome = play_on(backend, find_scenario(name), report if narrate else lambda entry: None)
        report({"done": name})
        outcomes.append(outcome.as_dict())
    return outcomes


def play(name, *, backend, wave, quiet, config, settings):
    """Play a scenario and print what happens; return whether all its checks held.

    Raises :exc:`PlayError` for an unknown name and for what the backend cannot do.
    """
    scenario = find_scenario(name)
    if scenario is None:
        raise PlayError(f"no scenario {name!r}: expected one of "
                        f"{', '.join(each.name for each in all_scenarios())}")
    if wave and backend != "rtl":
        raise PlayError("--wave with --backend model: expected --backend rtl (the model has no "
                        "signals)")
    if backend == "rtl" and not scenario.rtl:
        raise PlayError(f"{name} with --backend rtl: expected --backend model, as " + (
            "the core does not stall" if scenario.stall else "it plays on the model alone"))
    params = Params.from_settings(config, f"{scenario.settings} {settings}")
    if lacking := scenario.lacking(params):
        raise PlayError(f"{name} with " + "; ".join(lacking))
    printer = _Printer(quiet)
    click.echo(click.style(f"{scenario.name}: {scenario.shows}", bold=True))
    start = time.monotonic()
    if backend == "model":
        outcome, files = play_on_model(scenario, config, settings, printer), {}
    else:
        outcome, files = _play_rtl(scenario, wave, config, settings, printer)
    failed = len(outcome.failures)
    ending = f"{len(outcome.checks)} checks, " + (f"{failed} FAILED" if failed else "all hold")
    click.echo(click.style(f"{ending} ({backend}, {config}, {time.monotonic() - start:.1f} s)",
                           fg="red" if failed else "green", bold=True))
    for what, path in files.items():
        click.echo(f"{what}: {path}")
    return outcome.ok


class _Printer:
    """Prints the entries of a story as they come."""

    def __init__(self, quiet):
        self._quiet = quiet

    def __call__(self, entry):
        if "done" in entry or self._quiet and entry["kind"] != "check":
            return
        label, colour = KINDS[entry["kind"]]
        text = entry["text"]
        if entry["kind"] == "check":
            label, colour = ("  ok     ", "green") if entry["ok"] else ("  FAILED ", "red")
        if entry["kind"] == "step":
            click.echo(click.style(text, bold=True))
        else:
            click.echo(f"  {click.style(label, fg=colour)} {text}")
        for line in entry["lines"]:
            click.echo(f"              {line}")


def _play_rtl(scenario, wave, config, settings, tell):
    from rich.console import Console

    from smmu_sim.bench.core import build_core, run_host
    from smmu_sim.bench.runner import SimulationFailed, build_folder

    try:
        with Console(stderr=True).status("building the core (a minute or two, unless it is there "
                                         "from last time)"):
            build = build_core(config, settings, waves=wave)
        outcomes, run = run_host(build, play_in_simulation,
                                 {"names": [scenario.name], "narrate": True}, config=config,
                                 settings=settings, waves=wave, on_report=tell,
                                 name=f"scenario-{scenario.name}")
    except SimulationFailed as error:
        raise PlayError(str(error)) from None
    files = {}
    if wave:
        files = keep_waveform(run, build, build_folder() / "run" / f"{scenario.name}.vcd")
    return Outcome.from_dict(outcomes[0]), files
