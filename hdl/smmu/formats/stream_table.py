"""IHI 0070 chapter 5: level 1 stream table descriptor and stream table entry."""

from amaranth.lib import data, enum

__all__ = ["L1STD", "STE", "STEConfig", "S1Fmt", "S1DSS", "SHCFG", "PRIVCFG", "INSTCFG",
           "STRW", "EATS"]


class L1STD(data.Struct):
    """Level 1 stream table descriptor, 8 bytes (IHI 0070: 5.1)."""

    Span:   5   # 0 invalid, 1..11: 2**(Span - 1) STEs, above: as 0
    _res5:  1
    L2Ptr:  50  # address[55:6] of the level 2 table
    _res56: 8


class STEConfig(enum.IntEnum, shape=3):
    """STE.Config. With bit 2 clear the transaction is aborted silently."""

    ABORT = 0
    BYPASS = 4
    S1_TRANS = 5
    S2_TRANS = 6
    NESTED = 7


class S1Fmt(enum.IntEnum, shape=2):
    """STE.S1Fmt; 3 acts as LINEAR."""

    LINEAR = 0
    LEVEL2_4K = 1
    LEVEL2_64K = 2


class S1DSS(enum.IntEnum, shape=2):
    """STE.S1DSS; 3 acts as TERMINATE."""

    TERMINATE = 0
    BYPASS = 1
    SSID0 = 2


class SHCFG(enum.IntEnum, shape=2):
    """STE.SHCFG and GBPA.SHCFG."""

    NSH = 0
    INCOMING = 1
    OSH = 2
    ISH = 3


class PRIVCFG(enum.IntEnum, shape=2):
    """STE.PRIVCFG and GBPA.PRIVCFG; 1 acts as INCOMING."""

    INCOMING = 0
    UNPRIVILEGED = 2
    PRIVILEGED = 3


class INSTCFG(enum.IntEnum, shape=2):
    """STE.INSTCFG and GBPA.INSTCFG, for reads only; 1 acts as INCOMING."""

    INCOMING = 0
    DATA = 2
    INSTRUCTION = 3


class STRW(enum.IntEnum, shape=2):
    """STE.STRW. The names are the StreamWorlds; EL2 is EL2-E2H when CR2.E2H is set."""

    NS_EL1 = 0
    EL2 = 2


class EATS(enum.IntEnum, shape=2):
    """STE.EATS."""

    OFF = 0
    FULL = 1
    SPLIT = 2
    FULL_DPT = 3


class STE(data.Struct):
    """Stream table entry, 64 bytes (IHI 0070: 5.2)."""

    # bits 63:0
    V:            1
    Config:       3   # STEConfig
    S1Fmt:        2   # S1Fmt
    S1ContextPtr: 50  # address[55:6]; an IPA if stage 2 is on
    _res56:       3
    S1CDMax:      5   # log2 of the number of CDs
    # bits 127:64
    S1DSS:        2   # S1DSS
    S1CIR:        2   # CD fetch, inner: 0 NC, 1 WB RA, 2 WT RA, 3 WB no-RA
    S1COR:        2   # outer, same code
    S1CSH:        2   # shareability of the CD fetch
    S2HWU59:      1
    S2HWU60:      1
    S2HWU61:      1
    S2HWU62:      1
    DRE:          1
    CONT:         4
    DCP:          1
    PPAR:         1
    MEV:          1
    SW:           4   # ignored
    S1PIE:        1
    S2FWB:        1
    S1MPAM:       1
    S1STALLD:     1
    EATS:         2   # EATS
    STRW:         2   # STRW
    MemAttr:      4   # stage 2 memory attribute code
    MTCFG:        1   # 1: MemAttr replaces the incoming type
    ALLOCCFG:     4   # 0xxx incoming, 1RWT
    _res105:      3
    SHCFG:        2   # SHCFG
    NSCFG:        2
    PRIVCFG:      2   # PRIVCFG
    INSTCFG:      2   # INSTCFG
    _res116:      12
    # bits 191:128
    S2VMID:       16
    _res144:      16
    S2T0SZ:       6   # IPA bits = 64 - S2T0SZ
    S2SL0:        2   # start level code
    S2IR0:        2   # 0 NC, 1 WB RA WA, 2 WT RA, 3 WB RA no-WA
    S2OR0:        2   # same code
    S2SH0:        2   # shareability of stage 2 walks
    S2TG:         2   # TG0 code
    S2PS:         3   # size code
    S2AA64:       1
    S2ENDI:       1   # 1 big-endian tables
    S2AFFD:       1   # 1: AF is taken as 1
    S2PTW:        1   # 1: a stage 1 access must not land on a Device page
    S2HD:         1
    S2HA:         1
    S2S:          1   # stall
    S2R:          1   # record
    S2HAFT:       1
    S2PIE:        1
    S2POE:        1
    DPT_VMATCH:   2
    # bits 255:192
    S2NSW:        1
    S2NSA:        1
    S2SL0_2:      1
    S2DS:         1
    S2TTB:        48  # address[51:4]
    _res244:      9
    S2SKL:        2
    _res255:      1
    # bits 319:256
    _res256:      16
    PARTID:       16
    S_S2T0SZ:     6
    S_S2SL0:      2
    _res296:      6
    S_S2TG:       2
    MECID:        16
    # bits 383:320
    PMG:          8
    MPAM_NS:      1
    AssuredOnly:  1
    TL0:          1
    TL1:          1
    VMSPtr:       44  # address[55:12]
    _res376:      8
    # bits 447:384
    S2SW:         1
    S2SA:         1
    S_S2SL0_2:    1
    _res387:      1
    S_S2TTB:      48
    _res436:      9
    S_S2SKL:      2
    _res447:      1
    # bits 511:448
    S2POI:        64
