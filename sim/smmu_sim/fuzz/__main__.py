"""Campaign: random systems on the RTL against the model, for as long as one likes."""

import sys

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smmu.params import CONFIGS, Params, ParamsError
from smmu_sim.bench.core import build_core, run_host
from smmu_sim.bench.runner import SimulationFailed
from smmu_sim.fuzz.play import play_random

# Memory systems: quick and steady; slow, and in any order.
MEMORIES = (
    {"latency": 2},
    {"latency": (1, 60), "pause_rate": 0.3, "gap_rate": 0.2, "out_of_order": True,
     "interleave": True})
BATCH = 50


@click.command(help=__doc__.splitlines()[0])
@click.option("--config", type=click.Choice(list(CONFIGS)), default="default", show_default=True)
@click.option("--set", "settings", default="", help='Parameters over it, like "oas=44".')
@click.option("--first", type=click.IntRange(0), default=100_000, show_default=True,
              help="The first seed.")
@click.option("--count", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--mutations", type=click.FloatRange(0), default=2.0, show_default=True,
              help="Mean number of words of garbage at each change.")
def main(config, settings, first, count, mutations):
    console = Console()
    try:
        Params.from_settings(config, settings)
    except ParamsError as error:
        console.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(2)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())
    seen = {}
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("building the core", total=count)
        build = build_core(config, settings)
        for number, start in enumerate(range(first, first + count, BATCH)):
            progress.update(task, description=f"seeds from {start}")
            try:
                found, _ = run_host(
                    build, play_random,
                    {"first": start, "count": min(BATCH, first + count - start),
                     "mutations": mutations},
                    config=config, settings=settings, options=MEMORIES[number % len(MEMORIES)],
                    seed=start, on_report=lambda _: progress.advance(task), name="fuzz")
            except SimulationFailed as error:
                progress.stop()
                console.print(str(error), style="red", soft_wrap=True, markup=False)
                sys.exit(1)
            for kind, times in found.items():
                seen[kind] = seen.get(kind, 0) + times
    console.print(", ".join(f"{times} {kind}" for kind, times in sorted(seen.items())))
    console.print(f"{count} random systems: RTL and model agree")


if __name__ == "__main__":
    main()
