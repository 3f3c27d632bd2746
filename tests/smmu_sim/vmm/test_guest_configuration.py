"""vSTEs: what they make of a device."""

import pytest
from smmu.formats.commands import Opcode, pack_command
from smmu.formats.core import pack
from smmu.formats.events import EventType, pack_event
from smmu.formats.registers import (
    CR0, STRTAB_BASE_CFG)
from smmu.formats.stream_table import L1STD, STE, S1DSS, STEConfig
from smmu_sim.driver import commands
from smmu_sim.vmm import Kind

VSID, OTHER, UNKNOWN = 0x10, 0x11, 0x12
RAM, SIZE = 0x4000_0000, 64 << 20
STREAM_TABLE, CDS = RAM, RAM + 0x30_0000


def translate(context_ptr=CDS, **values):
    return pack(STE, {"V": 1, "Config": STEConfig.S1_TRANS, "S1ContextPtr": context_ptr >> 6,
                      **values})


def test_only_what_a_guest_may_decide_reaches_the_host(new_bench):
    bench = new_bench()
    bench.ste(S1CDMax=4, S1DSS=S1DSS.SSID0, S1CIR=1, S1COR=1, S1CSH=3, CONT=3, S2FWB=1, MEV=1,
              SHCFG=1, S2VMID=0x42, S2TTB=0x1000, MTCFG=1, PRIVCFG=3)
    bench.start()
    word0, word1 = bench.owner.configured[-2][1].words
    assert bench.owner.configured[-2][0] == VSID
    assert word0 == translate(S1CDMax=4)
    assert word1 == pack(STE, {"S1DSS": 2, "S1CIR": 1, "S1COR": 1, "S1CSH": 3}) >> 64


@pytest.mark.parametrize("values", [
    {"V": 0}, {"Config": STEConfig.S2_TRANS}, {"Config": STEConfig.NESTED}, {"S1CDMax": 17},
    {"S1STALLD": 1}, {"S1ContextPtr": 1 << 42}])
def test_an_illegal_vste_makes_the_device_fault_with_c_bad_ste(new_bench, values):
    bench = new_bench()
    bench.ste(**values)
    bench.start()
    assert bench.smmu.state(VSID).kind is Kind.FAULT
    bench.event(EventType.C_BAD_CD)
    bench.event(EventType.C_BAD_SUBSTREAMID, SubstreamID=5)
    assert bench.record(0) == pack_event(EventType.C_BAD_STE, {"StreamID": VSID})
    assert bench.record(1) == pack_event(EventType.C_BAD_STE, {
        "StreamID": VSID, "SSV": 1, "SubstreamID": 5})


def test_a_legal_vste_leaves_the_events_as_they_are(new_bench):
    bench = new_bench()
    bench.ste()
    bench.start()
    bench.event(EventType.C_BAD_CD, SSV=1, SubstreamID=3)
    assert bench.record() == pack_event(EventType.C_BAD_CD, {
        "StreamID": VSID, "SSV": 1, "SubstreamID": 3})


@pytest.mark.parametrize("config", range(4))
def test_config_0xx_aborts_silently(new_bench, config):
    bench = new_bench()
    bench.ste(Config=config, S1CDMax=31)
    bench.start()
    assert bench.owner.kinds() == [Kind.BYPASS, Kind.ABORT]


def test_a_stream_table_that_is_too_small_gives_c_bad_streamid(new_bench):
    bench = new_bench()
    bench.start(SMMUEN=0)
    bench.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 4}))
    bench.write("CR0", pack(CR0, {"SMMUEN": 1, "EVENTQEN": 1, "CMDQEN": 1}))
    bench.event(EventType.C_BAD_CD)
    assert bench.record() == pack_event(EventType.C_BAD_STREAMID, {"StreamID": VSID})


def test_without_recinvsid_a_bad_streamid_aborts_silently(new_bench):
    bench = new_bench()
    bench.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 4}))
    bench.write("CR0", pack(CR0, {"SMMUEN": 1}))
    assert bench.owner.kinds() == [Kind.BYPASS, Kind.ABORT]


