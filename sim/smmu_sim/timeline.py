"""A picture of one MSI: from the device's write to the doorbell, clock by clock."""

from dataclasses import dataclass

from smmu_sim.waves import Recording, WaveformError

__all__ = ["Span", "draw", "msi_spans"]

_COLOURS = {"device": "#4477aa", "TBU": "#228833", "configuration": "#aa3377", "stage 1": "#ee6677",
            "stage 2": "#ccbb44", "read": "#888888", "doorbell": "#66ccee"}
_KINDS = {"L1STD": "configuration", "STE": "configuration", "CD": "configuration",
          "stage 1": "stage 1", "stage 2": "stage 2"}
_ROW_INCHES = 0.27


@dataclass(frozen=True)
class Span:
    """Something that took from clock ``start`` to clock ``end``."""

    label: str
    kind: str
    start: int
    end: int


def msi_spans(recording, structures, port=0):
    """Return the :class:`Span` list of the first write of a device in a :class:`Recording`.

    ``structures`` is ``{address: name}`` of what the SMMU may read. Raises :exc:`WaveformError` if
    no write arrived at the device port, or none left.
    """
    device, doorbell = f"s{port}_axi_", f"m{port}_axi_"
    aw = _first(recording, device + "aw", ("addr",))
    w = _first(recording, device + "w", ("data",))
    spans = [Span(f"{device}aw  {aw.addr:#x}", "device", aw.offered, aw.clock),
             Span(f"{device}w", "device", w.offered, w.clock)]
    for stream, label in (("write_requests__", "miss: request to the TCU"),
                          ("write_responses__", "answer to the TBU")):
        if recording.find(stream + "valid"):
            beats = [beat for beat in recording.beats(stream) if beat.clock >= aw.clock]
            spans += [Span(label, "TBU", beat.offered, beat.clock) for beat in beats[:1]]
    out = _first(recording, doorbell + "aw", ("addr", "user"))
    data = _first(recording, doorbell + "w", ())
    response = _first(recording, doorbell + "b", ())
    spans += [read for read in _reads(recording, structures) if aw.clock <= read.start <= out.clock]
    spans += [Span(f"{doorbell}aw  {out.addr:#x}", "doorbell", out.offered, out.clock),
              Span(f"{doorbell}w", "doorbell", data.offered, data.clock),
              Span(f"{doorbell}b", "doorbell", response.offered, response.clock)]
    back = _first(recording, device + "b", ())
    spans.append(Span(f"{device}b", "device", back.offered, back.clock))
    return sorted(spans, key=lambda span: (span.start, span.end))


def _first(recording, channel, fields):
    beats = recording.beats(channel, fields)
    if not beats:
        raise WaveformError(f"{recording.path}: nothing was transferred on {channel.rstrip('_')}")
    return beats[0]


def _reads(recording, structures):
    """The SMMU's own reads, from the address to the last beat of the data."""
    requests = recording.beats("m_axi_tbl_ar", ("addr", "id"))
    answers = [beat for beat in recording.beats("m_axi_tbl_r", ("id", "last")) if beat.last]
    for request in requests:
        # One ID is answered in order, so the first answer after the request is its own.
        answer = next((beat for beat in answers
                       if beat.id == request.id and beat.clock > request.clock), None)
        if answer is not None:
            answers.remove(answer)
            name = structures.get(request.addr, "read")
            kind = next((kind for start, kind in _KINDS.items() if name.startswith(start)), "read")
            yield Span(f"{name}  {request.addr:#x}", kind, request.offered, answer.clock)


def draw(vcd, png, structures, title, port=0):
    """Draw the first write of a device in a VCD as PNG; return its spans."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    spans = msi_spans(Recording(vcd), structures, port)
    zero = spans[0].start
    end = max(span.end for span in spans) - zero + 1
    figure, axes = pyplot.subplots(figsize=(12, 1.4 + _ROW_INCHES * len(spans)))
    for row, span in enumerate(spans):
        start, length = span.start - zero, span.end - span.start + 1
        axes.barh(row, length, left=start, height=0.7, color=_COLOURS[span.kind])
        axes.text(start + length + end * 0.005, row, f"{start}–{start + length - 1}", va="center",
                  fontsize=7, color="#555555")
    axes.set_yticks(range(len(spans)), [span.label for span in spans], fontsize=8,
                    family="monospace")
    axes.invert_yaxis()
    axes.set_xlim(0, end * 1.08)
    axes.set_xlabel("clocks since the device's write")
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    kinds = list(dict.fromkeys(span.kind for span in spans))
    axes.legend([pyplot.Rectangle((0, 0), 1, 1, color=_COLOURS[kind]) for kind in kinds], kinds,
                fontsize=8, loc="lower left")
    figure.tight_layout()
    figure.savefig(png, dpi=120)
    pyplot.close(figure)
    return spans
