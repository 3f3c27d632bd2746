"""IHI 0070 chapter 4: the fields of each command."""

from amaranth.lib import data

__all__ = ["CommandHeader", "CMD_PREFETCH_CONFIG", "CMD_PREFETCH_ADDR", "CMD_CFGI_STE",
           "CMD_CFGI_STE_RANGE", "CMD_CFGI_CD", "CMD_CFGI_CD_ALL", "CMD_CFGI_VMS_PIDM", "TLBI",
           "CMD_TLBI_NH_ALL", "CMD_TLBI_NH_ASID", "CMD_TLBI_NH_VA", "CMD_TLBI_NH_VAA",
           "CMD_TLBI_EL2_ALL", "CMD_TLBI_EL2_ASID", "CMD_TLBI_EL2_VA", "CMD_TLBI_EL2_VAA",
           "CMD_TLBI_S12_VMALL", "CMD_TLBI_S2_IPA", "CMD_TLBI_NSNH_ALL", "CMD_ATC_INV",
           "CMD_PRI_RESP", "CMD_RESUME", "CMD_STALL_TERM", "CMD_SYNC"]


class CommandHeader(data.Struct):
    """What commands have in common. SSec must be 0 in each of them."""

    Op:          8   # Opcode
    _res8:       2
    SSec:        1
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    _res64:      64


class CMD_PREFETCH_CONFIG(data.Struct):
    """Fetch the configuration of a stream: a hint."""

    Op:          8   # Opcode
    _res8:       2
    SSec:        1
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    _res64:      64


class CMD_PREFETCH_ADDR(data.Struct):
    """Fetch a translation: a hint. The places of Stride and NS are not known; they are ignored."""

    Op:          8   # Opcode
    _res8:       2
    SSec:        1
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    Size:        5
    _res69:      7
    Address:     52  # address[63:12]


class CMD_CFGI_STE(data.Struct):
    """Invalidate the configuration of one StreamID."""

    Op:       8   # Opcode
    _res8:    2
    SSec:     1
    _res11:   21
    StreamID: 32
    Leaf:     1
    _res65:   63


class CMD_CFGI_STE_RANGE(data.Struct):
    """Invalidate the configuration of a range of StreamIDs, or all of it (CFGI_ALL)."""

    Op:       8   # Opcode
    _res8:    2
    SSec:     1
    _res11:   21
    StreamID: 32
    Range:    5   # 2**(Range + 1) aligned StreamIDs; 31 is CFGI_ALL
    _res69:   59


class CMD_CFGI_CD(data.Struct):
    """Invalidate one CD."""

    Op:          8   # Opcode
    _res8:       2
    SSec:        1
    _res11:      1
    SubstreamID: 20
    StreamID:    32
    Leaf:        1
    _res65:      63


class CMD_CFGI_CD_ALL(data.Struct):
    """Invalidate all CDs of a StreamID."""

    Op:       8   # Opcode
    _res8:    2
    SSec:     1
    _res11:   21
    StreamID: 32
    _res64:   64


class CMD_CFGI_VMS_PIDM(data.Struct):
    """Invalidate the VMS of a VMID. Illegal without MPAM."""

    Op:     8   # Opcode
    _res8:  2
    SSec:   1
    _res11: 21
    VMID:   16
    _res48: 16
    _res64: 64


class TLBI(data.Struct):
    """Layout of all TLBI commands. Each one's docstring names the fields that it uses."""

    Op:      8   # Opcode
    _res8:   4
    NUM:     5   # range: (NUM + 1) * 2**SCALE granules, if TG is not 0
    _res17:  3
    SCALE:   6
    _res26:  6
    VMID:    16
    ASID:    16
    Leaf:    1
    _res65:  6
    TTL128:  1
    TTL:     2   # level of the leaf, 0 no hint
    TG:      2   # TLBI_TG code
    Address: 52  # address[63:12]


class CMD_TLBI_NH_ALL(TLBI):
    """VMID."""


class CMD_TLBI_NH_ASID(TLBI):
    """VMID, ASID."""


class CMD_TLBI_NH_VA(TLBI):
    """VMID, ASID, Address, Leaf, range."""


class CMD_TLBI_NH_VAA(TLBI):
    """VMID, Address, Leaf, range."""


class CMD_TLBI_EL2_ALL(TLBI):
    """No field."""


class CMD_TLBI_EL2_ASID(TLBI):
    """ASID."""


class CMD_TLBI_EL2_VA(TLBI):
    """ASID, Address, Leaf, range."""


class CMD_TLBI_EL2_VAA(TLBI):
    """Address, Leaf, range."""


class CMD_TLBI_S12_VMALL(TLBI):
    """VMID."""


class CMD_TLBI_S2_IPA(TLBI):
    """VMID, Address (an IPA), Leaf, range."""


class CMD_TLBI_NSNH_ALL(TLBI):
    """No field."""


class CMD_ATC_INV(data.Struct):
    """Invalidate 4096 * 2**Size bytes in an address translation cache."""

    Op:          8   # Opcode
    _res8:       1
    G:           1
    _res10:      1
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    Size:        6
    _res70:      6
    Address:     52  # address[63:12]


class CMD_PRI_RESP(data.Struct):
    """Answer a page request group."""

    Op:          8   # Opcode
    _res8:       3
    SSV:         1
    SubstreamID: 20
    StreamID:    32
    PRGIndex:    9
    _res73:      3
    Resp:        2   # PRIResp
    _res78:      50


class CMD_RESUME(data.Struct):
    """Retry (Ac) or terminate (Ab: with abort) a stalled transaction."""

    Op:       8   # Opcode
    _res8:    2
    SSec:     1
    _res11:   1
    Ac:       1
    Ab:       1
    _res14:   18
    StreamID: 32
    STAG:     16
    _res80:   48


class CMD_STALL_TERM(data.Struct):
    """Terminate all stalled transactions of a StreamID."""

    Op:       8   # Opcode
    _res8:    2
    SSec:     1
    _res11:   21
    StreamID: 32
    _res64:   64


class CMD_SYNC(data.Struct):
    """Wait for the completion of all earlier commands."""

    Op:         8   # Opcode
    _res8:      4
    CS:         2   # CS
    _res14:     8
    MSH:        2
    MSIAttr:    4   # stage 2 memory attribute code
    _res28:     4
    MSIData:    32
    _res64:     2
    MSIAddress: 54  # address[55:2]
    _res120:    8
