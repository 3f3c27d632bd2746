"""Micro-TLB: what hits, what a fill and an invalidation remove and what they leave."""

import os
import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from smmu.params import Params
from smmu.payloads import PAGE_SHIFTS, Invalidation
from smmu.tbu.contexts import context_key
from smmu.tbu.micro_tlb import MicroTLB, lookup_key, micro_fill
from smmu.tbu.records import result_record
from smmu_sim.bench.layout import pack, view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, reset

CONFIGS = {"default": Params(), "small": Params(sidsize=8, ssidsize=0, utlb_entries=8,
                                                  utlb_contexts=4)}
TOP = (1 << 56) - 1


class Model:
    """Fills that were made, newest last, and the invalidations since."""

    def __init__(self):
        self.fills = []          # {"at", "context", "low", "shift", "allowed", "tag", "number"}
        self.invalidations = []  # (clock, command)

    @staticmethod
    def removes(command, fill, exactly):
        """Whether a command must (``exactly``) or may remove an entry."""
        tag = fill["tag"]
        sid, ssv, ssid = fill["context"]
        if command["cfg"]:
            if command["sid_ignore"]:
                return not exactly or not (sid ^ command["sid"]) & ~command["sid_ignore"]
            if sid != command["sid"]:
                return False
            return not exactly or not command["match_ssid"] or (
                command["ssid"] == ssid if ssv else command["ssid"] == 0)
        if (tag["world"] != 0) != command["el2"] or not command["ipa" if tag["ipa"] else "va"]:
            return False
        if command["match_vmid"] and command["vmid"] != tag["vmid"]:
            return False
        other_asid = command["match_asid"] and command["asid"] != tag["asid"]
        if other_asid and (command["keep_global"] or exactly and fill["nG"]):
            return False
        if exactly and command["match_asid"] and command["keep_global"] and not fill["nG"]:
            return False
        is_range = command["tg"] and (command["num"] or command["scale"])
        if not command["match_addr"] or is_range and not exactly:
            return True
        low, first, size = fill["low"] & TOP, command["addr"] << 12 & TOP, 1
        if not exactly:
            return first >> 30 == low >> 30
        if command["tg"]:
            size = (command["num"] + 1 << command["scale"]) << (12, 14, 16)[command["tg"] - 1]
        return first < low + (1 << fill["shift"]) and low < first + size

    def answer(self, clock, loaded, now, context, addr, access):
        """(fill that may hit or None, whether it must) for a comparison in ``clock``.

        ``loaded`` is when the context was compared, ``now`` when the answer is seen.
        """
        candidate, must = None, False
        for fill in self.fills:
            if fill["at"] + 4 > clock:
                # On its way: it may already have replaced something.
                must = False
                continue
            if fill["context"] == context and addr >> fill["shift"] == fill["low"] >> fill["shift"]:
                candidate, must = fill, fill["at"] + 4 <= loaded
            else:
                must = False
        if candidate is None:
            return None, False
        for at, command in self.invalidations:
            if at > candidate["at"]:
                if at + 3 <= max(clock, now - 1) and self.removes(command, candidate, True):
                    return None, False
                if self.removes(command, candidate, False):
                    must = False
        if not candidate["allowed"] >> access & 1:
            return None, False
        return candidate, must


def config():
    return CONFIGS[os.environ["CONFIG"]], os.environ["WRITE"] == "1"


