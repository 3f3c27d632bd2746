"""STEs: where they are, which are illegal, and what they mean (IHI 0070: 5.2, 7.3.5)."""

from typing import NamedTuple

from smmu.formats.core import plain
from smmu.formats.descriptors import (
    Granule,
    SIZE_BITS,
    TG0_GRANULE,
    bits_per_level,
    s2_start_level,
    start_index_bits,
)
from smmu.formats.registers import STRTAB_BASE, STRTAB_BASE_CFG
from smmu.formats.stream_table import L1STD, S1DSS, S1Fmt, STE, STEConfig, STRW
from smmu_sim.memory import BusAbort
from smmu_sim.model.attributes import Overrides
from smmu_sim.model.faults import EventType, Fault
from smmu_sim.model.tables import Table, start_table

__all__ = ["STE_BYTES", "Stage2", "Stream", "decode_ste", "fetch_ste", "effective_size", "granules"]

_ste = plain(STE)
_l1std = plain(L1STD)
_base = plain(STRTAB_BASE)
_cfg = plain(STRTAB_BASE_CFG)

STE_BYTES = 64
L1STD_BYTES = 8
FETCHED_BYTES = 32  # the rest holds nothing that this version uses
SPLITS = (6, 8, 10)
FMT_2_LEVEL = 1
MAX_SPAN = 11
MIN_TXSZ, MAX_TXSZ = 16, 39
LITTLE_ONLY, BIG_ONLY = 2, 3


class Stage2(NamedTuple):
    """The stage 2 part of an STE."""

    table: Table
    affd: int
    ptw: int
    fwb: int
    stall: int
    record: int


class Stream(NamedTuple):
    """A legal STE."""

    config: int
    overrides: Overrides
    el2: bool  # StreamWorld is EL2 or EL2-E2H
    s1fmt: int
    context_ptr: int
    cdmax: int  # log2 of the number of CDs; 0 if there are no SubstreamIDs
    s1dss: int
    stalld: int  # S1STALLD
    stage2: Stage2 | None

    @property
    def stage1(self):
        """Whether stage 1 translates, as far as the STE says."""
        return bool(self.config & 1)


def effective_size(code, params):
    """Return the bits of an IPS or S2PS code: too large ones act as OAS."""
    return min(SIZE_BITS[code], params.oas)


def granules(params):
    """Return the granules of the build."""
    return {
        granule
        for granule, present in (
            (Granule.G4K, params.gran4k),
            (Granule.G16K, params.gran16k),
            (Granule.G64K, params.gran64k),
        )
        if present
    }


def endianness_allowed(big, params):
    """Whether TTENDIAN allows ENDI = ``big``."""
    return params.ttendian != (LITTLE_ONLY if big else BIG_ONLY)


def _align_down(addr, size):
    return addr & -size


def fetch_ste(registers, memory, params, streamid):
    """Return the STE of ``streamid`` as an integer.

    Raises the fault of a bad StreamID or of an aborted fetch.
    """
    bad_streamid = Fault(EventType.C_BAD_STREAMID if registers.recinvsid else None)
    base, cfg = registers["STRTAB_BASE"], registers["STRTAB_BASE_CFG"]
    log2size = _cfg.LOG2SIZE(cfg)
    if streamid >> min(log2size, params.sidsize):
        raise bad_streamid
    addr = _base.ADDR(base) << 6
    if not (params.st_level and _cfg.FMT(cfg) == FMT_2_LEVEL):
        return _fetch(
            memory, _align_down(addr, STE_BYTES << log2size) + STE_BYTES * streamid, FETCHED_BYTES
        )
    split = _cfg.SPLIT(cfg) if _cfg.SPLIT(cfg) in SPLITS else SPLITS[0]
    addr = _align_down(addr, max(64, L1STD_BYTES << max(log2size - split, 0)))
    l1std = _fetch(memory, addr + L1STD_BYTES * (streamid >> split), L1STD_BYTES)
    span, index = _l1std.Span(l1std), streamid & (1 << split) - 1
    if not 1 <= span <= min(MAX_SPAN, split + 1) or index >> span - 1:
        raise bad_streamid
    table = _align_down(_l1std.L2Ptr(l1std) << 6, STE_BYTES << span - 1)
    # A pointer beyond OAS is truncated.
    return _fetch(memory, (table + STE_BYTES * index) & (1 << params.oas) - 1, FETCHED_BYTES)


def _fetch(memory, addr, size):
    try:
        return int.from_bytes(memory.read(addr, size), "little")
    except BusAbort:
        raise Fault(EventType.F_STE_FETCH, {"FetchAddr": addr >> 3}) from None


