import os
import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from smmu.lib.broadcast import Broadcast
from smmu.lib.skid_buffer import SkidBuffer
from smmu.lib.stream_arbiter import StreamArbiter
from smmu.lib.stream_fifo import StreamFIFO
from smmu.lib.stream_register import StreamRegister
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, StreamSink, StreamSource, cycle, reset

ITEM = data.StructLayout({"source": 2, "number": 10})
COUNT = 3
ONE_INPUT = ["one_input_keeps_order", "one_input_full_rate_and_reset_in_the_middle",
             "one_input_accepts_without_output"]


async def keeps_order(dut, source_pause, sink_pause):
    source = StreamSource(dut, "i", ITEM, pause_rate=source_pause)
    sink = StreamSink(dut, "o", ITEM, pause_rate=sink_pause)
    source.start({"number": n} for n in range(300))
    for n in range(300):
        assert (await sink.recv()).number == n


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_input_keeps_order(dut):
    for pauses in (0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.3, 0.3):
        await reset(dut)
        await keeps_order(dut, *pauses)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_input_full_rate_and_reset_in_the_middle(dut):
    await reset(dut)
    source = StreamSource(dut, "i", ITEM)
    for n in range(min(2, int(os.environ["CAPACITY"]))):
        await source.send({"number": 900 + n})  # stays inside: nobody takes it
    await reset(dut)
    sink = StreamSink(dut, "o", ITEM)
    await sink.expect_none(5)
    source.start({"number": n} for n in range(100))
    await sink.recv()
    start = cycle()
    await sink.recv_n(99)
    assert cycle() - start == 99


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_input_accepts_without_output(dut):
    """As many as it promises, and no more; READY does not wait for anything."""
    await reset(dut)
    i_valid, i_ready = Pin(dut, "i__valid"), Pin(dut, "i__ready")
    taken = 0
    i_valid.set(1)
    for _ in range(20):
        await RisingEdge(dut.clk)
        taken += i_ready.get()
    assert taken == int(os.environ["CAPACITY"])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def arbiter_loses_nothing_and_is_fair(dut):
    for pauses in (0.0, 0.0), (0.7, 0.0), (0.2, 0.5):
        await reset(dut)
        await arbiter_is_fair(dut, pauses)


async def arbiter_is_fair(dut, pauses):
    sink = StreamSink(dut, "o", ITEM, pause_rate=pauses[1])
    for n in range(COUNT):
        StreamSource(dut, f"i__{n}", ITEM, pause_rate=pauses[0]).start(
            [{"source": n, "number": k} for k in range(100)])
    following, served = [0] * COUNT, []
    for _ in range(COUNT * 100):
        item = await sink.recv()
        assert item.number == following[item.source], f"{pauses} {served}"
        following[item.source] += 1
        served.append(item.source)
    if not pauses[0]:  # all ask all the time
        assert all(set(served[k:k + COUNT]) == set(range(COUNT))
                   for k in range(1, len(served) - COUNT))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def arbiter_full_rate_of_one(dut):
    await reset(dut)
    sink = StreamSink(dut, "o", ITEM)
    asking = random.randrange(COUNT)
    StreamSource(dut, f"i__{asking}", ITEM).start({"number": k} for k in range(100))
    await sink.recv()
    start = cycle()
    await sink.recv_n(99)
    assert cycle() - start == 99


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def broadcast_reaches_all_in_one_cycle(dut):
    for pauses in (0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4):
        await reset(dut)
        StreamSource(dut, "i", ITEM, pause_rate=pauses[0]).start({"number": n} for n in range(200))
        i_valid, i_ready = Pin(dut, "i__valid"), Pin(dut, "i__ready")
        do, pending = Pin(dut, "do"), Pin(dut, "pending")
        ready = [Pin(dut, f"o__{n}__ready") for n in range(COUNT)]
        valid = [Pin(dut, f"o__{n}__valid") for n in range(COUNT)]
        payload = [Pin(dut, f"o__{n}__payload") for n in range(COUNT)]
        accepted = taken = 0
        start = cycle()
        while taken < 200:
            await RisingEdge(dut.clk)
            assert pending.get() == (accepted > taken)
            assert {pin.get() for pin in valid} == {do.get()}
            if do.get():
                assert all(pin.get() for pin in ready)
                assert {pin.get() >> 2 for pin in payload} == {taken}
                taken += 1
            else:
                assert accepted == taken or not all(pin.get() for pin in ready)
            accepted += i_valid.get() & i_ready.get()
            for pin in ready:
                pin.set(int(random.random() >= pauses[1]))
        assert any(pauses) or cycle() - start < 206   # one per cycle


@pytest.mark.parametrize("depth", [3, 5, 16])
def test_stream_fifo(depth):
    run_cocotb(StreamFIFO(ITEM, depth), __name__, testcase=ONE_INPUT,
               extra_env={"CAPACITY": str(depth)})


def test_stream_register():
    run_cocotb(StreamRegister(ITEM), __name__, testcase=ONE_INPUT, extra_env={"CAPACITY": "2"})


def test_skid_buffer():
    run_cocotb(SkidBuffer(ITEM), __name__, testcase=ONE_INPUT, extra_env={"CAPACITY": "1"})


def test_broadcast():
    run_cocotb(Broadcast(ITEM, COUNT), __name__, testcase=["broadcast_reaches_all_in_one_cycle"])


def test_stream_arbiter():
    run_cocotb(StreamArbiter(COUNT, ITEM), __name__, testcase=[
        "arbiter_loses_nothing_and_is_fair", "arbiter_full_rate_of_one"])
