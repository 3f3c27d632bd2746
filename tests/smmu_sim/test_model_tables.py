"""The model's table walks: input ranges, geometry, descriptors."""

import pytest

from smmu.formats.descriptors import Granule, S1Leaf, S2Leaf, level_shift
from smmu.formats.events import EventType
from smmu.formats.stream_table import STEConfig
from smmu.params import Params
from smmu_sim.model.system import System

VA, IPA, PA = 0x12_3000, 0x4567_8000, 0x5000_0000
IN = 2
F_TRANSLATION, F_ADDR_SIZE = EventType.F_TRANSLATION, EventType.F_ADDR_SIZE
S1, S2, NESTED = STEConfig.S1_TRANS, STEConfig.S2_TRANS, STEConfig.NESTED


def nested_system(**cd):
    system = System()
    system.ste(config=NESTED)
    system.cd(**cd)
    system.map1(VA, IPA)
    system.map2(IPA, PA)
    return system


def fault_of(system, addr=VA, **more):
    """Return the only new event of an access that is aborted."""
    result = system.dma(addr, **more)
    assert not result.ok and result.pa is None
    [event] = system.events()
    return event


def stage1_fields(**more):
    return {"StreamID": 1, "RnW": 1, "CLASS": IN, "InputAddr": VA, **more}


VA_TOP = (1 << 64) - (1 << 39)


@pytest.mark.parametrize("cd, addr, passes", [
    ({}, VA, True), ({}, 1 << 39, False), ({}, (1 << 39) - 0x1000, False),
    ({}, VA | VA_TOP, False),
    ({"EPD1": 0}, VA | VA_TOP, True), ({"EPD1": 0}, VA | VA_TOP ^ 1 << 39, False),
    ({"EPD1": 0}, VA | VA_TOP ^ 1 << 55, False),
    ({"EPD0": 1, "EPD1": 0}, VA, False), ({"EPD0": 1, "EPD1": 0}, VA | VA_TOP, True),
    ({"TBI0": 1}, VA | 0xA5 << 56, True), ({"TBI1": 1}, VA | 0xA5 << 56, False),
    ({"TBI0": 1}, VA | 0xA5 << 56 | 1 << 54, False),
    ({"EPD1": 0, "TBI1": 1}, (VA | VA_TOP) & ~(0x5A << 56), True),
    ({"EPD1": 0, "TBI0": 1}, (VA | VA_TOP) & ~(0x5A << 56), False),
    ({"EPD1": 0, "TBI1": 1}, (VA | VA_TOP) & ~(1 << 54), False),
])
def test_input_range(cd, addr, passes):
    system = System()
    system.ste()
    system.cd(**cd)
    system.map1(VA, PA)
    system.map1(VA, PA, high=True)
    if passes:
        assert system.dma(addr).pa == PA
    else:
        assert fault_of(system, addr) == (F_TRANSLATION, stage1_fields(InputAddr=addr))


@pytest.mark.parametrize("addr, passes", [
    (VA, True), (VA | 0xA5 << 56, True), (VA | VA_TOP, False), (VA | 1 << 55, False)])
def test_el2_has_one_range(addr, passes):
    system = System(E2H=0)
    system.ste(STRW=2)
    system.cd(EPD0=1, EPD1=0, TBI0=1)
    system.map1(VA, PA)
    system.map1(VA, PA, high=True)
    assert system.dma(addr).ok == passes


@pytest.mark.parametrize("granule, tg, txsz, start, level, legal", [
    (Granule.G4K, 0, 16, 0, 0, False), (Granule.G4K, 0, 16, 0, 1, True),
    (Granule.G4K, 0, 16, 0, 2, True), (Granule.G4K, 0, 39, 2, 3, True),
    (Granule.G16K, 2, 16, 0, 1, False), (Granule.G16K, 2, 16, 0, 2, True),
    (Granule.G16K, 2, 39, 3, 3, True), (Granule.G64K, 1, 16, 1, 1, False),
    (Granule.G64K, 1, 16, 1, 2, True), (Granule.G64K, 1, 39, 3, 3, True)])
def test_granules_levels_and_blocks(granule, tg, txsz, start, level, legal):
    system = System()
    root = system.allocate(1 << 16)
    system.ste()
    system.cd(TG0=tg, T0SZ=txsz, TTB0=root >> 4)
    shift = level_shift(level, granule)
    va, pa = 1 << 22 if txsz == 39 else 1 << shift, 1 << 46
    system.map(root, va, S1Leaf, {"AF": 1, "AP": 1, "OA": pa >> 12}, level, start, granule)
    if legal:
        assert system.dma(va | 0x8).pa == pa | 0x8
    else:
        assert fault_of(system, va)[0] == F_TRANSLATION


# 4K: (S2SL0, S2T0SZ) -> start level, number of concatenated tables; None if illegal
GEOMETRY_4K = {
    (2, 16): (0, 1), (2, 24): (0, 1), (2, 25): None, (1, 20): None, (1, 21): (1, 16),
    (1, 24): (1, 2), (1, 25): (1, 1), (1, 33): (1, 1), (1, 34): None, (0, 29): None,
    (0, 30): (2, 16), (0, 34): (2, 1), (0, 39): (2, 1), (3, 39): None,
}


@pytest.mark.parametrize("s2sl0, s2t0sz", GEOMETRY_4K)
def test_stage2_geometry(s2sl0, s2t0sz):
    """The highest IPA is found through the last concatenated table."""
    expected = GEOMETRY_4K[s2sl0, s2t0sz]
    system = System()
    tables = system.allocate(1 << 16)
    system.ste(config=S2, S2SL0=s2sl0, S2T0SZ=s2t0sz, S2TTB=tables >> 4)
    ipa = (1 << 64 - s2t0sz) - 0x1000
    if expected is None:
        assert fault_of(system, ipa) == (EventType.C_BAD_STE, {"StreamID": 1})
        return
    start, count = expected
    leaf = {"AF": 1, "S2AP": 3, "MemAttr": 15, "OA": PA >> 12}
    system.map(tables + 4096 * (count - 1), ipa, S2Leaf, leaf, start=start)
    assert system.dma(ipa).pa == PA
    assert fault_of(system, ipa + 0x1000)[0] in (F_TRANSLATION, F_ADDR_SIZE)


def test_reserved_bits_of_descriptors_are_ignored():
    system = nested_system()
    for slot in (system.map1(VA, IPA), system.map2(IPA, PA)):
        raw = system.memory.read64(slot)
        system.memory.write64(slot, raw | 0b111 << 48 | 0b1111 << 55 | 0b1111 << 59 | 1 << 63)
    assert system.dma(VA | 0x10).pa == PA | 0x10


@pytest.mark.parametrize("stage", [1, 2])
def test_big_endian_tables(stage):
    system = System(Params(ttendian=0))
    system.ste(config=S1 if stage == 1 else S2, S2ENDI=int(stage == 2))
    system.cd(ENDI=1)
    system.map1(VA, PA)
    system.map2(VA, PA)
    table = system.S1_TABLE if stage == 1 else system.S2_TABLE
    fault_of(system)  # little-endian tables are not understood
    for level in (1, 2, 3):
        slot = table + 8 * (VA >> level_shift(level, Granule.G4K) & 511)
        raw = system.memory.read64(slot)
        system.memory.write64(slot, int.from_bytes(raw.to_bytes(8, "big"), "little"))
        table = raw & (1 << 48) - (1 << 12)
    assert system.dma(VA).pa == PA
