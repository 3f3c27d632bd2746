"""The model's memory attributes, as they leave on AxCACHE and AxUSER."""

import pytest

from smmu.formats.core import pack
from smmu.formats.registers import GBPA
from smmu.formats.stream_table import SHCFG, STEConfig
from smmu.params import Params
from smmu_sim.model.system import System

VA, PA = 0x12_3000, 0x5000_0000
NSH, OSH, ISH = 0, 2, 3

# AxCACHE in -> AxCACHE out (read, write) of a bypass that overrides nothing
ENCODINGS = {
    0b0000: (0b0000, 0b0000),  # nGnRnE
    0b0001: (0b0001, 0b0001),  # nGnRE
    0b0010: (0b0011, 0b0011),  # NC
    0b0011: (0b0011, 0b0011),
    0b0110: (0b1110, 0b0110),  # WT, RA
    0b1010: (0b1010, 0b1110),  # WT, WA
    0b1110: (0b1110, 0b1110),
    0b0111: (0b1111, 0b0111),  # WB, RA
    0b1011: (0b1011, 0b1111),
    0b1111: (0b1111, 0b1111),
}


@pytest.mark.parametrize("smmuen", [0, 1])
@pytest.mark.parametrize("cache", ENCODINGS)
def test_bypass_encodings(cache, smmuen):
    system = System()
    system.enable(SMMUEN=smmuen)
    system.ste(config=STEConfig.BYPASS)
    for sh in (NSH, OSH, ISH):
        read = system.dma(VA, cache=cache, shareability=sh)
        write = system.dma(VA, cache=cache, shareability=sh, write=True)
        assert (read.cache, write.cache) == ENCODINGS[cache]
        # Device and non-cacheable are outer shareable whatever came in.
        assert read.shareability == (sh if cache & 0b1100 else OSH)
        assert read.device_id == 1 and not read.msi


# MemAttr of an STE or GBPA -> AxCACHE of a read with all hints
MEMATTR = {0: 0b0000, 1: 0b0001, 2: 0b0001, 3: 0b0001, 4: 0b0000, 5: 0b0011, 6: 0b0011, 7: 0b0011,
           8: 0b0000, 9: 0b1110, 10: 0b1110, 11: 0b1110, 12: 0b0000, 13: 0b1111, 14: 0b1111,
           15: 0b1111}


@pytest.mark.parametrize("memattr", MEMATTR)
def test_type_override(memattr):
    system = System()
    system.ste(config=STEConfig.BYPASS, MTCFG=1, MemAttr=memattr, SHCFG=SHCFG.ISH)
    for cache in (0b0000, 0b0011, 0b1111):
        result = system.dma(VA, cache=cache)
        assert result.cache == MEMATTR[memattr]
        outer_shareable = memattr < 4 or memattr % 4 == 0 or memattr == 5
        assert result.shareability == (OSH if outer_shareable else ISH)
    system.enable(SMMUEN=0)
    system.write("GBPA", pack(GBPA, {"MTCFG": 1, "MemAttr": memattr, "Update": 1}))
    assert system.dma(VA, cache=0b0011).cache == MEMATTR[memattr]


def test_overrides_need_attr_types_ovr():
    system = System(Params(attr_types_ovr=0))
    system.ste(config=STEConfig.BYPASS, MTCFG=1, MemAttr=0, SHCFG=SHCFG.OSH, ALLOCCFG=0b1000)
    result = system.dma(VA, cache=0b1111, shareability=ISH)
    assert (result.cache, result.shareability) == (0b1111, ISH)


@pytest.mark.parametrize("shcfg, out", [(SHCFG.NSH, NSH), (SHCFG.INCOMING, ISH), (SHCFG.OSH, OSH),
                                        (SHCFG.ISH, ISH)])
def test_shareability_override(shcfg, out):
    system = System()
    system.ste(config=STEConfig.BYPASS, SHCFG=shcfg)
    assert system.dma(VA, cache=0b1111, shareability=ISH).shareability == out


