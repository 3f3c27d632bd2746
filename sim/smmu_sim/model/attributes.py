"""Memory types, shareability and allocation hints (IHI 0070: 13; DDI 0487: D8.6).

A type is a number in order of strength: combining two of them is taking the smaller one.
"""

from typing import NamedTuple

from smmu.formats.descriptors import SH
from smmu.formats.stream_table import INSTCFG, PRIVCFG, SHCFG

__all__ = [
    "Attributes",
    "Overrides",
    "MemoryType",
    "DOORBELL",
    "axcache",
    "combine",
    "from_mair",
    "incoming",
    "is_device",
    "override",
    "privileged",
    "instruction",
    "outgoing_shareability",
    "with_hints",
]


class MemoryType:
    """Strength of a memory type."""

    nGnRnE, nGnRE, nGRE, GRE, NC, WT, WB = range(7)


class Attributes(NamedTuple):
    """Attributes of an access. The hints are those of the outer type; 1 where the type has none."""

    outer: int
    inner: int
    ra: int = 1
    wa: int = 1
    sh: int = 0


DOORBELL = Attributes(MemoryType.nGnRE, MemoryType.nGnRE, sh=SH.OSH)


class Overrides(NamedTuple):
    """The attribute overrides of an STE or of GBPA; by default they override nothing."""

    MTCFG: int = 0
    MemAttr: int = 0
    ALLOCCFG: int = 0
    SHCFG: int = SHCFG.INCOMING
    PRIVCFG: int = PRIVCFG.INCOMING
    INSTCFG: int = INSTCFG.INCOMING


def is_device(attributes):
    """Whether the type is any Device type."""
    return attributes.outer < MemoryType.NC


# AxCACHE bits
BUFFERABLE, MODIFIABLE, READ_ALLOCATE, WRITE_ALLOCATE = 1, 2, 4, 8


def incoming(cache, sh):
    """Return the attributes that AxCACHE and the shareability of a device's transaction mean."""
    if cache & (READ_ALLOCATE | WRITE_ALLOCATE):
        kind = MemoryType.WB if cache & BUFFERABLE else MemoryType.WT
        return Attributes(
            kind, kind, int(bool(cache & READ_ALLOCATE)), int(bool(cache & WRITE_ALLOCATE)), sh
        )
    if cache & MODIFIABLE:
        return Attributes(MemoryType.NC, MemoryType.NC, sh=sh)
    kind = MemoryType.nGnRE if cache & BUFFERABLE else MemoryType.nGnRnE
    return Attributes(kind, kind, sh=sh)


def axcache(attributes, write):
    """Return AxCACHE for the outer attribute, in AMBA's preferred encoding."""
    if attributes.outer == MemoryType.nGnRnE:
        return 0
    if attributes.outer < MemoryType.NC:
        return BUFFERABLE
    if attributes.outer == MemoryType.NC:
        return BUFFERABLE | MODIFIABLE
    cache = MODIFIABLE | (BUFFERABLE if attributes.outer == MemoryType.WB else 0)
    if write:
        return cache | READ_ALLOCATE | (WRITE_ALLOCATE if attributes.wa else 0)
    return cache | WRITE_ALLOCATE | (READ_ALLOCATE if attributes.ra else 0)


def outgoing_shareability(attributes):
    """Return the shareability that leaves: outer for Device and for non-cacheable; 1 acts as 0."""
    if is_device(attributes) or attributes.outer == attributes.inner == MemoryType.NC:
        return int(SH.OSH)
    return attributes.sh if attributes.sh in (SH.OSH, SH.ISH) else int(SH.NSH)


def _memattr_types(memattr):
    """Return (outer, inner) of a stage 2 MemAttr[3:0] code; reserved ones are Device-nGnRnE."""
    outer, inner = memattr >> 2, memattr & 3
    if outer == 0:
        return inner, inner
    if inner == 0:
        return MemoryType.nGnRnE, MemoryType.nGnRnE
    return MemoryType.NC + outer - 1, MemoryType.NC + inner - 1


