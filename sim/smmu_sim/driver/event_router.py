"""Who gets an event: a handler of its StreamID, a guest, the owner of page faults, or the log."""

from collections import deque
from dataclasses import dataclass

from smmu.formats.events import EventType

from smmu_sim.driver import commands
from smmu_sim.driver.fault_records import access_perm
from smmu_sim.linux_error import LinuxError

__all__ = ["RESPONSES", "EventRouter", "PageRequest"]

RESPONSES = {"SUCCESS": 0, "INVALID": 1, "FAILURE": 2}

# Events that devices and guests can cause; all others are the host's.
_DEVICE_EVENTS = {
    EventType.C_BAD_STE, EventType.F_STREAM_DISABLED, EventType.C_BAD_SUBSTREAMID,
    EventType.C_BAD_CD, EventType.F_TRANSLATION, EventType.F_ADDR_SIZE, EventType.F_ACCESS,
    EventType.F_PERMISSION}
_KEPT = 1024


@dataclass(frozen=True)
class PageRequest:
    """A stalled transaction that waits for an answer (``struct iommu_fault_page_request``)."""

    master: object
    grpid: int         # the STAG
    addr: int
    perm: int          # FaultPerm
    pasid: int | None  # None: without
    event: object
    last: bool = True


class EventRouter:
    """Distribute event records as Linux 7.0 does (``arm_smmu_handle_event``).

    Parameters
    ----------
    find_master
        Function from a StreamID to its :class:`Master`, or None.
    issue
        ``issue(batch, sync)`` of the driver.

    Attributes
    ----------
    log
        The last 1024 events that nobody took: what the host prints.
    pending
        ``{(master, grpid): PageRequest}`` without an answer.
    """

    def __init__(self, find_master, issue):
        self._find_master, self._issue = find_master, issue
        self._by_sid, self._fault, self._stall = {}, None, None
        self.log, self.pending = deque(maxlen=_KEPT), {}

    def on_event(self, sid, handler):
        """Let ``handler(event)`` have all events of a StreamID; None takes it away."""
        if handler is None:
            self._by_sid.pop(sid, None)
        else:
            self._by_sid[sid] = handler

    def on_fault(self, handler):
        """Let ``handler(event, master)`` see the events of known masters that are not stalls.

        It returns False if it did not take the event. Guests with a nested domain come first. None
        takes the handler away.
        """
        self._fault = handler

    def on_stall(self, handler):
        """Let ``handler(request, master)`` have the :class:`PageRequest` of stalls.

        It returns False if it won't answer: the transaction is then aborted, as it is without a
        handler. None takes the handler away.
        """
        self._stall = handler

    def route(self, event):
        """Give an event to whom it belongs; return True if somebody took it."""
        handler = self._by_sid.get(event.StreamID)
        if handler is not None:
            handler(event)
            return True
        master = self._find_master(event.StreamID)
        if master is not None and (
                self._page_request(event, master) if event.Stall
                else self._to_guest(event, master) or self._to_fault(event, master)):
            return True
        self.log.append(event)
        return False

    def _page_request(self, event, master):
        request = PageRequest(master, event.STAG, event.InputAddr, int(access_perm(event)),
                              event.SubstreamID, event)
        self.pending[master, request.grpid] = request
        if self._stall is None or self._stall(request, master) is False:
            if (master, request.grpid) in self.pending:
                self.respond(master, request.grpid, "INVALID")
            return False
        return True

    @staticmethod
    def _to_guest(event, master):
        domain = master.domain
        return bool(domain.kind == "nested" and domain.report and master.vsid is not None
                    and event.type in _DEVICE_EVENTS and event.stage != 2
                    and domain.report(event, master.vsid) is not False)

    def _to_fault(self, event, master):
        return self._fault is not None and self._fault(event, master) is not False

    def respond(self, master, grpid, code):
        """Answer a page request: SUCCESS tries the access again, others abort it.

        Raises :exc:`LinuxError` EINVAL for an unknown code or a request that is not pending.
        Linux 7.0: ``arm_smmu_page_response``; nothing waits for the command.
        """
        name = code if isinstance(code, str) else {
            number: name for name, number in RESPONSES.items()}.get(code)
        if name not in RESPONSES:
            raise LinuxError("EINVAL", f"response is {code!r}; it is one of "
                                       f"{', '.join(RESPONSES)}")
        if self.pending.pop((master, grpid), None) is None:
            raise LinuxError("EINVAL", f"{master.name} has no page request {grpid:#x}")
        self._issue([commands.resume(master.sids[0], grpid, retry=name == "SUCCESS")], sync=False)

    def abandon(self, master):
        """Abort all that a device waits for: it goes away, or loses its domain."""
        for owner, grpid in list(self.pending):
            if owner is master:
                self.respond(master, grpid, "INVALID")
