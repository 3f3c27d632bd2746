"""Stream agents, on a register."""

import random

import cocotb
import pytest
from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu_sim.bench.layout import pack, view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import StreamSink, StreamSource, cycle, reset


class Kind(enum.Enum, shape=2):
    READ = 0
    WRITE = 2


class Inner(data.Struct):
    low: 3
    _res3: 5
    high: signed(4)


class Payload(data.Struct):
    addr: 52
    inner: Inner
    kind: Kind
    words: data.ArrayLayout(9, 2)


class Register(wiring.Component):
    """Pass payloads through one register; ``unstable`` breaks the rule of streams.

    Timing
        Latency 1 clock, throughput 1 per clock.
    """

    i: In(stream.Signature(Payload))
    o: Out(stream.Signature(Payload))
    unstable: In(1)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.o.ready | ~self.o.valid):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        with m.Elif(self.unstable):
            m.d.sync += self.o.payload.addr.eq(self.o.payload.addr + 1)
        return m


def random_payload(rng):
    return {"addr": rng.getrandbits(52), "inner": {"low": rng.getrandbits(3)},
            "inner.high": rng.randrange(-8, 8), "kind": rng.choice(list(Kind)),
            "words": [rng.getrandbits(9), rng.getrandbits(9)]}


async def check(dut, count, source_pause, sink_pause):
    await reset(dut, i__valid=0, o__ready=0)
    source = StreamSource(dut, "i", Payload, pause_rate=source_pause)
    sink = StreamSink(dut, "o", Payload, pause_rate=sink_pause)
    sent = [random_payload(random) for _ in range(count)]
    source.start(sent)
    start = cycle()
    for item in sent:
        found = await sink.recv()
        assert found.addr == item["addr"]
        assert found.inner.low == item["inner"]["low"]
        assert found.inner.high == item["inner.high"]
        assert found.kind is item["kind"]
        assert [found.words[0], found.words[1]] == item["words"]
    return cycle() - start


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def back_to_back_takes_one_clock_each(dut):
    assert await check(dut, 100, 0, 0) == 101


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=[(0.5, 0), (0, 0.5), (0.5, 0.5)])
async def payloads_survive_pauses(dut, pauses):
    assert await check(dut, 200, *pauses) > 250


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_the_middle_drops_the_payload(dut):
    await reset(dut)
    await StreamSource(dut, "i", Payload).send({"addr": 5})
    sink = StreamSink(dut, "o", Payload)
    await reset(dut)
    await sink.expect_none(5)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sink_reports_an_unstable_payload(dut):
    await reset(dut, unstable=1)
    sink = StreamSink(dut, "o", Payload, pause_rate=0.999)
    await StreamSource(dut, "i", Payload).send({"addr": 5})
    with pytest.raises(AssertionError, match="without a transfer"):
        await sink.recv()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sink_reports_an_unexpected_payload(dut):
    await reset(dut)
    await StreamSource(dut, "i", Payload).send({"addr": 5})
    with pytest.raises(AssertionError, match="unexpected"):
        await StreamSink(dut, "o", Payload).expect_none(3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def wrong_names_are_refused(dut):
    with pytest.raises(ValueError, match="no such input: o__valid"):
        await reset(dut, o__valid=1)
    with pytest.raises(ValueError, match="there is no port x__valid"):
        StreamSource(dut, "x", Payload)
    with pytest.raises(ValueError, match="the layout 7"):
        StreamSource(dut, "i", 7)


@pytest.mark.parametrize("seed", [1, 2])
def test_streams(seed):
    run_cocotb(Register(), __name__, seed=seed)


def test_waves_tell_ten_nanoseconds_a_clock():
    folder = run_cocotb(Register(), __name__, waves=True,
                        testcase="reset_in_the_middle_drops_the_payload")
    text = (folder / "dump.vcd").read_text()
    scale = text.split("$timescale")[1].split("$end")[0].strip()
    unit = {"1ps": 1000, "1ns": 1}[scale]
    clock = next(line.split()[3] for line in text.splitlines()
                 if line.split()[:1] == ["$var"] and line.split()[4] == "clk")
    time, rises = 0, []
    for line in text.splitlines():
        if line.startswith("#"):
            time = int(line[1:])
        elif line == f"1{clock}":
            rises.append(time)
    assert len(rises) >= 3
    assert {after - before for before, after in zip(rises, rises[1:], strict=False)} == {10 * unit}


def test_pack_and_view():
    rng = random.Random(3)
    for _ in range(100):
        item = random_payload(rng)
        raw = pack(Payload, item)
        const = Payload.from_bits(raw)
        found = view(Payload, raw)
        assert found.addr == const.addr and found.inner.high == const.inner.high
        assert found.kind is const.kind is item["kind"]
        assert pack(Payload, found) == pack(Payload, const) == raw
        assert found == raw and found == {"addr": item["addr"]}
    for wrong in ({"addr": 1 << 52}, {"adr": 1}, {"inner": {"high": 8}}, {"words": [1, 2, 3]}):
        with pytest.raises(ValueError):
            pack(Payload, wrong)
