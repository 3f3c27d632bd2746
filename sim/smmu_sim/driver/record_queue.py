"""A queue that the SMMU fills and software empties: the event queue, the page request queue."""

from smmu.formats.registers import EVENTQ_BASE

from smmu_sim.driver.queue import Queue
from smmu_sim.fields import address

__all__ = ["RecordQueue"]


class RecordQueue:
    """Take records out of their queue (IHI 0070: 3.5).

    A subclass has ``name``, the beginning of its registers' names, ``entry_size`` in bytes, and
    :meth:`take`. ``overflows`` counts how often records were lost.
    """

    def __init__(self, registers, memory, allocator, log2size):
        self.queue = Queue(memory, allocator, log2size, self.entry_size)
        self.overflows = 0
        self._registers = registers
        self._ovackflg = 0

    def set_up(self):
        """Write base and indexes. The queue is not enabled."""
        self.queue.prod = self.queue.cons = self._ovackflg = 0
        # The base registers of both queues have the same layout.
        self._registers.write(f"{self.name}_BASE", LOG2SIZE=self.queue.log2size, WA=1,
                              ADDR=address(EVENTQ_BASE, "ADDR", self.queue.base))
        self._registers.write(f"{self.name}_PROD", 0)
        self._registers.write(f"{self.name}_CONS", 0)

    def take(self, raw):
        """Return what an entry says, and do what it asks for."""
        raise NotImplementedError

    def drain(self):
        """Return the records that are there, oldest first, and give their entries back."""
        queue, records = self.queue, []
        while True:
            prod = self._registers.fields(f"{self.name}_PROD")
            queue.prod = prod["WR"]
            lost = prod["OVFLG"] != self._ovackflg
            if not queue.used and not lost:
                return records
            while queue.used:
                raw = queue.read(queue.cons)
                queue.cons = queue.advance(queue.cons)
                records.append(self.take(raw))
            self.overflows += lost
            self._ovackflg = prod["OVFLG"]
            self._registers.write(f"{self.name}_CONS", RD=queue.cons, OVACKFLG=self._ovackflg)
