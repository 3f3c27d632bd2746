"""The event queue, consumer side."""

from smmu.formats.core import bits
from smmu.formats.events import EventHeader
from smmu.formats.registers import EVENTQ_BASE

from smmu_sim.driver.events import Event
from smmu_sim.driver.queue import Queue
from smmu_sim.fields import address

__all__ = ["Event", "EventQueue"]

_ENTRY_SIZE = bits(EventHeader) // 8


class EventQueue:
    """Take event records out of their queue.

    ``overflows`` counts how often records were lost.
    """

    def __init__(self, registers, memory, allocator, log2size):
        self.queue = Queue(memory, allocator, log2size, _ENTRY_SIZE)
        self.overflows = 0
        self._registers = registers
        self._ovackflg = 0

    def set_up(self):
        """Write base and indexes. EVENTQEN is 0."""
        self.queue.prod = self.queue.cons = self._ovackflg = 0
        self._registers.write("EVENTQ_BASE", LOG2SIZE=self.queue.log2size, WA=1,
                              ADDR=address(EVENTQ_BASE, "ADDR", self.queue.base))
        self._registers.write("EVENTQ_PROD", 0)
        self._registers.write("EVENTQ_CONS", 0)

    def drain(self):
        """Return the events that are there, oldest first, and give their entries back."""
        queue, events = self.queue, []
        while True:
            prod = self._registers.fields("EVENTQ_PROD")
            queue.prod = prod["WR"]
            lost = prod["OVFLG"] != self._ovackflg
            if not queue.used and not lost:
                return events
            while queue.used:
                events.append(Event(queue.read(queue.cons)))
                queue.cons = queue.advance(queue.cons)
            self.overflows += lost
            self._ovackflg = prod["OVFLG"]
            self._registers.write("EVENTQ_CONS", RD=queue.cons, OVACKFLG=self._ovackflg)
