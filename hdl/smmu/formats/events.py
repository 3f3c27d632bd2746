"""IHI 0070 chapter 7: event records, 32 bytes each."""

from amaranth.lib import enum

from smmu.formats.core import FormatError, pack
from smmu.formats.event_layouts import (
    EventHeader, FetchAbort, TranslationFault, F_UUT, C_BAD_STREAMID, F_STE_FETCH, C_BAD_STE,
    F_STREAM_DISABLED, F_TRANSL_FORBIDDEN, C_BAD_SUBSTREAMID, F_CD_FETCH, C_BAD_CD, F_WALK_EABT,
    F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION, F_TLB_CONFLICT, F_CFG_CONFLICT,
    E_PAGE_REQUEST, F_VMS_FETCH,
)

__all__ = ["EventType", "CLASS", "EVENTS", "pack_event", "EventHeader", "FetchAbort",
           "TranslationFault", "F_UUT", "C_BAD_STREAMID", "F_STE_FETCH", "C_BAD_STE",
           "F_STREAM_DISABLED", "F_TRANSL_FORBIDDEN", "C_BAD_SUBSTREAMID", "F_CD_FETCH",
           "C_BAD_CD", "F_WALK_EABT", "F_TRANSLATION", "F_ADDR_SIZE", "F_ACCESS", "F_PERMISSION",
           "F_TLB_CONFLICT", "F_CFG_CONFLICT", "E_PAGE_REQUEST", "F_VMS_FETCH"]


class EventType(enum.IntEnum, shape=8):
    """Numbers of the event records."""

    F_UUT = 0x01
    C_BAD_STREAMID = 0x02
    F_STE_FETCH = 0x03
    C_BAD_STE = 0x04
    F_BAD_ATS_TREQ = 0x05  # needs ATS; the places of its fields are not known
    F_STREAM_DISABLED = 0x06
    F_TRANSL_FORBIDDEN = 0x07
    C_BAD_SUBSTREAMID = 0x08
    F_CD_FETCH = 0x09
    C_BAD_CD = 0x0a
    F_WALK_EABT = 0x0b
    F_TRANSLATION = 0x10
    F_ADDR_SIZE = 0x11
    F_ACCESS = 0x12
    F_PERMISSION = 0x13
    F_TLB_CONFLICT = 0x20
    F_CFG_CONFLICT = 0x21
    E_PAGE_REQUEST = 0x24
    F_VMS_FETCH = 0x25


class CLASS(enum.IntEnum, shape=2):
    """What the faulting address was used for."""

    CD = 0  # fetch of a CD
    TT = 1  # fetch or update of a stage 1 translation table descriptor
    IN = 2  # the input address of the transaction


EVENTS = {
    EventType.F_UUT: F_UUT,
    EventType.C_BAD_STREAMID: C_BAD_STREAMID,
    EventType.F_STE_FETCH: F_STE_FETCH,
    EventType.C_BAD_STE: C_BAD_STE,
    EventType.F_STREAM_DISABLED: F_STREAM_DISABLED,
    EventType.F_TRANSL_FORBIDDEN: F_TRANSL_FORBIDDEN,
    EventType.C_BAD_SUBSTREAMID: C_BAD_SUBSTREAMID,
    EventType.F_CD_FETCH: F_CD_FETCH,
    EventType.C_BAD_CD: C_BAD_CD,
    EventType.F_WALK_EABT: F_WALK_EABT,
    EventType.F_TRANSLATION: F_TRANSLATION,
    EventType.F_ADDR_SIZE: F_ADDR_SIZE,
    EventType.F_ACCESS: F_ACCESS,
    EventType.F_PERMISSION: F_PERMISSION,
    EventType.F_TLB_CONFLICT: F_TLB_CONFLICT,
    EventType.F_CFG_CONFLICT: F_CFG_CONFLICT,
    EventType.E_PAGE_REQUEST: E_PAGE_REQUEST,
    EventType.F_VMS_FETCH: F_VMS_FETCH,
}


def pack_event(event, values=()):
    """Return the record ``event`` with the fields ``values``; Event is filled in."""
    if event not in EVENTS:
        raise FormatError(f"{event!r} has no layout")
    return pack(EVENTS[event], {"Event": event, **dict(values)})
