"""The tables that the main job prints."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

__all__ = ["checks_table", "counters_table", "latency_table", "percentile", "short_name",
           "traces_table", "traffic_table"]

_CACHES = (
    ("micro-TLBs", "utlb_hit", "utlb_miss"),
    ("main TLB", "tlb_hit", "tlb_miss"),
    ("configuration", "cfg_hit", "cfg_miss"),
    ("stage 1 walk cache", "s1_walk_cache_hit", "s1_walk_cache_miss"),
    ("stage 2 walk cache", "s2_walk_cache_hit", "s2_walk_cache_miss"),
)
_PERCENTILES = (50, 90, 99, 100)
_BARS = 12
_BAR_WIDTH = 32


def checks_table(outcome):
    """What had to happen in part 1, and whether it did."""
    table = Table("", "what", "what happened", title="MSIs and faults", title_justify="left")
    for check in outcome.checks:
        mark = Text("ok", "green") if check.ok else Text("WRONG", "bold red")
        found = check.found if check.ok else f"{check.found}\nexpected {check.expected}"
        table.add_row(mark, check.what, found)
    return table


def traffic_table(outcome):
    """Transactions of each device, and events."""
    table = Table("StreamID", title="Device traffic", title_justify="left")
    columns = ("transactions", "translated", "faulted")
    for column in columns:
        table.add_column(column, justify="right")
    for sid, row in outcome.traffic.items():
        table.add_row(sid, *(f"{row[name]:,}" for name in columns))
    events = ", ".join(f"{count} {name}" for name, count in outcome.events.items())
    return Group(table, Text(f"events: {events}")) if events else table


def short_name(file):
    """Return the name of a trace without what all of them share."""
    return file.removesuffix(".jsonl.gz").removeprefix("linux-").replace("-nested", " nested")


def traces_table(outcomes):
    """The replayed files."""
    table = Table("file", title="Recorded Linux", title_justify="left")
    for column in ("steps", "commands", "accesses", "expected", "wrong"):
        table.add_column(column, justify="right")
    for outcome in outcomes:
        if outcome.lacking:
            table.add_row(short_name(outcome.file), "not played: this SMMU lacks "
                          + ", ".join(outcome.lacking))
            continue
        wrong = len(outcome.mismatches)
        table.add_row(short_name(outcome.file), f"{outcome.steps:,}", f"{outcome.commands:,}",
                      f"{outcome.accesses:,}", f"{outcome.expectations:,}",
                      Text(str(wrong), "bold red" if wrong else "green"))
    return table


def counters_table(columns):
    """Hit rates and table reads; ``columns`` is ``{title: counters}``."""
    table = Table("", title="Caches: hits", title_justify="left")
    for title in columns:
        table.add_column(title, justify="right")
    table.add_row("transactions", *(f"{c['transactions']:,}" for c in columns.values()))
    for name, hit, miss in _CACHES:
        table.add_row(name, *(_rate(c[hit], c[miss]) for c in columns.values()))
    table.add_row("table reads", *(f"{c['table_reads']:,}" for c in columns.values()))
    table.add_row("  per main-TLB miss", *(
        _ratio(c["table_reads"], c["tlb_miss"]) for c in columns.values()))
    table.add_row("faults", *(f"{c['faults']:,}" for c in columns.values()))
    return table


def _rate(hits, misses):
    if not hits + misses:
        return "-"
    return f"{100 * hits / (hits + misses):.1f} % of {hits + misses:,}"


def _ratio(count, per):
    return f"{count / per:.2f}" if per else "-"


def percentile(sorted_values, percent):
    """Return the smallest value that ``percent`` of the values do not exceed."""
    return sorted_values[max(0, -(-len(sorted_values) * percent // 100) - 1)]


def latency_table(title, latencies):
    """Percentiles and a histogram of latencies in clocks; an empty one says that there are none."""
    values = sorted(latencies)
    if not values:
        return Text(f"{title}: no latencies (the model has no clock)")
    table = Table("clocks", "transactions", "", title=title, title_justify="left")
    bounds = [0]
    while bounds[-1] < values[-1]:
        bounds.append(max(8, 2 * bounds[-1]) if len(bounds) < _BARS else values[-1])
    counts = [sum(low < value <= high or (low == 0 == value) for value in values)
              for low, high in zip(bounds, bounds[1:], strict=False)]
    for low, high, count in zip(bounds, bounds[1:], counts, strict=False):
        table.add_row(f"{low + 1} - {high}", f"{count:,}", "█" * round(
            _BAR_WIDTH * count / max(counts)))
    text = ", ".join(f"{'maximum' if p == 100 else f'{p} %'} {percentile(values, p)}"
                     for p in _PERCENTILES)
    return Group(table, Text(f"percentiles: {text} clocks"))
