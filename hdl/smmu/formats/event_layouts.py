"""IHI 0070 chapter 7: the fields of each event record."""

from amaranth.lib import data

__all__ = ["EventHeader", "FetchAbort", "TranslationFault", "F_UUT", "C_BAD_STREAMID",
           "F_STE_FETCH", "C_BAD_STE", "F_STREAM_DISABLED", "F_TRANSL_FORBIDDEN",
           "C_BAD_SUBSTREAMID", "F_CD_FETCH", "C_BAD_CD", "F_WALK_EABT", "F_TRANSLATION",
           "F_ADDR_SIZE", "F_ACCESS", "F_PERMISSION", "F_TLB_CONFLICT", "F_CFG_CONFLICT",
           "E_PAGE_REQUEST", "F_VMS_FETCH"]


class EventHeader(data.Struct):
    """What the records have in common."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    _res64:      64
    _res128:     64
    _res192:     64


class FetchAbort(data.Struct):
    """Layout of the records of an aborted fetch of a structure."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    Reason:      16
    GPCF:        1
    _res81:      47
    _res128:     64
    _res192:     3
    FetchAddr:   53  # address[55:3]
    _res248:     8


class TranslationFault(data.Struct):
    """Layout of the translation-related faults, which may stall."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    STAG:        16
    _res80:      15
    Stall:       1
    _res96:      1
    PnU:         1   # 1 privileged
    InD:         1   # 1 instruction
    RnW:         1   # 1 read
    _res100:     2
    NSIPA:       1
    S2:          1   # 1: stage 2 faulted
    CLASS:       2   # CLASS
    _res106:     22
    InputAddr:   64
    _res192:     12
    IPA:         44  # address[55:12]
    _res248:     8


class F_UUT(data.Struct):
    """Unsupported upstream transaction. PnU, InD and RnW are as they came in."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    Reason:      16
    _res80:      17
    PnU:         1   # 1 privileged
    InD:         1   # 1 instruction
    RnW:         1   # 1 read
    _res100:     28
    InputAddr:   64
    _res192:     64


class C_BAD_STREAMID(EventHeader):
    """StreamID out of range or without an L1STD."""


class F_STE_FETCH(FetchAbort):
    """External abort of an L1STD or STE fetch."""


class C_BAD_STE(EventHeader):
    """Illegal STE."""


class F_STREAM_DISABLED(data.Struct):
    """The stream needs a SubstreamID, or must not use SubstreamID 0."""

    Event:    8   # EventType
    _res8:    24
    StreamID: 32
    _res64:   64
    _res128:  64
    _res192:  64


class F_TRANSL_FORBIDDEN(data.Struct):
    """A translated transaction that is not allowed."""

    Event:     8   # EventType
    _res8:     24
    StreamID:  32
    _res64:    35
    RnW:       1   # 1 read
    _res100:   28
    InputAddr: 64
    _res192:   64


class C_BAD_SUBSTREAMID(data.Struct):
    """SubstreamID out of range, or not allowed, or without an L1CD. It has no SSV."""

    Event:       8   # EventType
    _res8:       4
    SubstreamID: 20
    StreamID:    32
    _res64:      64
    _res128:     64
    _res192:     64


class F_CD_FETCH(FetchAbort):
    """External abort of an L1CD or CD fetch."""


class C_BAD_CD(EventHeader):
    """Illegal CD."""


class F_WALK_EABT(data.Struct):
    """External abort of a descriptor access. FetchAddr overlaps the IPA of the other faults."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    Reason:      16
    GPCF:        1
    _res81:      16
    PnU:         1   # 1 privileged
    InD:         1   # 1 instruction
    RnW:         1   # 1 read
    _res100:     2
    NSIPA:       1
    S2:          1   # 1: stage 2 faulted
    CLASS:       2   # CLASS
    _res106:     22
    InputAddr:   64
    _res192:     3
    FetchAddr:   53  # address[55:3]
    _res248:     8


class F_TRANSLATION(TranslationFault):
    """Translation fault."""


class F_ADDR_SIZE(TranslationFault):
    """Address size fault."""


class F_ACCESS(TranslationFault):
    """Access flag fault."""


class F_PERMISSION(data.Struct):
    """Permission fault."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    STAG:        16
    _res80:      15
    Stall:       1
    _res96:      1
    PnU:         1   # 1 privileged
    InD:         1   # 1 instruction
    RnW:         1   # 1 read
    _res100:     2
    NSIPA:       1
    S2:          1   # 1: stage 2 faulted
    CLASS:       2   # CLASS
    _res106:     2
    TTRnW:       1   # 1 read, 0 write of a stage 1 descriptor
    _res109:     19
    InputAddr:   64
    _res192:     12
    IPA:         44  # address[55:12]
    _res248:     8


class F_TLB_CONFLICT(data.Struct):
    """Conflicting TLB entries."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    Reason:      16
    _res80:      17
    PnU:         1   # 1 privileged
    InD:         1   # 1 instruction
    RnW:         1   # 1 read
    _res100:     2
    NSIPA:       1
    S2:          1   # 1: stage 2 faulted
    _res104:     24
    InputAddr:   64
    _res192:     12
    IPA:         44  # address[55:12]
    _res248:     8


class F_CFG_CONFLICT(data.Struct):
    """Conflicting configuration entries."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    Reason:      16
    _res80:      48
    _res128:     64
    _res192:     64


class E_PAGE_REQUEST(data.Struct):
    """Hint of a client that it will want a page."""

    Event:       8   # EventType
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    _res64:      33
    uX:          1
    uW:          1
    uR:          1
    _res100:     1
    pX:          1
    pW:          1
    pR:          1
    _res104:     4
    Span:        8   # unit 4 KiB
    _res116:     12
    _res128:     12
    InputAddr:   52  # address[63:12]
    _res192:     64


class F_VMS_FETCH(FetchAbort):
    """External abort of a VMS fetch."""