def decode_ste(raw, params, stalls=False):
    """Return what the STE means: a :class:`Stream`, None (illegal), or False (silent abort).

    ``stalls``: IDR0.STALL_MODEL is 0, otherwise 1.
    """
    if not _ste.V(raw):
        return None
    config = _ste.Config(raw)
    if not config & STEConfig.BYPASS:
        return False
    stage1, stage2 = config & 1, config & 2
    if stage1 and not params.s1p or stage2 and not params.s2p:
        return None
    el2 = False
    if params.s1p and params.hyp and config == STEConfig.S1_TRANS:
        if _ste.STRW(raw) & 1:
            return None
        el2 = _ste.STRW(raw) == STRW.EL2
    cdmax = _ste.S1CDMax(raw) if params.ssidsize else 0
    context_ptr = _ste.S1ContextPtr(raw) << 6
    if not stalls and (stage1 and _ste.S1STALLD(raw) or stage2 and _ste.S2S(raw)):
        return None
    if stage1 and not _stage1_legal(raw, params, cdmax, context_ptr):
        return None
    if stage2 and not _stage2_legal(raw, params):
        return None
    vmid_ignored = not params.s2p or config == STEConfig.BYPASS or el2
    if not params.vmid16 and _ste.S2VMID(raw) >> 8 and not vmid_ignored:
        return None
    return Stream(
        config=config,
        overrides=_overrides(raw, params),
        el2=el2,
        s1fmt=_ste.S1Fmt(raw) if cdmax else S1Fmt.LINEAR,
        context_ptr=context_ptr,
        cdmax=cdmax,
        s1dss=_ste.S1DSS(raw)
        if _ste.S1DSS(raw) in (S1DSS.BYPASS, S1DSS.SSID0)
        else S1DSS.TERMINATE,
        stalld=_ste.S1STALLD(raw),
        stage2=_stage2(raw, params) if stage2 else None,
    )


def _stage1_legal(raw, params, cdmax, context_ptr):
    if cdmax > params.ssidsize:
        return False
    if cdmax and not params.cd2l and _ste.S1Fmt(raw) in (S1Fmt.LEVEL2_4K, S1Fmt.LEVEL2_64K):
        return False
    # Under stage 2 the architecture leaves a choice between this and a stage 2 fault.
    return not context_ptr >> params.oas


def _stage2_legal(raw, params):
    if not _ste.S2AA64(raw):  # no VMSAv8-32
        return False
    if _ste.S2HA(raw) or _ste.S2HD(raw):  # no HTTU
        return False
    granule = TG0_GRANULE.get(_ste.S2TG(raw))
    if granule not in granules(params):
        return False
    if _s2ttb(raw) >> effective_size(_ste.S2PS(raw), params):
        return False
    t0sz = _ste.S2T0SZ(raw)
    if not max(MIN_TXSZ, 64 - params.oas) <= t0sz <= MAX_TXSZ:
        return False
    level = s2_start_level(_ste.S2SL0(raw), granule)
    if (
        level is None
        or not 1 <= start_index_bits(t0sz, level, granule) <= bits_per_level(granule) + 4
    ):
        return False
    return endianness_allowed(_ste.S2ENDI(raw), params)


def _s2ttb(raw):
    return _ste.S2TTB(raw) << 4


def _stage2(raw, params):
    granule = TG0_GRANULE[_ste.S2TG(raw)]
    table = start_table(
        _s2ttb(raw),
        _ste.S2T0SZ(raw),
        s2_start_level(_ste.S2SL0(raw), granule),
        granule,
        effective_size(_ste.S2PS(raw), params),
        bool(_ste.S2ENDI(raw)),
    )
    return Stage2(
        table,
        affd=_ste.S2AFFD(raw),
        ptw=_ste.S2PTW(raw),
        fwb=params.fwb & _ste.S2FWB(raw),
        stall=_ste.S2S(raw),
        record=_ste.S2R(raw),
    )


def _overrides(raw, params):
    overrides = Overrides()
    if params.attr_types_ovr:
        overrides = overrides._replace(
            MTCFG=_ste.MTCFG(raw),
            MemAttr=_ste.MemAttr(raw),
            ALLOCCFG=_ste.ALLOCCFG(raw),
            SHCFG=_ste.SHCFG(raw),
        )
    if params.attr_perms_ovr:
        overrides = overrides._replace(PRIVCFG=_ste.PRIVCFG(raw), INSTCFG=_ste.INSTCFG(raw))
    return overrides
