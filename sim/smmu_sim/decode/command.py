"""Commands explained (IHI 0070: 4)."""

from smmu.formats.commands import (
    ATC_INV_ALL_SIZE, CFGI_ALL_RANGE, COMMANDS, CS, CommandHeader, Opcode, PRIResp, TLBI)
from smmu.formats.core import bits, fields, plain
from smmu.formats.descriptors import TLBI_TG, TLBI_TG_GRANULE

from smmu_sim.decode.names import granule_name, memattr_name, named, shareability, tlbi_granule
from smmu_sim.decode.record import NOTE, Decoded, Finding, field_rows, reserved_notes
from smmu_sim.fields import address_of

__all__ = ["command_findings", "command_name", "decode_command"]

_HEADER, _TLBI = plain(CommandHeader), plain(TLBI)
_ILL = "CERROR_ILL"
_STAGE1 = {Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL, Opcode.CMD_TLBI_NH_ALL,
           Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_VAA}
_STAGE2 = {Opcode.CMD_TLBI_S12_VMALL, Opcode.CMD_TLBI_S2_IPA}
_EL2 = {Opcode.CMD_TLBI_EL2_ALL, Opcode.CMD_TLBI_EL2_ASID, Opcode.CMD_TLBI_EL2_VA,
        Opcode.CMD_TLBI_EL2_VAA}
_STALLS = {Opcode.CMD_RESUME, Opcode.CMD_STALL_TERM}
_ABSENT = {Opcode.CMD_ATC_INV: "IDR0.ATS", Opcode.CMD_PRI_RESP: "IDR0.PRI",
           Opcode.CMD_CFGI_VMS_PIDM: "IDR3.MPAM", Opcode.CMD_DPTI_ALL: "IDR3.DPT",
           Opcode.CMD_DPTI_PA: "IDR3.DPT"}
_RANGE = ("Address", "Leaf", "NUM", "SCALE", "TTL", "TG")
# What of the common layout each TLBI looks at
_TLBI_FIELDS = {
    Opcode.CMD_TLBI_NH_ALL: ("VMID",),
    Opcode.CMD_TLBI_NH_ASID: ("VMID", "ASID"),
    Opcode.CMD_TLBI_NH_VA: ("VMID", "ASID", *_RANGE),
    Opcode.CMD_TLBI_NH_VAA: ("VMID", *_RANGE),
    Opcode.CMD_TLBI_EL2_ALL: (),
    Opcode.CMD_TLBI_EL2_ASID: ("ASID",),
    Opcode.CMD_TLBI_EL2_VA: ("ASID", *_RANGE),
    Opcode.CMD_TLBI_EL2_VAA: _RANGE,
    Opcode.CMD_TLBI_S12_VMALL: ("VMID",),
    Opcode.CMD_TLBI_S2_IPA: ("VMID", *_RANGE),
    Opcode.CMD_TLBI_NSNH_ALL: (),
}
_MEANINGS = {
    "Op": named(Opcode), "CS": named(CS, "reserved: illegal"), "MSH": shareability,
    "MSIAttr": memattr_name, "TG": tlbi_granule, "TTL": lambda value: f"leaves of level {value}"
    if value else "leaves of any level",
    "Leaf": lambda value: "last level alone" if value else "all levels",
    "Resp": named(PRIResp, "reserved: illegal"),
    "Ac": lambda value: "retry" if value else "terminate",
    "Ab": lambda value: "with abort" if value else "reads as zero, write ignored",
    "SSec": lambda value: "secure: illegal in this queue" if value else "",
}
_ADDRESSES = ("Address", "MSIAddress")


def command_name(raw):
    """Return the manual's name of a command, CMD_CFGI_ALL included."""
    opcode = _HEADER.Op(raw)
    if opcode == Opcode.CMD_CFGI_STE_RANGE and (
            plain(COMMANDS[opcode]).Range(raw) == CFGI_ALL_RANGE):
        return "CMD_CFGI_ALL"
    return named(Opcode, f"reserved opcode {opcode:#04x}")(opcode)


