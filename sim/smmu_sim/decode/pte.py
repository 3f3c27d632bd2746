"""Translation table descriptors explained (DDI 0487: D8.3)."""

from smmu.formats.core import bits, plain
from smmu.formats.descriptors import (
    BLOCK_LEVELS, Descriptor, Granule, S1Leaf, S1Table, S2Leaf, S2Table, level_shift,
    next_table_mask)

from smmu_sim.decode.names import granule_name, memattr_name, shareability
from smmu_sim.decode.record import NOTE, Decoded, Finding, field_rows, reserved_notes
from smmu_sim.prot import MAIR

__all__ = ["GRANULES", "decode_pte"]

GRANULES = {"4k": Granule.G4K, "16k": Granule.G16K, "64k": Granule.G64K}
_DESCRIPTOR = plain(Descriptor)
_LAST_LEVEL = 3
_ADDRESS_BITS = 48  # that a descriptor holds
_FWB = {4: "reserved", 5: "Normal NC", 6: "Normal WB, whatever stage 1 says",
        7: "what stage 1 says"}
_AP = ("privileged read-write", "read-write for all", "privileged read-only", "read-only for all")
_APTABLE = ("", "no unprivileged access below", "no writes below",
            "no writes and no unprivileged access below")
_S2AP = ("no access", "read-only", "write-only", "read-write")
_XN = ("executable", "unprivileged execution alone", "never executable",
       "privileged execution alone")


def decode_pte(raw, params, *, stage=1, level=3, granule=Granule.G4K, output_bits=None, fwb=False):
    """Return the :class:`Decoded` descriptor ``raw`` (64 bits).

    ``output_bits`` is the effective IPS or S2PS (default: the build's OAS); ``fwb`` is S2FWB.
    """
    output_bits = min(output_bits or params.oas, params.oas)
    kind, struct = _kind(raw, stage, level, granule)
    where = f"stage {stage}, level {level}, {granule_name(granule)}"
    if struct is None:
        rows = field_rows(Descriptor, raw, {}, ignored={"OA", "Type"})
        return Decoded(f"descriptor: {kind} ({where})", raw, bits(Descriptor), rows,
                       [Finding("F_TRANSLATION", _invalid(raw, level))])
    meanings = _meanings(raw, kind, stage, level, granule, fwb)
    rows = field_rows(struct, raw, meanings)
    findings = list(_findings(raw, kind, struct, level, granule, output_bits))
    return Decoded(f"descriptor: {kind} ({where})", raw, bits(struct), rows,
                   findings + reserved_notes(struct, raw))


def _kind(raw, stage, level, granule):
    if not _DESCRIPTOR.Valid(raw):
        return "invalid", None
    leaf, table = ((S1Leaf, S1Table), (S2Leaf, S2Table))[stage - 1]
    if _DESCRIPTOR.Type(raw):
        return ("page", leaf) if level == _LAST_LEVEL else ("table", table)
    return ("block", leaf) if level in BLOCK_LEVELS[granule] else ("invalid", None)


def _invalid(raw, level):
    if not _DESCRIPTOR.Valid(raw):
        return "Valid is 0"
    return f"Type is 0: a block, which cannot stand at level {level} with this granule"


def _output(raw, kind, level, granule):
    if kind == "table":
        return raw & next_table_mask(granule)
    return raw & (1 << _ADDRESS_BITS) - (1 << level_shift(level, granule))


def _meanings(raw, kind, stage, level, granule, fwb):
    output = _output(raw, kind, level, granule)
    if kind == "table":
        return {"NextTable": lambda _: f"address {output:#x}", "APTable": lambda v: _APTABLE[v]}
    size = 1 << level_shift(level, granule)
    common = {"OA": lambda _: f"address {output:#x}, {size:#x} bytes", "SH": shareability,
              "AF": lambda value: "accessed" if value else "not accessed"}
    if stage == 1:
        return common | {
            "AP": lambda value: _AP[value],
            "AttrIndx": lambda value: f"MAIR byte {value}"
            + (f" (this driver: {('NC', 'WB', 'Device-nGnRE')[value]})"
               if MAIR >> 8 * value & 0xFF else ""),
            "nG": lambda value: "tagged with the ASID" if value else "global"}
    return common | {
        "S2AP": lambda value: _S2AP[value], "XN": lambda value: _XN[value],
        "MemAttr": lambda value: memattr_name(value & 3 if fwb and not value & 4 else value)
        if not fwb or not value & 4 else _FWB[value & 7]}


def _findings(raw, kind, struct, level, granule, output_bits):
    output = _output(raw, kind, level, granule)
    if output >> output_bits:
        yield Finding("F_ADDR_SIZE", f"output address {output:#x} is above {output_bits} bits")
    if kind == "table":
        return
    if not plain(struct).AF(raw):
        yield Finding("F_ACCESS", "AF is 0 (unless AFFD says otherwise)")
    held = (raw & (1 << _ADDRESS_BITS) - (1 << 12)) ^ output
    held &= ~(1 << 16 if kind == "block" else 0)  # nT
    if held:
        yield Finding(NOTE, f"address bits {held:#x} lie below the size of the {kind}; ignored")
