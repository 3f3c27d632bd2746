"""Plain Python values of Amaranth layouts: integers with named fields, quick enough for agents."""

import enum

from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["Record", "pack", "view", "width"]


def width(shape) -> int:
    """The number of bits of a shape or layout."""
    return Shape.cast(shape).width


def _layout(shape):
    """The layout behind a shape (a struct class, a layout), or None for a plain number."""
    if isinstance(shape, data.Layout):
        return shape
    if isinstance(shape, type) and issubclass(shape, (data.Struct, data.Union)):
        return data.Layout.cast(shape)
    return None


_known = {}  # by identity, since layouts cannot be hashed; the shape is kept with its fields


def _fields(shape):
    """{key: (lsb, mask, shape)} of a layout."""
    if id(shape) not in _known:
        fields = {key: (field.offset, (1 << field.width) - 1, field.shape)
                  for key, field in _layout(shape)}
        _known[id(shape)] = shape, fields
    return _known[id(shape)][1]


def view(shape, raw: int):
    """Interpret ``raw``: a :class:`Record`, an enumeration member, or an integer."""
    if _layout(shape) is not None:
        return Record(shape, raw)
    if isinstance(shape, enum.EnumMeta):
        try:
            return shape(raw)
        except ValueError:
            return raw
    cast = Shape.cast(shape)
    if cast.signed and cast.width and raw >> (cast.width - 1):
        return raw - (1 << cast.width)
    return raw


def pack(shape, value, name="") -> int:
    """The bits of ``value``: an integer, a :class:`Record`, a dict of fields, or a list.

    Fields that a dict leaves out are 0; ``{"a.b": 1}`` is ``{"a": {"b": 1}}``. A field that does
    not exist, or a value that does not fit, is a ValueError which names it.
    """
    layout = _layout(shape)
    if isinstance(value, dict) or (isinstance(value, (list, tuple)) and layout is not None):
        if layout is None:
            raise ValueError(f"{name or 'value'} has no fields, given {value!r}")
        return _pack_fields(shape, value, name)
    if isinstance(value, data.Const):
        value = value.as_bits()
    elif isinstance(value, enum.Enum):
        value = value.value
    value, cast = int(value), Shape.cast(shape)
    low = -(1 << cast.width) >> 1 if cast.signed else 0
    high = 1 << (cast.width - 1 if cast.signed and cast.width else cast.width)
    if not low <= value < high:
        raise ValueError(f"{name or 'value'} is {value:#x}, which does not fit {cast.width} bits")
    return value & ((1 << cast.width) - 1)


def _pack_fields(shape, value, name):
    fields, raw = _fields(shape), 0
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        if isinstance(key, str) and "." in key:
            key, rest = key.split(".", 1)
            part = {rest: part}
        if key not in fields:
            raise ValueError(f"{name or getattr(shape, '__name__', 'layout')} has no field {key}; "
                             f"it has {', '.join(map(str, fields))}")
        lsb, _, inner = fields[key]
        raw |= pack(inner, part, f"{name}.{key}" if name else str(key)) << lsb
    return raw


class Record:
    """A value of a layout, with its fields as attributes (``record.addr``, ``record[0]``).

    Equal to another record, an integer of the same bits, or a dict whose fields all agree.
    """

    __slots__ = ("_raw", "_shape")

    def __init__(self, shape, raw):
        self._shape, self._raw = shape, raw

    def __getattr__(self, name):
        return self._get(name, AttributeError)

    def __getitem__(self, key):
        return self._get(key, KeyError)

    def _get(self, key, error):
        try:
            lsb, mask, inner = _fields(self._shape)[key]
        except KeyError:
            raise error(f"{self._name()} has no field {key!r}") from None
        return view(inner, self._raw >> lsb & mask)

    def _name(self):
        return getattr(self._shape, "__name__", type(self._shape).__name__)

    def __int__(self):
        return self._raw

    __index__ = __int__

    def __eq__(self, other):
        if isinstance(other, dict):
            return all(self[key] == value for key, value in other.items())
        try:
            return self._raw == int(other)
        except (TypeError, ValueError):
            return NotImplemented

    def __hash__(self):
        return hash(self._raw)

    def as_dict(self):
        """All fields, nested ones as dicts, without gaps (``_res…``)."""
        values = {key: self[key] for key in _fields(self._shape)
                  if not str(key).startswith("_res")}
        return {key: value.as_dict() if isinstance(value, Record) else value
                for key, value in values.items()}

    def __repr__(self):
        def text(value):
            return f"{value:#x}" if type(value) is int else repr(value)
        parts = (f"{key}={text(self[key])}" for key in _fields(self._shape)
                 if not str(key).startswith("_res"))
        return f"{self._name()}({', '.join(parts)})"
