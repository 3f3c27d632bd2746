"""Run every measurement on the RTL, print a table, and write ``build/bench.json``."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from smmu.params import Params, ParamsError
from smmu_sim.bench.core import build_core, run_host

# Measurement, memory latency in clocks, number of reports it makes.
MEASUREMENTS = (
    ("hits", 10, 3), ("large", 10, 2), ("misses", 100, 2), ("nested", 10, 1),
    ("commands_per_clock", 10, 1), ("speed", 10, 1))

# Figure, what it is, unit, what this project has promised first, the budget (DESIGN).
FIGURES = (
    ("hits_per_clock_reads", "hit throughput, reads", "per clock", ">=", 0.98, 1),
    ("hits_per_clock_writes", "hit throughput, writes", "per clock", ">=", 0.98, 1),
    ("hits_per_clock_both", "hit throughput, both directions", "per clock", ">=", None, 2),
    ("hit_latency_reads", "hit latency, address in to address out", "clocks", "<=", 3, 3),
    ("hit_latency_writes", "hit latency, writes", "clocks", "<=", 3, 3),
    ("hit_behind_miss_latency", "a hit of another ID behind a miss", "clocks", "<=", 4, 4),
    ("main_tlb_hit_latency", "main TLB hit after a micro-TLB miss", "clocks", "<=", None, 11),
    ("reads_per_access_256_pages", "table reads, random over 256 warm pages", "per access",
     "<=", 0.05, 0),
    ("translations_per_clock_256_pages", "the same: translations", "per clock", ">=", None, 1),
    ("nested_cold_reads", "nested 4 KB miss, all cold", "reads", "<=", 24, 24),
    ("nested_adjacent_reads", "nested 4 KB miss, page beside", "reads", "<=", 4, 2),
    ("nested_sequential_reads", "nested 4 KB misses, 64 in a row", "reads each", "<=", None, 2),
    ("data_to_next_address_worst", "descriptor in to next address out, worst", "clocks", "<=",
     None, 7),
    ("data_to_next_address_best", "the same, best", "clocks", "<=", None, 7),
    ("misses_speedup_64", "64 misses at latency 100: times faster than one by one", "", ">=", 7,
     14),
    ("clocks_per_miss_together", "the same: clocks for each", "clocks", "<=", None, None),
    ("clocks_per_tlbi_nh_va", "each of 63 TLBI_NH_VA", "clocks", "<=", 6, 2),
    ("sync_alone_clocks", "CMD_SYNC alone, from its fetch to its interrupt", "clocks", "<=", None,
     None),
    ("simulated_clocks_per_second", "simulation with traffic", "clocks/s", ">=", None, 200_000),
)


@click.command()
@click.option("--config", default="default", show_default=True, help="small, default or server")
@click.option("--set", "settings", default="", help='single parameters, as "oas=44 walks=8"')
@click.option("--out", default="build/bench.json", show_default=True,
              type=click.Path(path_type=Path))
def main(config, settings, out):
    """Measure the core in clocks, reads and ratios."""
    console = Console()
    try:
        Params.from_settings(config, settings)
    except ParamsError as error:
        console.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(2)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())
    figures = {}
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("building the core", total=sum(n for *_, n in MEASUREMENTS))
        build = build_core(config, settings)
        for name, latency, _ in MEASUREMENTS:
            progress.update(task, description=name.replace("_", " "))
            found, _ = run_host(
                build, f"smmu_sim.benchmark.measure:{name}", config=config, settings=settings,
                options={"latency": latency}, seed=1, on_report=lambda _: progress.advance(task),
                name=f"benchmark-{name}")
            figures |= found
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(
        {"config": config, "set": settings, "figures": figures}, indent=1) + "\n")
    console.print(_table(figures))
    console.print(f"written to {out}")


def _table(figures):
    table = Table("figure", title="Benchmark", title_justify="left")
    for column in ("measured", "unit", "promised", "budget"):
        table.add_column(column, justify="right")
    for name, text, unit, relation, promised, budget in FIGURES:
        value = figures[name]
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
        good = promised is None or (value <= promised if relation == "<=" else value >= promised)
        table.add_row(text, f"[{'default' if good else 'bold red'}]{shown}[/]", unit,
                      "" if promised is None else f"{relation} {promised:g}",
                      "" if budget is None else f"{relation} {budget:g}")
    return table


if __name__ == "__main__":
    main()
