"""The AXI4 port of the SMMU's own accesses: interleaved reads, writes, attributes, errors."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from smmu.params import Params
from smmu.payloads import MemType, TableData, TableRead
from smmu.queues.table_master import (
    COMMAND_ID, MSI_ID, RECORD_ID, CommandData, CommandRead, TableMaster, TableWrite, WriteDone)
from smmu_sim.bench.axi_memory import AxiMemory
from smmu_sim.bench.bus import Bus
from smmu_sim.bench.layout import view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, StreamSink, StreamSource
from smmu_sim.memory import Memory

PARAMS = Params(walks=8)
ABORT = range(0x7000, 0x8000)


def attributes():
    """Random attributes of an access, and what AxCACHE for a read, for a write, and user are."""
    outer, inner = random.choice(list(MemType)[:7]), random.choice(list(MemType)[:7])
    if MemType.nGnRnE.value <= outer.value < MemType.NC.value or inner.value < MemType.NC.value:
        inner = outer = min(outer, inner, key=lambda kind: kind.value)
    ra, wa, sh = random.randrange(2), random.randrange(2), random.randrange(4)
    wb = outer == MemType.WB
    if outer.value < MemType.NC.value:
        read = write = 0b0000 if outer == MemType.nGnRnE else 0b0001
    elif outer == MemType.NC:
        read = write = 0b0011
    else:
        read, write = 0b1010 | ra << 2 | wb, 0b0110 | wa << 3 | wb
    plain = outer.value <= MemType.NC.value and inner.value <= MemType.NC.value
    user = 2 if plain else 0 if sh == 1 else sh
    return ({"outer": outer, "inner": inner, "ra": ra, "wa": wa, "sh": sh}, read, write, user)


class Table:
    """The component with a memory behind it."""

    def __init__(self, dut, **options):
        self.dut, self.bus, self.memory = dut, Bus(dut), Memory()
        self.memory.abort_at(ABORT)
        for addr in range(0, 0x8000, 8):
            self.memory.poke(addr, random.getrandbits(64).to_bytes(8, "little"))
        self.axi = AxiMemory(self.bus, "m_axi", self.memory, **options)

    async def start(self):
        await self.bus.reset()

    def word(self, addr):
        return int.from_bytes(self.memory.peek(addr, 8), "little")


OPTIONS = {"latency": (1, 60), "pause_rate": 0.3, "gap_rate": 0.2, "out_of_order": True,
           "interleave": True}


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reads_of_walks_and_commands_interleave(dut):
    """Each walk gets its own beats, numbered, with their errors; commands come in order."""
    table = Table(dut, **OPTIONS)
    await table.start()
    source = StreamSource(dut, "reads", TableRead, pause_rate=0.2)
    sink = StreamSink(dut, "data", TableData, pause_rate=0.3)
    expected = {walk: [] for walk in range(PARAMS.walks)}
    addresses, most = {}, 0

    async def walk(number):
        for _ in range(25):
            beats = random.choice([1, 4])
            addr = random.randrange(0, 0x8000, 8 * beats)
            attrs, cache, _, user = attributes()
            expected[number] = [(beat, table.word(addr + 8 * beat), addr in ABORT)
                                for beat in range(beats)]
            addresses[number, addr] = (cache, user)
            await source.send({"id": number, "addr": addr >> 3, "beats": beats, "attrs": attrs})
            while expected[number]:
                await RisingEdge(dut.clk)

    async def commands():
        request = StreamSource(dut, "command_reads", CommandRead)
        valid, payload = Pin(dut, "command_data__valid"), Pin(dut, "command_data__payload")
        for _ in range(20):
            beats = 2 * random.randint(1, 16)
            addr = random.randrange(0, 0x7000, 256)
            attrs, cache, _, user = attributes()
            addresses[COMMAND_ID, addr] = (cache, user)
            await request.send({"addr": addr >> 3, "beats": beats, "attrs": attrs})
            for beat in range(beats):
                await RisingEdge(dut.clk)
                while not valid.get():
                    await RisingEdge(dut.clk)
                found = view(CommandData, payload.get())
                assert (found.data, found.error) == (table.word(addr + 8 * beat), 0)

    def check_address(record):
        assert (record.cache, record.user) == addresses[record.id, record.addr]
        assert (record.size, record.burst, record.prot) == (3, 1, 0b011)

    table.axi.on_address.append(check_address)
    tasks = [cocotb.start_soon(walk(number)) for number in range(PARAMS.walks)]
    tasks.append(cocotb.start_soon(commands()))
    while not all(task.done() for task in tasks):
        take = cocotb.start_soon(sink.recv())
        while not take.done() and not all(task.done() for task in tasks):
            await RisingEdge(dut.clk)
        if not take.done():
            take.cancel()
            break
        found = take.result()
        most = max(most, sum(bool(beats) for beats in expected.values()))
        beat, data, error = expected[found.id].pop(0)
        assert (found.beat, found.error, found.last) == (beat, error, not expected[found.id])
        assert found.first == (beat == 0)
        assert error or found.data == data
    for task in tasks:
        await task
    assert most > PARAMS.walks // 2


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def records_and_msis(dut):
    """Bursts of four beats and single 32-bit words, each with its own response."""
    table = Table(dut, **OPTIONS)
    await table.start()
    addresses = {}

    async def write(port, done_port, number, word):
        source = StreamSource(dut, port, TableWrite, pause_rate=0.2)
        done = Pin(dut, done_port)
        for _ in range(40):
            addr = random.randrange(0, 0x8000, 4 if word else 32)
            attrs, _, cache, user = attributes()
            addresses[number, addr] = (cache, user)
            values = [random.getrandbits(32) * (1 << 32 | 1) if word else random.getrandbits(64)
                      for _ in range(1 if word else 4)]
            before = table.memory.peek(addr & ~7, 8)
            for beat, value in enumerate(values):
                await source.send({"addr": addr >> 2, "word": word, "attrs": attrs, "data": value,
                                   "last": beat == len(values) - 1})
            await RisingEdge(dut.clk)
            while not done.get() & 1:
                await RisingEdge(dut.clk)
            assert view(WriteDone, done.get()).error == (addr in ABORT)
            if addr in ABORT:
                continue
            if word:
                expected = bytearray(before)
                expected[addr & 4:(addr & 4) + 4] = (values[0] >> 32).to_bytes(4, "little")
                assert table.memory.peek(addr & ~7, 8) == bytes(expected)
            else:
                assert [table.word(addr + 8 * beat) for beat in range(4)] == values

    def check_address(record):
        assert (record.cache, record.user) == addresses[record.id, record.addr]
        assert (record.len, record.size) == ((0, 2) if record.id == MSI_ID else (3, 3))
        assert (record.burst, record.prot) == (1, 0b011)

    table.axi.on_address.append(check_address)
    # Apart, so that neither overwrites what the other expects.
    records = cocotb.start_soon(write("records", "record_done", RECORD_ID, 0))
    await records
    msis = cocotb.start_soon(write("msis", "msi_done", MSI_ID, 1))
    await msis


@pytest.mark.parametrize("seed", [1, 2])
def test_table_master(seed):
    run_cocotb(TableMaster(PARAMS), __name__, axi=True, seed=seed)


def test_other_widths_are_refused():
    class Wide:
        data_width = 128

    with pytest.raises(ValueError, match="data_width must be 64, not 128"):
        TableMaster(Wide())
