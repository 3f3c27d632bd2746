"""IHI 0070 chapter 4: commands, 16 bytes each."""

from amaranth.lib import enum

from smmu.formats.command_layouts import (
    CommandHeader, CMD_PREFETCH_CONFIG, CMD_PREFETCH_ADDR, CMD_CFGI_STE, CMD_CFGI_STE_RANGE,
    CMD_CFGI_CD, CMD_CFGI_CD_ALL, CMD_CFGI_VMS_PIDM, TLBI, CMD_TLBI_NH_ALL, CMD_TLBI_NH_ASID,
    CMD_TLBI_NH_VA, CMD_TLBI_NH_VAA, CMD_TLBI_EL2_ALL, CMD_TLBI_EL2_ASID, CMD_TLBI_EL2_VA,
    CMD_TLBI_EL2_VAA, CMD_TLBI_S12_VMALL, CMD_TLBI_S2_IPA, CMD_TLBI_NSNH_ALL, CMD_ATC_INV,
    CMD_PRI_RESP, CMD_RESUME, CMD_STALL_TERM, CMD_SYNC,
)
from smmu.formats.core import FormatError, pack

__all__ = ["Opcode", "CERROR", "CS", "PRIResp", "COMMANDS", "CFGI_ALL_RANGE", "ATC_INV_ALL_SIZE",
           "pack_command", "CommandHeader", "CMD_PREFETCH_CONFIG", "CMD_PREFETCH_ADDR",
           "CMD_CFGI_STE", "CMD_CFGI_STE_RANGE", "CMD_CFGI_CD", "CMD_CFGI_CD_ALL",
           "CMD_CFGI_VMS_PIDM", "TLBI", "CMD_TLBI_NH_ALL", "CMD_TLBI_NH_ASID", "CMD_TLBI_NH_VA",
           "CMD_TLBI_NH_VAA", "CMD_TLBI_EL2_ALL", "CMD_TLBI_EL2_ASID", "CMD_TLBI_EL2_VA",
           "CMD_TLBI_EL2_VAA", "CMD_TLBI_S12_VMALL", "CMD_TLBI_S2_IPA", "CMD_TLBI_NSNH_ALL",
           "CMD_ATC_INV", "CMD_PRI_RESP", "CMD_RESUME", "CMD_STALL_TERM", "CMD_SYNC"]

CFGI_ALL_RANGE = 31    # CMD_CFGI_STE_RANGE.Range that makes the command CFGI_ALL
ATC_INV_ALL_SIZE = 52  # CMD_ATC_INV.Size that covers every address


class Opcode(enum.IntEnum, shape=8):
    """Opcodes of the non-secure command queue. All others are reserved there."""

    CMD_PREFETCH_CONFIG = 0x01
    CMD_PREFETCH_ADDR = 0x02
    CMD_CFGI_STE = 0x03
    CMD_CFGI_STE_RANGE = 0x04
    CMD_CFGI_CD = 0x05
    CMD_CFGI_CD_ALL = 0x06
    CMD_CFGI_VMS_PIDM = 0x07
    CMD_TLBI_NH_ALL = 0x10
    CMD_TLBI_NH_ASID = 0x11
    CMD_TLBI_NH_VA = 0x12
    CMD_TLBI_NH_VAA = 0x13
    CMD_TLBI_EL2_ALL = 0x20
    CMD_TLBI_EL2_ASID = 0x21
    CMD_TLBI_EL2_VA = 0x22
    CMD_TLBI_EL2_VAA = 0x23
    CMD_TLBI_S12_VMALL = 0x28
    CMD_TLBI_S2_IPA = 0x2a
    CMD_TLBI_NSNH_ALL = 0x30
    CMD_ATC_INV = 0x40
    CMD_PRI_RESP = 0x41
    CMD_RESUME = 0x44
    CMD_STALL_TERM = 0x45
    CMD_SYNC = 0x46
    CMD_DPTI_ALL = 0x70
    CMD_DPTI_PA = 0x73


class CERROR(enum.IntEnum, shape=7):
    """CMDQ_CONS.ERR."""

    CERROR_NONE = 0
    CERROR_ILL = 1
    CERROR_ABT = 2
    CERROR_ATC_INV_SYNC = 3


class CS(enum.IntEnum, shape=2):
    """CMD_SYNC.CS: the completion signal. 3 is illegal."""

    SIG_NONE = 0
    SIG_IRQ = 1
    SIG_SEV = 2


class PRIResp(enum.IntEnum, shape=2):
    """CMD_PRI_RESP.Resp. 3 is illegal."""

    FAILURE = 0
    INVALID = 1
    SUCCESS = 2


COMMANDS = {
    Opcode.CMD_PREFETCH_CONFIG: CMD_PREFETCH_CONFIG,
    Opcode.CMD_PREFETCH_ADDR: CMD_PREFETCH_ADDR,
    Opcode.CMD_CFGI_STE: CMD_CFGI_STE,
    Opcode.CMD_CFGI_STE_RANGE: CMD_CFGI_STE_RANGE,
    Opcode.CMD_CFGI_CD: CMD_CFGI_CD,
    Opcode.CMD_CFGI_CD_ALL: CMD_CFGI_CD_ALL,
    Opcode.CMD_CFGI_VMS_PIDM: CMD_CFGI_VMS_PIDM,
    Opcode.CMD_TLBI_NH_ALL: CMD_TLBI_NH_ALL,
    Opcode.CMD_TLBI_NH_ASID: CMD_TLBI_NH_ASID,
    Opcode.CMD_TLBI_NH_VA: CMD_TLBI_NH_VA,
    Opcode.CMD_TLBI_NH_VAA: CMD_TLBI_NH_VAA,
    Opcode.CMD_TLBI_EL2_ALL: CMD_TLBI_EL2_ALL,
    Opcode.CMD_TLBI_EL2_ASID: CMD_TLBI_EL2_ASID,
    Opcode.CMD_TLBI_EL2_VA: CMD_TLBI_EL2_VA,
    Opcode.CMD_TLBI_EL2_VAA: CMD_TLBI_EL2_VAA,
    Opcode.CMD_TLBI_S12_VMALL: CMD_TLBI_S12_VMALL,
    Opcode.CMD_TLBI_S2_IPA: CMD_TLBI_S2_IPA,
    Opcode.CMD_TLBI_NSNH_ALL: CMD_TLBI_NSNH_ALL,
    Opcode.CMD_ATC_INV: CMD_ATC_INV,
    Opcode.CMD_PRI_RESP: CMD_PRI_RESP,
    Opcode.CMD_RESUME: CMD_RESUME,
    Opcode.CMD_STALL_TERM: CMD_STALL_TERM,
    Opcode.CMD_SYNC: CMD_SYNC,
}


def pack_command(opcode, values=()):
    """Return the command ``opcode`` with the fields ``values``; Op is filled in."""
    if opcode not in COMMANDS:
        raise FormatError(f"{opcode!r} has no layout")
    return pack(COMMANDS[opcode], {"Op": opcode, **dict(values)})