class Bench:
    """One clock at a time: drive a look-up and perhaps an operation, compare what comes out."""

    def __init__(self, dut):
        self.params, self.write = config()
        self.pins = {}
        self.dut, self.edge, self.clock = dut, RisingEdge(dut.clk), 0
        self.model = Model()
        self.filled, self.operated = -9, []
        self.entered = self.found = None    # in the input register; compared
        self.hits = self.musts = self.stalls = 0

    def pin(self, name):
        if name not in self.pins:
            self.pins[name] = Pin(self.dut, name)
        return self.pins[name]

    def context(self, context):
        sid, ssv, ssid = context
        return pack(context_key(self.params), {"sid": sid, "ssv": ssv, "ssid": ssid})

    async def step(self, lookup, *, fill=None, invalidate=None, advance=1):
        """A clock in which ``lookup`` (context, addr, access) is offered."""
        ready = self.clock - 2 not in self.operated
        load = self.entered is None or ready and advance
        context, addr, access = lookup if load else self.entered[0]
        self.pin("context").set(self.context(lookup[0]))
        self.pin("page").set(addr >> 12)
        self.pin("access").set(1 << access)
        self.pin("load").set(int(load))
        self.pin("advance").set(advance)
        self.pin("do_fill").set(int(fill is not None))
        self.pin("do_invalidate").set(int(invalidate is not None))
        if fill is not None:
            fill["at"], self.filled = self.clock, self.clock
            self.pin("fill_key").set(pack(lookup_key(self.params), {
                "page": fill["addr"] >> 12, "context": self.context(fill["context"])}))
            result = {"page": fill["number"], "ignore": (1 << PAGE_SHIFTS.index(fill["shift"])) - 1}
            self.pin("fill").set(pack(micro_fill(self.params, write=self.write), {
                "result": result, "allowed": fill["allowed"], "context": fill["tag"]}))
            self.model.fills.append(fill)
        if invalidate is not None:
            self.pin("invalidation").set(pack(Invalidation, invalidate))
            self.model.invalidations.append((self.clock, invalidate))
        if fill is not None or invalidate is not None:
            self.operated = [*self.operated[-3:], self.clock]
        await self.edge
        assert self.pin("ready").get() == ready
        assert self.pin("busy").get() == (self.clock - 1 in self.operated)
        self.check()
        if ready and advance:
            # Compared in this clock.
            self.found = self.entered and (*self.entered, self.clock)
        else:
            self.stalls += self.found is not None
        if load:
            self.entered = None if self.clock - 1 in self.operated else (lookup, self.clock)
        self.clock += 1

    def check(self):
        hits = self.pin("hits").get()
        assert hits & (hits - 1) == 0, f"several entries hit: {hits:#x}"
        if self.found is None:
            return
        (context, addr, access), loaded, clock = self.found
        fill, must = self.model.answer(clock, loaded, self.clock, context, addr, access)
        what = f"{context} {addr:#x} access {access}, compared in {clock}, seen in {self.clock}"
        if not hits:
            assert not must or self.clock > clock + 1, f"{what}: no hit of {fill}"
            return
        number = view(result_record(self.params, write=self.write), self.pin("result").get()).page
        assert fill is not None, f"{what}: hit of entry {number}"
        assert number == fill["number"], f"{what}: entry {number}, not {fill['number']}"
        self.hits += 1
        self.musts += must

    @property
    def can_operate(self):
        return self.clock >= self.filled + 3

    @property
    def can_fill(self):
        last = self.model.invalidations[-1][0] if self.model.invalidations else -9
        return self.clock >= max(self.filled + 4, last + 4)


def tag_of(context):
    """Every context has a tag of its own choice."""
    rng = random.Random(repr(context))
    return {"world": rng.choice((0, 0, 2, 3)), "ipa": rng.getrandbits(1),
            "vmid": rng.randrange(2), "asid": rng.randrange(2)}


