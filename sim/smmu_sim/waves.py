"""Waveforms: cut a VCD, look into it clock by clock, show it in GTKWave with names of states."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Beat", "Recording", "WaveformError", "cut", "enum_names", "ticks_per_ns",
           "write_gtkw"]


class WaveformError(Exception):
    """A file that is no waveform, or lacks what is asked for. The message names both."""


def cut(source, target, start, end):
    """Copy the part of a VCD between two times, in the units of the file; signals keep their names.

    What had a value at ``start`` has it from the beginning of the copy. Signals that a tool made up
    (``$12``) are left out.
    """
    values, inside = {}, False
    with open(source) as old, open(target, "w") as new:
        kept = _copy_header(source, old, new)
        for line in old:
            kind = line[0]
            if kind == "#":
                now = int(line[1:])
                if now > end:
                    break
                if now >= start:
                    if not inside:
                        inside = True
                        new.write(f"#{start}\n" + "".join(values.values()))
                    if now > start:
                        new.write(line)
                continue
            name = line[1:-1] if kind in "01xzXZ" else line.split()[1] if kind in "bBrR" else ""
            if name not in kept:
                continue
            if inside:
                new.write(line)
            else:
                values[name] = line
        if not inside:
            raise WaveformError(f"{source} ends before {start}")
        new.write(f"#{end}\n")


def _copy_header(source, old, new):
    """Copy the declarations; return the short names of the signals that are kept."""
    kept, skipped = set(), 0  # scopes that are skipped, one in the other
    for line in old:
        words = line.split()
        keyword = words[0] if words else ""
        if keyword == "$scope" and (skipped or words[2].startswith("$")):
            skipped += 1
        elif keyword == "$upscope" and skipped:
            skipped -= 1
        elif keyword == "$var" and (skipped or words[4].startswith("$")):
            continue
        else:
            if keyword == "$var":
                kept.add(words[3])
            new.write(line)
            if keyword == "$enddefinitions":
                return kept
    raise WaveformError(f"{source} is no VCD: it has no $enddefinitions")


def ticks_per_ns(path):
    """Return how many units of time of a VCD make a nanosecond."""
    with open(path) as file:
        text = file.read(4096)
    match = re.search(r"\$timescale\s+(\d+)\s*(ns|ps)\s+\$end", text)
    if match is None:
        raise WaveformError(f"{path} has no $timescale in ns or ps")
    return (1000 if match[2] == "ps" else 1) // int(match[1])


@dataclass(frozen=True)
class Beat:
    """One transfer on a channel: in which clock, since when it was offered, and its payload."""

    clock: int
    offered: int
    fields: dict

    def __getattr__(self, name):
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(f"this channel has no {name}") from None


class Recording:
    """A VCD, seen clock by clock: clock n is what registers saw at the n-th rising edge of ``clk``.

    Signals are named by their path, of which the first part may be left out: ``smmu.clk``.
    """

    def __init__(self, path, clock="clk"):
        from pywellen import Waveform

        if not Path(path).is_file():
            raise WaveformError(f"{path}: no such file")
        try:
            self._waveform = Waveform(str(path))
        except Exception as error:  # pywellen raises what its parser raises
            raise WaveformError(f"{path} is no waveform: {error}") from None
        self.path = path
        self.names = {}
        for var in self._waveform.all_vars():
            self.names.setdefault(var.full_name, var)
        self._signals = {}
        self.edges = self._find_edges(clock)

    def _find_edges(self, clock):
        """Times of the rising edges."""
        times = _times(self.path)
        signal = self._signal(clock)
        values = [(time, signal.value_at(time)) for time in times]
        return [time for (_, before), (time, after) in zip(values, values[1:], strict=False)
                if not before and after]

    def find(self, name):
        """Return the full path of a signal, the shortest that ends like ``name``; or None."""
        if name in self.names:
            return name
        return min((path for path in self.names
                    if path.endswith("." + name) and not path.startswith("$")), key=len,
                   default=None)

    def _signal(self, name):
        if name not in self._signals:
            path = self.find(name)
            if path is None:
                raise WaveformError(f"{self.path} has no signal {name}")
            self._signals[name] = self.names[path].signal
        return self._signals[name]

    def value(self, name, clock):
        """Return what a signal was just before an edge; unknown bits are 0."""
        value = self._signal(name).value_at(self.edges[clock] - 1)
        if isinstance(value, int):
            return value
        return int(re.sub("[^01]", "0", value or "0"), 2)

    def beats(self, channel, fields=(), valid="valid", ready="ready"):
        """Return the transfers of a channel: ``channel + valid`` and ``channel + ready`` high."""
        beats, offered = [], None
        for clock in range(len(self.edges)):
            if not self.value(channel + valid, clock):
                offered = None
                continue
            offered = clock if offered is None else offered
            if self.value(channel + ready, clock):
                beats.append(Beat(clock, offered, {
                    name: self.value(channel + name, clock) for name in fields}))
                offered = None
        return beats


def _times(path):
    with open(path) as file:
        return [int(line[1:]) for line in file if line.startswith("#")]


_ATTRIBUTE = re.compile(r'\(\* enum_value_([01]+) = "(.*)" \*\)')
_DECLARATION = re.compile(r"(?:(?:wire|reg|input|output|inout) )+(?:\[\d+:0\] )?(?:\\(\S+) |(\w+))")
_MODULE = re.compile(r"module (?:\\(\S+) |(\w+))")


def enum_names(verilog):
    """Return ``{"module path.signal": {value: name}}`` of the signals whose values have names.

    The exported Verilog names the values in attributes, and calls each module like its path.
    """
    found, pending, module = {}, {}, ""
    for line in verilog.splitlines():
        line = line.strip()
        if match := _ATTRIBUTE.match(line):
            pending[int(match[1], 2)] = match[2]
        elif line.startswith("(*"):
            continue
        elif match := _MODULE.match(line):
            module, pending = match[1] or match[2], {}
        elif pending:
            if match := _DECLARATION.match(line):
                found[f"{module}.{match[1] or match[2]}"] = pending
            pending = {}
    return found


def write_gtkw(path, vcd, groups, names=None, *, marker=None):
    """Write a GTKWave save file.

    Parameters
    ----------
    vcd
        The waveform; signals that it lacks are left out.
    groups
        ``{title: [signal]}`` in the order of display; signals as for :class:`Recording`.
    names
        ``{signal path: {value: name}}`` as of :func:`enum_names`: filter files for these are
        written beside the save file.
    marker
        Where to put the marker and begin the view, in the units of the file.
    """
    from vcd.gtkw import GTKWSave, make_translation_filter

    recording = Recording(vcd)
    names = names or {}
    folder = Path(path).with_suffix(".names")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.txt"):
        old.unlink()
    with open(path, "w") as file:
        save = GTKWSave(file)
        save.dumpfile(str(vcd))
        save.savefile(str(path))
        save.treeopen("bench.smmu.")
        if marker is not None:
            save.timestart(max(0, marker - 100))
            save.zoom_markers(-4.0, marker)
        save.signals_width(360)
        for title, signals in groups.items():
            shown = [(recording.find(signal), signal) for signal in signals]
            shown = [(full, signal) for full, signal in shown if full is not None]
            if not shown:
                continue
            with save.group(title, closed=False):
                for full, signal in shown:
                    width = recording.names[full].bitwidth or 1
                    values = next((table for name, table in names.items()
                                   if full == name or full.endswith("." + name)), None)
                    text = full + (f"[{width - 1}:0]" if width > 1 else "")
                    if values is None:
                        save.trace(text, alias=signal, datafmt="bin" if width == 1 else "hex")
                        continue
                    filter_file = folder / (re.sub(r"[^\w.]", "_", full) + ".txt")
                    filter_file.write_text(make_translation_filter(
                        sorted(values.items()), datafmt="hex", size=width))
                    save.trace(text, alias=signal, datafmt="hex",
                               translate_filter_file=str(filter_file.resolve()))
