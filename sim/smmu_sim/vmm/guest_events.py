"""Event records on their way from the host into a guest's queue."""

from smmu.formats.core import fields, plain, unpack
from smmu.formats.events import (
    EVENTS, EventHeader, EventType, TranslationFault, pack_event)
from smmu_sim.model.queues import EventQueue
from smmu_sim.vmm.stage1 import Kind

__all__ = ["GuestEvents"]

_header = plain(EventHeader)
_stall = plain(TranslationFault).Stall
_STALLING = {EventType.F_TRANSLATION, EventType.F_ADDR_SIZE, EventType.F_ACCESS,
             EventType.F_PERMISSION}
_OF_THE_TRAP = {EventType.C_BAD_CD, EventType.C_BAD_SUBSTREAMID}


class GuestEvents(EventQueue):
    """The producer of a guest's event queue (IHI 0070: 7.2).

    Records of stalled transactions are never lost: they wait for room.
    """

    def __init__(self, features, memory, registers, interrupts):
        super().__init__(features, memory, registers, interrupts)
        self.reset()

    def reset(self):
        """Forget what waits."""
        self._waiting = []

    def take(self, record, states):
        """Write a record of the host. ``states`` is ``{vSID: VSTE}``."""
        record = _as_configured(record, states.get(_header.StreamID(record)))
        if _header.Event(record) in _STALLING and _stall(record):
            self._waiting.append(record)
            self.retry()
        else:
            self.write(record)

    def retry(self):
        """Write what has waited for room."""
        while self._waiting and self.write(self._waiting[0], stall=True):
            del self._waiting[0]


def _as_configured(record, state):
    """Return the record that the guest's configuration causes, if the host's is a trap."""
    if state is None or state.kind is not Kind.FAULT \
            or _header.Event(record) not in _OF_THE_TRAP:
        return record
    came = unpack(EventHeader, record)
    if came["Event"] == EventType.C_BAD_SUBSTREAMID:
        came["SSV"] = 1  # implied there
    known = fields(EVENTS[state.event])
    return pack_event(state.event, {
        **{name: value for name, value in came.items() if name in known and name != "Event"},
        **dict(state.values)})
