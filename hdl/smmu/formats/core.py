"""Plain-integer access to the layouts: pack, unpack, and fast field accessors."""

from functools import cache
from typing import NamedTuple

from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["Field", "FormatError", "bits", "fields", "gaps", "pack", "plain", "unpack", "update",
           "to_bytes", "from_bytes"]


class FormatError(ValueError):
    """A field that does not exist, or a value that does not fit. The message names both."""


class Field(NamedTuple):
    """Where a field sits: bit number counted from bit 0 of the structure, and width in bits."""

    lsb: int
    width: int

    @property
    def mask(self):
        """The bits of the field in the structure."""
        return ((1 << self.width) - 1) << self.lsb


@cache
def _layout(struct):
    layout = struct.as_shape() if not isinstance(struct, data.Layout) else struct
    return {name: Field(field.offset, Shape.cast(field.shape).width) for name, field in layout}


@cache
def bits(struct):
    """Return the size of ``struct`` in bits."""
    return Shape.cast(struct).width


@cache
def fields(struct):
    """Return ``{name: Field(lsb, width)}`` in the manual's order, without the gaps."""
    return {name: field for name, field in _layout(struct).items() if not name.startswith("_")}


@cache
def gaps(struct):
    """Return ``{name: Field(lsb, width)}`` of the reserved fields."""
    return {name: field for name, field in _layout(struct).items() if name.startswith("_")}


def _name(struct):
    return getattr(struct, "__name__", repr(struct))


def update(struct, raw, values):
    """Return ``raw`` with the fields named in ``values`` replaced.

    Raises :exc:`FormatError` for an unknown field and for a value that does not fit.
    """
    known = fields(struct)
    for name, value in values.items():
        if name not in known:
            raise FormatError(f"{_name(struct)} has no field {name!r}; "
                              f"its fields are {', '.join(known)}")
        field = known[name]
        value = int(value)
        if value < 0 or value >> field.width:
            raise FormatError(f"{_name(struct)}.{name} = {value:#x} does not fit "
                              f"{field.width} bit{'s' * (field.width != 1)}")
        raw = raw & ~field.mask | value << field.lsb
    return raw


def pack(struct, values):
    """Return the integer whose fields are ``values``; fields that are not named are 0.

    Raises :exc:`FormatError` for an unknown field and for a value that does not fit.
    """
    return update(struct, 0, values)


def unpack(struct, raw):
    """Return ``{name: value}`` of all fields of ``raw``. The gaps are left out."""
    _check_size(struct, raw)
    return {name: raw >> lsb & (1 << width) - 1 for name, (lsb, width) in fields(struct).items()}


def to_bytes(struct, raw):
    """Return ``raw`` as memory holds it. Every structure of the architecture is little-endian."""
    _check_size(struct, raw)
    return raw.to_bytes(bits(struct) // 8, "little")


def from_bytes(struct, octets):
    """Return the integer that memory holds in ``octets``."""
    if len(octets) * 8 != bits(struct):
        raise FormatError(f"{_name(struct)} is {bits(struct) // 8} bytes, not {len(octets)}")
    return int.from_bytes(octets, "little")


def _check_size(struct, raw):
    if raw < 0 or raw >> bits(struct):
        raise FormatError(f"{raw:#x} does not fit the {bits(struct)} bits of {_name(struct)}")


class _Plain:
    """One function ``int -> int`` for each field. Made by :func:`plain`."""

    def __init__(self, struct):
        for name, field in fields(struct).items():
            setattr(self, name, _accessor(*field))


def _accessor(lsb, width):
    mask = (1 << width) - 1
    if lsb == 0:
        return lambda raw: raw & mask
    return lambda raw: raw >> lsb & mask


@cache
def plain(struct):
    """Return an object with a fast accessor for each field: ``plain(STE).Config(raw)``.

    A struct view costs about 10 µs a field; this costs a function call. It does not check ``raw``.
    Keep the accessor in a name of its own where it is used in a loop.
    """
    return _Plain(struct)
