"""Dispatcher: one answer for each request, one walk for each page, and no fill across a mark."""

import random

import cocotb
import pytest

from smmu.params import Params
from smmu.payloads import (
    Decision, RequestWait, TranslationResponse, Verdict, WalkFinished, WalkResult, WalkStart)
from smmu.tcu.dispatcher import Dispatcher
from smmu_sim.bench.layout import view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, StreamSink, StreamSource, clocks, cycle, reset

PARAMS = Params(ports=1, slots=4, walks=4)
SOURCES, SLOTS, WALKS = 2, 4, 4
ALL = {"pr": 1, "pw": 1, "px": 1, "ur": 1, "uw": 1, "ux": 1}


def decision(index, page=1, *, hit=0, perms=ALL, sid=3, cold=0, rnw=1, priv=0, inst=0,
             overrides=None):
    return {
        "item": {"index": index, "request": {
            "slot": index % SLOTS, "sid": sid, "addr": page << 12, "rnw": rnw, "priv": priv,
            "inst": inst}},
        "cold": cold, "hit": hit, "entry": {"page": page + 0x100, "perms": perms},
        "overrides": overrides or {}}


class Bench:
    """All ports of the dispatcher."""

    def __init__(self, dut, pause_rate=0.0):
        self.dut = dut
        self.decisions = StreamSource(dut, "decisions", Decision)
        self.results = StreamSource(dut, "results", WalkResult)
        self.starts = StreamSink(dut, "starts", WalkStart, pause_rate=pause_rate)
        self.answers = [StreamSink(dut, f"responses__{n}", TranslationResponse,
                                   pause_rate=pause_rate) for n in range(SOURCES)]
        self.wait, self.finished = Pin(dut, "wait"), Pin(dut, "finished")
        self.invalidate = Pin(dut, "invalidate")
        self.requests_marked = Pin(dut, "requests_marked")
        self.walks_marked = Pin(dut, "walks_marked")

    async def start(self, index, page, **more):
        """Let a miss start a walk; return its number."""
        await self.decisions.send(decision(index, page, **more))
        return (await self.starts.recv()).walk

    async def waited(self, limit=10):
        """The wait that is strobed within some clocks, or None."""
        for _ in range(limit):
            await clocks(self.dut)
            wait = view(RequestWait, self.wait.get())
            if wait.valid:
                return wait
        return None

    async def strobe(self):
        """One invalidation."""
        self.invalidate.set(1)
        await clocks(self.dut)
        self.invalidate.set(0)

    def end(self, walk, **more):
        return self.results.send({"walk": walk, "cacheable": 1, **more})


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_hit_is_answered_after_one_clock(dut):
    await reset(dut)
    bench = Bench(dut)
    for index in range(SOURCES * SLOTS):
        sent = cocotb.start_soon(bench.decisions.send(decision(index, 7 + index, hit=1)))
        answer = await bench.answers[index // SLOTS].recv()
        assert cycle() == await sent + 1
        assert answer.slot == index % SLOTS and answer.verdict == Verdict.OK and answer.fill
        assert answer.translation.page == 7 + index + 0x100


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(lacking=["ur", "pr", "uw", "pw", "ux", "px"])
async def a_hit_without_the_permission_becomes_a_walk(dut, lacking):
    await reset(dut)
    bench = Bench(dut)
    access = {"priv": int(lacking[0] == "p"), "rnw": int(lacking[1] != "w"),
              "inst": int(lacking[1] == "x")}
    await bench.decisions.send(decision(1, hit=1, perms=ALL, **access))
    await bench.answers[0].recv()
    await bench.decisions.send(decision(2, hit=1, perms={**ALL, lacking: 0}, **access))
    assert (await bench.starts.recv()).request.slot == 2
    only = {name: int(name == lacking) for name in ALL}
    await bench.decisions.send(decision(3, hit=1, perms=only, **access))
    assert (await bench.answers[0].recv()).slot == 3


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def overrides_decide_the_class_of_an_access(dut):
    await reset(dut)
    bench = Bench(dut)
    only_privileged = {**dict.fromkeys(ALL, 0), "pr": 1}
    # PRIVCFG = privileged lets the unprivileged read pass; the answer says so by incoming class.
    await bench.decisions.send(decision(
        0, hit=1, perms=only_privileged, overrides={"PRIVCFG": 3}))
    perms = (await bench.answers[0].recv()).translation.perms
    assert perms.ur and perms.pr and not perms.uw
    await bench.decisions.send(decision(
        1, hit=1, perms=only_privileged, priv=1, overrides={"PRIVCFG": 2}))
    assert (await bench.starts.recv()).request.slot == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_second_miss_of_the_page_waits_for_the_walk(dut):
    await reset(dut)
    bench = Bench(dut)
    walk = await bench.start(0, 5)
    await bench.decisions.send(decision(1, 5))
    wait = await bench.waited()
    assert wait.index == 1 and wait.walk == walk and not wait.any_walk and not wait.now
    # Another page, and another stream, are others' business.
    assert await bench.start(2, 6) != walk
    assert await bench.start(3, 5, sid=4) != walk


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_stream_whose_configuration_is_fetched_waits(dut):
    await reset(dut)
    bench = Bench(dut)
    walk = await bench.start(0, 5, cold=1)
    await bench.decisions.send(decision(1, 6, cold=1))
    assert (await bench.waited()).walk == walk


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def with_all_walks_busy_hits_pass_and_misses_wait_for_any(dut):
    await reset(dut)
    bench = Bench(dut)
    walks = {await bench.start(index, 10 + index) for index in range(WALKS)}
    assert walks == set(range(WALKS))
    await bench.decisions.send(decision(5, 50))
    wait = await bench.waited()
    assert wait.index == 5 and wait.any_walk
    await bench.decisions.send(decision(6, 51, hit=1))
    assert (await bench.answers[1].recv()).slot == 6 % SLOTS
    await bench.end(2)
    await bench.answers[0].recv()
    assert await bench.start(5, 50) == 2  # looked up again, it gets the walk that has ended


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def nobody_waits_for_a_marked_walk_and_it_does_not_fill(dut):
    await reset(dut)
    bench = Bench(dut)
    walk = await bench.start(0, 5)
    assert bench.walks_marked.get() == 0
    await bench.strobe()
    await clocks(dut)
    assert bench.walks_marked.get() == 1 << walk
    other = await bench.start(1, 5)
    assert other != walk
    await bench.end(walk)
    answer = await bench.answers[0].recv()
    assert answer.slot == 0 and not answer.fill
    await bench.end(other)
    answer = await bench.answers[0].recv()
    assert answer.slot == 1 and answer.fill
    await clocks(dut)
    assert bench.walks_marked.get() == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_marked_request_marks_its_walk_and_its_answer(dut):
    await reset(dut)
    bench = Bench(dut)
    bench.requests_marked.set(0b11)
    walk = await bench.start(0, 5)
    assert bench.walks_marked.get() == 1 << walk
    await bench.decisions.send(decision(1, 6, hit=1))
    assert not (await bench.answers[0].recv()).fill
    await bench.decisions.send(decision(2, 6, hit=1))
    assert (await bench.answers[0].recv()).fill


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(early=range(6))
async def an_invalidation_at_any_clock_keeps_the_answer_from_filling(dut, early):
    await reset(dut)
    bench = Bench(dut)
    await bench.decisions.send(decision(1, 6, hit=1))
    bench.requests_marked.set(0)
    await clocks(dut, early)   # the answer waits, nobody takes it
    await bench.strobe()
    await clocks(dut)
    assert not (await bench.answers[0].recv()).fill


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(any_walk=[False, True])
async def a_wait_in_the_clock_of_the_end_is_no_wait(dut, any_walk):
    """Whatever the distance: a request waits only for an end that is still to come."""
    outcomes = set()
    for delay in range(9):
        await reset(dut)
        bench = Bench(dut)
        for index in range(WALKS if any_walk else 1):
            await bench.start(index, 10 + index)
        walk = 0
        cocotb.start_soon(bench.decisions.send(decision(5, 99 if any_walk else 10)))

        async def end(bench=bench, delay=delay, walk=walk):
            await clocks(dut, delay)
            await bench.end(walk)

        cocotb.start_soon(end())
        ended = waited = None
        for clock in range(20):
            await clocks(dut)
            if view(WalkFinished, bench.finished.get()).valid:
                ended = clock
            wait = view(RequestWait, bench.wait.get())
            if wait.valid:
                waited = clock
                assert wait.any_walk == any_walk
                assert wait.now == (ended == clock), f"delay {delay}"
                assert ended in (None, clock), f"delay {delay}: waits for what has ended"
        outcomes.add("none" if waited is None else "now" if ended == waited else "before")
    assert outcomes == {"none", "now", "before"}


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_fault_is_passed_on(dut):
    await reset(dut)
    bench = Bench(dut)
    walk = await bench.start(6, 5)
    await bench.results.send({"walk": walk, "verdict": Verdict.ABORT, "cacheable": 0})
    answer = await bench.answers[1].recv()
    assert answer.verdict == Verdict.ABORT and not answer.fill and answer.slot == 6 % SLOTS


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(pause_rate=[0.0, 0.6])
async def random_requests_all_get_their_answer(dut, pause_rate):
    """Play request table and walks: whatever waits is looked up again, and nothing is lost."""
    await reset(dut)
    bench = Bench(dut, pause_rate)
    open_requests, known, waiting, running = {}, set(), {}, {}
    answered = []

    async def answers(source):
        while True:
            answer = await bench.answers[source].recv()
            index = source * SLOTS + answer.slot
            answered.append((index, answer.translation.page))
            page = open_requests.pop(index)
            assert answer.translation.page == page + 0x100

    async def walks():
        while True:
            start = await bench.starts.recv()
            page = start.request.addr >> 12
            assert page not in running.values(), "two walks for one page"
            assert start.walk not in running
            running[start.walk] = page
            cocotb.start_soon(finish(start.walk, page))

    async def finish(walk, page):
        await clocks(dut, random.randrange(1, 60))
        known.add(page)
        await bench.results.send({
            "walk": walk, "cacheable": 1, "translation": {"page": page + 0x100}})
        assert running.pop(walk) == page

    async def strobes():
        while True:
            await clocks(dut)
            wait = view(RequestWait, bench.wait.get())
            finished = view(WalkFinished, bench.finished.get())
            if finished.valid:
                for index in [i for i, w in waiting.items() if w in (None, finished.walk)]:
                    del waiting[index]
                    again.append(index)
            if wait.valid:
                if wait.now:
                    again.append(wait.index)
                else:
                    waiting[wait.index] = None if wait.any_walk else wait.walk

    again = []
    for source in range(SOURCES):
        cocotb.start_soon(answers(source))
    cocotb.start_soon(walks())
    cocotb.start_soon(strobes())
    count = 0
    for _ in range(60_000):
        if count == 300 and not open_requests:
            break
        if again:
            index = again.pop(0)
        else:
            free = [i for i in range(SOURCES * SLOTS) if i not in open_requests]
            if count == 300 or not free or random.random() < 0.2:
                await clocks(dut)
                continue
            index, count = random.choice(free), count + 1
            open_requests[index] = random.randrange(40)
            if random.random() < 0.1:
                known.clear()
        page = open_requests[index]
        await bench.decisions.send(decision(index, page, hit=int(page in known)))
    assert count == 300 and not open_requests and not waiting
    assert len(answered) == 300


@pytest.mark.parametrize("seed", [1, 2])
def test_dispatcher(seed):
    run_cocotb(Dispatcher(PARAMS), __name__, seed=seed)
