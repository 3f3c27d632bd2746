"""Random walks, many at once, against the reference model: outcome, record, attributes."""

import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import Combine
from smmu_sim.backend import Transaction
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.model import attributes as attr
from smmu_sim.model.smmu import SMMU, Disposition

from smmu.formats.registers import BY_NAME
from smmu.params import CONFIGS
from smmu.payloads import PAGE_SHIFTS, MemType, Verdict
from smmu.tcu.walk.walk_table import WalkTable

sys.path.insert(0, str(Path(__file__).parent))
from random_tables import RandomStreams, place_cds  # noqa: E402
from walk_bench import WalkBench, event_words  # noqa: E402

BUILDS = {
    "default": CONFIGS["default"],
    "small": CONFIGS["small"],
    "mixed_endian": replace(CONFIGS["default"], ttendian=0, oas=40, term_model=1, walks=4),
    "two_granules": replace(CONFIGS["default"], gran16k=0, ssidsize=20, sidsize=32, oas=36),
}
VERDICTS = {Disposition.PASS: Verdict.OK, Disposition.ABORT: Verdict.ABORT,
            Disposition.RAZ_WI: Verdict.RAZWI}
ROUNDS = int(os.environ.get("WALK_ROUNDS", 12))
REQUESTS = 40


def start_model(streams, params):
    model = SMMU(params, streams.memory)
    for name, value in streams.registers.items():
        width = model.write64 if BY_NAME[name].width == 64 else model.write32
        width(BY_NAME[name].offset, value)
    model.write32(BY_NAME["CR0"].offset, 1)
    return model


def random_transaction(rng, streams, params):
    sid = rng.choice(streams.sids) if streams.sids and rng.random() < 0.98 else (
        rng.getrandbits(params.sidsize + 1) & 0xFFFF_FFFF)
    addr = rng.getrandbits(rng.choice((20, 25, 25, 25, 28, 32, 40, 48, 64))) & ~7
    if rng.random() < 0.4:
        addr = (addr | -1 << rng.choice((25, 25, 28, 36, 48))) & (1 << 64) - 8
    if rng.random() < 0.2:
        addr = addr & (1 << 56) - 1 | rng.getrandbits(8) << 56
    write = rng.random() < 0.4
    ssid = None
    if rng.random() < 0.12:
        ssid = rng.choice((0, 1, 1, 1, 63, 64, 65, 1023, rng.getrandbits(20)))
    return Transaction(
        sid=sid, addr=addr, ssid=ssid, write=write, data=bytes(4) if write else None,
        length=None if write else 4, priv=rng.random() < 0.5, instr=rng.random() < 0.3,
        cache=rng.choice((0, 1, 2, 3, 6, 7, 10, 11, 14, 15)), shareability=rng.choice((0, 2, 3)),
        atst=rng.random() < 0.01)


def request_of(t):
    return {"sid": t.sid, "ssv": int(t.ssid is not None), "ssid": t.ssid or 0, "addr": t.addr,
            "rnw": int(not t.write), "priv": int(t.priv), "inst": int(t.instr and not t.write),
            "atst": int(t.atst)}


def final_attributes(translation, t):
    """What a translation buffer makes of a result, by the rules of the architecture."""
    overrides = attr.Overrides(**translation.overrides.as_dict())
    incoming = attr.incoming(t.cache, t.shareability)
    a = translation.attrs
    if not translation.combine:
        table = attr.Attributes(a.outer.value, a.inner.value, a.ra, a.wa, a.sh)
        return attr.stage1_result(table, incoming, overrides)
    first = attr.override(incoming, overrides)
    outer, inner = (
        int(MemType.WB.value) if a.outer == MemType.FORCE_WB else min(one, two.value)
        for one, two in ((first.outer, a.outer), (first.inner, a.inner)))
    if outer < 4 or inner < 4:
        outer = inner = min(outer, inner)
    return attr.Attributes(outer, inner, first.ra, first.wa,
                           attr._stronger_shareability(first.sh, a.sh))


