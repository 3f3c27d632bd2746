"""Registers explained (IHI 0070: 6)."""

import re

from smmu.formats.commands import CERROR
from smmu.formats.core import fields
from smmu.formats.registers import BY_NAME, COUNTERS, REGISTERS, implemented, write_mask
from smmu.formats.stream_table import INSTCFG, PRIVCFG, SHCFG

from smmu_sim.decode.names import coded, memattr_name, named, octal_size, shareability
from smmu_sim.decode.record import NOTE, Decoded, Finding, field_rows, reserved_notes
from smmu_sim.decode.words import WordsError, hexadecimal

__all__ = ["decode_register", "find_register", "read_register"]

_CACHE = coded(("non-cacheable", "write-back", "write-through"), "reserved, acts as non-cacheable")
_MEANINGS = {
    **dict.fromkeys(("TABLE_IC", "TABLE_OC", "QUEUE_IC", "QUEUE_OC"), _CACHE),
    **dict.fromkeys(("TABLE_SH", "QUEUE_SH", "SH"), shareability),
    "MemAttr": memattr_name, "SHCFG": named(SHCFG), "PRIVCFG": named(PRIVCFG, "acts as INCOMING"),
    "INSTCFG": named(INSTCFG, "acts as INCOMING"), "ERR": named(CERROR),
    "FMT": coded(("linear", "2-level"), "reserved, acts as linear"),
    "TTF": coded(("none", "VMSAv8-32", "VMSAv8-64", "VMSAv8-32 and VMSAv8-64")),
    "HTTU": coded(("none", "access flag", "access flag and dirty state")),
    "TTENDIAN": coded(("mixed", "reserved", "little-endian", "big-endian")),
    "STALL_MODEL": coded(("stall and terminate", "terminate", "stall")),
    "TERM_MODEL": coded(("CD.A chooses", "abort")), "OAS": octal_size,
    "ST_LEVEL": coded(("linear", "linear and 2-level")),
    **{name: (lambda value: f"2**{value}") for name in
       ("LOG2SIZE", "SIDSIZE", "SSIDSIZE", "CMDQS", "EVENTQS", "PRIQS")},
}
_SPLITS = (6, 8, 10)
_MOST_REMAP_ENTRIES = 64
_ARRAY = re.compile(r"(\w+)\[(\w+)\]")


def find_register(text):
    """Return (:class:`Register`, index) of a name, ``NAME[index]``, or an offset.

    Raises :exc:`WordsError` for what is no register.
    """
    name = text.upper().removeprefix("SMMU_")
    if match := _ARRAY.fullmatch(name):
        name, index = match[1], int(match[2], 0) if match[2].isdecimal() else -1
    else:
        index = 0
    if name in BY_NAME:
        return BY_NAME[name], index
    if text.lower() in COUNTERS:
        return BY_NAME["COUNTER"], COUNTERS.index(text.lower())
    try:
        offset = hexadecimal(text, 32, "the register's place")
    except WordsError:
        raise WordsError(f"{text!r} is no register: expected a name of REGISTERS.md, such as CR0 "
                         "or REMAP_IPA[2], or an offset in hexadecimal") from None
    return _at(offset, text)


def _at(offset, text):
    for register in BY_NAME.values():
        past = offset - register.offset
        if past == 0:
            return register, 0
        if 0 < past < register.width // 8:
            raise WordsError(f"offset {text!r} lies inside {register.name}, which begins at "
                             f"{register.offset:#x}: expected the offset of a register")
        index, inside = divmod(past, register.stride) if register.stride else (0, past)
        if 0 < index < _most(register) and not inside:
            return register, index
    raise WordsError(f"offset {text!r}: no register is there (page 1 begins at 0x10000, the own "
                     "frame at 0x40000)")


def _most(register):
    """The largest number of copies that any build has."""
    return _MOST_REMAP_ENTRIES if isinstance(register.count, str) else register.count


def read_register(values):
    """Return (:class:`Register`, index, value) of ``NAME=VALUE`` or ``NAME VALUE``."""
    parts = values[0].split("=", 1) if len(values) == 1 else list(values)
    if len(parts) != 2:
        raise WordsError(f"{' '.join(values)!r}: expected NAME=VALUE or NAME VALUE")
    register, index = find_register(parts[0])
    return register, index, hexadecimal(parts[1], register.width, register.name)


def decode_register(register, raw, params, index=0):
    """Return the :class:`Decoded` value of a register in this build.

    Raises :exc:`WordsError` if an array has no such index.
    """
    copies = register.copies(params)
    if not 0 <= index < copies:
        raise WordsError(f"{register.name} with that index: expected 0 to {copies - 1}")
    known = fields(register.struct)
    addresses = [name for name in ("ADDR", "IPA") if name in known]
    rows = field_rows(register.struct, raw, _MEANINGS, addresses=addresses)
    name = register.name + (f"[{index}]" if copies > 1 else "")
    if register.name == "COUNTER":
        name += f" ({COUNTERS[index]})"
    return Decoded(f"register: {name} at {register.at(index):#x}, {register.access}", raw,
                   register.width, rows, list(_findings(register, raw, params))
                   + reserved_notes(register.struct, raw))


def _findings(register, raw, params):
    if register not in implemented(params):
        why = f"IDR0.{register.feature} is 0" if register.feature else "this version lacks it"
        yield Finding(NOTE, f"RES0 in this build ({why}): reads 0, writes are ignored")
        return
    if register.guard:
        yield Finding(NOTE, f"a write counts only while: {register.guard}")
    if register.access == "RW" and register in REGISTERS:
        for name, place in fields(register.struct).items():
            lost = raw & place.mask & ~write_mask(register.name, params)
            if lost:
                yield Finding(NOTE, f"{name}: bits {lost >> place.lsb:#x} are not stored by this "
                                    "build")
    yield from _rules(register.name, raw, params, fields(register.struct))


def _rules(name, raw, params, known):
    """What the values of some fields do beside what their names say."""
    def value(field):
        return (raw & known[field].mask) >> known[field].lsb

    if name == "STRTAB_BASE_CFG":
        if value("FMT") == 1 and value("SPLIT") not in _SPLITS:
            yield Finding(NOTE, f"SPLIT is {value('SPLIT')}, which is reserved: acts as 6")
        if value("LOG2SIZE") > params.sidsize:
            yield Finding(NOTE, f"LOG2SIZE is {value('LOG2SIZE')}: acts as IDR1.SIDSIZE, "
                                f"{params.sidsize}")
    for queue, limit in (("CMDQ_BASE", "cmdqs"), ("EVENTQ_BASE", "eventqs")):
        if name == queue and value("LOG2SIZE") > getattr(params, limit):
            yield Finding(NOTE, f"LOG2SIZE is {value('LOG2SIZE')}: acts as IDR1.{limit.upper()}, "
                                f"{getattr(params, limit)}")
    if name == "CMDQ_CONS" and value("ERR"):
        yield Finding(named(CERROR, "reserved error")(value("ERR")),
                      "the command at RD, if GERROR.CMDQ_ERR is active")
    if name == "GBPA" and not value("Update"):
        yield Finding(NOTE, "a write with Update 0 is ignored")
    if name in ("GERROR", "GERRORN"):
        yield Finding(NOTE, "an error is active while its bits in GERROR and GERRORN differ")
