"""A structure taken apart: its fields, and what is wrong with it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from smmu.formats.core import fields, gaps

from smmu_sim.fields import address_of

__all__ = ["Decoded", "Finding", "NOTE", "Row", "field_rows", "reserved_notes"]

NOTE = "note"
_WORD = 64


class Row(NamedTuple):
    """One field: ``bits`` as the manual counts them, and what the value means (or "")."""

    name: str
    bits: str
    value: int
    meaning: str
    ignored: bool = False  # the SMMU does not look at it


class Finding(NamedTuple):
    """Something to say about a structure as a whole.

    ``effect`` is the manual's name of what it causes: an event (``C_BAD_STE``), a command error
    (``CERROR_ILL``), ``abort`` (silently), or ``note`` (nothing happens).
    """

    effect: str
    reason: str


@dataclass
class Decoded:
    """What :func:`decode_ste` and its siblings return. ``size`` is the structure's, in bits.

    ``judged``: there are rules of what is legal.
    """

    title: str
    raw: int
    size: int
    rows: list = field(default_factory=list)
    findings: list = field(default_factory=list)
    judged: bool = True

    @property
    def effects(self):
        """The effects that are no notes, in order, each once."""
        return list(dict.fromkeys(each.effect for each in self.findings if each.effect != NOTE))

    @property
    def legal(self):
        """The structure causes no event and no error."""
        return not set(self.effects) - {"abort"}

    @property
    def words(self):
        """The structure as words of 64 bits, low first; a smaller one is one word."""
        return [self.raw >> at & (1 << _WORD) - 1 for at in range(0, self.size, _WORD)]


def field_rows(struct, raw, meanings, *, addresses=(), ignored=()):
    """Return a :class:`Row` for each field of ``raw``, gaps left out.

    Parameters
    ----------
    meanings
        ``{field name: function of the value}``; the function returns a text.
    addresses
        Fields that hold an address in bytes at its own place in the word.
    ignored
        Names of the fields that the SMMU does not look at.
    """
    rows = []
    for name, place in fields(struct).items():
        value = raw >> place.lsb & (1 << place.width) - 1
        if name in addresses:
            meaning = f"address {address_of(struct, name, raw):#x}"
        elif name in meanings:
            meaning = meanings[name](value)
        else:
            meaning = ""
        rows.append(Row(name, _bits(place), value, meaning, name in ignored))
    return rows


def _bits(place):
    top = place.lsb + place.width - 1
    return f"{top}:{place.lsb}" if place.width > 1 else f"{top}"


def reserved_notes(struct, raw):
    """Return a note for each gap of ``struct`` in which bits are set."""
    return [Finding(NOTE, f"reserved bits {_bits(place)} hold "
                          f"{(raw & place.mask) >> place.lsb:#x}; they are ignored")
            for place in gaps(struct).values() if raw & place.mask]