def check_result(model, t, result, events, params):
    expected = model.translate(t)
    about = f"{t}: {result} {events}, expected {expected}"
    assert result.verdict == VERDICTS[expected.disposition], about
    words = [event_words(record) for record in events]
    assert words == ([expected.words] if expected.record is not None else []), (
        f"{about}\n{words}\n{expected.words}")
    assert result.cacheable == (result.verdict == Verdict.OK), about
    if result.verdict != Verdict.OK:
        return
    translation = result.translation
    below = (1 << PAGE_SHIFTS[translation.size.value]) - 1
    pa = (translation.page << 12) & ~below | t.addr & below
    assert pa == expected.pa, f"{about}: {pa:#x}, not {expected.pa:#x}"
    attributes = final_attributes(translation, t)
    assert attr.outgoing_shareability(attributes) == expected.shareability, about
    assert attr.axcache(attributes, t.write) == expected.cache, (
        f"{about}: {attributes}, {expected.attributes}")
    # Every class of access, at the ends of the page.
    for offset in (0, below & ~7):
        addr = t.addr & ~below | offset
        for name, write, priv, instr in (
                ("pr", 0, 1, 0), ("pw", 1, 1, 0), ("px", 0, 1, 1),
                ("ur", 0, 0, 0), ("uw", 1, 0, 0), ("ux", 0, 0, 1)):
            variant = replace(t, addr=addr, write=bool(write), priv=bool(priv), instr=bool(instr),
                              data=bytes(4) if write else None, length=None if write else 4)
            other = model.translate(variant)
            passes = other.disposition == Disposition.PASS
            assert passes == bool(translation.perms[name]), f"{about}: {name} of {variant}"
            assert not passes or other.pa == pa & ~below | offset, f"{about}: {variant}"


async def play(dut, params, rng, bad, caching, pause_rate):
    streams = RandomStreams(rng.getrandbits(32), params, bad)
    model = start_model(streams, params)
    place_cds(model.translator, streams.sids, streams.memory, rng, params, bad)
    bench = WalkBench(dut, streams.memory, params, caching=caching, pause_rate=pause_rate,
                      latency=rng.choice(((2, 2), (1, 30))), seed=rng.getrandbits(32))
    await bench.start(streams.registers)
    results = []

    async def one_walk(number, transactions):
        for t in transactions:
            results.append((t, await bench.walk(request_of(t), walk=number)))

    shares = [[] for _ in range(params.walks)]
    for _ in range(REQUESTS):
        rng.choice(shares).append(random_transaction(rng, streams, params))
    await Combine(*[cocotb.start_soon(one_walk(n, share)) for n, share in enumerate(shares)])
    bench.stop()
    # A record shows StreamID and address, which tell whose it is.
    left = list(bench.events)
    for t, result in results:
        mine = []
        if result.verdict != Verdict.OK:
            mine = [record for record in left if record.sid == t.sid][:0]
            wanted = model.translate(t).words
            mine = [record for record in left if event_words(record) == wanted][:1]
            if wanted is not None and not mine:
                near = [record for record in left if record.sid == t.sid]
                raise AssertionError(f"{t}: {result}; no record "
                                     f"{[hex(word) for word in wanted]} among {near}")
            for record in mine:
                left.remove(record)
        check_result(model, t, result, mine, params)
    assert not left, f"nobody's records: {left}"
    return results, bench


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def random_walks_equal_the_model(dut):
    params = BUILDS[os.environ["WALK_BUILD"]]
    outcomes = {}
    for number in range(ROUNDS):
        rng = random.Random(random.getrandbits(32))
        bad = (0.0, 0.01, 0.03)[number % 3]
        results, bench = await play(dut, params, rng, bad, caching=number % 2 == 1,
                                    pause_rate=rng.choice((0.0, 0.3)))
        for _, result in results:
            outcomes[result.verdict] = outcomes.get(result.verdict, 0) + 1
        for record in bench.events:
            outcomes[record.event] = outcomes.get(record.event, 0) + 1
    dut._log.info("outcomes: %s", outcomes)
    assert outcomes.get(Verdict.OK, 0) > ROUNDS, f"hardly anything passed: {outcomes}"


@pytest.mark.parametrize("build", BUILDS)
def test_walk_random(build):
    run_cocotb(WalkTable(BUILDS[build]), __name__, seed=int(os.environ.get("WALK_SEED", 1)),
               extra_env={"WALK_BUILD": build})
