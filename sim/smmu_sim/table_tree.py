"""VMSAv8-64 translation tables in memory: geometry, descriptors, and the walk of software."""

from typing import NamedTuple

from smmu.formats.context_descriptor import CD
from smmu.formats.core import plain
from smmu.formats.descriptors import (
    BLOCK_LEVELS, S2_START_LEVEL, SH, SIZE_CODES, TG0, TG1, Descriptor, Granule, S1Leaf, S1Table,
    S2Leaf, S2Table, bits_per_level, level_shift, next_table_mask, s1_start_level,
    start_index_bits, start_table_bytes)
from smmu.formats.stream_table import STE

from smmu_sim.fields import address
from smmu_sim.prot import PageTableError

__all__ = ["Leaf", "TableTree", "start_levels"]

_CONCATENATED_BITS = 4  # up to 16 start tables side by side

_VALID, _TYPE = plain(Descriptor).Valid, plain(Descriptor).Type
_OA_MASK = (1 << 48) - 1


class Leaf(NamedTuple):
    """Where an input address is mapped: leaf descriptor, its place, and what it covers."""

    addr: int    # of the descriptor
    raw: int
    level: int
    size: int    # bytes
    output: int  # output address of the input address


def start_levels(granule, ia_bits):
    """Return the levels at which a stage 2 walk of ``ia_bits`` can start, deepest last."""
    return sorted(
        level for level in S2_START_LEVEL[granule].values()
        if 1 <= start_index_bits(64 - ia_bits, level, granule)
        <= bits_per_level(granule) + _CONCATENATED_BITS)


