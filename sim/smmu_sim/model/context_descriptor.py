"""CDs: which one is used, which are illegal, what they mean (IHI 0070: 3.9, 5.4, 7.3.11)."""

from typing import NamedTuple

from smmu.formats.context_descriptor import CD, L1CD
from smmu.formats.core import plain
from smmu.formats.descriptors import TG0_GRANULE, TG1_GRANULE, s1_start_level
from smmu.formats.stream_table import S1DSS, S1Fmt
from smmu_sim.memory import BusAbort
from smmu_sim.model.faults import EventType, Fault
from smmu_sim.model.stream_table import (
    MAX_TXSZ,
    MIN_TXSZ,
    effective_size,
    endianness_allowed,
    granules,
)
from smmu_sim.model.tables import Table, start_table

__all__ = ["BYPASS_STAGE1", "Context", "Half", "decode_cd", "fetch_cd", "select_cd"]

_cd = plain(CD)
_l1cd = plain(L1CD)

CD_BYTES = 64
L1CD_BYTES = 8
FETCHED_BYTES = 32  # the rest holds nothing that this version uses
LEAF_CDS = {S1Fmt.LEVEL2_4K: 6, S1Fmt.LEVEL2_64K: 10}  # log2 of the CDs in one leaf table
BYPASS_STAGE1 = -1  # instead of the index of a CD


class Half(NamedTuple):
    """What a CD says about one half of the address space."""

    table: Table | None  # None: EPDx
    tbi: int
    had: int


class Context(NamedTuple):
    """A legal CD."""

    low: Half
    high: Half | None  # None: there is one range only (EL2)
    one_privilege: bool  # EL2 without E2H
    affd: int
    wxn: int
    pan: int
    stall: int
    abort: int
    record: int
    mair: int


def select_cd(stream, transaction):
    """Return the index of the CD that the transaction uses, or ``BYPASS_STAGE1``.

    Raises the fault of a SubstreamID that is missing or not allowed.
    """
    ssid = transaction.ssid
    if ssid is not None:
        if not stream.stage1 or ssid >> stream.cdmax or not stream.cdmax:
            raise Fault(EventType.C_BAD_SUBSTREAMID, {"SubstreamID": ssid})
        if ssid == 0 and stream.s1dss == S1DSS.SSID0:
            raise Fault(EventType.F_STREAM_DISABLED)
        return ssid
    if not stream.stage1:
        return BYPASS_STAGE1
    if stream.cdmax == 0:
        return 0
    if stream.s1dss == S1DSS.TERMINATE:
        raise Fault(EventType.F_STREAM_DISABLED)
    return BYPASS_STAGE1 if stream.s1dss == S1DSS.BYPASS else 0


def fetch_cd(stream, index, memory, params, locate):
    """Return CD ``index`` as an integer.

    ``locate(addr)`` returns the physical address of an L1CD or CD.
    """
    leaf_bits = LEAF_CDS.get(stream.s1fmt) if stream.cdmax else None
    if leaf_bits is None:
        table = stream.context_ptr & -(CD_BYTES << stream.cdmax)
        return _fetch(memory, locate(table + CD_BYTES * index), FETCHED_BYTES)
    l1_bytes = max(64, L1CD_BYTES << max(stream.cdmax - leaf_bits, 0))
    l1cd = _fetch(
        memory,
        locate((stream.context_ptr & -l1_bytes) + L1CD_BYTES * (index >> leaf_bits)),
        L1CD_BYTES,
    )
    leaf = (_l1cd.L2Ptr(l1cd) << 12) & -(CD_BYTES << leaf_bits)
    # Under stage 2 the architecture leaves a choice between this and a stage 2 fault.
    if not _l1cd.V(l1cd) or leaf >> params.oas:
        raise Fault(EventType.C_BAD_SUBSTREAMID, {"SubstreamID": index})
    return _fetch(memory, locate(leaf + CD_BYTES * (index & (1 << leaf_bits) - 1)), FETCHED_BYTES)


def _fetch(memory, pa, size):
    try:
        return int.from_bytes(memory.read(pa, size), "little")
    except BusAbort:
        raise Fault(EventType.F_CD_FETCH, {"FetchAddr": pa >> 3}) from None


def decode_cd(raw, params, el2, e2h, may_stall=False):
    """Return what the CD means: a :class:`Context`, or None for an illegal one.

    ``el2`` is the StreamWorld, of which ``e2h`` tells the kind. ``may_stall``: IDR0.STALL_MODEL and
    STE.S1STALLD allow S = 1.
    """
    one_privilege = el2 and not e2h
    epd0 = _cd.EPD0(raw) and not one_privilege
    epd1 = _cd.EPD1(raw) or one_privilege
    if not (_cd.V(raw) and _cd.AA64(raw)):  # no VMSAv8-32
        return None
    if _cd.HA(raw) or _cd.HD(raw):  # no HTTU
        return None
    if _cd.S(raw) and not may_stall:
        return None
    if params.term_model and not _cd.A(raw):
        return None
    if not (epd0 and epd1) and not endianness_allowed(_cd.ENDI(raw), params):
        return None
    if not params.asid16 and _cd.ASID(raw) >> 8 and not one_privilege:
        return None
    tables = []
    for epd, txsz, granule, ttb in (
        (epd0, _cd.T0SZ(raw), TG0_GRANULE.get(_cd.TG0(raw)), _cd.TTB0(raw)),
        (epd1, _cd.T1SZ(raw), TG1_GRANULE.get(_cd.TG1(raw)), _cd.TTB1(raw)),
    ):
        if epd:
            tables.append(None)
            continue
        output_bits = effective_size(_cd.IPS(raw), params)
        if (
            not MIN_TXSZ <= txsz <= MAX_TXSZ
            or granule not in granules(params)
            or ttb << 4 >> output_bits
        ):
            return None
        tables.append(
            start_table(
                ttb << 4,
                txsz,
                s1_start_level(txsz, granule),
                granule,
                output_bits,
                bool(_cd.ENDI(raw)),
            )
        )
    return Context(
        low=Half(tables[0], _cd.TBI0(raw), params.had & _cd.HAD0(raw)),
        high=None if one_privilege else Half(tables[1], _cd.TBI1(raw), params.had & _cd.HAD1(raw)),
        one_privilege=one_privilege,
        affd=_cd.AFFD(raw),
        wxn=_cd.WXN(raw),
        pan=_cd.PAN(raw),
        stall=_cd.S(raw),
        abort=_cd.A(raw) | params.term_model,
        record=_cd.R(raw),
        mair=_cd.MAIR0(raw) | _cd.MAIR1(raw) << 32,
    )
