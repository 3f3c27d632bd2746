"""VirtualSMMU: what it says it is, and the driver of the host on it."""

import pytest
from smmu.formats.commands import Opcode
from smmu.formats.core import fields, plain
from smmu.formats.registers import (
    BY_NAME, IDR0, IDR1, IDR3, IDR5,
    OWN_FRAME)
from smmu_sim.driver import commands, entries
from smmu_sim.memory import BusAbort
from smmu_sim.vmm import Kind

VSID, OTHER, UNKNOWN = 0x10, 0x11, 0x12
RAM, HPA, SIZE = 0x4000_0000, 0x8_8000_0000, 64 << 20
VITS = 0x0808_0000


# --- identification ------------------------------------------------------------------------------

def test_what_the_monitor_cannot_pass_on_is_not_offered(new_bench):
    bench = new_bench()
    idr0, idr1 = bench.read("IDR0"), bench.read("IDR1")
    absent = ("S2P", "Hyp", "HTTU", "BTM", "PRI", "ATOS", "VATOS", "VMW", "ATS", "SEV")
    assert {name: getattr(plain(IDR0), name)(idr0) for name in absent} == dict.fromkeys(absent, 0)
    assert plain(IDR0).S1P(idr0) == plain(IDR0).COHACC(idr0) == plain(IDR0).MSI(idr0) == 1
    assert plain(IDR0).STALL_MODEL(idr0) == 1
    assert plain(IDR1).ATTR_TYPES_OVR(idr1) == plain(IDR1).ATTR_PERMS_OVR(idr1) == 0
    assert (plain(IDR1).SIDSIZE(idr1), plain(IDR1).SSIDSIZE(idr1)) == (16, 16)
    assert plain(IDR3).RIL(bench.read("IDR3")) == 1 and plain(IDR3).FWB(bench.read("IDR3")) == 0
    assert plain(IDR5).OAS(bench.read("IDR5")) == 5 and bench.read("AIDR") == 2


def test_stalls_are_offered_only_where_the_host_has_them_and_they_can_be_carried(new_bench):
    assert new_bench(stalls=True).field("IDR0", "STALL_MODEL") == 0
    assert new_bench(stalls=True, stall=False).field("IDR0", "STALL_MODEL") == 1
    assert new_bench(stall=True).field("IDR0", "STALL_MODEL") == 1


def test_the_own_frame_of_the_host_is_not_there(new_bench):
    bench = new_bench()
    for offset in (0, 8, 0xC, 0x1000, 0x1008, 0x2000):
        bench.smmu.write32(OWN_FRAME + offset, 0xFFFF_FFFF)
        assert bench.smmu.read32(OWN_FRAME + offset) == 0
    driver = bench.driver()
    driver.probe()
    assert not driver.remap.present and driver.remap.entries == 0


# --- the driver ----------------------------------------------------------------------------------

def test_a_driver_resets_attaches_and_detaches(new_bench):
    bench = new_bench()
    assert bench.owner.kinds() == [Kind.BYPASS]           # out of reset, before any driver
    driver = bench.driver()
    driver.reset()
    assert bench.read("CR0ACK") == bench.read("CR0") and bench.smmu.registers.smmuen
    assert bench.owner.kinds() == [Kind.BYPASS, Kind.FAULT]  # no level 2 table: C_BAD_STREAMID
    contexts = driver.context_table()
    driver.set_ste(VSID, entries.stage1_ste(contexts))
    assert bench.owner.kinds()[-1] is Kind.TRANSLATE
    assert bench.owner.configured[-1][1].context_ptr == contexts.base
    driver.set_ste(VSID, entries.bypass_ste())
    assert bench.owner.kinds()[-1] is Kind.BYPASS
    driver.detach(VSID)
    driver.disable(abort=False)
    assert bench.owner.kinds()[-2:] == [Kind.ABORT, Kind.BYPASS]
    assert bench.owner.kinds(OTHER) == [Kind.BYPASS, Kind.FAULT, Kind.ABORT, Kind.BYPASS]


@pytest.mark.parametrize("sync_by_msi", [False, True])
@pytest.mark.parametrize("two_level", [False, True])
def test_a_driver_runs_with_either_stream_table_and_either_sync(new_bench, sync_by_msi, two_level):
    bench = new_bench()
    driver = bench.driver(sync_by_msi=sync_by_msi, two_level=two_level)
    driver.reset()
    driver.set_ste(VSID, entries.stage1_ste(driver.context_table()))
    driver.set_ste(UNKNOWN, entries.stage1_ste(driver.context_table()))  # nobody's
    assert [vsid for vsid, vste in bench.owner.configured if vste.kind is Kind.TRANSLATE] == [VSID]
    driver.issue([commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=0x21)])
    assert bench.owner.batches[-1] == [commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=0x21)]


def test_gbpa_decides_while_smmuen_is_0(new_bench):
    bench = new_bench()
    driver = bench.driver()
    driver.probe()
    driver.set_gbpa(ABORT=1)
    driver.set_gbpa(ABORT=0)
    assert bench.owner.kinds() == [Kind.BYPASS, Kind.ABORT, Kind.BYPASS]
    driver.reset()
    driver.set_ste(VSID, entries.stage1_ste(driver.context_table()))
    known, batches = list(bench.owner.configured), list(bench.owner.batches)
    bench.memory.write(driver.stream_table.find(VSID), bytes(64))  # no CFGI_STE
    driver.set_gbpa(ABORT=1)
    driver.sync()
    assert (bench.owner.configured, bench.owner.batches) == (known, batches)


# --- guards --------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["STRTAB_BASE", "STRTAB_BASE_CFG", "CR2", "CMDQ_BASE",
                                  "CMDQ_CONS", "EVENTQ_BASE", "EVENTQ_PROD", "CR1"])
def test_guarded_registers_ignore_writes_while_enabled(new_bench, name):
    bench = new_bench()
    bench.start()
    before = bench.read(name)
    bench.write(name, before ^ 0x43)
    assert bench.read(name) == before
    bench.write("CR0", 0)
    bench.write(name, before ^ 0x43)
    assert bench.read(name) != before


def test_gbpa_needs_update(new_bench):
    bench = new_bench()
    abort = fields(BY_NAME["GBPA"].struct)["ABORT"].mask
    bench.write("GBPA", abort)
    assert bench.owner.kinds() == [Kind.BYPASS] and not bench.read("GBPA") & abort


# --- memory --------------------------------------------------------------------------------------

def test_guest_memory_ends_at_its_bounds(new_bench):
    bench = new_bench()
    bench.memory.write64(RAM + 8, 0x1234)
    assert bench.host_memory.read64(HPA + 8) == 0x1234
    for addr in (RAM - 4, RAM + SIZE - 2, RAM + SIZE, VITS + 0x2_0000, HPA):
        with pytest.raises(BusAbort):
            bench.memory.read32(addr)
        with pytest.raises(BusAbort):
            bench.memory.write32(addr, 0)
    with pytest.raises(BusAbort):
        bench.memory.to_target(RAM + SIZE - 4, 8)
