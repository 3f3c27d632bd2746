"""STEs and CDs as the driver fills them in."""

from smmu.formats.context_descriptor import CD
from smmu.formats.core import pack
from smmu.formats.stream_table import S1DSS, SHCFG, STE, STEConfig

from smmu_sim.prot import MAIR

__all__ = ["ABORT", "bypass_ste", "cd", "nested_ste", "quiet_cd", "stage1_ste", "stage2_ste"]

ABORT = pack(STE, {"V": 1, "Config": STEConfig.ABORT})
_MAIR_HALF = 32


def bypass_ste(**fields):
    """Both stages bypassed."""
    return pack(STE, {"V": 1, "Config": STEConfig.BYPASS, "SHCFG": SHCFG.INCOMING, **fields})


def stage1_ste(cd_table, *, vmid=0, **fields):
    """Stage 1 with the CDs of ``cd_table``. The VMID tags the TLB even so."""
    ste = {"V": 1, "Config": STEConfig.S1_TRANS, "S2VMID": vmid, **cd_table.ste_fields(), **fields}
    if ste["S1DSS"] == S1DSS.BYPASS:  # otherwise SHCFG is not used
        ste.setdefault("SHCFG", SHCFG.INCOMING)
    return pack(STE, ste)


def _stage2_fields(page_table, vmid):
    # S2PTW: a guest must not make the SMMU read its tables out of a device.
    return {"SHCFG": SHCFG.INCOMING, "S2VMID": vmid, "S2PTW": 1, "S2R": 1,
            **page_table.ste_fields()}


def stage2_ste(page_table, *, vmid, **fields):
    """Stage 2 alone."""
    return pack(STE, {"V": 1, "Config": STEConfig.S2_TRANS, **_stage2_fields(page_table, vmid),
                      **fields})


def nested_ste(cd_table, page_table, *, vmid, **fields):
    """Stage 1 of a guest, whose CD table lies at an IPA, over stage 2 of the host."""
    return pack(STE, {"V": 1, "Config": STEConfig.NESTED, "MEV": 1, **cd_table.ste_fields(),
                      **_stage2_fields(page_table, vmid), **fields})


def cd(lower=None, *, upper=None, asid, **fields):
    """A CD for the stage 1 page tables of the halves; a half without one is disabled."""
    if lower is None and upper is None:
        raise ValueError("a CD needs a page table for one of the halves")
    halves = {}
    for table, disable in ((lower, "EPD0"), (upper, "EPD1")):
        halves |= table.cd_fields() if table else {disable: 1}
    return pack(CD, {"V": 1, "R": 1, "A": 1, "ASET": 1, "ASID": asid, **halves,
                     "MAIR0": MAIR & (1 << _MAIR_HALF) - 1, "MAIR1": MAIR >> _MAIR_HALF, **fields})


def quiet_cd(*, asid, **fields):
    """A CD without tables: accesses abort, and nothing is recorded (SVA after the process's end).

    It is as much like the CD before it as can be, so that the change disturbs nothing.
    """
    return pack(CD, {"V": 1, "A": 1, "ASET": 1, "AA64": 1, "EPD0": 1, "EPD1": 1, "ASID": asid,
                     "MAIR0": MAIR & (1 << _MAIR_HALF) - 1, "MAIR1": MAIR >> _MAIR_HALF, **fields})
