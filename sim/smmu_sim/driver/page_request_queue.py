"""The page request queue, consumer side. Without an owner each group is denied, as Linux 7.0 does.
"""

from typing import NamedTuple

from smmu.formats.commands import PRIResp

from smmu_sim.driver import commands
from smmu_sim.driver.record_queue import RecordQueue

__all__ = ["PageRequestQueue", "PRIRecord"]


class PRIRecord(NamedTuple):
    """One page request of an endpoint (IHI 0070: 8)."""

    StreamID: int
    SubstreamID: int
    pX: int
    R: int
    W: int
    X: int
    Last: int
    SSV: int
    PRGIndex: int
    addr: int

    @classmethod
    def decode(cls, raw):
        """Return the record of an entry."""
        word, word1 = raw & (1 << 64) - 1, raw >> 64
        flags = [word >> bit & 1 for bit in range(58, 64)]
        priv, execute, read, write, last, ssv = flags
        return cls(word & 0xFFFF_FFFF, word >> 32 & 0xF_FFFF, priv, read, write, execute, last,
                   ssv, word1 & 0x1FF, word1 & ~0xFFF)


class PageRequestQueue(RecordQueue):
    """Take page requests out of their queue, as :class:`PRIRecord`, and deny them.

    ``seen`` holds the records. Only for an SMMU with IDR0.PRI.
    """

    name, entry_size = "PRIQ", 16

    def __init__(self, registers, memory, allocator, log2size, issue):
        super().__init__(registers, memory, allocator, log2size)
        self.seen, self._issue = [], issue

    def take(self, raw):
        """Answer the last request of a group (``arm_smmu_handle_ppr``)."""
        record = PRIRecord.decode(raw)
        self.seen.append(record)
        if record.Last:
            self._issue([commands.pri_resp(
                record.StreamID, record.PRGIndex, PRIResp.FAILURE,
                record.SubstreamID if record.SSV else None)], sync=False)
        return record
