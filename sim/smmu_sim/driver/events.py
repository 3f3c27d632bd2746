"""Event records, decoded."""

from smmu.formats.core import fields, unpack
from smmu.formats.events import CLASS, EVENTS, EventHeader, EventType

from smmu_sim.fields import address_of

__all__ = ["Event"]

_ADDRESSES = ("InputAddr", "IPA", "FetchAddr")


class Event:
    """One record. Each field is an attribute with the manual's name; addresses are in bytes.

    ``type`` is the :class:`EventType`, or the number of an unknown event. A field that the record
    does not have is None. ``SubstreamID`` is None too, if SSV says that there is none.
    """

    def __init__(self, raw):
        self.raw = raw
        number = unpack(EventHeader, raw)["Event"]
        try:
            self.type = EventType(number)
        except ValueError:
            self.type = number
        struct = EVENTS.get(self.type, EventHeader)
        self.fields = unpack(struct, raw)
        for name in _ADDRESSES:
            if name in self.fields:
                self.fields[name] = address_of(struct, name, raw)
        if "SSV" in self.fields and not self.fields["SSV"]:
            self.fields["SubstreamID"] = None
        if "CLASS" in self.fields and self.fields["CLASS"] in set(CLASS):
            self.fields["CLASS"] = CLASS(self.fields["CLASS"])

    def __getattr__(self, name):
        if name in self.fields:
            return self.fields[name]
        if name in _KNOWN:
            return None
        raise AttributeError(f"no event record has a field {name!r}")

    @property
    def name(self):
        """The manual's name."""
        return self.type.name if isinstance(self.type, EventType) else f"event {self.type:#x}"

    @property
    def stage(self):
        """The stage that faulted, or None if the event is not about one."""
        return None if "S2" not in self.fields else 2 if self.fields["S2"] else 1

    def __eq__(self, other):
        return isinstance(other, Event) and self.raw == other.raw

    def __hash__(self):
        return hash(self.raw)

    def __repr__(self):
        parts = [f"StreamID={self.StreamID:#x}"]
        if self.SubstreamID is not None:
            parts.append(f"SubstreamID={self.SubstreamID:#x}")
        if self.RnW is not None:
            parts.append("read" if self.RnW else "write")
        parts += [f"{name}={self.fields[name]:#x}" for name in _ADDRESSES if name in self.fields]
        if self.stage:
            parts.append(f"stage {self.stage}")
        if isinstance(self.CLASS, CLASS):
            parts.append(f"CLASS={self.CLASS.name}")
        return f"{self.name}({', '.join(parts)})"


_KNOWN = {name for struct in (EventHeader, *EVENTS.values()) for name in fields(struct)}
