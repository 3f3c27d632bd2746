"""Translation table walks, one routine for both stages (DDI 0487: D8.2, D8.3; 48-bit addresses)."""

from typing import NamedTuple

from smmu.formats.core import plain
from smmu.formats.descriptors import (
    BLOCK_LEVELS,
    Descriptor,
    GRANULES,
    bits_per_level,
    level_shift,
    next_table_mask,
    start_table_bytes,
)
from smmu_sim.memory import BusAbort
from smmu_sim.model.faults import EventType

__all__ = ["Leaf", "Table", "start_table", "walk"]

_valid = plain(Descriptor).Valid
_type = plain(Descriptor).Type

LAST_LEVEL = 3
SHIFTS = {granule: [level_shift(level, granule) for level in range(4)] for granule in GRANULES}
INDEX_MASK = {granule: (1 << bits_per_level(granule)) - 1 for granule in GRANULES}
NEXT_TABLE_MASK = {granule: next_table_mask(granule) for granule in GRANULES}
ADDRESS_BITS = 48  # that a descriptor carries


class Table(NamedTuple):
    """The start of a walk."""

    base: int  # of the start table, or of all concatenated ones; aligned to their size
    granule: int
    start_level: int
    input_bits: int
    output_bits: int  # effective IPS or S2PS
    big_endian: bool


class Leaf(NamedTuple):
    """The end of a walk."""

    descriptor: int
    level: int
    output: int  # output address of the input address
    size_shift: int  # log2 of the size that the leaf maps
    hierarchy: int  # bitwise OR of the table descriptors on the way


def start_table(ttb, txsz, start_level, granule, output_bits, big_endian):
    """Return the :class:`Table` at ``ttb``, whose bits below its alignment are ignored."""
    size = start_table_bytes(txsz, start_level, granule)
    return Table(ttb & -size, granule, start_level, 64 - txsz, output_bits, big_endian)


def walk(memory, table, addr, locate, fault):
    """Translate ``addr`` as far as the leaf; access flag and permissions are the caller's.

    ``locate(addr)`` returns the physical address of a descriptor. ``fault(event, descriptor PA or
    None)`` returns the :class:`~smmu_sim.model.faults.Fault` to raise.
    """
    granule = table.granule
    shifts, index_mask, next_mask = SHIFTS[granule], INDEX_MASK[granule], NEXT_TABLE_MASK[granule]
    level, base, hierarchy = table.start_level, table.base, 0
    index = (addr & (1 << table.input_bits) - 1) >> shifts[level]
    while True:
        pa = locate(base + 8 * index)
        try:
            raw = memory.read64(pa)
        except BusAbort:
            raise fault(EventType.F_WALK_EABT, pa) from None
        if table.big_endian:
            raw = int.from_bytes(raw.to_bytes(8, "little"), "big")
        if not _valid(raw):
            raise fault(EventType.F_TRANSLATION, None)
        is_table = _type(raw) and level != LAST_LEVEL
        if not _type(raw) and level not in BLOCK_LEVELS[granule]:
            raise fault(EventType.F_TRANSLATION, None)
        shift = shifts[level]
        output = raw & (next_mask if is_table else (1 << ADDRESS_BITS) - (1 << shift))
        if output >> table.output_bits:
            raise fault(EventType.F_ADDR_SIZE, None)
        if not is_table:
            return Leaf(raw, level, output | addr & (1 << shift) - 1, shift, hierarchy)
        hierarchy |= raw
        base = output
        level += 1
        index = addr >> shifts[level] & index_mask
