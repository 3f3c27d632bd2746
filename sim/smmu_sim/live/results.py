"""A boot's verdicts and figures, as tables and as JSON."""

import json

from rich.table import Table
from rich.text import Text

__all__ = ["checks_table", "statistics_table", "write_json"]


def checks_table(checks, title):
    """What had to happen, and whether it did."""
    table = Table("", "what", "found", title=title, title_justify="left")
    for check in checks:
        mark = Text("ok", "green") if check.ok else Text("WRONG", "bold red")
        found = check.found
        if not check.ok and check.expected:
            found = f"{found}\nexpected {check.expected}"
        table.add_row(mark, Text(check.title), Text(found, overflow="fold"))
    return table


def statistics_table(statistics):
    """The figures of a run, one line each; what is grouped stands below the group's name.

    What is empty is left out, and counters that are 0: the model has no caches.
    """
    table = Table("figure", title="Statistics", title_justify="left")
    table.add_column("value", justify="right")
    for name, value in statistics.items():
        if not isinstance(value, dict):
            table.add_row(_words(name), _shown(value))
            continue
        rows = [(inner, each) for inner, each in value.items() if each or name != "counters"]
        if rows:
            table.add_row(Text(_words(name), "bold"), "")
        for inner, each in rows:
            table.add_row(f"  {_words(inner)}", _shown(each))
    return table


def write_json(path, run, checks, statistics):
    """Write everything into one file; ``run`` tells what was asked for."""
    path.write_text(json.dumps({
        "run": run,
        "ok": all(check.ok for check in checks),
        "checks": [vars(check) for check in checks],
        "statistics": statistics,
    }, indent=1) + "\n")


def _words(name):
    return str(name) if str(name).isupper() else str(name).replace("_", " ")


def _shown(value):
    if isinstance(value, dict):
        return Text(", ".join(f"{_words(name)} {_shown(each)}" for name, each in value.items()
                              if each not in (None, [], {})))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, list):
        return Text(f"{len(value)}")
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else Text(str(value), overflow="fold")
