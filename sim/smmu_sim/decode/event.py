"""Event records explained (IHI 0070: 7.3)."""

from smmu.formats.core import bits, fields, plain
from smmu.formats.events import CLASS, EVENTS, EventHeader, EventType

from smmu_sim.decode.names import named
from smmu_sim.decode.record import NOTE, Decoded, Finding, field_rows, reserved_notes

__all__ = ["decode_event"]

_HEADER = plain(EventHeader)
_ADDRESSES = ("InputAddr", "IPA", "FetchAddr")
_CLASSES = {CLASS.CD: "CD: while fetching a CD", CLASS.TT: "TT: while walking stage 1 tables",
            CLASS.IN: "IN: the input address itself"}
_MEANINGS = {
    "Event": named(EventType), "CLASS": lambda value: _CLASSES.get(value, "reserved"),
    "RnW": lambda value: "read" if value else "write",
    "PnU": lambda value: "privileged" if value else "unprivileged",
    "InD": lambda value: "instruction" if value else "data",
    "S2": lambda value: f"stage {1 + value} faulted",
    "SSV": lambda value: "with a SubstreamID" if value else "no SubstreamID",
    "Stall": lambda value: "stalled: waits for CMD_RESUME" if value else "terminated",
    "TTRnW": lambda value: "a descriptor was read" if value else "a descriptor was written",
}


def decode_event(raw, params=None):
    """Return the :class:`Decoded` record ``raw`` (256 bits)."""
    number = _HEADER.Event(raw)
    name = named(EventType, f"unknown event {number:#04x}")(number)
    struct = EVENTS.get(number, EventHeader)
    ignored = set() if not {"S2", "IPA"} <= set(fields(struct)) or plain(struct).S2(raw) \
        else {"IPA"}
    if "SSV" in fields(struct) and not plain(struct).SSV(raw):
        ignored.add("SubstreamID")
    rows = field_rows(struct, raw, _MEANINGS, addresses=_ADDRESSES, ignored=ignored)
    return Decoded(f"event: {name}", raw, bits(struct), rows,
                   list(_findings(raw, number, struct, params)) + reserved_notes(struct, raw),
                   judged=False)


def _findings(raw, number, struct, params):
    if number not in EVENTS:
        what = "whose layout is not known" if number in set(EventType) else "which is no event"
        yield Finding(NOTE, f"number {number:#04x}, {what}: only the common fields are shown")
    known = fields(struct)
    if "Stall" in known and plain(struct).Stall(raw) and params and params.stall_model == 1:
        yield Finding(NOTE, "Stall is 1, but IDR0.STALL_MODEL is 1: this SMMU does not stall")
    if "CLASS" in known and plain(struct).CLASS(raw) not in set(CLASS):
        yield Finding(NOTE, "CLASS is 3, which is reserved")
