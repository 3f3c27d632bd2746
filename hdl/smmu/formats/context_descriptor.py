"""IHI 0070 chapter 5: level 1 context descriptor and context descriptor."""

from amaranth.lib import data

__all__ = ["L1CD", "CD"]


class L1CD(data.Struct):
    """Level 1 context descriptor, 8 bytes (IHI 0070: 5.3)."""

    V:      1
    _res1:  11
    L2Ptr:  44  # address[55:12] of the leaf table
    _res56: 8


class CD(data.Struct):
    """Context descriptor, 64 bytes (IHI 0070: 5.4)."""

    # bits 63:0
    T0SZ:    6   # VA bits = 64 - T0SZ
    TG0:     2   # TG0 code
    IR0:     2   # 0 NC, 1 WB RA WA, 2 WT RA, 3 WB RA no-WA
    OR0:     2   # same code
    SH0:     2   # shareability of walks
    EPD0:    1   # 1: no walks through TTB0
    ENDI:    1   # 1 big-endian tables
    T1SZ:    6
    TG1:     2   # TG1 code, which is a different one
    IR1:     2
    OR1:     2
    SH1:     2
    EPD1:    1   # 1: no walks through TTB1
    V:       1
    IPS:     3   # size code
    AFFD:    1   # 1: AF is taken as 1
    WXN:     1
    UWXN:    1
    TBI0:    1
    TBI1:    1
    PAN:     1
    AA64:    1
    HD:      1
    HA:      1
    S:       1   # stall
    R:       1   # record
    A:       1   # abort
    ASET:    1
    ASID:    16
    # bits 127:64
    NSCFG0:  1
    HAD0:    1
    E0PD0:   1
    HAFT:    1
    TTB0:    48  # address[51:4]; an IPA if stage 2 is on
    _res116: 6
    PnCH:    1
    EPAN:    1
    HWU059:  1
    HWU060:  1
    HWU061:  1
    HWU062:  1
    # bits 191:128
    NSCFG1:  1
    HAD1:    1
    E0PD1:   1
    AIE:     1
    TTB1:    48  # as TTB0
    _res180: 6
    DS:      1
    PIE:     1
    HWU159:  1
    HWU160:  1
    HWU161:  1
    HWU162:  1
    # bits 255:192
    MAIR0:   32  # attributes 0..3
    MAIR1:   32  # attributes 4..7
    # bits 319:256
    AMAIR0:  32
    AMAIR1:  32
    # bits 383:320
    IMPDEF:  32
    PARTID:  16
    PMG:     8
    _res376: 8
    # bits 447:384
    PIIU:    48
    _res432: 16
    # bits 511:448
    PIIP:    48
    _res496: 16