# MAIR byte -> (AxCACHE of a read, of a write, inner and outer non-cacheable or Device)
MAIR = {
    0x00: (0b0000, 0b0000, True), 0x04: (0b0001, 0b0001, True), 0x0C: (0b0001, 0b0001, True),
    0x01: (0b0000, 0b0000, True), 0x07: (0b0001, 0b0001, True),  # reserved: Device all the same
    0x44: (0b0011, 0b0011, True), 0x4F: (0b0011, 0b0011, False),
    0xFF: (0b1111, 0b1111, False), 0xBB: (0b1110, 0b1110, False),
    0xE4: (0b1111, 0b0111, False),  # outer WB RA, inner NC
    0xD4: (0b1011, 0b1111, False),  # outer WB WA
    0xC4: (0b1011, 0b0111, False),  # outer WB without hints
    0x2F: (0b1110, 0b0110, False),  # outer WT transient RA
    0x7F: (0b1111, 0b1111, False),  # outer WB transient RA WA
    0xF0: (0b1111, 0b1111, False),  # reserved inner: WT transient RA WA
    0x40: (0b0011, 0b0011, False),
}


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("mair", MAIR)
def test_stage1_attributes(mair, index):
    system = System()
    system.ste(MTCFG=1, MemAttr=0, SHCFG=SHCFG.NSH)  # only for what bypasses stage 1
    half = "MAIR0" if index < 4 else "MAIR1"
    system.cd(MAIR0=0, **{half: mair << 8 * (index % 4)}) if half == "MAIR1" else \
        system.cd(MAIR0=mair << 8 * index)
    read, write, outer_shareable = MAIR[mair]
    for sh, out in ((0, NSH), (1, NSH), (2, OSH), (3, ISH)):
        system.map1(VA, PA, AttrIndx=index, SH=sh)
        result = system.dma(VA, cache=0b0000)
        assert (result.pa, result.cache) == (PA, read)
        assert result.shareability == (OSH if outer_shareable else out)
    assert system.dma(VA, cache=0b0000, write=True).cache == write


@pytest.mark.parametrize("alloccfg, cache, mair, read, write", [
    (0b0000, 0b1111, 0xFF, 0b1111, 0b1111),
    (0b0000, 0b0111, 0xFF, 0b1111, 0b0111),  # the device does not write-allocate
    (0b0000, 0b1011, 0xFF, 0b1011, 0b1111),  # nor read-allocate
    (0b0000, 0b1011, 0xEE, 0b1011, 0b0111),  # and the table takes the rest
    (0b0111, 0b1111, 0xFF, 0b1111, 0b1111),  # bit 3 clear: no override
    (0b1000, 0b1111, 0xFF, 0b1011, 0b0111),
    (0b1100, 0b1111, 0xFF, 0b1111, 0b0111),
    (0b1010, 0b1111, 0xFF, 0b1011, 0b1111),
    (0b1110, 0b1111, 0xEE, 0b1111, 0b0111),
    (0b1000, 0b0011, 0xFF, 0b1111, 0b1111),  # the device is not cacheable: its hints don't count
    (0b1000, 0b0001, 0xFF, 0b1111, 0b1111),
])
def test_allocation_hints_of_stage1(alloccfg, cache, mair, read, write):
    system = System()
    system.ste(ALLOCCFG=alloccfg)
    system.cd(MAIR0=mair)
    system.map1(VA, PA)
    assert system.dma(VA, cache=cache).cache == read
    assert system.dma(VA, cache=cache, write=True).cache == write


@pytest.mark.parametrize("config", [STEConfig.BYPASS, STEConfig.S2_TRANS])
@pytest.mark.parametrize("cache", [0b0011, 0b1111, 0b0001])
def test_alloccfg_counts_for_every_type_that_bypasses_stage1(config, cache):
    system = System()
    system.ste(config=config, MTCFG=1, MemAttr=15, ALLOCCFG=0b1000)
    assert system.dma(VA, cache=cache).cache == 0b1011
    assert system.dma(VA, cache=cache, write=True).cache == 0b0111


