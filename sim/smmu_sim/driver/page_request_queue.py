"""The page request queue, consumer side. Without an owner each group is denied, as Linux 7.0 does.
"""

from typing import NamedTuple

from smmu.formats.commands import PRIResp
from smmu.formats.registers import EVENTQ_BASE

from smmu_sim.driver import commands
from smmu_sim.driver.queue import Queue
from smmu_sim.fields import address

__all__ = ["PageRequestQueue", "PRIRecord"]

_ENTRY_SIZE = 16


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


class PageRequestQueue:
    """Take page requests out of their queue and deny them.

    ``seen`` holds the records, ``overflows`` counts how often some were lost. Only for an SMMU
    with IDR0.PRI.
    """

    def __init__(self, registers, memory, allocator, log2size, issue):
        self.queue = Queue(memory, allocator, log2size, _ENTRY_SIZE)
        self.seen, self.overflows = [], 0
        self._registers, self._issue, self._ovackflg = registers, issue, 0

    def set_up(self):
        """Write base and indexes. PRIQEN is 0."""
        self.queue.prod = self.queue.cons = self._ovackflg = 0
        self._registers.write("PRIQ_BASE", LOG2SIZE=self.queue.log2size, WA=1,
                              ADDR=address(EVENTQ_BASE, "ADDR", self.queue.base))
        self._registers.write("PRIQ_PROD", 0)
        self._registers.write("PRIQ_CONS", 0)

    def drain(self):
        """Take and answer what is there; return the records (``arm_smmu_handle_ppr``)."""
        queue, records = self.queue, []
        while True:
            prod = self._registers.fields("PRIQ_PROD")
            queue.prod = prod["WR"]
            lost = prod["OVFLG"] != self._ovackflg
            if not queue.used and not lost:
                self.seen += records
                return records
            while queue.used:
                record = PRIRecord.decode(queue.read(queue.cons))
                records.append(record)
                queue.cons = queue.advance(queue.cons)
                if record.Last:
                    self._issue([commands.pri_resp(
                        record.StreamID, record.PRGIndex, PRIResp.FAILURE,
                        record.SubstreamID if record.SSV else None)], sync=False)
            self.overflows += lost
            self._ovackflg = prod["OVFLG"]
            self._registers.write("PRIQ_CONS", RD=queue.cons, OVACKFLG=self._ovackflg)
