"""IHI 0070 chapter 6: the fields of the identification registers."""

from amaranth.lib import data

__all__ = [
    "IDR0", "IDR1", "IDR2", "IDR3", "IDR4", "IDR5", "IIDR", "AIDR", "PIDR", "CIDR",
]


class IDR0(data.Struct):
    """Features: translation stages, identifiers, models."""

    S2P:         1
    S1P:         1
    TTF:         2  # bit 0 VMSAv8-32, bit 1 VMSAv8-64
    COHACC:      1
    BTM:         1
    HTTU:        2  # 0 none, 1 access flag, 2 and dirty state
    DORMHINT:    1
    Hyp:         1
    ATS:         1
    NS1ATS:      1
    ASID16:      1
    MSI:         1
    SEV:         1
    ATOS:        1
    PRI:         1
    VMW:         1
    VMID16:      1
    CD2L:        1
    VATOS:       1
    TTENDIAN:    2  # 0 mixed, 2 little-endian, 3 big-endian
    ATSRECERR:   1
    STALL_MODEL: 2  # 0 stall and terminate, 1 terminate only, 2 stall only
    TERM_MODEL:  1  # 0 CD.A chooses abort or RAZ/WI, 1 abort only
    ST_LEVEL:    2  # 0 linear, 1 also 2-level
    _res29:      1
    RME_IMPL:    1
    _res31:      1


class IDR1(data.Struct):
    """Features: sizes."""

    SIDSIZE:        6
    SSIDSIZE:       5
    PRIQS:          5
    EVENTQS:        5
    CMDQS:          5
    ATTR_PERMS_OVR: 1
    ATTR_TYPES_OVR: 1
    REL:            1
    QUEUES_PRESET:  1
    TABLES_PRESET:  1
    ECMDQ:          1


class IDR2(data.Struct):
    """Features: place of the VATOS page."""

    BA_VATOS: 10
    _res10:   22


class IDR3(data.Struct):
    """Features of later versions."""

    _res0:   2
    HAD:     1
    PBHA:    1
    XNX:     1
    PPS:     1
    _res6:   1
    MPAM:    1
    FWB:     1
    STT:     1
    RIL:     1
    BBML:    2
    E0PD:    1
    PTWNNC:  1
    DPT:     1
    PASIDTT: 1
    EPAN:    1
    S1PI:    1
    S2PI:    1
    S2PO:    1
    THE:     1
    MTEPERM: 1
    AIE:     1
    _res24:  8


class IDR4(data.Struct):
    """Implementation defined."""

    IMPDEF: 32


class IDR5(data.Struct):
    """Features: address sizes, granules, stalls."""

    OAS:       3  # size code
    _res3:     1
    GRAN4K:    1
    GRAN16K:   1
    GRAN64K:   1
    DS:        1
    D128:      1
    _res9:     1
    VAX:       2
    _res12:    4
    STALL_MAX: 16


class IIDR(data.Struct):
    """Implementation."""

    Implementer: 12
    Revision:    4
    Variant:     4
    ProductID:   12


class AIDR(data.Struct):
    """Architecture version."""

    ArchMinorRev: 4
    ArchMajorRev: 4
    _res8:        24


class PIDR(data.Struct):
    """Peripheral identification."""

    VALUE: 8
    _res8: 24


class CIDR(PIDR):
    """Component identification."""
