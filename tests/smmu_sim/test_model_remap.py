"""The model's MSI doorbell remap."""

import pytest

from smmu.formats.core import pack
from smmu.formats.events import EventType
from smmu.formats.registers import REMAP_DOORBELL, REMAP_IPA, REMAP_STREAMID
from smmu.formats.stream_table import STEConfig
from smmu.params import Params
from smmu_sim.model.system import System

VA, IPA, PA = 0x12_3000, 0x4567_8000, 0x5000_0000
S1, S2, NESTED = STEConfig.S1_TRANS, STEConfig.S2_TRANS, STEConfig.NESTED
BYPASS = STEConfig.BYPASS
DOORBELL = 0x9_0001_0040


def fault_of(system, addr=VA, **more):
    """Return the only new event of an access that is aborted."""
    result = system.dma(addr, **more)
    assert not result.ok and result.pa is None
    [event] = system.events()
    return event


def bind(system, index, streamid, ipa, doorbell, valid=1):
    system.write("REMAP_IPA", pack(REMAP_IPA, {"IPA": ipa >> 12}), index)
    system.write("REMAP_DOORBELL", pack(REMAP_DOORBELL, {"ADDR": doorbell >> 2}), index)
    system.write("REMAP_STREAMID", pack(REMAP_STREAMID, {"StreamID": streamid, "V": valid}), index)


def remap_system(**ste):
    system = System()
    for streamid in (1, 2):
        system.ste(streamid, config=NESTED, **ste)
    system.cd()
    system.map1(VA, IPA)
    bind(system, 3, 1, IPA, DOORBELL)
    bind(system, 5, 2, IPA, DOORBELL + 0x1000)
    system.write("REMAP_CTRL", 1)
    return system


def test_remap_sends_each_stream_to_its_doorbell():
    system = remap_system()
    system.map2(IPA, PA, Valid=0)  # stage 2 is not asked
    for streamid, doorbell in ((1, DOORBELL), (2, DOORBELL + 0x1000)):
        seen = []
        system.memory.observe(doorbell, lambda *what, seen=seen: seen.append(what))
        result = system.dma(VA | 0x40, streamid, write=True, data=b"\x2A\0\0\0", cache=0b1111)
        assert result.ok and result.pa == doorbell and result.msi
        assert (result.cache, result.shareability, result.device_id) == (0b0001, 2, streamid)
        assert seen == [(doorbell, b"\x2A\0\0\0", streamid)]
    assert not system.events()


@pytest.mark.parametrize("more", [
    {}, {"write": True, "length": 8}, {"write": True, "length": 2},
    {"write": True, "length": 4, "size": 3}, {"write": True, "length": 4, "size": 1},
    {"write": True, "length": 4, "strobes": 0b0111}, {"write": True, "length": 4, "offset": 0x44},
    {"length": 4}, {"write": True, "length": 4, "offset": 0x41}])
def test_remap_lets_only_the_doorbell_write_through(more):
    system = remap_system(PRIVCFG=2)
    addr = VA | more.pop("offset", 0x40)
    event = fault_of(system, addr, priv=True, **more)
    read = {} if more.get("write") else {"RnW": 1}
    assert event == (EventType.F_UUT, {"StreamID": 1, "PnU": 1, "InputAddr": addr, **read})
    assert system.memory.peek(DOORBELL, 8) == bytes(8)


def test_remap_truncates_the_doorbell_to_oas():
    system = System(Params(oas=40))
    system.ste(config=S2)
    bind(system, 0, 1, IPA, DOORBELL | 1 << 44)
    system.write("REMAP_CTRL", 1)
    assert system.dma(IPA | 0x40, write=True, length=4).pa == DOORBELL


def test_remap_comes_after_stage1():
    system = remap_system()
    system.map1(VA, IPA, AP=3)
    assert fault_of(system, VA | 0x40, write=True, length=4)[0] == EventType.F_PERMISSION


@pytest.mark.parametrize("config, addr, remapped", [
    (S2, IPA, True), (S1, VA, False), (BYPASS, IPA, False), (NESTED, IPA, False)])
def test_remap_acts_on_an_ipa_under_stage2(config, addr, remapped):
    system = remap_system()
    system.ste(config=config)
    result = system.dma(addr | 0x40, write=True, length=4)
    assert (result.pa == DOORBELL) == remapped
    assert result.msi == remapped


def test_remap_leaves_other_pages_streams_and_tables_alone():
    system = remap_system()
    system.map1(VA + 0x1000, IPA + 0x1000)
    system.ste(7, config=NESTED)
    bind(system, 6, 1, system.S1_TABLE, DOORBELL)
    assert system.dma(VA + 0x1040, write=True, length=4).pa == IPA + 0x1040
    assert system.dma(VA | 0x40, streamid=7, write=True, length=4).pa == IPA | 0x40


def test_remap_unbind_disable_and_commit():
    system = remap_system()

    def goes_to():
        return system.dma(VA | 0x40, write=True, length=4).pa

    system.write("REMAP_DOORBELL", DOORBELL + 0x8000, 3)
    assert goes_to() == DOORBELL  # not committed
    system.write("REMAP_STREAMID", system.read("REMAP_STREAMID", 3), 3)
    assert goes_to() == DOORBELL + 0x8000
    bind(system, 0, 1, IPA, DOORBELL + 0x4000)
    assert goes_to() == DOORBELL + 0x4000  # the first entry counts
    system.write("REMAP_CTRL", 0)
    assert goes_to() == IPA | 0x40
    system.write("REMAP_CTRL", 1)
    for index in (0, 3):
        bind(system, index, 1, IPA, DOORBELL, valid=0)
    assert goes_to() == IPA | 0x40
    assert system.read("REMAP_CTRL") == 1