def override(attributes, overrides):
    """Return the incoming ``attributes`` as the overrides make them, for a bypass of stage 1."""
    outer, inner, ra, wa, sh = with_hints(attributes, overrides)
    if overrides.MTCFG:
        outer, inner = _memattr_types(overrides.MemAttr)
    if overrides.SHCFG != SHCFG.INCOMING:
        sh = int(overrides.SHCFG)
    return Attributes(outer, inner, ra, wa, sh)


def with_hints(attributes, overrides):
    """Return ``attributes`` with the allocation hints of ALLOCCFG, if that overrides."""
    alloccfg = overrides.ALLOCCFG
    if alloccfg & 8:  # 1RWT
        return attributes._replace(ra=alloccfg >> 2 & 1, wa=alloccfg >> 1 & 1)
    return attributes


def privileged(incoming_priv, overrides):
    """Return whether a transaction counts as privileged."""
    if overrides.PRIVCFG == PRIVCFG.UNPRIVILEGED:
        return False
    return overrides.PRIVCFG == PRIVCFG.PRIVILEGED or bool(incoming_priv)


def instruction(incoming_instr, write, overrides):
    """Return whether a transaction counts as an instruction fetch. Writes never do."""
    if write or overrides.INSTCFG == INSTCFG.DATA:
        return False
    return overrides.INSTCFG == INSTCFG.INSTRUCTION or bool(incoming_instr)


def _mair_nibble(nibble):
    """Return (type, read-allocate, write-allocate) of one half of a Normal MAIR byte."""
    hints = nibble >> 1 & 1, nibble & 1
    if nibble == 0b0000:  # reserved for the inner half
        return MemoryType.WT, 1, 1
    if nibble == 0b0100:
        return MemoryType.NC, 1, 1
    return (MemoryType.WB if nibble & 0b0100 else MemoryType.WT), *hints


def from_mair(byte, sh):
    """Return the attributes of a stage 1 leaf: its MAIR byte and its shareability."""
    high, low = byte >> 4, byte & 15
    if high == 0:  # Device; the reserved low bits are ignored
        return Attributes(low >> 2, low >> 2, sh=sh)
    outer, ra, wa = _mair_nibble(high)
    inner, _, _ = _mair_nibble(low)
    return Attributes(outer, inner, ra, wa, sh)


def stage1_result(table, device, overrides):
    """Return the result of stage 1: the table's type, with hints that the incoming ones restrict.

    The incoming hints count if the incoming type is cacheable, as ALLOCCFG makes them.
    """
    if device.outer in (MemoryType.WT, MemoryType.WB):
        hints = with_hints(device, overrides)
        return table._replace(ra=table.ra & hints.ra, wa=table.wa & hints.wa)
    return table


def _stronger_shareability(one, other):
    order = {SH.OSH: 2, SH.ISH: 1}
    return max(one, other, key=lambda sh: order.get(sh, 0))


def combine(first, memattr, sh, fwb):
    """Return stage 1's (or the incoming) attributes combined with those of a stage 2 leaf.

    With S2FWB the leaf's MemAttr[2:0] is an operation on the type; the reserved 0b100 acts as
    0b101.
    """
    outer, inner = first.outer, first.inner
    if not fwb:
        s2outer, s2inner = _memattr_types(memattr)
    elif not memattr & 4:
        s2outer = s2inner = memattr & 3
    elif memattr & 7 == 0b110:
        outer = inner = s2outer = s2inner = MemoryType.WB
    elif memattr & 7 == 0b111:
        s2outer = s2inner = MemoryType.WB
    else:
        s2outer = s2inner = MemoryType.NC
    outer, inner = min(outer, s2outer), min(inner, s2inner)
    if outer < MemoryType.NC or inner < MemoryType.NC:
        outer = inner = min(outer, inner)
    return Attributes(outer, inner, first.ra, first.wa, _stronger_shareability(first.sh, sh))


def stage2_is_device(memattr, fwb):
    """Whether a stage 2 leaf is of a Device type."""
    if fwb:
        return not memattr & 4
    return is_device(Attributes(*_memattr_types(memattr)))
