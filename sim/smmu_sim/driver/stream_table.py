"""The stream table: linear, or two-level with tables that are made when a StreamID needs one."""

from smmu.formats.core import bits, from_bytes, pack, to_bytes
from smmu.formats.registers import STRTAB_BASE
from smmu.formats.stream_table import L1STD, STE

from smmu_sim.driver.entry_writer import ste_safe, ste_used, write_entry
from smmu_sim.driver.entries import ABORT
from smmu_sim.driver.errors import DriverError
from smmu_sim.fields import address, address_of

__all__ = ["StreamTable"]

_STE_BYTES, _L1STD_BYTES = bits(STE) // 8, bits(L1STD) // 8
_LINEAR, _TWO_LEVEL = 0, 1
_SPLITS = (6, 8, 10)


class StreamTable:
    """All STEs of one SMMU. Those never written abort silently.

    Parameters
    ----------
    memory, allocator
        Where the tables go.
    log2size
        StreamID bits.
    split
        StreamID bits that a level 2 table resolves: 6, 8 or 10. None: the table is linear.
    """

    def __init__(self, memory, allocator, log2size, split=None):
        if split not in (None, *_SPLITS):
            raise DriverError(f"SPLIT is {split}; it is one of {_SPLITS}")
        self.memory, self.allocator = memory, allocator
        self.log2size, self.split = log2size, split
        count = log2size if split is None else max(log2size - split, 0)
        self.bytes = max(64, (_STE_BYTES if split is None else _L1STD_BYTES) << count)
        self.base = allocator.alloc(self.bytes)
        if split is None:
            self._fill(self.base, 1 << log2size)

    @property
    def two_level(self):
        return self.split is not None

    def _fill(self, addr, count):
        self.memory.write(addr, to_bytes(STE, ABORT) * count)

    def set_up(self, registers):
        """Write base and format. SMMUEN is 0."""
        registers.write("STRTAB_BASE", RA=1, ADDR=address(STRTAB_BASE, "ADDR", self.base))
        registers.write("STRTAB_BASE_CFG", LOG2SIZE=self.log2size, SPLIT=self.split or 0,
                        FMT=_TWO_LEVEL if self.two_level else _LINEAR)

    def _check(self, sid):
        if sid < 0 or sid >> self.log2size:
            raise DriverError(f"StreamID {sid:#x} is outside of {self.log2size} bits")

    def find(self, sid):
        """Return the address of an STE, or None if its level 2 table does not exist."""
        self._check(sid)
        if not self.two_level:
            return self.base + sid * _STE_BYTES
        l1std = self.memory.read64(self.l1std_addr(sid))
        if not l1std:
            return None
        return address_of(L1STD, "L2Ptr", l1std) + (sid & (1 << self.split) - 1) * _STE_BYTES

    def l1std_addr(self, sid):
        """Return the address of the L1STD of a StreamID."""
        self._check(sid)
        return self.base + (sid >> self.split) * _L1STD_BYTES

    def ensure(self, sid, invalidate=lambda: None):
        """Return the address of an STE; its level 2 table is made if need be.

        ``invalidate`` is called after a new L1STD was written: the SMMU may have cached the old.
        """
        addr = self.find(sid)
        if addr is None:
            table = self.allocator.alloc(_STE_BYTES << self.split)
            self._fill(table, 1 << self.split)
            self.memory.write64(self.l1std_addr(sid), pack(
                L1STD, {"Span": self.split + 1, "L2Ptr": address(L1STD, "L2Ptr", table)}))
            invalidate()
            addr = self.find(sid)
        return addr

    def read(self, sid):
        """Return the STE of a StreamID."""
        addr = self.find(sid)
        return ABORT if addr is None else from_bytes(STE, self.memory.read(addr, _STE_BYTES))

    def write(self, sid, ste, invalidate):
        """Make ``ste`` the STE of a StreamID; return the number of invalidations it took.

        ``invalidate(leaf)`` issues CMD_CFGI_STE and CMD_SYNC.
        """
        addr = self.ensure(sid, lambda: invalidate(False))
        return write_entry(self.memory, addr, ste, used=ste_used, safe=ste_safe,
                           sync=lambda: invalidate(True))
