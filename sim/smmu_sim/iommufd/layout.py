"""Packed little-endian structs by offsets: what an ioctl carries."""

import re
from types import SimpleNamespace
from typing import NamedTuple

__all__ = ["Layout"]

_FIELD = re.compile(r"(\w+)@(\d+)(?::(s?)(\d+)(?:x(\d+))?)?$")


class _Field(NamedTuple):
    offset: int
    width: int      # bytes of one element
    count: int      # elements; 0: not an array
    signed: bool

    @property
    def end(self):
        return self.offset + self.width * max(self.count, 1)


class Layout:
    """One struct of the user API.

    Parameters
    ----------
    name
        The kernel's name.
    size
        Bytes of the whole struct.
    fields
        ``name@offset`` for 32 bits, ``name@offset:8`` for another width in bytes,
        ``name@offset:s4`` for a signed one, ``name@offset:4x6`` for an array; blanks between.
    min_after
        The last field that an old user has to pass. None: all of them.

    Attributes
    ----------
    min_size
        Bytes that a user has to pass.
    fields
        ``{name: (offset, width, count, signed)}``.
    """

    def __init__(self, name, size, fields, *, min_after=None):
        self.name, self.size, self.fields = name, size, {}
        for text in fields.split():
            field, offset, sign, width, count = _FIELD.match(text).groups()
            self.fields[field] = _Field(int(offset), int(width or 4), int(count or 0), bool(sign))
        self.min_size = size if min_after is None else self.fields[min_after].end
        first = next(iter(self.fields))
        self._sized_by = first if first in ("size", "argsz") else None

    def __repr__(self):
        return f"Layout({self.name})"

    def pack(self, **values):
        """Return the struct as a bytearray; what is not named is 0, a leading size its size.

        Raises :exc:`ValueError` for an unknown name or a value that does not fit.
        """
        buffer = bytearray(self.size)
        if self._sized_by:
            values.setdefault(self._sized_by, self.size)
        self.store(buffer, **values)
        return buffer

    def store(self, buffer, **values):
        """Change fields in ``buffer``. Fields beyond its end are left out."""
        for name, value in values.items():
            field = self.fields.get(name)
            if field is None:
                raise ValueError(f"{self.name} has no field {name}")
            elements = value if field.count else (value,)
            if field.count and len(elements) != field.count:
                raise ValueError(f"{self.name}.{name} has {field.count} elements, not "
                                 f"{len(elements)}")
            for n, element in enumerate(elements):
                start = field.offset + n * field.width
                try:
                    data = element.to_bytes(field.width, "little", signed=field.signed)
                except OverflowError:
                    raise ValueError(f"{self.name}.{name} cannot hold {element:#x}") from None
                if start + field.width <= len(buffer):
                    buffer[start:start + field.width] = data

    def unpack(self, data):
        """Return a record with each field as an attribute; what ``data`` lacks at its end is 0."""
        data = bytes(data).ljust(self.size, b"\0")
        record = SimpleNamespace()
        for name, field in self.fields.items():
            elements = tuple(
                int.from_bytes(data[at:at + field.width], "little", signed=field.signed)
                for at in range(field.offset, field.end, field.width))
            setattr(record, name, elements if field.count else elements[0])
        return record
