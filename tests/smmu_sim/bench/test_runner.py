"""The runner, on a component that has no clock of its own."""

import os

import cocotb
import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu_sim.bench.runner import SimulationFailed, run_cocotb
from smmu_sim.bench.stream import StreamSink, StreamSource, clocks, reset


class Increment(wiring.Component):
    """Add one; no register, so no clock."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i.payload + 1), self.o.valid.eq(self.i.valid),
                     self.i.ready.eq(self.o.ready)]
        return m


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def streams_need_no_register(dut):
    await reset(dut)
    sink = StreamSink(dut, "o", 8, pause_rate=0.3)
    StreamSource(dut, "i", 8, pause_rate=0.3).start(range(256))
    assert await sink.recv_n(256) == [*range(1, 256), 0]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def top_has_its_name(dut):
    assert dut._name == os.environ.get("TOP", "top")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def fails_on_request(dut):
    await reset(dut)
    await clocks(dut, 2)
    value = 3 if os.environ.get("FAIL") else 4
    assert value == 4, "as asked"


def test_run():
    folder = run_cocotb(Increment(), __name__, seed=1)
    assert (folder / "run.log").exists() and not (folder / "dump.vcd").exists()


def test_the_variable_waves_changes_neither_build_nor_run(monkeypatch):
    monkeypatch.setenv("WAVES", "1")
    folder = run_cocotb(Increment(), __name__, seed=1)
    assert not (folder / "dump.vcd").exists()


def test_failure_is_shown():
    with pytest.raises(SimulationFailed, match="fails_on_request(.|\n)*as asked"):
        run_cocotb(Increment(), __name__, extra_env={"FAIL": "1"})


def test_no_test_is_a_failure():
    with pytest.raises(SimulationFailed, match="no cocotb test"):
        run_cocotb(Increment(), __name__, testcase="no_such_test")


def test_top_name_and_internals():
    run_cocotb(Increment(), __name__, top_name="increment", internals=True,
               extra_env={"TOP": "increment"})
