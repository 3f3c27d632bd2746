"""The model's way to a CD: STE legality, SubstreamIDs, CD tables, CD legality."""

import pytest

from smmu.formats.context_descriptor import L1CD
from smmu.formats.core import pack
from smmu.formats.events import EventType
from smmu.formats.stream_table import S1DSS, S1Fmt, STEConfig, STRW
from smmu.params import Params
from smmu_sim.model.system import System

BAD_SSID = EventType.C_BAD_SUBSTREAMID
DISABLED = EventType.F_STREAM_DISABLED
BYPASS = "bypass"
VA = 0x12_3000


def system_with_cds(cdmax, **values):
    """CD n maps VA to page n + 1 of 0x5000_0000 in a table of its own."""
    system = System()
    system.ste(S1CDMax=cdmax, **values)
    for index in range(8):
        table = system.allocate(4096)
        system.cd(index, TTB0=table >> 4)
        system.S1_TABLE = table
        system.map1(VA, 0x5000_1000 + 0x1000 * index)
    return system


S1, S2, NESTED = STEConfig.S1_TRANS, STEConfig.S2_TRANS, STEConfig.NESTED


@pytest.mark.parametrize("config, cdmax, s1dss, ssid, outcome", [
    # SSV=1
    (STEConfig.BYPASS, 3, S1DSS.SSID0, 1, BAD_SSID),
    (S2, 3, S1DSS.SSID0, 1, BAD_SSID),
    (S1, 0, S1DSS.TERMINATE, 0, BAD_SSID),
    (S1, 0, S1DSS.SSID0, 0, BAD_SSID),
    (S1, 3, S1DSS.TERMINATE, 8, BAD_SSID),
    (S1, 3, S1DSS.SSID0, 0x8_0000, BAD_SSID),
    (S1, 3, S1DSS.SSID0, 0, DISABLED),
    (S1, 3, S1DSS.TERMINATE, 0, 0),
    (S1, 3, S1DSS.BYPASS, 0, 0),
    (S1, 3, 3, 0, 0),
    (S1, 3, S1DSS.SSID0, 7, 7),
    (NESTED, 3, S1DSS.BYPASS, 5, 5),
    # SSV=0
    (STEConfig.BYPASS, 3, S1DSS.TERMINATE, None, BYPASS),
    (S2, 3, S1DSS.TERMINATE, None, BYPASS),
    (S1, 0, S1DSS.TERMINATE, None, 0),
    (S1, 0, S1DSS.BYPASS, None, 0),
    (S1, 3, S1DSS.TERMINATE, None, DISABLED),
    (NESTED, 3, 3, None, DISABLED),
    (S1, 3, S1DSS.BYPASS, None, BYPASS),
    (NESTED, 3, S1DSS.BYPASS, None, BYPASS),
    (S1, 3, S1DSS.SSID0, None, 0),
])
def test_substreamid_decision(config, cdmax, s1dss, ssid, outcome):
    system = system_with_cds(cdmax, config=config, S1DSS=s1dss)
    result = system.dma(VA | 0x40, ssid=ssid)
    events = system.events()
    if outcome == BYPASS:
        assert result.pa == VA | 0x40 and not events
    elif isinstance(outcome, EventType):
        fields = {"StreamID": 1}
        if outcome == BAD_SSID and ssid:
            fields["SubstreamID"] = ssid
        assert not result.ok and events == [(outcome, fields)]
    else:
        assert result.pa == 0x5000_1040 + 0x1000 * outcome and not events


def test_cdmax_is_ignored_without_substreams():
    system = System(Params(ssidsize=0))
    system.ste(S1CDMax=20, S1Fmt=1, S1DSS=S1DSS.TERMINATE)
    system.cd()
    system.map1(VA, 0x5000_0000)
    assert system.dma(VA).pa == 0x5000_0000
    assert not system.dma(VA, ssid=0).ok
    assert system.events() == [(BAD_SSID, {"StreamID": 1})]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("s1fmt, leaf_bits", [(S1Fmt.LEVEL2_4K, 6), (S1Fmt.LEVEL2_64K, 10)])
@pytest.mark.parametrize("ssid", [1, 63, 64, 1023, 1024, 4095])
def test_two_level_cd_table(nested, s1fmt, leaf_bits, ssid):
    system = System()
    # Bits of S1ContextPtr below the alignment of the level 1 table are ignored.
    table = system.allocate(4096)
    system.ste(config=NESTED if nested else S1, S1Fmt=s1fmt, S1CDMax=12,
               S1ContextPtr=table + 0x40 * (s1fmt == S1Fmt.LEVEL2_4K) >> 6)
    leaf = system.allocate(1 << 16)
    l1cd_addr = table + 8 * (ssid >> leaf_bits)
    # Bits of L2Ptr below the alignment of the leaf table are ignored.
    low = 0 if s1fmt == S1Fmt.LEVEL2_4K else 3
    system.memory.write64(l1cd_addr, pack(L1CD, {"V": 1, "L2Ptr": leaf >> 12 | low}))
    system.cd(addr=leaf + 64 * (ssid & (1 << leaf_bits) - 1))
    system.map1(VA, 0x5000_0000)
    assert system.dma(VA, ssid=ssid).pa == 0x5000_0000
    # L1CD.V = 0, then an abort of the L1CD, then of the CD
    system.memory.write64(l1cd_addr, pack(L1CD, {"L2Ptr": leaf >> 12}))
    assert not system.dma(VA, ssid=ssid).ok
    system.memory.abort_at(l1cd_addr)
    assert not system.dma(VA, ssid=ssid).ok
    assert system.events() == [
        (BAD_SSID, {"StreamID": 1, "SubstreamID": ssid}),
        (EventType.F_CD_FETCH,
         {"StreamID": 1, "SSV": 1, "SubstreamID": ssid, "FetchAddr": l1cd_addr >> 3})]


