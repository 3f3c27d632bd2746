"""Records of a VEVENTQ, decoded."""

from typing import NamedTuple

from smmu_sim.driver import Event
from smmu_sim.iommufd.constants import VEventFlag
from smmu_sim.iommufd.uapi import VEVENT_ARM_SMMUV3, VEVENT_HEADER

__all__ = ["VEvent", "parse_vevents", "read_vevents"]


class VEvent(NamedTuple):
    """One record. ``event`` is None in one that says that events were lost."""

    sequence: int
    lost: bool
    event: Event | None


def read_vevents(file):
    """Read all that is there; return a list of :class:`VEvent`."""
    return parse_vevents(file.read(4096))


def parse_vevents(data):
    """Return the :class:`VEvent` in what read() returned."""
    found = []
    while data:
        header, data = VEVENT_HEADER.unpack(data[:VEVENT_HEADER.size]), data[VEVENT_HEADER.size:]
        lost, event = bool(header.flags & VEventFlag.LOST_EVENTS), None
        if not lost:
            words = VEVENT_ARM_SMMUV3.unpack(data[:VEVENT_ARM_SMMUV3.size]).evt
            event = Event(sum(word << 64 * n for n, word in enumerate(words)))
            data = data[VEVENT_ARM_SMMUV3.size:]
        found.append(VEvent(header.sequence, lost, event))
    return found
