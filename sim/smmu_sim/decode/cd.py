"""CDs explained (IHI 0070: 5.4, 7.3.11)."""

from smmu.formats.context_descriptor import CD
from smmu.formats.core import bits, fields, plain
from smmu.formats.descriptors import SIZE_BITS, TG0_GRANULE, TG1_GRANULE

from smmu_sim.decode.names import (
    WALK_CACHE, coded, granule0, granule1, granule_name, mair_name, octal_size, shareability)
from smmu_sim.decode.record import Decoded, Finding, field_rows, reserved_notes
from smmu_sim.decode.ste import MAX_TXSZ, MIN_TXSZ, endianness_problem
from smmu_sim.fields import address_of

__all__ = ["WORLDS", "cd_findings", "decode_cd"]

WORLDS = ("el1", "el2", "el2-e2h")
_CD = plain(CD)
_BAD = "C_BAD_CD"
_TERMINATE_ONLY, _STALL_ONLY = 1, 2
_HALF = ("T{}SZ", "TG{}", "IR{}", "OR{}", "SH{}", "TTB{}")
_HALF1 = (*_HALF, "EPD{}", "TBI{}", "HAD{}", "NSCFG{}", "E0PD{}")


def _mair(first):
    return lambda value: ", ".join(f"{first + n}: {mair_name(value >> 8 * n & 0xFF)}"
                                   for n in range(4))


def _txsz(value):
    return f"{64 - value} bits of address"


_MEANINGS = {
    "T0SZ": _txsz, "T1SZ": _txsz, "TG0": granule0, "TG1": granule1, "IPS": octal_size,
    **{f"{name}{half}": coded(WALK_CACHE) for name in ("IR", "OR") for half in (0, 1)},
    "SH0": shareability, "SH1": shareability,
    **{f"EPD{half}": coded((f"TTB{half} is used", f"no walks through TTB{half}"))
       for half in (0, 1)},
    "ENDI": coded(("little-endian", "big-endian")),
    "AA64": coded(("VMSAv8-32", "VMSAv8-64")), "S": coded(("faults terminate", "faults stall")),
    "R": coded(("faults are not recorded", "faults are recorded")),
    "A": coded(("faults read as zero, write ignored", "faults abort")),
    "ASET": coded(("shared with processors", "not shared")),
    "MAIR0": _mair(0), "MAIR1": _mair(4),
}


def decode_cd(raw, params, world="el1", s1stalld=False):
    """Return the :class:`Decoded` CD ``raw`` (512 bits).

    ``world`` is the StreamWorld, one of ``WORLDS``; ``s1stalld`` is STE.S1STALLD.
    """
    rows = field_rows(CD, raw, _MEANINGS, addresses=("TTB0", "TTB1"), ignored=_ignored(raw, world))
    title = f"CD: ASID {_CD.ASID(raw):#x}" if _CD.V(raw) else "CD: invalid"
    return Decoded(title, raw, bits(CD), rows,
                   cd_findings(raw, params, world, s1stalld) + reserved_notes(CD, raw))


def _halves(raw, world):
    """Whether each half is disabled. EL2 has one half, which cannot be."""
    if world == "el2":
        return False, True
    return bool(_CD.EPD0(raw)), bool(_CD.EPD1(raw))


def _ignored(raw, world):
    if not _CD.V(raw):
        return set(fields(CD)) - {"V"}
    names = {"UWXN"}
    for half, disabled in enumerate(_halves(raw, world)):
        if disabled:
            names |= {name.format(half) for name in _HALF}
    if world == "el2":
        names |= {name.format(1) for name in _HALF1} | {"EPD0", "ASID", "PAN"}
    return names


def cd_findings(raw, params, world="el1", s1stalld=False):
    """Return why the CD is illegal: a list of :class:`Finding` (IHI 0070: 7.3.11)."""
    return [Finding(_BAD, problem) for problem in _problems(raw, params, world, s1stalld)]


def _problems(raw, params, world, s1stalld):
    if not _CD.V(raw):
        yield "V is 0"
        return
    if not _CD.AA64(raw):
        yield "AA64 is 0: VMSAv8-32, which IDR0.TTF does not have"
    for name in ("HA", "HD"):
        if getattr(_CD, name)(raw):
            yield f"{name} is 1, but IDR0.HTTU is 0"
    yield from _stalls(raw, params, s1stalld)
    if params.term_model and not _CD.A(raw):
        yield "A is 0, but IDR0.TERM_MODEL is 1: faults abort"
    disabled = _halves(raw, world)
    if not all(disabled):
        yield from endianness_problem("ENDI", _CD.ENDI(raw), params)
    if not params.asid16 and _CD.ASID(raw) >> 8 and world != "el2":
        yield f"ASID is {_CD.ASID(raw):#x}, but IDR0.ASID16 is 0: it has 8 bits"
    for half in (0, 1):
        if not disabled[half]:
            yield from _half(raw, params, half)


def _stalls(raw, params, s1stalld):
    if _CD.S(raw) and params.stall_model == _TERMINATE_ONLY:
        yield "S is 1, but IDR0.STALL_MODEL is 1: faults terminate"
    if _CD.S(raw) and s1stalld:
        yield "S is 1, but STE.S1STALLD is 1"
    if not _CD.S(raw) and params.stall_model == _STALL_ONLY:
        yield "S is 0, but IDR0.STALL_MODEL is 2: faults stall"


def _half(raw, params, half):
    txsz = getattr(_CD, f"T{half}SZ")(raw)
    code = getattr(_CD, f"TG{half}")(raw)
    ttb, size = address_of(CD, f"TTB{half}", raw), min(SIZE_BITS[_CD.IPS(raw)], params.oas)
    granule = (TG0_GRANULE, TG1_GRANULE)[half].get(code)
    if not MIN_TXSZ <= txsz <= MAX_TXSZ:
        yield f"T{half}SZ is {txsz}; it is {MIN_TXSZ} to {MAX_TXSZ}"
    if granule not in params.granules:
        yield f"TG{half} is {code}: " + (
            "reserved" if granule is None else f"IDR5 has no granule {granule_name(granule)}")
    if ttb >> size:
        yield f"TTB{half} is {ttb:#x}, above the {size} bits of IPS and IDR5.OAS"
