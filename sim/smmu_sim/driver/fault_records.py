"""Event records as the fault reports of Linux 2019 to 2021: which reach a guest, and with what."""

from enum import IntEnum, IntFlag
from typing import NamedTuple

from smmu.formats.events import EventType

from smmu_sim.driver.generations import check_generation

__all__ = ["FaultFlags", "FaultPerm", "FaultReason", "FaultRecord", "access_perm", "fault_record"]

_UNRECOVERABLE = 1


class FaultReason(IntEnum):
    """``IOMMU_FAULT_REASON_*``. :meth:`number` gives those of RFC v3, which had more."""

    UNKNOWN = 0
    PASID_FETCH = 1
    BAD_PASID_ENTRY = 2
    PASID_INVALID = 3
    WALK_EABT = 4
    PTE_FETCH = 5
    PERMISSION = 6
    ACCESS = 7
    OOR_ADDRESS = 8

    def number(self, generation):
        """Return the number in the layout of a generation."""
        return _RFC_V3[self] if check_generation(generation) == "G1" else int(self)


_RFC_V3 = {FaultReason.UNKNOWN: 0, FaultReason.PASID_FETCH: 2, FaultReason.BAD_PASID_ENTRY: 4,
           FaultReason.PASID_INVALID: 6, FaultReason.WALK_EABT: 8, FaultReason.PTE_FETCH: 9,
           FaultReason.PERMISSION: 10, FaultReason.ACCESS: 11, FaultReason.OOR_ADDRESS: 12}


class FaultFlags(IntFlag):
    """Which values of a record count (``IOMMU_FAULT_UNRECOV_*``)."""

    PASID_VALID = 1
    ADDR_VALID = 2
    FETCH_ADDR_VALID = 4


class FaultPerm(IntFlag):
    """What the access wanted (``IOMMU_FAULT_PERM_*``)."""

    READ = 1
    WRITE = 2
    EXEC = 4
    PRIV = 8


class FaultRecord(NamedTuple):
    """An unrecoverable fault without its layout, which differs by generation."""

    reason: FaultReason
    flags: int = 0
    pasid: int = 0
    perm: int = 0
    addr: int = 0
    fetch_addr: int = 0
    type: int = _UNRECOVERABLE

    @property
    def pasid_valid(self):
        return bool(self.flags & FaultFlags.PASID_VALID)


_REASONS = {
    EventType.C_BAD_SUBSTREAMID: FaultReason.PASID_INVALID,
    EventType.F_CD_FETCH: FaultReason.PASID_FETCH,
    EventType.C_BAD_CD: FaultReason.BAD_PASID_ENTRY,
    EventType.F_WALK_EABT: FaultReason.WALK_EABT,
    EventType.F_TRANSLATION: FaultReason.PTE_FETCH,
    EventType.F_ADDR_SIZE: FaultReason.OOR_ADDRESS,
    EventType.F_ACCESS: FaultReason.ACCESS,
    EventType.F_PERMISSION: FaultReason.PERMISSION,
}


def fault_record(event, generation="V15"):
    """Return the :class:`FaultRecord` that a guest gets for an event, or None if it gets none.

    Faults of stage 2, and events that a guest can't cause, are the host's. V15 says that the
    fetch address counts and leaves it 0; so does this. V8 and V15:
    ``arm_smmu_report_event``.
    """
    generation = check_generation(generation)
    reason = _REASONS.get(event.type)
    if reason is None or event.stage == 2:
        return None
    flags, pasid, addr, fetch_addr = FaultFlags(0), 0, 0, 0
    if event.SubstreamID is not None:
        flags, pasid = flags | FaultFlags.PASID_VALID, event.SubstreamID
    if event.InputAddr is not None:
        flags, addr = flags | FaultFlags.ADDR_VALID, event.InputAddr
    if event.FetchAddr is not None:
        flags |= FaultFlags.FETCH_ADDR_VALID
        fetch_addr = 0 if generation == "V15" else event.FetchAddr
    return FaultRecord(reason, int(flags), pasid, int(access_perm(event)), addr, fetch_addr)


def access_perm(event):
    """Return the :class:`FaultPerm` of an event; none if it is not about an access."""
    if event.RnW is None:
        return FaultPerm(0)
    perm = FaultPerm.READ if event.RnW else FaultPerm.WRITE
    if event.PnU:
        perm |= FaultPerm.PRIV
    if event.InD:
        perm |= FaultPerm.EXEC
    return perm