@pytest.mark.parametrize("span, event", [(0, EventType.C_BAD_STREAMID),
                                         (4, EventType.C_BAD_STREAMID),
                                         (12, EventType.C_BAD_STREAMID), (5, None), (7, None)])
def test_a_two_level_stream_table_has_bounds(new_bench, span, event):
    bench = new_bench()
    table = RAM + 0x40_0000
    bench.memory.write64(STREAM_TABLE, pack(L1STD, {"Span": span, "L2Ptr": table >> 6}))
    index = 0xF if span == 5 else VSID  # the last that 2**(5 - 1) STEs cover
    if span == 5:
        bench.smmu.streams = (index,)
    bench.memory.write(table + 64 * index, translate().to_bytes(64, "little"))
    bench.start(SMMUEN=0)
    bench.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 6, "SPLIT": 6, "FMT": 1}))
    bench.write("CR0", pack(CR0, {"SMMUEN": 1}))
    state = bench.smmu.state(index)
    assert state.event == event
    assert state.kind is (Kind.TRANSLATE if event is None else Kind.FAULT)


@pytest.mark.parametrize("level", [1, 2])
def test_a_stream_table_outside_of_the_guests_memory_gives_f_ste_fetch(new_bench, level):
    bench = new_bench()
    outside = RAM + SIZE
    bench.memory.write64(STREAM_TABLE, pack(L1STD, {"Span": 7, "L2Ptr": outside >> 6}))
    bench.start(SMMUEN=0)
    bench.write("STRTAB_BASE", STREAM_TABLE if level == 2 else outside)
    bench.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 6, "SPLIT": 6, "FMT": 1}))
    bench.write("CR0", pack(CR0, {"SMMUEN": 1, "EVENTQEN": 1}))
    bench.event(EventType.C_BAD_CD)
    fetched = outside + (64 * VSID if level == 2 else 0)
    assert bench.record() == pack_event(EventType.F_STE_FETCH, {
        "StreamID": VSID, "FetchAddr": fetched >> 3})


def test_cfgi_reads_the_vstes_it_names(new_bench):
    bench = new_bench()
    bench.start()
    assert bench.owner.kinds()[-1] is Kind.FAULT          # V is 0 everywhere
    bench.ste()
    bench.ste(OTHER)
    bench.command(commands.cfgi_ste(UNKNOWN))
    assert bench.owner.kinds()[-1] is Kind.FAULT
    bench.command(commands.cfgi_ste(VSID))
    assert bench.owner.kinds()[-1] is Kind.TRANSLATE
    assert bench.owner.kinds(OTHER)[-1] is Kind.FAULT
    bench.ste(Config=STEConfig.BYPASS)
    ranged = pack_command(Opcode.CMD_CFGI_STE_RANGE, {"StreamID": VSID + 1, "Range": 0})
    bench.command(ranged)                                  # 2 StreamIDs
    assert bench.owner.kinds()[-1] is Kind.BYPASS
    assert bench.owner.kinds(OTHER)[-1] is Kind.TRANSLATE
    bench.ste(Config=STEConfig.ABORT)
    bench.command(pack_command(Opcode.CMD_CFGI_STE_RANGE, {"StreamID": 0, "Range": 3}))
    assert bench.owner.kinds()[-1] is Kind.BYPASS          # 0 to 15 only
    bench.command(commands.cfgi_all())
    assert bench.owner.kinds()[-1] is Kind.ABORT


def test_cfgi_ste_of_an_unchanged_vste_still_forgets_the_cds(new_bench):
    bench = new_bench()
    bench.ste()
    bench.start()
    before = list(bench.owner.configured)
    bench.command(commands.cfgi_ste(VSID), commands.sync())
    assert bench.owner.configured == before
    assert bench.owner.batches == [[commands.cfgi_cd_all(VSID)]]


def test_a_configuration_that_the_host_refuses_acts_as_an_illegal_one(new_bench):
    bench = new_bench()
    bench.ste()
    bench.owner.refuse = "EBUSY"
    bench.start()
    assert [error.name for error in bench.smmu.refusals] == ["EBUSY"]
    bench.event(EventType.C_BAD_CD)
    assert bench.record() == pack_event(EventType.C_BAD_STE, {"StreamID": VSID})
