"""AXI arithmetic, against tables and the byte lanes of the specification; the wrapper's layout."""

import random

import pytest

from smmu.formats.axi import Burst
from smmu_sim.bench.axi_rules import (
    beat_addresses,
    beats_for,
    broken_rule,
    join_lanes,
    split_lanes,
    widest_size,
)
from smmu_sim.bench.wrapper import channel_table, wrap


def test_addresses_of_beats():
    assert beat_addresses(0x1003, 3, 2, Burst.INCR) == [0x1003, 0x1004, 0x1008]
    assert beat_addresses(0x1008, 4, 3, Burst.WRAP) == [0x1008, 0x1010, 0x1018, 0x1000]
    assert beat_addresses(0x104, 2, 2, Burst.FIXED) == [0x104, 0x104]


def test_how_many_beats():
    assert beats_for(0x1000, 64, 3) == 8
    assert beats_for(0x1003, 6, 2) == 3
    assert beats_for(0x1003, 1, 0) == 1
    with pytest.raises(ValueError, match="whole beats"):
        beats_for(0x1002, 8, 3, Burst.WRAP)
    assert [widest_size(0x1000, count, 8) for count in (1, 2, 4, 8, 64, 12)] == [0, 1, 2, 3, 3, 2]
    assert widest_size(0x1004, 8, 8) == 2


def test_lanes_there_and_back():
    rng = random.Random(5)
    for _ in range(500):
        size, bus_bytes = rng.randrange(4), rng.choice([8, 16])
        addr, beats = rng.randrange(64), rng.randint(1, 8)
        addresses = beat_addresses(addr, beats, size, Burst.INCR)
        count = beats * (1 << size) - addr % (1 << size)
        data, strobes = rng.randbytes(count), rng.getrandbits(count)
        lanes = split_lanes(data, strobes, addresses, size, bus_bytes)
        # Each byte is on the lane that its address names.
        at = addr
        for (word, strobe), address in zip(lanes, addresses, strict=True):
            assert at == address
            while True:
                lane, place = at % bus_bytes, at - addr
                assert word >> 8 * lane & 0xFF == data[place]
                assert strobe >> lane & 1 == strobes >> place & 1
                at += 1
                if at % (1 << size) == 0:
                    break
        assert join_lanes(lanes, addresses, size, bus_bytes) == (data, strobes, False)
    assert join_lanes([(0, 0x18)], [4], 2, 8)[2] is True


@pytest.mark.parametrize("addr, beats, size, burst, wrong", [
    (0xFF8, 1, 3, Burst.INCR, None),
    (0xFF8, 2, 3, Burst.INCR, "4 KB"),
    (0xF00, 32, 3, Burst.INCR, None),
    (0xF01, 33, 3, Burst.INCR, "4 KB"),
    (0, 16, 3, Burst.FIXED, None),
    (0, 17, 3, Burst.FIXED, "17 beats"),
    (8, 4, 3, Burst.WRAP, None),
    (8, 3, 3, Burst.WRAP, "3 beats"),
    (4, 4, 3, Burst.WRAP, "unaligned"),
    (0, 1, 4, Burst.INCR, "wider"),
    (0, 1, 3, 3, "AxBURST 3"),
])
def test_illegal_bursts(addr, beats, size, burst, wrong):
    found = broken_rule(addr, beats, size, burst, 8)
    assert found is None if wrong is None else wrong in found


def test_ports_are_found_by_their_names():
    ports = {"clk": ("i", 1), "m_axi_tbl_awvalid": ("o", 1), "m_axi_tbl_awready": ("i", 1),
             "m_axi_tbl_awaddr": ("o", 48), "m_axi_tbl_awlen": ("o", 8),
             "m_axi_tbl_arvalid": ("o", 1), "m_axi_tbl_rdata": ("i", 64),
             "s_axil_awvalid": ("i", 1), "s_axil_arvalid": ("i", 1), "irq_gerror": ("o", 1)}
    table = channel_table(ports)
    assert list(table) == ["m_axi_tbl", "s_axil"]
    tbl, axil = table["m_axi_tbl"], table["s_axil"]
    assert tbl.master and not tbl.lite and not axil.master and axil.lite
    assert tbl.channels["aw"].members == {"addr": [0, 48], "len": [48, 8]}
    assert tbl.channels["aw"].driven and not tbl.channels["r"].driven
    assert not axil.channels["aw"].driven and axil.channels["b"].driven
    with pytest.raises(ValueError, match="no AXI port"):
        wrap("", {"clk": ("i", 1)}, "nothing")
