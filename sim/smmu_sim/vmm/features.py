"""What a virtual SMMU tells its guest about itself: the host's ID registers, masked."""

from dataclasses import dataclass
from typing import NamedTuple

from smmu.formats.core import plain, unpack, update
from smmu.formats.descriptors import SIZE_BITS
from smmu.formats.registers import IDR0, IDR1, IDR3, IDR5, id_values
from smmu.params import Params

__all__ = ["HardwareInfo", "VirtualFeatures"]

_STALL, _TERMINATE = 0, 1
_MAX_SIDSIZE, _MAX_QUEUE = 16, 10  # a guest needs no larger tables and queues
_IDENTIFICATION = {name: value for name, value in id_values(Params()).items()
                   if name.startswith(("PIDR", "CIDR"))}


class HardwareInfo(NamedTuple):
    """ID registers as GET_HW_INFO returns them (iommu_hw_info_arm_smmuv3)."""

    idr: tuple  # IDR0 to IDR5
    iidr: int
    aidr: int

    @classmethod
    def from_registers(cls, read32):
        """Read them from a register slave."""
        words = [read32(4 * n) for n in range(8)]
        return cls(tuple(words[:6]), words[6], words[7])


@dataclass(frozen=True)
class VirtualFeatures:
    """The features of a virtual SMMU, and the ID registers that say so.

    The names are those of :class:`Params`, so the model's register file, queues and STE rules work
    on it. What the monitor cannot pass on is not offered: stage 2, EL2 contexts, HTTU, BTM, PRI,
    ATOS, attribute overrides. Stalls, ATS, sizes, granules and table formats are the host's. MSIs
    and the 2-level stream table are the monitor's own and are always there.
    """

    ids: dict
    sidsize: int
    ssidsize: int
    cmdqs: int
    eventqs: int
    oas: int
    cd2l: int
    ats: int
    stall_model: int
    term_model: int
    ttendian: int
    ril: int
    gran4k: int
    gran16k: int
    gran64k: int
    s1p: int = 1
    s2p: int = 0
    hyp: int = 0
    had: int = 1
    xnx: int = 0
    fwb: int = 0
    msi: int = 1
    cohacc: int = 1
    asid16: int = 1
    vmid16: int = 0
    st_level: int = 1
    attr_perms_ovr: int = 0
    attr_types_ovr: int = 0
    remap_entries: int = 0
    pri: int = 0

    @property
    def stall(self):
        """Whether a CD may ask for stalls."""
        return self.stall_model == _STALL

    @classmethod
    def from_hardware(cls, info, *, ats=None, stall=True, substreams=True):
        """Mask what ``info`` (:class:`HardwareInfo`) says.

        ``ats`` False hides ATS (the device can't do it); ``stall`` False hides stalls (there is no
        fault queue to carry them); ``substreams`` False hides SubstreamIDs (the interface to the
        host knows a single CD).
        """
        idr0, idr1, _, idr3, _, idr5 = info.idr
        host0, host1, host3, host5 = (
            unpack(struct, raw) for struct, raw in
            ((IDR0, idr0), (IDR1, idr1), (IDR3, idr3), (IDR5, idr5)))
        ssidsize = host1["SSIDSIZE"] if substreams else 0
        stalls = stall and host0["STALL_MODEL"] != _TERMINATE
        offered0 = update(IDR0, 0, {
            **{name: host0[name] for name in ("ASID16", "CD2L", "TTENDIAN", "TERM_MODEL")},
            "ATS": host0["ATS"] if ats is None else ats and host0["ATS"],
            "S1P": 1, "TTF": 2, "COHACC": 1, "MSI": 1, "ST_LEVEL": 1,
            "STALL_MODEL": host0["STALL_MODEL"] if stalls else _TERMINATE})
        offered1 = update(IDR1, 0, {
            "SIDSIZE": min(host1["SIDSIZE"], _MAX_SIDSIZE), "SSIDSIZE": ssidsize,
            "CMDQS": _MAX_QUEUE, "EVENTQS": _MAX_QUEUE})
        offered3 = update(IDR3, 0, {name: host3[name] for name in ("HAD", "RIL", "BBML")})
        offered5 = update(IDR5, 0, {
            **{name: host5[name] for name in ("OAS", "GRAN4K", "GRAN16K", "GRAN64K")},
            "STALL_MAX": host5["STALL_MAX"] if stalls else 0})
        ids = {"IDR0": offered0, "IDR1": offered1, "IDR2": 0, "IDR3": offered3, "IDR4": 0,
               "IDR5": offered5, "IIDR": info.iidr, "AIDR": info.aidr, **_IDENTIFICATION}
        return cls(
            ids=ids, sidsize=plain(IDR1).SIDSIZE(offered1), ssidsize=ssidsize,
            cmdqs=_MAX_QUEUE, eventqs=_MAX_QUEUE, oas=SIZE_BITS[host5["OAS"]], cd2l=host0["CD2L"],
            ats=plain(IDR0).ATS(offered0), stall_model=plain(IDR0).STALL_MODEL(offered0),
            term_model=host0["TERM_MODEL"], ttendian=host0["TTENDIAN"], ril=host3["RIL"],
            asid16=host0["ASID16"],
            gran4k=host5["GRAN4K"], gran16k=host5["GRAN16K"], gran64k=host5["GRAN64K"])