def decode_command(raw, params):
    """Return the :class:`Decoded` command ``raw`` (128 bits) for an SMMU of this build."""
    opcode = _HEADER.Op(raw)
    struct = COMMANDS.get(opcode, CommandHeader)
    used = _TLBI_FIELDS.get(opcode)
    ignored = set() if used is None else set(fields(TLBI)) - {"Op", *used}
    meanings = _MEANINGS | {
        "Range": lambda value: "everything (CMD_CFGI_ALL)" if value == CFGI_ALL_RANGE
        else f"{2 << value} StreamIDs",
        "Size": lambda value: "everything" if value == ATC_INV_ALL_SIZE
        else f"{4096 << value:#x} bytes"}
    rows = field_rows(struct, raw, meanings, addresses=_ADDRESSES, ignored=ignored)
    return Decoded(f"command: {command_name(raw)}", raw, bits(struct), rows,
                   command_findings(raw, params) + _range_note(raw, params)
                   + reserved_notes(struct, raw))


def command_findings(raw, params):
    """Return why the command is illegal: a list of :class:`Finding` (IHI 0070: 4.1, 4.8)."""
    return [Finding(_ILL, problem) for problem in _problems(raw, params)]


def _problems(raw, params):
    opcode = _HEADER.Op(raw)
    if _HEADER.SSec(raw):  # the bit stands there in no command that lacks it
        yield "SSec is 1: a secure command in the non-secure queue"
    if opcode not in set(Opcode):
        yield f"opcode {opcode:#04x} is reserved"
        return
    opcode = Opcode(opcode)
    if opcode in _STAGE1 and not params.s1p:
        yield f"{opcode.name} needs stage 1, but IDR0.S1P is 0"
    if opcode in _STAGE2 and not params.s2p:
        yield f"{opcode.name} needs stage 2, but IDR0.S2P is 0"
    if opcode in _EL2 and not params.hyp:
        yield f"{opcode.name} needs EL2, but IDR0.Hyp is 0"
    if opcode in _STALLS and params.stall_model == 1:
        yield f"{opcode.name} needs stalls, but IDR0.STALL_MODEL is 1"
    if opcode in _ABSENT:
        yield f"{opcode.name}: {_ABSENT[opcode]} is 0"
    if opcode == Opcode.CMD_SYNC and plain(COMMANDS[opcode]).CS(raw) not in set(CS):
        yield "CS is 3, which is reserved"
    if params.ril and "Address" in _TLBI_FIELDS.get(opcode, ()):
        yield from _range_problem(raw)


def _range_problem(raw):
    """A range of one granule must name a level; level 1 of 16K counts as none."""
    tg, ttl = _TLBI.TG(raw), _TLBI.TTL(raw)
    if tg and not _TLBI.NUM(raw) and not _scale(raw) and (
            not ttl or ttl == 1 and tg == TLBI_TG.G16K):
        yield (f"NUM and SCALE are 0 and TTL is {ttl} with TG {tg}: a range of one granule must "
               "name its level")


def _scale(raw):
    return _TLBI.SCALE(raw) & 31  # bit 5 exists only with DS


def _range_note(raw, params):
    """Say what a range covers."""
    opcode, tg = _HEADER.Op(raw), _TLBI.TG(raw)
    if "TG" not in _TLBI_FIELDS.get(opcode, ()) or not tg or not params.ril:
        return []
    granule = TLBI_TG_GRANULE[tg]
    pages, start = (_TLBI.NUM(raw) + 1) << _scale(raw), address_of(TLBI, "Address", raw)
    return [Finding(NOTE, f"range of {pages} granules of {granule_name(granule)}: "
                          f"{start:#x} to {start + (pages << granule) - 1:#x}")]
