"""The model's stream table: linear and 2-level, bad StreamIDs."""

import pytest

from smmu.formats.core import pack
from smmu.formats.events import EventType
from smmu.formats.registers import STRTAB_BASE_CFG
from smmu.formats.stream_table import L1STD, STEConfig
from smmu.params import Params
from smmu_sim.model.system import System

VA = 0x12_3000


@pytest.mark.parametrize("span, found", [
    (0, None), (1, 1), (5, 16), (8, 128), (9, 256), (10, None), (11, None), (12, None), (31, None)])
def test_two_level_stream_table(span, found):
    """SPLIT is 8: at most 2**8 STEs behind an L1STD; L2Ptr is aligned to their size."""
    system = System()
    level1, level2 = system.allocate(4096), system.allocate(1 << 14)
    system.enable(SMMUEN=0)
    system.write("STRTAB_BASE", level1 + 0x40)
    system.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 12, "SPLIT": 8, "FMT": 1}))
    system.enable()
    pointer = level2 + (0x40 << span - 2 if 2 <= span < 10 else 0)
    system.memory.write64(level1 + 8 * 3, pack(L1STD, {"Span": span, "L2Ptr": pointer >> 6}))
    system.STRTAB = level2 - 64 * 0x300
    for streamid in (0x300, 0x300 + (found or 1) - 1):
        system.ste(streamid, config=STEConfig.BYPASS)
        assert system.dma(VA, streamid).ok == (found is not None)
    beyond = 0x300 + (found or 0)
    assert not system.dma(VA, beyond).ok
    assert not system.dma(VA, 0x1000).ok
    events = system.events()
    assert events[-1] == (EventType.C_BAD_STREAMID, {"StreamID": 0x1000})
    if found != 256:
        assert events[-2] == (EventType.C_BAD_STREAMID, {"StreamID": beyond})


@pytest.mark.parametrize("split, effective", [(6, 6), (8, 8), (10, 10), (0, 6), (7, 6), (31, 6)])
def test_split(split, effective):
    system = System()
    level1, level2 = system.allocate(1 << 13), system.allocate(1 << 16)
    system.enable(SMMUEN=0)
    system.write("STRTAB_BASE", level1)
    system.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 12, "SPLIT": split,
                                                           "FMT": 1}))
    system.enable()
    last = (2 << effective) - 1  # the last STE of L1STD 1
    l1std = pack(L1STD, {"Span": effective + 1, "L2Ptr": level2 >> 6})
    system.memory.write64(level1 + 8, l1std)
    system.STRTAB = level2 - (64 << effective)
    system.ste(last, config=STEConfig.BYPASS)
    assert system.dma(VA, last).ok and not system.dma(VA, last + 1).ok


def test_pointer_beyond_oas_is_truncated():
    """The architecture leaves that or F_STE_FETCH."""
    system = System(Params(oas=40))
    level1, level2 = system.allocate(4096), system.allocate(1 << 12)
    system.enable(SMMUEN=0)
    system.write("STRTAB_BASE", level1)
    system.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 6, "SPLIT": 6, "FMT": 1}))
    system.enable()
    system.memory.write64(level1, pack(L1STD, {"Span": 7, "L2Ptr": (level2 | 1 << 40) >> 6}))
    system.STRTAB = level2
    system.ste(config=STEConfig.BYPASS)
    assert system.dma(VA).ok


def test_bad_streamid_is_recorded_only_with_recinvsid():
    system = System(RECINVSID=0)
    assert not system.dma(VA, streamid=64).ok
    assert not system.events()
