"""How a transaction ends early, and the event record about it (IHI 0070: 7.3)."""

from smmu.formats.core import fields
from smmu.formats.events import CLASS, EVENTS, EventType, pack_event

__all__ = ["ABORT_SILENTLY", "Fault", "Policy", "CLASS", "EventType", "record_of"]

_FIELDS = {event: frozenset(fields(struct)) for event, struct in EVENTS.items()}


class Policy:
    """Who decides what becomes of a faulting transaction."""

    ABORT = "abort"  # terminated with abort, always recorded
    STAGE1 = "stage 1"  # CD.{A,R,S}
    STAGE2 = "stage 2"  # STE.{S2R,S2S}, terminated with abort unless it stalls


class Fault(Exception):
    """The end of a transaction.

    ``event`` is an :class:`EventType`, or None for an abort without a record. ``values`` are the
    fields of the record beside those that describe the transaction. ``context`` is the decoded CD
    for ``Policy.STAGE1`` and the stage 2 configuration for ``Policy.STAGE2``.
    """

    def __init__(self, event, values=None, policy=Policy.ABORT, context=None):
        super().__init__(event, values)
        self.event = event
        self.values = values or {}
        self.policy = policy
        self.context = context


def ABORT_SILENTLY():
    """Return the fault of a transaction that is aborted without a record."""
    return Fault(None)


def record_of(fault, transaction, privileged, instruction):
    """Return the event record of ``fault`` as an integer.

    ``privileged`` and ``instruction`` are those that the record shows: after the overrides, except
    in F_UUT.
    """
    ssv = transaction.ssid is not None
    values = {
        "StreamID": transaction.sid,
        "SSV": ssv,
        "SubstreamID": transaction.ssid if ssv else 0,
        "PnU": privileged,
        "InD": instruction,
        "RnW": not transaction.write,
        "InputAddr": transaction.addr,
        **fault.values,
    }
    known = _FIELDS[fault.event]
    return pack_event(fault.event, {name: value for name, value in values.items() if name in known})
