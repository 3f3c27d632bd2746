"""Addresses in the fields of registers, structures, commands and records.

Every address field of the architecture stands at its own place in its 64-bit word: address bit n in
bit n of the word. So the number of the field's lowest bit says which address bits it leaves out.
"""

from smmu.formats.core import FormatError, fields

__all__ = ["address", "address_of"]


def address(struct, name, addr):
    """Return the value of the address field ``name`` that holds ``addr``.

    Raises :exc:`FormatError` if the field cannot hold it: too large, or not aligned.
    """
    field = fields(struct)[name]
    unit = field.lsb % 64
    if addr < 0 or addr >> unit + field.width or addr & (1 << unit) - 1:
        raise FormatError(f"{struct.__name__}.{name} holds address bits {unit + field.width - 1}:"
                          f"{unit}, not {addr:#x}")
    return addr >> unit


def address_of(struct, name, raw):
    """Return the address that the field ``name`` of ``raw`` holds."""
    field = fields(struct)[name]
    return (raw >> field.lsb & (1 << field.width) - 1) << field.lsb % 64
