"""The walk table by itself: counts of reads, timing, marks, the remap, reset."""

import sys
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import Combine
from cocotb.utils import get_sim_time
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import clocks
from smmu_sim.memory import Memory

from smmu.formats.context_descriptor import CD
from smmu.formats.core import pack, to_bytes
from smmu.formats.descriptors import S1Leaf, S1Table, S2Leaf, S2Table
from smmu.formats.events import EventType
from smmu.formats.stream_table import STE, STEConfig
from smmu.params import CONFIGS
from smmu.payloads import MemType, PageSize, Verdict
from smmu.tcu.walk.walk_table import WalkTable

sys.path.insert(0, str(Path(__file__).parent))
from walk_bench import Doorbell, WalkBench  # noqa: E402

PARAMS = CONFIGS["default"]
STRTAB, CD_IPA, S2_TABLES, S1_TABLES = 0x1000_0000, 0x2000_0000, 0x4000_0000, 0x6000_0000
SID, VMID, ASID, PAGE = 5, 7, 9, 0x1000
REGISTERS = {"STRTAB_BASE": STRTAB, "STRTAB_BASE_CFG": 6}
VA, IPA, PA = 0x12_3456_7000, 0x21_0000_3000, 0x33_4455_6000


class Tables:
    """4K tables of four levels in both stages, one page after the other."""

    def __init__(self, config=STEConfig.NESTED, **ste):
        self.memory = Memory()
        self.next = {1: S1_TABLES + PAGE, 2: S2_TABLES + PAGE}
        self.nested = config == STEConfig.NESTED
        self.memory.poke(STRTAB + 64 * SID, to_bytes(STE, pack(STE, {
            "V": 1, "Config": config, "S1ContextPtr": CD_IPA >> 6, "S2VMID": VMID, "S2T0SZ": 16,
            "S2SL0": 2, "S2PS": 5, "S2AA64": 1, "S2R": 1, "S2TTB": S2_TABLES >> 4, "SHCFG": 1,
            **ste}))[:32])
        self.memory.poke(CD_IPA, to_bytes(CD, pack(CD, {
            "V": 1, "AA64": 1, "T0SZ": 16, "EPD1": 1, "IPS": 5, "R": 1, "A": 1, "ASID": ASID,
            "TTB0": S1_TABLES >> 4, "MAIR0": 0xFF}))[:32])
        if self.nested:
            self.identity(CD_IPA)
            self.identity(S1_TABLES)

    def identity(self, page):
        self.map(2, page, page)

    def map(self, stage, addr, output, **leaf):
        base = {1: S1_TABLES, 2: S2_TABLES}[stage]
        for level in range(3):
            entry = base + (addr >> 39 - 9 * level & 511) * 8
            raw = int.from_bytes(self.memory.peek(entry, 8), "little")
            if not raw:
                table, self.next[stage] = self.next[stage], self.next[stage] + PAGE
                shape = S1Table if stage == 1 else S2Table
                raw = pack(shape, {"Valid": 1, "Type": 1, "NextTable": table >> 12})
                self.memory.poke(entry, raw.to_bytes(8, "little"))
                if stage == 1 and self.nested:
                    self.identity(table)
            base = raw & (1 << 48) - PAGE
        fields = ({"AP": 1, "AF": 1, "nG": 1} if stage == 1
                  else {"S2AP": 3, "MemAttr": 15, "AF": 1})
        raw = pack(S1Leaf if stage == 1 else S2Leaf, {
            "Valid": 1, "Type": 1, "OA": output >> 12, "SH": 3, **fields, **leaf})
        self.memory.poke(base + (addr >> 12 & 511) * 8, raw.to_bytes(8, "little"))


def read_of(addr, **values):
    return {"sid": SID, "addr": addr, "rnw": 1, **values}


async def begin(dut, tables, **options):
    bench = WalkBench(dut, tables.memory, PARAMS, **options)
    await bench.start(REGISTERS)
    return bench


