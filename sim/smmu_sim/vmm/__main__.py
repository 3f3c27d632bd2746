"""Soak: two guests alike at random work on one SMMU; nothing may cross over."""

import sys

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smmu.params import CONFIGS, Params, ParamsError
from smmu_sim.backend import ModelBackend
from smmu_sim.bench.runner import SimulationFailed
from smmu_sim.memory import Memory
from smmu_sim.vmm.soak import CrossedOver, Soak

# Ways of MSIs, and the interface below them.
WAYS = {"rmr": {"msi": "rmr"}, "remap": {"msi": "remap", "several_its": True},
        **{f"bind-{name}": {"msi": "bind", "generation": name} for name in ("v3", "V8", "V15")}}
MEMORY = {"latency": (2, 40), "out_of_order": True, "pause_rate": 0.1}


def soak(backend, report, seed, count, way):
    """Do ``count`` steps; return how often each was done."""
    return dict(Soak(backend, seed, **WAYS[way]).run(count, report))


def _on_the_model(params, report, arguments):
    backend = ModelBackend(params, Memory())
    backend.reset()
    return soak(backend, report, **arguments)


def _on_the_rtl(config, settings, report, arguments):
    from smmu_sim.bench.core import run_on_core

    done, _ = run_on_core(
        "smmu_sim.vmm.__main__:soak", arguments, config=config, settings=settings,
        options=MEMORY, seed=arguments["seed"], on_report=report, name="soak")
    return done


@click.command(help=__doc__.splitlines()[0])
@click.option("--backend", type=click.Choice(["rtl", "model"]), default="rtl", show_default=True)
@click.option("--config", type=click.Choice(list(CONFIGS)), default="default", show_default=True)
@click.option("--set", "settings", default="", help='Parameters over it, like "oas=44".')
@click.option("--way", type=click.Choice(list(WAYS)), multiple=True,
              help="How MSIs reach the guests; may be repeated. [default: rmr and remap]")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--count", type=click.IntRange(1), default=5000, show_default=True,
              help="Steps for each way.")
def main(backend, config, settings, way, seed, count):
    console = Console()
    try:
        params = Params.from_settings(config, settings)
    except ParamsError as error:
        console.print(f"error: {error}", style="red", soft_wrap=True, markup=False)
        sys.exit(2)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for each in way or ("rmr", "remap"):
            task = progress.add_task(f"{each}: starting", total=count)

            def report(step, task=task, each=each):
                progress.update(task, completed=step, description=each)

            arguments = {"seed": seed, "count": count, "way": each}
            try:
                if backend == "model":
                    done = _on_the_model(params, report, arguments)
                else:
                    done = _on_the_rtl(config, settings, report, arguments)
            except (CrossedOver, SimulationFailed) as error:
                progress.stop()
                console.print(f"{each}, seed {seed}: {error}", style="red", soft_wrap=True,
                              markup=False)
                sys.exit(1)
            console.print(f"{each}: " + ", ".join(f"{times} {what}" for what, times
                                                  in sorted(done.items())))
    console.print("nothing crossed over")


if __name__ == "__main__":
    main()
