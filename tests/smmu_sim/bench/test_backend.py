"""The RTL backend: synchronous host code in a thread, on a register slice instead of an SMMU."""

import cocotb
import pytest
from cocotb.task import bridge

from smmu.formats.axi import UntranslatedUser
from smmu.formats.core import pack
from smmu.formats.registers import BY_NAME, CR0
from smmu.params import Params
from smmu_sim.backend import Burst, Resp, Transaction
from smmu_sim.bench import backend as backend_module
from smmu_sim.bench.backend import RTLBackend
from smmu_sim.bench.core import run_host
from smmu_sim.bench.runner import (
    SimulationFailed,
    build_cocotb,
    export_verilog,
    run_cocotb,
)
from smmu_sim.bench.wrapper import BENCH, wrap
from tests.smmu_sim.bench.axi_slice import AxiSlice


def host_test(function):
    """A cocotb test from synchronous code that gets a backend."""
    async def test(dut):
        backend = RTLBackend(dut, Params(), latency=5)
        await bridge(function)(backend)
    test.__name__ = test.__qualname__ = function.__name__
    return cocotb.test(timeout_time=5, timeout_unit="ms")(test)


@host_test
def registers_are_written_and_read(backend):
    backend.reset()
    backend.write64(0x40, 0x0123_4567_89AB_CDEF)
    assert backend.read32(0x44) == 0x0123_4567
    backend.write32(0x40, 5)
    assert backend.read64(0x40) == 0x0123_4567_0000_0005
    backend.reset()
    assert backend.read64(0x40) == 0


@host_test
def a_read_brings_data_and_attributes(backend):
    backend.reset()
    backend.memory.poke(0x12340, bytes(range(64)))
    result = backend.dma(Transaction(sid=77, ssid=1, addr=0x12340, length=64, priv=True,
                                     instr=True, cache=0b1111, shareability=3))
    assert result.ok and result.data == bytes(range(64)) and result.pa == 0x12340
    assert result.cache == 0b1111 and result.prot == 0b111 and result.device_id == 77
    # The slice hands the user bits on as they are: bit 32 is the SubstreamID's lowest.
    assert result.msi is True and result.shareability == 0
    record = backend.memories[0].records[-1]
    assert record.len == 7 and record.size == 3
    assert record.user == pack(UntranslatedUser, {"StreamID": 77, "SubstreamID": 1, "SSV": 1,
                                                  "SH": 3})


@host_test
def writes_of_every_width(backend):
    backend.reset()
    expected = bytearray(256)
    for width in (1, 2, 4, 8, 16, 32, 64):
        data = bytes(width + k for k in range(width))
        result = backend.dma(Transaction(sid=1, addr=width, write=True, data=data))
        expected[width:2 * width] = data
        assert result.ok and result.pa == width and result.data is None
        record = backend.memories[0].records[-1]
        assert (record.len + 1) << record.size == width
    result = backend.dma(Transaction(sid=1, addr=0xC0, write=True, data=b"abcdefgh",
                                     strobes=0b0101_0000))
    expected[0xC4], expected[0xC6] = b"e"[0], b"g"[0]
    assert backend.memory.peek(0, 256) == expected
    wrapped = Transaction(sid=1, addr=0x48, length=16, burst=Burst.WRAP)
    assert backend.dma(wrapped).data == expected[0x48:0x50] + expected[0x40:0x48]


@host_test
def aborts_come_back(backend):
    backend.reset()
    backend.memory.windows = [(0, 4096)]
    result = backend.dma(Transaction(sid=1, addr=4096, length=8))
    assert result.resp == Resp.SLVERR and result.data is None and result.pa == 4096
    backend.memory.windows = None


@host_test
def many_at_once_overlap(backend):
    backend.reset()
    backend.memory.poke(0, bytes(range(256)))
    start = backend.now
    results = backend.dma_all([Transaction(sid=1, addr=8 * n, length=8) for n in range(32)])
    assert [result.data[0] for result in results] == [8 * n for n in range(32)]
    assert backend.now - start < 50


@host_test
def idle_waits_for_table_reads_and_commands(backend):
    backend.reset()
    backend.memory.poke(0x5000, b"tabledat")
    backend.tables.latency = 300
    backend.write64(8, 0x5000)
    assert backend.read64(16) == 0
    backend.idle()
    assert backend.read64(16) == int.from_bytes(b"tabledat", "little")
    assert backend.tables.reads == 1 and backend.tables.records[0].addr == 0x5000
    backend.write32(BY_NAME["CR0"].offset, pack(CR0, {"CMDQEN": 1}))
    backend.write32(BY_NAME["CMDQ_PROD"].offset, 3)
    before, backend_module.LIMIT_CLOCKS = backend_module.LIMIT_CLOCKS, 1000
    try:
        with pytest.raises(TimeoutError, match="command queue"):
            backend.idle()
    finally:
        backend_module.LIMIT_CLOCKS = before
    backend.write32(BY_NAME["CMDQ_CONS"].offset, 3)
    start = backend.now
    backend.idle()
    assert backend.now - start < 150


@host_test
def a_hung_transaction_is_reported(backend):
    backend.reset()
    before, backend_module.LIMIT_CLOCKS = backend_module.LIMIT_CLOCKS, 1000
    backend.memories[0].latency = 100_000
    try:
        with pytest.raises(TimeoutError, match="read of s0_axi 0x40.*no answer"):
            backend.dma(Transaction(sid=1, addr=0x40, length=8))
    finally:
        backend_module.LIMIT_CLOCKS = before


@host_test
def interrupts_and_time(backend):
    backend.reset()
    before = backend.now
    backend.wait(100)
    assert 100 <= backend.now - before <= 101
    backend.write64(0, 0)
    backend.wait(5)
    assert backend.interrupts().eventq == 1 and sum(backend.interrupts()) == 1


def count_up(backend, report, start, count):
    """Host code that reports each step."""
    backend.write64(0x28, start)
    for step in range(count):
        report({"step": step})
        backend.write64(0x28, backend.read64(0x28) + 1)
    return {"end": backend.read64(0x28), "latency": list(backend.tables.latency)}


def fail(backend, report):
    raise RuntimeError("what the host code says")


def build_slice():
    verilog, ports = export_verilog(AxiSlice(), "slice")
    verilog, ports, description = wrap(verilog, ports, "slice")
    return build_cocotb(verilog, ports, BENCH, description=description)


def test_host_code_reports_while_it_runs():
    seen = []
    result, _ = run_host(build_slice(), count_up, {"start": 100, "count": 5},
                         options={"latency": [3, 9]}, on_report=seen.append)
    assert result == {"end": 105, "latency": [3, 9]}
    assert seen == [{"step": step} for step in range(5)]


def test_failing_host_code_says_why():
    with pytest.raises(SimulationFailed, match="what the host code says"):
        run_host(build_slice(), fail, on_report=print)


def test_backend():
    run_cocotb(AxiSlice(), __name__, seed=1, axi=True)