def test_two_level_cd_table_without_level_2_bits():
    """With S1CDMax <= 6 all CDs are in the leaf table of L1CD 0."""
    system = System()
    table, leaf = system.allocate(64), system.allocate(4096)
    system.ste(S1Fmt=S1Fmt.LEVEL2_4K, S1CDMax=3, S1ContextPtr=table >> 6, S1DSS=S1DSS.SSID0)
    system.memory.write64(table, pack(L1CD, {"V": 1, "L2Ptr": leaf >> 12}))
    system.cd(addr=leaf)
    system.cd(addr=leaf + 64 * 7, EPD0=1)
    system.map1(VA, 0x5000_0000)
    assert system.dma(VA).pa == 0x5000_0000
    assert not system.dma(VA, ssid=7).ok
    system.memory.write64(table, 0)
    assert not system.dma(VA).ok
    numbers = [event for event, _ in system.events()]
    assert numbers == [EventType.F_TRANSLATION, BAD_SSID]


@pytest.mark.parametrize("legal, config, values, params", [
    (True, S1, {}, {}),
    (False, S1, {"V": 0}, {}),
    (False, S1, {"S1STALLD": 1}, {}),
    (True, S2, {"S1STALLD": 1}, {}),
    (True, S1, {"S1CDMax": 8, "S1DSS": S1DSS.SSID0}, {"ssidsize": 8}),
    (False, S1, {"S1CDMax": 9, "S1DSS": S1DSS.SSID0}, {"ssidsize": 8}),
    (True, S2, {"S1CDMax": 9}, {"ssidsize": 8}),
    (True, S1, {"S1CDMax": 3, "S1DSS": S1DSS.SSID0, "S1Fmt": 3}, {"cd2l": 0}),
    (False, S1, {"S1CDMax": 3, "S1Fmt": S1Fmt.LEVEL2_4K}, {"cd2l": 0}),
    (False, S1, {"S1CDMax": 3, "S1Fmt": S1Fmt.LEVEL2_64K}, {"cd2l": 0}),
    (True, S1, {"S1Fmt": S1Fmt.LEVEL2_64K}, {"cd2l": 0}),
    (False, S1, {"S1ContextPtr": 1 << 48 - 6}, {}),
    (False, S1, {"S1ContextPtr": 1 << 40 - 6}, {"oas": 40}),
    (True, S1, {"STRW": STRW.EL2}, {}),
    (False, S1, {"STRW": 1}, {}),
    (False, S1, {"STRW": 3}, {}),
    (True, NESTED, {"STRW": 3}, {}),
    (True, S1, {"EATS": 2}, {}),
    (True, S1, {"S2HA": 1, "S2S": 1, "S2AA64": 0, "S2TG": 3}, {}),  # stage 2 is off
    (False, S2, {"S2AA64": 0}, {}),
    (False, S2, {"S2HA": 1}, {}),
    (False, NESTED, {"S2HD": 1}, {}),
    (False, S2, {"S2S": 1}, {}),
    (False, S2, {"S2TG": 3}, {}),
    (False, S2, {"S2TG": 0}, {"gran4k": 0}),
    (False, S2, {"S2ENDI": 1}, {}),
    (True, STEConfig.BYPASS, {"S2ENDI": 1, "STRW": 1, "S1STALLD": 1}, {}),
    (False, S2, {"S2TTB": 1 << 32 - 4, "S2PS": 0}, {}),
    (False, S2, {"S2TTB": 1 << 48 - 4, "S2PS": 7}, {}),
    (False, S2, {"S2T0SZ": 15, "S2SL0": 2}, {}),
    (True, S2, {"S2T0SZ": 16, "S2SL0": 2}, {}),
    (True, S2, {"S2T0SZ": 39, "S2SL0": 0}, {}),
    (False, S2, {"S2T0SZ": 40, "S2SL0": 0}, {}),
    (True, S2, {"S2T0SZ": 24, "S2SL0": 1}, {"oas": 40}),
    (True, S2, {"S2TTB": (1 << 32) - 4096 >> 4, "S2PS": 0}, {}),
    (False, S2, {"S2T0SZ": 23, "S2SL0": 1}, {"oas": 40}),
    (True, S1, {"S2VMID": 0xFF}, {"vmid16": 0}),
    (False, S1, {"S2VMID": 0x100}, {"vmid16": 0}),
    (True, S1, {"S2VMID": 0x100, "STRW": STRW.EL2}, {"vmid16": 0}),
    (True, STEConfig.BYPASS, {"S2VMID": 0x100}, {"vmid16": 0}),
])
def test_ste_legality(legal, config, values, params):
    system = System(Params(**params))
    system.ste(config=config, **values)
    system.cd(IPS=2)
    system.map1(VA, 0x5000_0000)
    system.dma(VA)
    illegal = [(EventType.C_BAD_STE, {"StreamID": 1})]
    assert (system.events() == illegal) == (not legal)