def nested():
    tables = Tables()
    tables.map(1, VA, IPA)
    tables.map(2, IPA, PA)
    return tables


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def cold_nested_walk_reads_24_descriptors(dut):
    bench = await begin(dut, nested())
    result = await bench.walk(read_of(VA))
    assert result.translation.page == PA >> 12 and result.translation.size == PageSize.SIZE_4K
    # STE, CD behind four levels, 4 x (4 + 1) + 4.
    assert len(bench.reads) == 1 + 5 + 24, [hex(addr) for addr in bench.reads]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def warm_nested_walk_reads_two_descriptors(dut):
    tables = nested()
    tables.map(1, VA + PAGE, IPA + PAGE)
    tables.map(2, IPA + PAGE, PA + PAGE)
    bench = await begin(dut, tables, caching=True)
    await bench.walk(read_of(VA))
    bench.reads.clear()
    result = await bench.walk(read_of(VA + PAGE))
    assert result.translation.page == PA + PAGE >> 12
    assert len(bench.reads) == 2, [hex(addr) for addr in bench.reads]
    assert (result.context.vmid, result.context.asid, result.translation.nG) == (VMID, ASID, 1)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def seven_clocks_from_descriptor_to_next_read(dut):
    tables = Tables(STEConfig.S1_TRANS)
    tables.map(1, VA, PA)
    bench = await begin(dut, tables)
    await bench.walk(read_of(VA))
    # The bench sees a read in the clock after the one in which it set the data.
    assert min(bench.step_times) <= 8 and bench.step_times[-3:] == [8, 8, 8], bench.step_times


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def marked_walks_answer_but_fill_nothing(dut):
    bench = await begin(dut, nested(), caching=True)
    bench.marked = 1 << 3
    result = await bench.walk(read_of(VA), walk=3)
    assert result.verdict == Verdict.OK
    assert not bench.fills, bench.fills
    await bench.walk(read_of(VA), walk=2)
    assert {name for name, _ in bench.fills} == {"cfg", "tlb", "wc1", "wc2"}


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bound_doorbell_is_where_a_write_goes(dut):
    bench = await begin(dut, nested(), caching=True)
    bench.doorbells.append(Doorbell(SID, IPA, 0x8_0000_0048))
    bench.doorbells.append(Doorbell(SID + 1, IPA, 0x9_0000_0048))
    result = await bench.walk({"sid": SID, "addr": VA + 0x48})
    translation = result.translation
    assert translation.msi and translation.page == 0x8_0000_0
    assert translation.doorbell == 0x48 >> 2 and translation.size == PageSize.SIZE_4K
    assert translation.attrs.outer == translation.attrs.inner == MemType.nGnRE
    bench.events.clear()
    result = await bench.walk(read_of(VA + 0x48))
    assert result.verdict == Verdict.ABORT and not result.cacheable
    record, = bench.events
    assert record.event == EventType.F_UUT.value and record.input_addr == VA + 0x48
    # Nothing of that page in the main TLB; near it only small pages.
    assert all(fill.key.addr not in (IPA >> 12, VA >> 12)
               for name, fill in bench.fills if name == "tlb"), bench.fills


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bypass_answers_with_a_large_page(dut):
    bench = await begin(dut, Tables(STEConfig.BYPASS, PRIVCFG=3))
    result = await bench.walk(read_of(VA))
    assert result.translation.size == PageSize.SIZE_1G and result.translation.combine
    assert result.translation.page == VA >> 12
    result = await bench.walk(read_of(1 << PARAMS.oas))
    assert result.verdict == Verdict.ABORT
    assert [record.event for record in bench.events] == [EventType.F_ADDR_SIZE.value]
    assert not any(name == "tlb" for name, _ in bench.fills)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sixteen_walks_overlap(dut):
    tables = Tables(STEConfig.S1_TRANS)
    for number in range(16):
        tables.map(1, VA + number * PAGE, PA + number * PAGE)
    bench = await begin(dut, tables, latency=(100, 100))
    results = []

    async def one(number):
        results.append((number, await bench.walk(read_of(VA + number * PAGE), walk=number)))

    before = get_sim_time("ns")
    await one(0)
    single = get_sim_time("ns") - before
    before += single
    await Combine(*[cocotb.start_soon(one(number)) for number in range(16)])
    together = get_sim_time("ns") - before
    assert all(result.translation.page == (PA >> 12) + number for number, result in results)
    assert together < 16 * single / 8, f"16 walks took {together}, one {single} ns"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_the_middle_forgets_everything(dut):
    bench = await begin(dut, nested(), latency=(20, 20))
    cocotb.start_soon(bench.walk(read_of(VA)))
    await clocks(dut, 200)
    fresh = WalkBench(dut, nested().memory, PARAMS)
    bench.stop()
    await fresh.start(REGISTERS)
    result = await fresh.walk(read_of(VA))
    assert result.translation.page == PA >> 12
    assert len(fresh.reads) == 30


@pytest.mark.parametrize("seed", [1])
def test_walk_table(seed):
    run_cocotb(WalkTable(PARAMS), __name__, seed=seed)
