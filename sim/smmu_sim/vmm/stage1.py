"""What a guest's STE asks for, and who gives it: the owner of the guest's stage 1 on the host."""

from enum import Enum
from typing import NamedTuple, Protocol

from smmu.formats.core import fields, pack, plain
from smmu.formats.events import EventType
from smmu.formats.registers import STRTAB_BASE_CFG
from smmu.formats.stream_table import STE, STEConfig
from smmu_sim.fields import address
from smmu_sim.model.faults import Fault
from smmu_sim.model.stream_table import FMT_2_LEVEL, SPLITS, decode_ste, fetch_ste

__all__ = ["ABORT", "BAD_STE", "BYPASS", "Kind", "Stage1Owner", "VSTE",
           "effective_split", "read_vste", "trap"]

_ste, _cfg = plain(STE), plain(STRTAB_BASE_CFG)
_WORD = (1 << 64) - 1
# What iommu_hwpt_arm_smmuv3 may hold; the rest of a vSTE stays behind.
_ALLOWED = ("V", "Config", "S1Fmt", "S1ContextPtr", "S1CDMax", "S1DSS", "S1CIR", "S1COR", "S1CSH",
            "S1STALLD", "EATS")
_ALLOWED_MASK = sum(fields(STE)[name].mask for name in _ALLOWED)


class Kind(Enum):
    """What becomes of a stream's transactions."""

    ABORT = "abort"          # silently
    BYPASS = "bypass"        # input addresses are IPAs
    TRANSLATE = "translate"  # by the guest's CDs
    FAULT = "fault"          # abort, and the guest gets the event that its configuration causes


class VSTE(NamedTuple):
    """One stream's configuration, as far as the host needs it.

    ``words`` are the two words for the host: with ``TRANSLATE`` all that a guest may decide.
    ``event`` and ``values`` tell the record of ``FAULT``.
    """

    kind: Kind
    words: tuple = (0, 0)
    event: EventType | None = None
    values: tuple = ()

    @property
    def context_ptr(self):
        """S1ContextPtr: an IPA."""
        return _ste.S1ContextPtr(self.words[0]) << 6

    @property
    def cdmax(self):
        """log2 of the number of CDs."""
        return _ste.S1CDMax(self.words[0])


ABORT = VSTE(Kind.ABORT, (1, 0))
BYPASS = VSTE(Kind.BYPASS, (1 | STEConfig.BYPASS << fields(STE)["Config"].lsb, 0))

BAD_STE = VSTE(Kind.FAULT, event=EventType.C_BAD_STE)


def trap(context_ptr):
    """Return the nested STE that finds an invalid CD: a page of zeros at IPA ``context_ptr``."""
    raw = pack(STE, {"V": 1, "Config": STEConfig.S1_TRANS,
                     "S1ContextPtr": address(STE, "S1ContextPtr", context_ptr)})
    return VSTE(Kind.TRANSLATE, (raw & _WORD, raw >> 64 & _WORD))


def effective_split(registers):
    """Return how many StreamID bits one L1STD covers; 0 with a linear stream table."""
    cfg = registers["STRTAB_BASE_CFG"]
    if _cfg.FMT(cfg) != FMT_2_LEVEL:
        return 0
    return _cfg.SPLIT(cfg) if _cfg.SPLIT(cfg) in SPLITS else SPLITS[0]


def read_vste(registers, memory, features, vsid):
    """Read and judge the vSTE of a vSID as the SMMU would (IHI 0070: 5.1, 5.2, 7.3).

    A bad StreamID, an STE that can't be fetched and an illegal STE give ``FAULT``; so does what
    the virtual SMMU doesn't offer, stage 2 (Config 6 and 7). Without RECINVSID a bad StreamID
    aborts silently.
    """
    try:
        raw = fetch_ste(registers, memory, features, vsid)
    except Fault as fault:
        if fault.event is None:
            return ABORT
        return VSTE(Kind.FAULT, event=fault.event, values=tuple(fault.values.items()))
    stream = decode_ste(raw, features, features.stall)
    if stream is False:
        return ABORT
    if stream is None:
        return BAD_STE
    if not stream.stage1:
        return BYPASS
    kept = raw & _ALLOWED_MASK
    return VSTE(Kind.TRANSLATE, (kept & _WORD, kept >> 64 & _WORD))


class Stage1Owner(Protocol):
    """The host's side of a guest's stage 1: nested translation of the devices of one VM.

    StreamIDs here are the guest's (vSIDs).
    """

    def configure(self, vsid, vste):
        """Let a device translate as ``vste`` says. Complete when it returns.

        With ``Kind.FAULT`` every transaction of the device ends in an event C_BAD_CD, or
        C_BAD_SUBSTREAMID if it has a SubstreamID, which :meth:`events` tells; the virtual SMMU
        makes the guest's event of it. Raises :exc:`LinuxError`; the old configuration stays.
        """

    def invalidate(self, commands):
        """Carry out raw TLBI, CFGI_CD, CFGI_CD_ALL and ATC_INV commands; return how many were.

        Fewer than given: the one at that index was refused.
        """

    def events(self):
        """Return new records for the guest's event queue, as integers, with vSIDs."""

    def resume(self, vsid, stag, retry):
        """Answer a stalled transaction. What is not stalled is ignored."""

    def terminate_stalls(self, vsid):
        """Abort all stalled transactions of a device."""
