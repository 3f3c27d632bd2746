"""Faults of devices as the kernel reports them: records, responses, and what an event becomes."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from smmu_sim.driver.fault_records import FaultFlags, FaultPerm, FaultReason, fault_record
from smmu_sim.linux_error import LinuxError

__all__ = ["Fault", "FaultType", "PageResponse", "ResponseCode", "fault_of_event",
           "fault_of_request"]


class FaultType(IntEnum):
    """``iommu_fault.type``."""

    DMA_UNRECOV = 1
    PAGE_REQ = 2


class ResponseCode(IntEnum):
    """How a page request is answered."""

    SUCCESS = 0
    INVALID = 1
    FAILURE = 2


_PASID_VALID = 1
_LAST_PAGE = 2  # of a page request
_SIZES = {"G1": 48, "V8": 48, "V15": 64, "V16": 64}
_RESPONSE_BYTES, _RESPONSE_VERSION = 24, 1


@dataclass(frozen=True)
class Fault:
    """One fault. What is None is not valid in it, or has no place in its type."""

    type: FaultType
    perm: FaultPerm
    addr: int | None = None
    pasid: int | None = None
    reason: FaultReason = FaultReason.UNKNOWN
    fetch_addr: int | None = None
    grpid: int = 0
    last: bool = True

    @property
    def flags(self):
        """The flags of the record."""
        flags = 0 if self.pasid is None else _PASID_VALID
        if self.type is FaultType.PAGE_REQ:
            return flags | (_LAST_PAGE if self.last else 0)
        if self.addr is not None:
            flags |= FaultFlags.ADDR_VALID
        return int(flags if self.fetch_addr is None else flags | FaultFlags.FETCH_ADDR_VALID)

    def to_bytes(self, generation="V15"):
        """Return ``struct iommu_fault``: 48 bytes of RFC v3 ("G1") or of V8, 64 since ("V15").

        V15 says that a fetch address is valid, and leaves it 0, as the patches did. Where RFC v3
        keeps an access type nothing is known: it is 0.
        """
        size = _SIZES[generation]
        if generation == "G1":
            return self._rfc_v3()
        head = _words(4, self.type, 0)
        if self.type is FaultType.PAGE_REQ:
            body = _words(4, self.flags, self.pasid or 0, self.grpid, self.perm)
            body += _words(8, self.addr or 0, 0, 0)
        else:
            fetch_addr = 0 if generation == "V15" else self.fetch_addr or 0
            body = _words(4, self.reason, self.flags, self.pasid or 0, self.perm)
            body += _words(8, self.addr or 0, fetch_addr)
        return (head + body).ljust(size, b"\0")

    def _rfc_v3(self):
        return (_words(4, self.type, self.reason.number("G1"))
                + _words(8, self.addr or 0, self.fetch_addr or 0)
                + _words(4, self.pasid or 0, self.grpid, self.last, self.pasid is not None,
                         self.perm, 0))


def _words(size, *values):
    return b"".join(int(value).to_bytes(size, "little") for value in values)


class PageResponse(NamedTuple):
    """``struct iommu_page_response`` of Linux 5.3."""

    grpid: int
    code: ResponseCode
    pasid: int | None = None

    @classmethod
    def from_bytes(cls, data):
        """Read the 24 bytes. EINVAL: fewer, another version, or unknown flags."""
        words = [int.from_bytes(data[at : at + 4], "little")
                 for at in range(0, _RESPONSE_BYTES, 4)]
        argsz, version, flags, pasid, grpid, code = words
        if len(data) < _RESPONSE_BYTES or argsz < _RESPONSE_BYTES:
            raise LinuxError("EINVAL", f"a response has {_RESPONSE_BYTES} bytes, not "
                                       f"{min(len(data), argsz)}")
        if version != _RESPONSE_VERSION or flags & ~_PASID_VALID:
            raise LinuxError("EINVAL", f"version {version} or flags {flags:#x} of the response")
        # A code that nobody knows counts as "the access was invalid".
        code = ResponseCode(code) if code in set(ResponseCode) else ResponseCode.INVALID
        return cls(grpid, code, pasid if flags & _PASID_VALID else None)

    def to_bytes(self):
        """Return the 24 bytes."""
        flags = 0 if self.pasid is None else _PASID_VALID
        return _words(4, _RESPONSE_BYTES, _RESPONSE_VERSION, flags, self.pasid or 0, self.grpid,
                      self.code)


def fault_of_event(event):
    """Return the :class:`Fault` that a guest is told of, or None: then the host logs the event.

    Which events those are, and with what: :func:`smmu_sim.driver.fault_records.fault_record`.
    """
    record = fault_record(event, "V8")
    if record is None:
        return None
    valid = FaultFlags(record.flags)
    return Fault(FaultType.DMA_UNRECOV, FaultPerm(record.perm), reason=record.reason,
                 addr=record.addr if FaultFlags.ADDR_VALID in valid else None,
                 pasid=record.pasid if FaultFlags.PASID_VALID in valid else None,
                 fetch_addr=record.fetch_addr if FaultFlags.FETCH_ADDR_VALID in valid else None)


def fault_of_request(request):
    """Return the :class:`Fault` of the driver's page request: an access that stalls."""
    return Fault(FaultType.PAGE_REQ, FaultPerm(request.perm), addr=request.addr,
                 pasid=request.pasid, grpid=request.grpid, last=request.last)