# (MAIR byte, stage 2 MemAttr) -> AxCACHE of a read; S2FWB=0
COMBINED = {
    (0xFF, 0b1111): 0b1111, (0xFF, 0b1010): 0b1110, (0xFF, 0b0101): 0b0011, (0xFF, 0b0001): 0b0001,
    (0xFF, 0b0000): 0b0000, (0xFF, 0b1110): 0b1111, (0xFF, 0b1011): 0b1110, (0xFF, 0b0111): 0b0011,
    (0xBB, 0b1111): 0b1110, (0x44, 0b1111): 0b0011, (0x04, 0b1111): 0b0001, (0x00, 0b0011): 0b0000,
    (0x04, 0b0000): 0b0000, (0x0C, 0b0011): 0b0001, (0xFF, 0b0100): 0b0000,
}


@pytest.mark.parametrize("mair, memattr", COMBINED)
def test_combined_type(mair, memattr):
    system = System()
    system.ste(config=STEConfig.NESTED)
    system.cd(MAIR0=mair)
    system.map1(VA, VA)
    system.map2(VA, PA, MemAttr=memattr)
    assert system.dma(VA).cache == COMBINED[mair, memattr]


# (MAIR byte, MemAttr[2:0]) -> (AxCACHE of a read, inner and outer NC or Device); S2FWB=1
FORCED = {
    (0xFF, 0b000): 0b0000, (0xFF, 0b001): 0b0001, (0xFF, 0b010): 0b0001, (0xFF, 0b011): 0b0001,
    (0x04, 0b000): 0b0000, (0x00, 0b001): 0b0000,  # the stronger Device type
    (0xFF, 0b110): 0b1111, (0xBB, 0b110): 0b1111, (0x44, 0b110): 0b1111, (0x00, 0b110): 0b1111,
    (0xCC, 0b110): 0b1011,  # hints of stage 1, which is cacheable
    (0xFF, 0b111): 0b1111, (0xBB, 0b111): 0b1110, (0x44, 0b111): 0b0011, (0x04, 0b111): 0b0001,
    (0xFF, 0b101): 0b0011, (0x04, 0b101): 0b0001, (0x00, 0b101): 0b0000,
}


@pytest.mark.parametrize("bit3", [0, 8])
@pytest.mark.parametrize("mair, memattr", FORCED)
def test_s2fwb(mair, memattr, bit3):
    system = System()
    system.ste(config=STEConfig.NESTED, S2FWB=1)
    system.cd(MAIR0=mair)
    system.map1(VA, VA)
    system.map2(VA, PA, MemAttr=memattr | bit3)
    assert system.dma(VA).cache == FORCED[mair, memattr]


@pytest.mark.parametrize("cache, memattr, out", [
    (0b0000, 0b110, 0b1111), (0b1110, 0b111, 0b1110), (0b1111, 0b001, 0b0001),
    (0b1111, 0b101, 0b0011)])
def test_s2fwb_without_stage1(cache, memattr, out):
    system = System()
    system.ste(config=STEConfig.S2_TRANS, S2FWB=1)
    system.map2(VA, PA, MemAttr=memattr)
    assert system.dma(VA, cache=cache).cache == out


@pytest.mark.parametrize("s1", [NSH, OSH, ISH])
@pytest.mark.parametrize("s2", [NSH, OSH, ISH])
def test_combined_shareability(s1, s2):
    system = System()
    system.ste(config=STEConfig.NESTED)
    system.cd()
    system.map1(VA, VA, SH=s1)
    system.map2(VA, PA, SH=s2)
    stronger = OSH if OSH in (s1, s2) else ISH if ISH in (s1, s2) else NSH
    assert system.dma(VA).shareability == stronger
    system.map2(VA, PA, SH=s2, MemAttr=0b0101)
    assert system.dma(VA).shareability == OSH