def command(rng, context, addr):
    """A random command near a context and an address."""
    tag = tag_of(context)
    base = dict.fromkeys(("cfg", "el2", "va", "ipa", "match_vmid", "match_asid", "keep_global",
                          "match_addr", "vmid", "asid", "addr", "tg", "num", "scale", "sid",
                          "sid_ignore", "match_ssid", "ssid"), 0)
    if rng.random() < 0.2:
        return base | {"cfg": 1, "sid": context[0], "sid_ignore": rng.choice((0, 0, 0, 1)),
                       "match_ssid": rng.getrandbits(1), "ssid": context[2]}
    base |= {"el2": int((tag["world"] != 0) ^ (rng.random() < 0.1)),
             "va": rng.getrandbits(1), "ipa": rng.getrandbits(1),
             "match_vmid": rng.getrandbits(1), "vmid": rng.randrange(2),
             "match_asid": rng.getrandbits(1), "asid": rng.randrange(2),
             "keep_global": rng.getrandbits(1)}
    if rng.random() < 0.9:
        other = rng.choice((0, 0, 0, 1, 1 << 18, 0x7F << 44))
        base |= {"match_addr": 1, "addr": addr >> 12 ^ other}
        if rng.random() < 0.3:
            tg = rng.randint(1, 3)  # the address is aligned to the granule
            base |= {"tg": tg, "num": rng.choice((0, 3)), "scale": rng.choice((0, 1)),
                     "addr": base["addr"] >> 2 * (tg - 1) << 2 * (tg - 1)}
    return base


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(contexts=[2, 6, 20], busy=[0.1, 0.5], stall_rate=[0.0, 0.6])
async def random_operations(dut, contexts, busy, stall_rate):
    """One hit at most, always the newest entry; what must go goes; what need not go stays."""
    rng = random.Random(random.getrandbits(32))
    await reset(dut)
    bench = Bench(dut)
    params, kinds = bench.params, 2 if bench.write else 4
    known = [(rng.randrange(4 if contexts < 9 else 1 << params.sidsize),
              1 if params.ssidsize and k % 3 else 0,
              rng.randrange(3) if params.ssidsize and k % 3 else 0) for k in range(contexts)]
    bases = [rng.getrandbits(34) << 30 for _ in range(3)]
    recent = []
    for number in range(6000):
        def address():
            return rng.choice(bases) | rng.choice((0, 1 << 12, 1 << 14, 1 << 16, 1 << 21, 3 << 21,
                                                   1 << 25, 1 << 29)) | rng.choice((0, 1 << 12))
        fill = invalidate = None
        if bench.can_operate and rng.random() < busy:
            context, addr = rng.choice(known), address()
            if rng.random() < 0.6 and bench.can_fill:
                shift = rng.choice(PAGE_SHIFTS)
                fill = {"context": context, "addr": addr, "low": addr >> shift << shift,
                        "shift": shift, "allowed": rng.choice((-1, -1, 1)) & ((1 << kinds) - 1),
                        "tag": tag_of(context), "number": number, "nG": rng.getrandbits(1)}
                recent = [*recent[-3:], (context, addr)]
            else:
                invalidate = command(rng, context, addr)
        context, addr = rng.choice(recent) if recent and rng.random() < 0.8 else (
            rng.choice(known), address())
        await bench.step((context, addr, rng.randrange(kinds)), fill=fill, invalidate=invalidate,
                         advance=int(rng.random() >= stall_rate))
        bench.model.fills = bench.model.fills[-60:]
    assert bench.hits > 100 and bench.musts > 8


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def what_an_invalidation_removes(dut):
    """Every bit of a command by itself, matching and not."""
    rng = random.Random(5)
    await reset(dut)
    bench = Bench(dut)
    context = next(c for c in ((k, 0, 0) for k in range(200)) if tag_of(c)["world"] == 0)
    addr, tag = 0x12_3456_7000, tag_of(context)
    exact = {"cfg": 0, "el2": 0, "va": 1 - tag["ipa"], "ipa": tag["ipa"], "match_vmid": 1,
             "match_asid": 1, "keep_global": 0, "match_addr": 1, "vmid": tag["vmid"],
             "asid": tag["asid"], "addr": addr >> 12, "tg": 0, "num": 0, "scale": 0, "sid": 0,
             "sid_ignore": 0, "match_ssid": 0, "ssid": 0}
    cfg = exact | {"cfg": 1, "sid": context[0]}
    pages = exact["addr"]
    changes = [{}, {"el2": 1}, {"va": 0, "ipa": 0}, {"vmid": 2}, {"vmid": 2, "match_vmid": 0},
               *({"tg": tg, "addr": (pages >> 2 * tg - 2 ^ change) << 2 * tg - 2}
                 for tg in (1, 2, 3) for change in (0, 1, 4, 16)),
               {"asid": 2}, {"asid": 2, "match_asid": 0}, {"addr": exact["addr"] ^ 1},
               {"addr": exact["addr"] ^ 1, "match_addr": 0}, {"addr": exact["addr"] ^ 1 << 44},
               {"addr": exact["addr"] ^ 1 << 43}, {"asid": 2, "keep_global": 1}]
    gone = 0
    for shift in PAGE_SHIFTS:
        for command in [exact | change for change in changes] + [
                cfg, cfg | {"sid": context[0] ^ 1}, cfg | {"sid": context[0] ^ 1, "sid_ignore": 1}]:
            look = context, addr ^ 1 << shift - 1, 0
            low = addr >> shift << shift
            assert bench.can_fill
            await bench.step(look, fill={
                "context": context, "addr": addr, "low": low, "shift": shift, "allowed": 1,
                "tag": tag, "number": rng.getrandbits(30), "nG": 1})
            for _ in range(4):
                await bench.step(look)
            await bench.step(look, invalidate=command)
            before = bench.hits
            for _ in range(8):
                await bench.step(look)
            gone += bench.hits < before + 7
    assert 0 < gone < len(PAGE_SHIFTS) * 27


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_stalled_transaction_never_gets_a_new_context(dut):
    """Its context is replaced by another that maps the same page, while it waits."""
    await reset(dut)
    bench = Bench(dut)
    addr = 5 << 30

    def fill(sid):
        context = sid, 0, 0
        return {"context": context, "addr": addr, "low": addr, "shift": 12, "tag": tag_of(context),
                "allowed": 1, "number": 100 + sid, "nG": 1}

    count = bench.params.utlb_contexts
    for sid in range(3 * count):
        look = (max(sid - count, 0), 0, 0), addr, 0    # of the context that will be replaced
        for _ in range(5):
            await bench.step(look)
        await bench.step(look, advance=0, fill=fill(sid))
        for _ in range(8):
            await bench.step(look, advance=0)
        for _ in range(3):
            await bench.step(look)
        look = (sid, 0, 0), addr, 0
        before = bench.musts
        for _ in range(3):
            await bench.step(look)
        assert bench.musts > before


@pytest.mark.parametrize("write", [0, 1])
@pytest.mark.parametrize("name", ["default", "small"])
def test_micro_tlb(name, write):
    run_cocotb(MicroTLB(CONFIGS[name], write=bool(write)), __name__, seed=1,
               extra_env={"CONFIG": name, "WRITE": str(write)})