@pytest.mark.parametrize("config", range(4))
def test_abort_configs_are_silent_whatever_else_is_wrong(config):
    system = System()
    system.ste(config=config, S1STALLD=1, S2HA=1, STRW=3)
    assert not system.dma(VA, ssid=3).ok
    assert not system.events()


EL2 = {"STRW": STRW.EL2}


@pytest.mark.parametrize("legal, values, ste, params, e2h", [
    (True, {}, {}, {}, 0),
    (False, {"V": 0}, {}, {}, 0),
    (False, {"AA64": 0}, {}, {}, 0),
    (False, {"HA": 1}, {}, {}, 0),
    (False, {"HD": 1}, {}, {}, 0),
    (False, {"S": 1}, {}, {}, 0),
    (True, {"A": 0}, {}, {}, 0),
    (False, {"A": 0}, {}, {"term_model": 1}, 0),
    (False, {"ENDI": 1}, {}, {}, 0),
    (True, {"ENDI": 1}, {}, {"ttendian": 0}, 0),
    (True, {"T0SZ": 16}, {}, {}, 0),
    (True, {"T0SZ": 39}, {}, {}, 0),
    (True, {"ENDI": 1, "EPD0": 1, "EPD1": 1}, {}, {}, 0),
    (False, {"ENDI": 1, "EPD0": 1, "EPD1": 1}, EL2, {}, 0),  # EPD0 acts as 0
    (True, {"ASID": 0x1FF}, {}, {}, 0),
    (False, {"ASID": 0x100}, {}, {"asid16": 0}, 0),
    (False, {"ASID": 0x100}, EL2, {"asid16": 0}, 1),
    (True, {"ASID": 0x100}, EL2, {"asid16": 0}, 0),
    (False, {"T0SZ": 15}, {}, {}, 0),
    (False, {"T0SZ": 40}, {}, {}, 0),
    (True, {"T0SZ": 40, "EPD0": 1, "EPD1": 0}, {}, {}, 0),
    (False, {"T1SZ": 15}, {}, {}, 0),
    (True, {"T1SZ": 15, "EPD1": 1}, {}, {}, 0),
    (True, {"T1SZ": 15}, EL2, {}, 0),
    (False, {"T1SZ": 15}, EL2, {}, 1),
    (False, {"TG0": 3}, {}, {}, 0),
    (False, {"TG1": 0}, {}, {}, 0),
    (False, {"TG0": 1}, {}, {"gran64k": 0}, 0),
    (False, {"TTB0": 1 << 32 - 4, "IPS": 0}, {}, {}, 0),
    (False, {"TTB1": 1 << 48 - 4, "IPS": 7}, {}, {}, 0),
    (True, {"TTB1": 1 << 48 - 4, "EPD1": 1}, {}, {}, 0),
])
def test_cd_legality(legal, values, ste, params, e2h):
    system = System(Params(**params), E2H=e2h)
    system.ste(**ste)
    system.cd(**values)
    system.dma(VA)
    illegal = [(EventType.C_BAD_CD, {"StreamID": 1})]
    assert (system.events() == illegal) == (not legal)


@pytest.mark.parametrize("nested", [False, True])
def test_linear_cd_table_is_aligned_to_its_size(nested):
    system = System()
    table = system.allocate(1 << 12)
    system.ste(config=NESTED if nested else S1, S1CDMax=6, S1ContextPtr=table + 0x440 >> 6)
    system.cd(addr=table + 64 * 33)
    system.map1(VA, 0x5000_0000)
    assert system.dma(VA, ssid=33).pa == 0x5000_0000


@pytest.mark.parametrize("nested", [False, True])
def test_l1cd_pointer_out_of_range(nested):
    system = System(Params(oas=40))
    table = system.allocate(64)
    system.ste(config=NESTED if nested else S1, S1Fmt=S1Fmt.LEVEL2_4K, S1CDMax=7,
               S1ContextPtr=table >> 6)
    system.memory.write64(table, pack(L1CD, {"V": 1, "L2Ptr": 1 << 40 - 12}))
    assert not system.dma(VA, ssid=5).ok
    assert system.events() == [(BAD_SSID, {"StreamID": 1, "SubstreamID": 5})]
