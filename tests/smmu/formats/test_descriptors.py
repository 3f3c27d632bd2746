"""Geometry of VMSAv8-64 walks, the three codes of a granule, and the type of a descriptor."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from smmu.formats import descriptors as d
from smmu.formats.core import pack, plain


@pytest.mark.parametrize("granule, shifts", [
    (12, {0: 39, 1: 30, 2: 21, 3: 12}), (14, {0: 47, 1: 36, 2: 25, 3: 14}),
    (16, {1: 42, 2: 29, 3: 16}),
])
def test_level_shift(granule, shifts):
    assert {level: d.level_shift(level, granule) for level in shifts} == shifts


# DDI 0487: start level of stage 1 by TxSZ
@pytest.mark.parametrize("granule, levels", [
    (12, {0: range(16, 25), 1: range(25, 34), 2: range(34, 43), 3: range(43, 49)}),
    (14, {0: range(16, 17), 1: range(17, 28), 2: range(28, 39), 3: range(39, 49)}),
    (16, {1: range(12, 22), 2: range(22, 35), 3: range(35, 48)}),
])
def test_stage_1_start_level(granule, levels):
    for level, sizes in levels.items():
        for txsz in sizes:
            assert d.s1_start_level(txsz, granule) == level


def test_stage_2_start_level():
    assert [d.s2_start_level(code, 12) for code in range(4)] == [2, 1, 0, None]
    assert [d.s2_start_level(code, 14) for code in range(4)] == [3, 2, 1, None]
    assert [d.s2_start_level(code, 16) for code in range(4)] == [3, 2, 1, None]


def test_start_table():
    assert d.start_index_bits(25, 1, 12) == 9 and d.start_table_bytes(25, 1, 12) == 4096
    # 40-bit IPA at level 1: two concatenated tables
    assert d.start_index_bits(24, 1, 12) == 10 and d.start_table_bytes(24, 1, 12) == 8192
    assert d.start_table_bytes(22, 2, 16) == 8 << 13


def descriptor_addresses(ia, base, txsz, granule, start, next_tables):
    """Walk as the manual does and return (level, index, descriptor address) of each step."""
    steps = []
    for level, table in enumerate([base, *next_tables], start):
        width = (d.start_index_bits(txsz, level, granule) if level == start
                 else d.bits_per_level(granule))
        index = ia >> d.level_shift(level, granule) & (1 << width) - 1
        steps.append((level, index, table + 8 * index))
    return steps


def test_worked_walks():
    assert descriptor_addresses(0x12_3456_7ABC, 0x8_7654_3000, 25, 12, d.s1_start_level(25, 12),
                                [0x8_8000_0000, 0x8_8000_1000]) == [
        (1, 0x48, 0x8_7654_3240), (2, 0x1A2, 0x8_8000_0D10), (3, 0x167, 0x8_8000_1B38)]
    assert descriptor_addresses(0xC5_4321_0000, 0x9_8765_4000, 24, 12, d.s2_start_level(1, 12),
                                [0x9_9000_0000, 0x9_9000_1000]) == [
        (1, 0x315, 0x9_8765_58A8), (2, 0x19, 0x9_9000_00C8), (3, 0x10, 0x9_9000_1080)]
    assert descriptor_addresses(0x123_4567_89AB, 0x9_0001_0000, 22, 16, d.s1_start_level(22, 16),
                                [0x9_1000_0000]) == [
        (2, 0x91A, 0x9_0001_48D0), (3, 0x567, 0x9_1000_2B38)]


def test_three_codes_of_a_granule():
    assert d.TG0_GRANULE == {0: 12, 1: 16, 2: 14}
    assert d.TG1_GRANULE == {1: 14, 2: 12, 3: 16}
    assert d.TLBI_TG_GRANULE == {1: 12, 2: 14, 3: 16}


def test_size_codes():
    assert [d.SIZE_BITS[code] for code in range(8)] == [32, 36, 40, 42, 44, 48, 52, 56]
    assert all(d.SIZE_BITS[d.SIZE_CODES[size]] == size for size in d.SIZE_CODES)


def test_address_fields_hold_the_address_in_place():
    for granule in d.GRANULES:
        mask = d.next_table_mask(granule)
        assert mask == (1 << 48) - (1 << granule)
    raw = pack(d.S1Leaf, {"Valid": 1, "Type": 1, "OA": 0x8_8888_8000 >> 12})
    assert plain(d.S1Leaf).OA(raw) << 12 == 0x8_8888_8000 == raw & d.next_table_mask(12)


def test_types():
    """Every type at every level: only what DDI 0487 calls valid is one of the three."""
    m = Module()
    raw, level, granule_4k = Signal(d.Descriptor), Signal(2), Signal()
    answers = Signal(4)
    for n, question in enumerate((raw.is_table(level), raw.is_page(level),
                                  raw.is_block(level, granule_4k),
                                  raw.is_leaf(level, granule_4k))):
        m.d.comb += answers[n].eq(question)

    async def bench(ctx):
        for valid in (0, 1):
            for kind in (0, 1):
                for at in range(4):
                    for is_4k in (0, 1):
                        ctx.set(raw, {"Valid": valid, "Type": kind})
                        ctx.set(level, at)
                        ctx.set(granule_4k, is_4k)
                        granule = 12 if is_4k else 16
                        table = valid and kind and at < 3
                        page = valid and kind and at == 3
                        block = valid and not kind and at in d.BLOCK_LEVELS[granule]
                        expected = table | page << 1 | block << 2 | (page or block) << 3
                        assert ctx.get(answers) == expected, (valid, kind, at, is_4k)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
