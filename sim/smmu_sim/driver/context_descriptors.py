"""CD tables: one CD, linear, or two-level."""

from smmu.formats.context_descriptor import CD, L1CD
from smmu.formats.core import bits, from_bytes, pack
from smmu.formats.descriptors import SH
from smmu.formats.stream_table import S1DSS, STE, S1Fmt

from smmu_sim.driver.entry_writer import cd_used, write_entry
from smmu_sim.driver.errors import DriverError
from smmu_sim.driver.features import LINEAR_CD_BITS
from smmu_sim.fields import address, address_of

__all__ = ["ContextDescriptorTable"]

_CD_BYTES, _L1CD_BYTES = bits(CD) // 8, bits(L1CD) // 8
_LEAF_BITS = {S1Fmt.LEVEL2_4K: 6, S1Fmt.LEVEL2_64K: 10}  # log2 of the CDs in a leaf table
_WB_RA = 1


class ContextDescriptorTable:
    """The CDs of one device, by SubstreamID.

    Under stage 2 the tables lie in the guest's memory: ``memory`` and ``allocator`` are then those
    of the guest, and addresses are IPAs.

    Parameters
    ----------
    memory, allocator
        Where the tables go.
    substreamid_bits
        S1CDMax: 0 is a single CD.
    fmt
        :class:`S1Fmt`. None: linear up to 10 bits, then leaves of 64 KiB, like Linux.
    """

    def __init__(self, memory, allocator, substreamid_bits=0, fmt=None):
        if not 0 <= substreamid_bits <= 20:
            raise DriverError(f"substreamid_bits is {substreamid_bits}; it is 0 to 20")
        if fmt is None:
            fmt = S1Fmt.LINEAR if substreamid_bits <= LINEAR_CD_BITS else S1Fmt.LEVEL2_64K
        self.memory, self.allocator = memory, allocator
        self.substreamid_bits, self.fmt = substreamid_bits, S1Fmt(fmt)
        self._leaf_bits = _LEAF_BITS.get(self.fmt)
        if self.two_level:
            self.bytes = max(64, _L1CD_BYTES << max(substreamid_bits - self._leaf_bits, 0))
        else:
            self.bytes = _CD_BYTES << substreamid_bits
        self.base = allocator.alloc(self.bytes)
        self._leaves = []

    @property
    def two_level(self):
        """A table of L1CDs comes first. With a single CD the format means nothing."""
        return self.fmt != S1Fmt.LINEAR and self.substreamid_bits != 0

    def ste_fields(self):
        """Return the fields of the STE that describe this table."""
        return {"S1Fmt": self.fmt, "S1ContextPtr": address(STE, "S1ContextPtr", self.base),
                "S1CDMax": self.substreamid_bits, "S1CIR": _WB_RA, "S1COR": _WB_RA,
                "S1CSH": SH.ISH, "S1DSS": S1DSS.SSID0}

    def l1cd_addr(self, ssid):
        """Return the address of the L1CD of a SubstreamID."""
        self._check(ssid)
        return self.base + (ssid >> self._leaf_bits) * _L1CD_BYTES

    def find(self, ssid=0):
        """Return the address of a CD, or None if its leaf table does not exist."""
        self._check(ssid)
        if not self.two_level:
            return self.base + ssid * _CD_BYTES
        l1cd = self.memory.read64(self.l1cd_addr(ssid))
        if not l1cd:
            return None
        return address_of(L1CD, "L2Ptr", l1cd) + (ssid & (1 << self._leaf_bits) - 1) * _CD_BYTES

    def _check(self, ssid):
        if ssid < 0 or ssid >> self.substreamid_bits:
            raise DriverError(f"SubstreamID {ssid:#x} is outside of {self.substreamid_bits} bits")

    def ensure(self, ssid, invalidate):
        """Return the address of a CD; its leaf table is made if need be."""
        addr = self.find(ssid)
        if addr is None:
            leaf = self.allocator.alloc(_CD_BYTES << self._leaf_bits)
            self._leaves.append(leaf)
            self.memory.write64(self.l1cd_addr(ssid), pack(
                L1CD, {"V": 1, "L2Ptr": address(L1CD, "L2Ptr", leaf)}))
            invalidate(ssid, False)
            addr = self.find(ssid)
        return addr

    def read(self, ssid=0):
        """Return a CD; 0 if there is none."""
        addr = self.find(ssid)
        return 0 if addr is None else from_bytes(CD, self.memory.read(addr, _CD_BYTES))

    def write(self, cd, ssid=0, invalidate=lambda ssid, leaf: None):
        """Make ``cd`` the CD of a SubstreamID; return the number of invalidations it took.

        ``invalidate(ssid, leaf)`` issues CMD_CFGI_CD for each StreamID that uses the table, and
        CMD_SYNC. It may be left out as long as no STE points here.
        """
        addr = self.ensure(ssid, invalidate)
        return write_entry(self.memory, addr, cd, used=cd_used,
                           sync=lambda: invalidate(ssid, True))

    def free(self):
        """Give back the memory. No STE points here any more."""
        for leaf in self._leaves:
            self.allocator.free(leaf, _CD_BYTES << self._leaf_bits)
        self.allocator.free(self.base, self.bytes)
        self._leaves.clear()
