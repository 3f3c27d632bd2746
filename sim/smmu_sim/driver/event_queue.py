"""The event queue, consumer side."""

from smmu.formats.core import bits
from smmu.formats.events import EventHeader

from smmu_sim.driver.events import Event
from smmu_sim.driver.record_queue import RecordQueue

__all__ = ["Event", "EventQueue"]


class EventQueue(RecordQueue):
    """Take event records out of their queue, as :class:`Event`."""

    name, entry_size = "EVENTQ", bits(EventHeader) // 8

    def take(self, raw):
        return Event(raw)
