"""A structure taken apart, as lines of text."""

from smmu_sim.decode.record import NOTE

__all__ = ["show"]

_WORD = 64


def show(decoded, *, style=lambda text, **_: text, brief=False):
    """Return the lines that explain a :class:`Decoded`.

    ``style(text, fg=..., bold=...)`` colours; ``brief`` leaves out fields that are 0 or ignored.
    """
    rows = [row for row in decoded.rows
            if not brief or row.value and not row.ignored or row.name in ("V", "Op", "Event")]
    names = max((len(row.name) for row in rows), default=0)
    places = max((len(row.bits) for row in rows), default=0)
    values = max((len(_number(row.value)) for row in rows), default=0)
    lines, word = [style(decoded.title, bold=True)], -1
    for row in rows:
        number = int(row.bits.rpartition(":")[2]) // _WORD
        if number != word:
            lines += _headings(decoded, number - 1 if brief else word, number)
        word = number
        line = (f"    {row.name:<{names}}  {row.bits:>{places}}  {_number(row.value):>{values}}  "
                f"{row.meaning}{'  (ignored)' if row.ignored else ''}").rstrip()
        lines.append(style(line, dim=True) if row.ignored else line)
    if not brief:
        lines += _headings(decoded, word, len(decoded.words) - 1)
    for finding in decoded.findings:
        colour = {NOTE: "yellow", "abort": "yellow"}.get(finding.effect, "red")
        lines.append("  " + style(f"{finding.effect}: {finding.reason}", fg=colour))
    if decoded.judged and not decoded.findings:
        lines.append("  " + style("nothing illegal", fg="green"))
    return lines


def _headings(decoded, last, now):
    """Lines for the words after ``last`` up to ``now``, of what has more than one."""
    if decoded.size <= _WORD:
        return []
    return [f"  word {number}: {decoded.words[number]:#018x}"
            for number in range(last + 1, now + 1)]


def _number(value):
    return f"{value:#x}" if value > 9 else f"{value}"
