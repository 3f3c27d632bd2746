"""Changing an STE or CD that the SMMU may be reading: without a wrong state in between."""

from smmu.formats.context_descriptor import CD
from smmu.formats.core import bits, fields, plain
from smmu.formats.stream_table import EATS, S1DSS, STE, STEConfig

__all__ = ["cd_used", "no_safe_bits", "ste_safe", "ste_used", "write_entry",
           "write_entry_through_invalid"]

_S1, _S2 = 1, 2  # bits of STE.Config
_STE_COMMON = ("PRIVCFG", "INSTCFG", "ALLOCCFG")
_STE_INCOMING = ("SHCFG", "MTCFG", "MemAttr")
_STE_S1 = ("S1Fmt", "S1ContextPtr", "S1CDMax", "S1DSS", "S1CIR", "S1COR", "S1CSH", "S1STALLD",
           "STRW", "EATS", "MEV", "S2VMID")
_STE_S2 = ("S2FWB", "EATS", "MEV", "S2VMID", "S2T0SZ", "S2SL0", "S2IR0", "S2OR0", "S2SH0", "S2TG",
           "S2PS", "S2AA64", "S2ENDI", "S2AFFD", "S2PTW", "S2HD", "S2HA", "S2S", "S2R", "S2TTB")
_CD_HALF = ("T{}SZ", "TG{}", "IR{}", "OR{}", "SH{}", "TTB{}")


def _mask(struct, names):
    known = fields(struct)
    return sum(known[name].mask for name in names)


_STE, _CD = plain(STE), plain(CD)
_EVERYTHING = (1 << bits(CD)) - 1


def ste_used(raw):
    """Return the mask of the bits of an STE that the SMMU looks at, given what it says."""
    used = _mask(STE, ["V"])
    if not _STE.V(raw):
        return used
    used |= _mask(STE, ["Config"])
    config = _STE.Config(raw)
    if not config & STEConfig.BYPASS:
        return used
    used |= _mask(STE, _STE_COMMON)
    if config & _S1:
        used |= _mask(STE, _STE_S1)
    if config & _S2:
        used |= _mask(STE, _STE_S2)
    if config != STEConfig.S1_TRANS or _STE.S1DSS(raw) == S1DSS.BYPASS:
        used |= _mask(STE, _STE_INCOMING)
    return used


def ste_safe(current, target):
    """Return the mask of used bits that may change at any time between these two STEs."""
    safe = ["MEV"]
    if not any(_STE.EATS(raw) == EATS.SPLIT or _STE.S2S(raw) for raw in (current, target)):
        safe.append("EATS")
    return _mask(STE, safe)


def cd_used(raw):
    """Return the mask of the bits of a CD that the SMMU looks at, given what it says."""
    if not _CD.V(raw):
        return _mask(CD, ["V"])
    used = _EVERYTHING
    for half, epd in enumerate((_CD.EPD0(raw), _CD.EPD1(raw))):
        if epd:
            used &= ~_mask(CD, [name.format(half) for name in _CD_HALF])
    return used


def no_safe_bits(current, target):
    """The safe mask of structures that have no such bits."""
    return 0


def write_entry(memory, addr, target, *, used, safe=no_safe_bits, sync):
    """Make the structure of eight words at ``addr`` become ``target``; return the syncs it took.

    The SMMU reads whole words, in any order, at any time until ``sync()`` returns. If one word at
    most has used bits that change, it never sees anything but the old or the new entry. Otherwise
    the entry is invalid in between.
    """
    current = [memory.read64(addr + 8 * k) for k in range(8)]
    target, entry = _words(target), _whole(current)
    held, needed = used(entry), used(_whole(target))
    held = _words(held & ~(safe(entry, _whole(target)) & held & needed))
    needed = _words(needed)
    spare = [now & keep | new & ~keep for now, new, keep in zip(current, target, held, strict=True)]
    critical = [k for k in range(8) if (spare[k] ^ target[k]) & needed[k]]
    syncs = 0

    def put(values, numbers):
        nonlocal syncs
        changed = [k for k in numbers if current[k] != values[k]]
        for k in changed:
            current[k] = values[k]
            memory.write64(addr + 8 * k, values[k])
        if changed:
            sync()
            syncs += 1

    if len(critical) == 1:
        put(spare, [k for k in range(8) if k not in critical])
        put(target, critical)
        put(target, range(8))
    elif critical:
        put([0] * 8, [0])  # V = 0
        put(target, range(1, 8))
        put(target, [0])
    else:
        put(target, range(8))
    return syncs


def write_entry_through_invalid(memory, addr, target, *, sync):
    """Make the STE at ``addr`` become ``target`` as Linux did until 2021; return the syncs.

    One that is in use is invalid in between: V goes first and comes back last.
    """
    current = _whole([memory.read64(addr + 8 * k) for k in range(8)])
    if current == target:
        return 0
    in_use = _STE.V(current) and _STE.Config(current) > STEConfig.BYPASS
    if in_use:
        memory.write64(addr, 0)
        sync()
    words = _words(target)
    for k in (*range(1, 8), 0):
        memory.write64(addr + 8 * k, words[k])
    sync()
    return 1 + in_use


def _words(raw):
    return [raw >> 64 * k & (1 << 64) - 1 for k in range(8)]


def _whole(words):
    return sum(word << 64 * k for k, word in enumerate(words))
