"""RequestTable: every request is issued, again after each wait, and knows of invalidations."""

import random

import cocotb
import pytest

from smmu.params import CONFIGS, Params
from smmu.payloads import RequestWait, TaggedRequest, TranslationRequest, WalkFinished
from smmu.tcu.request_table import RequestTable, request_count
from smmu_sim.bench.layout import pack
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, StreamSink, StreamSource, clocks, cycle, reset

PARAMS = Params(ports=2, slots=4, walks=4)
SOURCES, SLOTS, WALKS = 4, 4, 4


class Bench:
    """Send requests, judge each item by chance, and keep what the table should be doing."""

    def __init__(self, dut, pause_rate):
        self.dut = dut
        self.sources = [StreamSource(dut, f"requests__{n}", TranslationRequest,
                                     pause_rate=pause_rate) for n in range(SOURCES)]
        self.sink = StreamSink(dut, "items", TaggedRequest, pause_rate=pause_rate)
        self.wait, self.finished = Pin(dut, "wait"), Pin(dut, "finished")
        self.invalidate, self.marked = Pin(dut, "invalidate"), Pin(dut, "marked")
        self.waiting = {}   # index: walk, or None for any
        self.expected = {}  # index: address of the request that must come out
        self.issued = 0

    async def feed(self, source, count):
        for number in range(count):
            slot = number % SLOTS
            index = source * SLOTS + slot
            while index in self.expected or index in self.waiting:
                await clocks(self.dut)
            address = random.getrandbits(64)
            self.expected[index] = address
            await self.sources[source].send({"slot": slot, "addr": address})

    async def strobe(self, pin, layout, value):
        pin.set(pack(layout, {"valid": 1, **value}))
        await clocks(self.dut)
        pin.set(0)

    async def judge(self, wait_rate):
        addresses = {}
        while True:
            item = await self.sink.recv()
            index, address = item.index, item.request.addr
            self.issued += 1
            assert index in self.expected, f"request {index} was issued without reason"
            assert address == self.expected.pop(index)
            addresses[index] = address
            if random.random() < wait_rate:
                now, any_walk = random.random() < 0.2, random.random() < 0.3
                walk = random.randrange(WALKS)
                if now:
                    self.expected[index] = address
                else:
                    self.waiting[index] = None if any_walk else walk
                    self.addresses = addresses
                await self.strobe(self.wait, RequestWait, {
                    "index": index, "walk": walk, "any_walk": any_walk, "now": now})


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(pause_rate=[0.0, 0.5], wait_rate=[0.0, 0.6])
async def every_request_is_issued_and_again_after_each_wait(dut, pause_rate, wait_rate):
    await reset(dut)
    bench = Bench(dut, pause_rate)
    feeders = [cocotb.start_soon(bench.feed(n, 60)) for n in range(SOURCES)]
    cocotb.start_soon(bench.judge(wait_rate))

    async def finish():
        while True:
            await clocks(dut, random.randrange(2, 12))
            while bench.wait.get():  # the dispatcher resolves that coincidence, by `now`
                await clocks(dut)
            walk = random.randrange(WALKS)
            bench.finished.set(pack(WalkFinished, {"valid": 1, "walk": walk}))
            for index in [i for i, w in bench.waiting.items() if w in (None, walk)]:
                del bench.waiting[index]
                bench.expected[index] = bench.addresses[index]
            await clocks(dut)
            bench.finished.set(0)

    cocotb.start_soon(finish())
    for feeder in feeders:
        await feeder
    for _ in range(3000):
        if not bench.expected and not bench.waiting:
            break
        await clocks(dut)
    assert not bench.expected and not bench.waiting
    assert bench.issued >= 60 * SOURCES
    if wait_rate:
        assert bench.issued > 70 * SOURCES  # the waits did happen


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_mark_tells_of_an_invalidation_since_the_issue(dut):
    await reset(dut)
    source = StreamSource(dut, "requests__2", TranslationRequest)
    sink = StreamSink(dut, "items", TaggedRequest)
    invalidate, marked, wait = Pin(dut, "invalidate"), Pin(dut, "marked"), Pin(dut, "wait")
    bit = 1 << (2 * SLOTS + 1)

    await source.send({"slot": 1})
    await clocks(dut, 2)
    assert not marked.get() & bit
    invalidate.set(1)
    await clocks(dut)
    invalidate.set(0)
    await clocks(dut)
    assert marked.get() & bit
    item = await sink.recv()
    # Issued again: unmarked, unless the invalidation comes in that very cycle.
    wait.set(pack(RequestWait, {"valid": 1, "index": item.index, "now": 1}))
    await clocks(dut)
    wait.set(0)
    assert (await sink.recv()).index == item.index
    assert not marked.get() & bit


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def an_invalidation_in_the_cycle_of_the_issue_marks(dut):
    await reset(dut, invalidate=1)
    source = StreamSource(dut, "requests__0", TranslationRequest)
    await source.send({"slot": 0})
    await clocks(dut, 1)
    Pin(dut, "invalidate").set(0)
    await clocks(dut, 3)
    assert Pin(dut, "marked").get() & 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_request_a_cycle(dut):
    await reset(dut)
    sources = [StreamSource(dut, f"requests__{n}", TranslationRequest) for n in range(SOURCES)]
    sink = StreamSink(dut, "items", TaggedRequest)
    for number, source in enumerate(sources):
        source.start([{"slot": slot, "addr": number} for slot in range(SLOTS)])
    times = []
    for _ in range(SOURCES * SLOTS):
        await sink.recv()
        times.append(cycle())
    assert times[-1] - times[0] == SOURCES * SLOTS - 1


@pytest.mark.parametrize("seed", [1, 2])
def test_request_table(seed):
    run_cocotb(RequestTable(PARAMS), __name__, seed=seed)


def test_every_configuration_has_a_place_for_each_slot():
    for params in CONFIGS.values():
        assert request_count(params) >= 2 * params.ports * params.slots