class TableTree:
    """A tree of translation tables in memory: its shape, and the way through it.

    Parameters
    ----------
    memory
        Has ``read64(addr)``, ``write64(addr, value)``.
    allocator
        Has ``alloc(size) -> addr`` (zeroed, aligned to its size) and ``free(addr, size)``.
    stage
        1 or 2.
    granule
        :class:`Granule`, or page offset bits.
    ia_bits, oa_bits
        Input and output address size in bits. The input size is 64 - TxSZ.
    start_level
        Stage 2: any of :func:`start_levels`; by default level 0 is avoided by concatenation.
        Stage 1: follows from the input size.
    upper
        Stage 1: this is the TTB1 half; input addresses are negative, or have their top bits set.
    big_endian
        Descriptors are big-endian (CD.ENDI, STE.S2ENDI).
    fwb
        Stage 2: MemAttr is coded for STE.S2FWB.
    """

    def __init__(self, memory, allocator, *, stage=1, granule=Granule.G4K, ia_bits=48, oa_bits=48,
                 start_level=None, upper=False, big_endian=False, fwb=False):
        if stage not in (1, 2):
            raise PageTableError(f"stage is {stage}; it is 1 or 2")
        if granule not in set(Granule):
            raise PageTableError(f"granule is {granule}; it is one of "
                                 + ", ".join(f"{g.name}={int(g)}" for g in Granule))
        if not 25 <= ia_bits <= 48:
            raise PageTableError(f"ia_bits is {ia_bits}; TxSZ 16 to 39 allow 25 to 48")
        if oa_bits not in SIZE_CODES or oa_bits > 48:
            raise PageTableError(f"oa_bits is {oa_bits}; it is one of "
                                 f"{', '.join(str(s) for s in SIZE_CODES if s <= 48)}")
        if stage == 2 and upper:
            raise PageTableError("stage 2 has no upper half")
        self.memory, self.allocator = memory, allocator
        self.stage, self.granule = stage, Granule(granule)
        self.ia_bits, self.oa_bits = ia_bits, oa_bits
        self.upper, self.big_endian, self.fwb = upper, big_endian, fwb
        self.start_level = self._start_level(start_level)
        self._index_bits = bits_per_level(self.granule)
        self._table, self._leaf = (S1Table, S1Leaf) if stage == 1 else (S2Table, S2Leaf)
        self.root_size = max(start_table_bytes(64 - ia_bits, self.start_level, self.granule), 64)
        self.root = allocator.alloc(self.root_size)

    def _start_level(self, asked):
        if self.stage == 1:
            level = s1_start_level(64 - self.ia_bits, self.granule)
            if asked not in (None, level):
                raise PageTableError(f"start_level is {asked}, but {self.ia_bits} bits of stage 1 "
                                     f"start at level {level}")
            return level
        levels = start_levels(self.granule, self.ia_bits)
        if asked is None:
            return levels[1] if levels[0] == 0 and len(levels) > 1 else levels[0]
        if asked not in levels:
            raise PageTableError(f"start_level is {asked}; {self.ia_bits} bits with "
                                 f"{self.granule.name} can start at {levels}")
        return asked

    # --- what the STE and the CD say of it -------------------------------------------------------

    def cd_fields(self):
        """Return the fields of the CD that describe this half: TxSZ, TGx, TTBx, walk attributes."""
        n, code = (1, TG1) if self.upper else (0, TG0)
        self._only_stage(1)
        return {f"T{n}SZ": 64 - self.ia_bits, f"TG{n}": code[self.granule.name], f"IR{n}": 1,
                f"OR{n}": 1, f"SH{n}": SH.ISH, f"TTB{n}": address(CD, f"TTB{n}", self.root),
                "IPS": SIZE_CODES[self.oa_bits], "ENDI": int(self.big_endian), "AA64": 1}

    def ste_fields(self):
        """Return the fields of the STE that describe this stage 2."""
        self._only_stage(2)
        sl0 = {level: code for code, level in S2_START_LEVEL[self.granule].items()}
        return {"S2T0SZ": 64 - self.ia_bits, "S2SL0": sl0[self.start_level], "S2IR0": 1, "S2OR0": 1,
                "S2SH0": SH.ISH, "S2TG": TG0[self.granule.name], "S2PS": SIZE_CODES[self.oa_bits],
                "S2AA64": 1, "S2ENDI": int(self.big_endian), "S2FWB": int(self.fwb),
                "S2TTB": address(STE, "S2TTB", self.root)}

    def _only_stage(self, stage):
        if self.stage != stage:
            raise PageTableError(f"these are fields of stage {stage}; the table is stage "
                                 f"{self.stage}")

    # --- geometry --------------------------------------------------------------------------------

    def leaf_levels(self):
        """Return the levels at which a leaf can stand, largest size first."""
        return [level for level in (*BLOCK_LEVELS[self.granule], 3) if level >= self.start_level]

    def leaf_size(self, level):
        """Return the bytes that a leaf of ``level`` covers."""
        return 1 << level_shift(level, self.granule)

    @property
    def page_size(self):
        return 1 << self.granule

    def _offset(self, addr):
        """The input address without its sign extension."""
        if addr < 0:
            addr += 1 << 64
        top = addr >> self.ia_bits
        if top != ((1 << 64 - self.ia_bits) - 1 if self.upper else 0):
            raise PageTableError(f"input address {addr:#x} is outside of the "
                                 f"{'upper ' if self.upper else ''}{self.ia_bits} bits")
        return addr & (1 << self.ia_bits) - 1

    def _slot(self, table, level, offset):
        """The address of the descriptor for ``offset`` in ``table``."""
        index = offset >> level_shift(level, self.granule)
        if level != self.start_level:
            index &= (1 << self._index_bits) - 1
        return table + 8 * index

    # --- memory ----------------------------------------------------------------------------------

    def read_descriptor(self, addr):
        """Return the descriptor at ``addr``, whatever its byte order."""
        raw = self.memory.read64(addr)
        return _swap(raw) if self.big_endian else raw

    def write_descriptor(self, addr, raw):
        """Write the descriptor at ``addr``. For tests: nothing is checked or counted."""
        self.memory.write64(addr, _swap(raw) if self.big_endian else raw)

    def path(self, addr):
        """Yield ``(level, descriptor address, descriptor)`` of the walk of an input address."""
        offset, table, level = self._offset(addr), self.root, self.start_level
        while True:
            slot = self._slot(table, level, offset)
            raw = self.read_descriptor(slot)
            yield level, slot, raw
            if level == 3 or not _VALID(raw) or not _TYPE(raw):
                return
            table, level = raw & next_table_mask(self.granule), level + 1

    def lookup(self, addr):
        """Return the :class:`Leaf` that maps ``addr``, or None."""
        *_, (level, slot, raw) = self.path(addr)
        if not _VALID(raw) or (level == 3) != bool(_TYPE(raw)):
            return None
        size = self.leaf_size(level)
        output = (raw & _OA_MASK & -self.page_size & -size) | (self._offset(addr) & size - 1)
        return Leaf(slot, raw, level, size, output)

    def iova_to_phys(self, addr):
        """Return the output address of an input address, or None if it is not mapped."""
        leaf = self.lookup(addr)
        return leaf and leaf.output

    def __repr__(self):
        return (f"{type(self).__name__}(stage {self.stage}, {self.granule.name}, {self.ia_bits} -> "
                f"{self.oa_bits} bits, level {self.start_level}, root {self.root:#x})")


def _swap(raw):
    return int.from_bytes(raw.to_bytes(8, "little"), "big")
