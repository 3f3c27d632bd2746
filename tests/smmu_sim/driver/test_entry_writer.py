"""The counts of CFGI and CMD_SYNC in Linux's own unit tests of its writer."""

import pytest

from smmu.formats.stream_table import EATS, S1DSS
from smmu_sim.driver import entries
from smmu_sim.driver.entry_writer import cd_used, ste_safe, ste_used, write_entry
from smmu_sim.memory import Memory
from smmu_sim.pagetable import PageTable


class Fields:
    """Stands for a table: what STE or CD say of it."""

    def __init__(self, **fields):
        self.ste_fields = self.cd_fields = lambda: dict(fields)


WALK = {"S1CIR": 1, "S1COR": 1, "S1CSH": 3, "S1CDMax": 2}
CDS = Fields(S1ContextPtr=0x1000, S1DSS=S1DSS.SSID0, **WALK)
OTHER = Fields(S1ContextPtr=0x2000, S1DSS=S1DSS.SSID0, **WALK | {"S1CIR": 2})
STAGE2 = Fields(S2T0SZ=24, S2SL0=1, S2IR0=1, S2OR0=1, S2SH0=3, S2PS=5, S2AA64=1, S2TTB=0x3000)
ATS = {"EATS": EATS.FULL}


def s1(**fields):
    return entries.stage1_ste(CDS, vmid=7, **ATS | fields)


def s2(**fields):
    return entries.stage2_ste(STAGE2, vmid=7, **ATS | fields)


def nested(**fields):
    return entries.nested_ste(CDS, STAGE2, vmid=7, **ATS | fields)


ABORT, BYPASS, S1BYPASS = entries.ABORT, entries.bypass_ste(), s1(S1DSS=S1DSS.BYPASS)
STALL_S1, STALL_S2 = s1(S1STALLD=0), s2(S2S=1)


def change(start, target, used=ste_used, safe=ste_safe):
    """Rewrite an entry; return (syncs, whether it was invalid on the way)."""
    memory, syncs, broken = Memory(), [], []
    memory.write(0, start.to_bytes(64, "little"))
    handle = memory.observe(range(8), lambda addr, data, _: broken.append(
        used is ste_used and not data[0] & 1))
    count = write_entry(memory, 0, target, used=used, safe=safe, sync=lambda: syncs.append(1))
    memory.remove(handle)
    assert memory.read(0, 64) == target.to_bytes(64, "little") and count == len(syncs)
    return count, any(broken)


@pytest.mark.parametrize("start, target, there, back", [
    (BYPASS, ABORT, 2, 2), (s1(), ABORT, 2, 2), (BYPASS, s1(), 3, 3),
    (s1(), S1BYPASS, 1, 1), (S1BYPASS, BYPASS, 2, 2),
    (s2(), ABORT, 2, 2), (s2(), BYPASS, 2, 2), (s1(), s2(), 3, 3),
    (STALL_S1, STALL_S2, 3, 3), (nested(S1DSS=S1DSS.BYPASS), s2(), 3, 2),
], ids=["bypass-abort", "cdtable-abort", "bypass-cdtable", "S1DSS", "s1dss_bypass-bypass",
        "s2-abort", "s2-bypass", "s1-s2", "s1-s2 with stalls", "nested_s1dss_bypass-s2"])
def test_hitless(start, target, there, back):
    assert change(start, target) == (there, False)
    assert change(target, start) == (back, False)


def test_another_vmid_is_a_second_word():
    """Linux's own test has VMID 0 on both sides; in practice stage 2 has another."""
    assert change(s1(S2VMID=0), s2()) == (3, True)


def test_two_cd_tables_are_told_apart_by_an_invalid_moment():
    assert change(s1(), entries.stage1_ste(OTHER, vmid=7, **ATS)) == (3, True)


class Pages:
    """An allocator with one page."""

    @staticmethod
    def alloc(size):
        return 0x10_0000


def cd_change(start, target):
    return change(start, target, used=cd_used, safe=lambda *_: 0)[0]


def test_cds():
    pages = PageTable(Memory(), Pages)
    cd = entries.cd(pages, asid=5)
    assert cd_change(0, cd) == cd_change(cd, 0) == 2
    assert cd_change(cd, entries.cd(pages, asid=6)) == 1
    quiet = entries.quiet_cd(asid=5)
    assert cd_change(cd, quiet) == 2, "the process has gone: EPD0, then the unused TTB0"
    assert cd_change(quiet, 0) == 2
