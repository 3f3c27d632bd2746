"""STEs explained (IHI 0070: 5.2, 7.3.5)."""

from smmu.formats.core import bits, fields, plain
from smmu.formats.descriptors import (
    SIZE_BITS, TG0_GRANULE, bits_per_level, s2_start_level, start_index_bits)
from smmu.formats.stream_table import (
    EATS, INSTCFG, PRIVCFG, S1DSS, SHCFG, STE, STRW, S1Fmt, STEConfig)

from smmu_sim.decode.names import (
    CD_FETCH_CACHE, WALK_CACHE, coded, granule0, granule_name, memattr_name, named, octal_size,
    shareability)
from smmu_sim.decode.record import NOTE, Decoded, Finding, field_rows, reserved_notes
from smmu_sim.fields import address_of

__all__ = ["MAX_TXSZ", "MIN_TXSZ", "decode_ste", "endianness_problem", "ste_findings"]

MIN_TXSZ, MAX_TXSZ = 16, 39
_STE = plain(STE)
_BAD = "C_BAD_STE"
_S1, _S2 = 1, 2  # bits of Config
_LITTLE, _BIG = 2, 3  # IDR0.TTENDIAN
_TERMINATE_ONLY, _STALL_ONLY = 1, 2  # IDR0.STALL_MODEL
_ADDRESSES = ("S1ContextPtr", "S2TTB", "VMSPtr")

_MEANINGS = {
    "Config": named(STEConfig, "reserved, acts as ABORT"),
    "S1Fmt": named(S1Fmt, "reserved, acts as LINEAR"),
    "S1CDMax": lambda value: f"{1 << value} CD" + "s" * bool(value),
    "S1DSS": named(S1DSS, "reserved, acts as TERMINATE"),
    "S1CIR": coded(CD_FETCH_CACHE), "S1COR": coded(CD_FETCH_CACHE), "S1CSH": shareability,
    "EATS": named(EATS), "STRW": named(STRW), "MemAttr": memattr_name, "SHCFG": named(SHCFG),
    "PRIVCFG": named(PRIVCFG, "acts as INCOMING"), "INSTCFG": named(INSTCFG, "acts as INCOMING"),
    "S2T0SZ": lambda value: f"{64 - value} bits of IPA",
    "S2IR0": coded(WALK_CACHE), "S2OR0": coded(WALK_CACHE), "S2SH0": shareability,
    "S2TG": granule0, "S2PS": octal_size, "S2AA64": coded(("VMSAv8-32", "VMSAv8-64")),
    "S2ENDI": coded(("little-endian", "big-endian")),
}


def decode_ste(raw, params):
    """Return the :class:`Decoded` STE ``raw`` (512 bits) for an SMMU of this build."""
    meanings = _MEANINGS | {"S2SL0": lambda value: _start_level(value, raw)}
    rows = field_rows(STE, raw, meanings, addresses=_ADDRESSES, ignored=_ignored(raw))
    config = named(STEConfig, "ABORT")(_STE.Config(raw)) if _STE.V(raw) else "invalid"
    return Decoded(f"STE: {config}", raw, bits(STE), rows,
                   ste_findings(raw, params) + reserved_notes(STE, raw))


def _start_level(value, raw):
    granule = TG0_GRANULE.get(_STE.S2TG(raw))
    level = None if granule is None else s2_start_level(value, granule)
    return "reserved" if level is None else f"start level {level}"


def _ignored(raw):
    """Names of the fields that do not count, given V and Config."""
    others = set(fields(STE)) - {"V", "Config"}
    if not _STE.V(raw):
        return others | {"Config"}
    config = _STE.Config(raw)
    if not config & STEConfig.BYPASS:
        return others
    names = {"SW"}
    if not config & _S1:
        names |= {name for name in others if name.startswith("S1")}
    if not config & _S2:
        names |= {name for name in others if name.startswith("S2")} - {"S2VMID"}
    if config != STEConfig.S1_TRANS:
        names.add("STRW")
    if config == STEConfig.BYPASS:
        names.add("S2VMID")
    return names


def ste_findings(raw, params):
    """Return why the STE is illegal, or aborts: a list of :class:`Finding` (IHI 0070: 7.3.5)."""
    if not _STE.V(raw):
        return [Finding(_BAD, "V is 0")]
    config = _STE.Config(raw)
    if not config & STEConfig.BYPASS:
        return [Finding("abort", f"Config is {config}: transactions abort, without an event")]
    problems = []
    if config & _S1 and not params.s1p:
        problems.append(f"Config is {config} with stage 1, but IDR0.S1P is 0")
    if config & _S2 and not params.s2p:
        problems.append(f"Config is {config} with stage 2, but IDR0.S2P is 0")
    uses_strw = params.s1p and params.hyp and config == STEConfig.S1_TRANS
    if uses_strw and _STE.STRW(raw) & 1:
        problems.append(f"STRW is {_STE.STRW(raw)}, which is reserved")
    if config & _S1:
        problems += _stage1(raw, params)
    if config & _S2:
        problems += _stage2(raw, params)
    el2 = uses_strw and _STE.STRW(raw) == STRW.EL2
    vmid = _STE.S2VMID(raw)
    if (params.s2p and config != STEConfig.BYPASS and not el2 and not params.vmid16
            and vmid >> 8):
        problems.append(f"S2VMID is {vmid:#x}, but IDR0.VMID16 is 0: it has 8 bits")
    found = [Finding(_BAD, problem) for problem in problems]
    if _STE.EATS(raw):
        found.append(Finding(NOTE, f"EATS is {_STE.EATS(raw)}, but IDR0.ATS is 0: ignored"))
    return found


def _stage1(raw, params):
    if _STE.S1STALLD(raw) and params.stall_model:
        yield f"S1STALLD is 1, but IDR0.STALL_MODEL is {params.stall_model}, not 0"
    cdmax = _STE.S1CDMax(raw) if params.ssidsize else 0
    if cdmax > params.ssidsize:
        yield f"S1CDMax is {cdmax}, above IDR1.SSIDSIZE, which is {params.ssidsize}"
    fmt = _STE.S1Fmt(raw)
    if cdmax and not params.cd2l and fmt in (S1Fmt.LEVEL2_4K, S1Fmt.LEVEL2_64K):
        yield f"S1Fmt is {S1Fmt(fmt).name}, but IDR0.CD2L is 0"
    pointer = address_of(STE, "S1ContextPtr", raw)
    if pointer >> params.oas:
        yield f"S1ContextPtr is {pointer:#x}, above the {params.oas} bits of IDR5.OAS"


def _stage2(raw, params):
    if not _STE.S2AA64(raw):
        yield "S2AA64 is 0: VMSAv8-32, which IDR0.TTF does not have"
    for name in ("S2HA", "S2HD"):
        if getattr(_STE, name)(raw):
            yield f"{name} is 1, but IDR0.HTTU is 0"
    if _STE.S2S(raw) and params.stall_model == _TERMINATE_ONLY:
        yield "S2S is 1, but IDR0.STALL_MODEL is 1: faults terminate"
    if not _STE.S2S(raw) and params.stall_model == _STALL_ONLY:
        yield "S2S is 0, but IDR0.STALL_MODEL is 2: faults stall"
    granule, t0sz = TG0_GRANULE.get(_STE.S2TG(raw)), _STE.S2T0SZ(raw)
    size = min(SIZE_BITS[_STE.S2PS(raw)], params.oas)
    ttb = address_of(STE, "S2TTB", raw)
    if ttb >> size:
        yield f"S2TTB is {ttb:#x}, above the {size} bits of S2PS and IDR5.OAS"
    lowest = max(MIN_TXSZ, 64 - params.oas)
    if not lowest <= t0sz <= MAX_TXSZ:
        yield f"S2T0SZ is {t0sz}; it is {lowest} to {MAX_TXSZ}"
    if granule not in params.granules:
        yield f"S2TG is {_STE.S2TG(raw)}: " + (
            "reserved" if granule is None else f"IDR5 has no granule {granule_name(granule)}")
    else:
        yield from _geometry(t0sz, _STE.S2SL0(raw), granule)
    yield from endianness_problem("S2ENDI", _STE.S2ENDI(raw), params)


def _geometry(t0sz, sl0, granule):
    """The start level must suit the size of the IPA: at most 16 tables in a row."""
    level = s2_start_level(sl0, granule)
    if level is None:
        yield f"S2SL0 is {sl0}, which is reserved with granule {granule_name(granule)}"
        return
    index = start_index_bits(t0sz, level, granule)
    if not 1 <= index <= bits_per_level(granule) + 4:
        yield (f"S2SL0 is {sl0}, start level {level}, which leaves {index} index bits of the "
               f"{64 - t0sz} bits of S2T0SZ; 1 to {bits_per_level(granule) + 4} are possible")


def endianness_problem(name, big, params):
    """Yield what is wrong if IDR0.TTENDIAN does not allow this endianness."""
    if params.ttendian == (_LITTLE if big else _BIG):
        yield f"{name} is {big}, but IDR0.TTENDIAN is {params.ttendian}"
