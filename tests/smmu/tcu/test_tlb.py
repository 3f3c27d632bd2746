import os
import random
from dataclasses import dataclass, field

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from smmu.payloads import (
    PAGE_SHIFTS, TABLE_SHIFTS, Invalidation, TablePointer, TLBEntry, TLBFill, TLBLookup, TLBResult,
    World)
from smmu.tcu import tlb_way
from smmu.tcu.tlb import TLB
from smmu_sim.bench.layout import pack, view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, reset
from tests.smmu.tcu.hostile_memory import hostile

TAG_BITS = 6
FAR_FUTURE = 1 << 60
SETTLED = 24  # cycles after which a fill is surely written
KINDS = {
    "main": dict(shifts=PAGE_SHIFTS, payload=TLBEntry, leaf_only_kept=False),
    "walk": dict(shifts=TABLE_SHIFTS, payload=TablePointer, leaf_only_kept=True),
}


# --- the model ---------------------------------------------------------------------------------

@dataclass
class Fill:
    """An entry and its fate, by the rules of `Invalidation`'s and `TLBKey`'s docstrings."""

    key: dict
    nG: int
    size: int
    number: int      # its payload
    time: int
    by: dict = None
    removed: int = FAR_FUTURE  # when the first invalidation was accepted that covers it


@dataclass
class Model:
    """Every fill that there was, and every invalidation."""

    shifts: tuple
    leaf_only_kept: bool
    fills: list = field(default_factory=list)

    def fill(self, item, time):
        self.fills.append(Fill(item["key"], item["nG"], item["size"], len(self.fills), time))

    def invalidate(self, command, time):
        if command["cfg"] or (command["leaf"] and self.leaf_only_kept):
            return
        for fill in self.fills:
            if fill.removed == FAR_FUTURE and self.covers(command, fill):
                fill.removed, fill.by = time, command

    def covers(self, command, fill):
        key = fill.key
        if (key["world"] != World.NS_EL1.value) != command["el2"]:
            return False
        if not command["ipa" if key["ipa"] else "va"]:
            return False
        if command["match_vmid"] and command["vmid"] != key["vmid"]:
            return False
        if command["match_asid"]:
            if fill.nG and command["asid"] != key["asid"]:
                return False
            if not fill.nG and command["keep_global"]:
                return False
        if not command["match_addr"]:
            return True
        shift = self.shifts[fill.size]
        first = key["addr"] << 12 >> shift << shift
        if key["va55"]:
            first |= 0xFFFF << 48
        start = command["addr"] << 12
        if command["tg"]:
            granule = 10 + 2 * command["tg"]
            length = (command["num"] + 1) << command["scale"] << granule
        else:
            length = 1
        return first < start + length and start < first + (1 << shift)

    def answers(self, fill, item):
        """Whether a lookup may be answered from this entry, its age aside."""
        key, own = item["key"], fill.key
        shift = self.shifts[fill.size] - 12
        return (item["classes"] >> fill.size & 1
                and all(key[name] == own[name] for name in ("world", "ipa", "vmid", "va55"))
                and key["addr"] >> shift == own["addr"] >> shift
                and (key["asid"] == own["asid"] if fill.nG else key["aset"] == own["aset"]))

    def check(self, item, time, found):
        """A hit of a lookup that was accepted at `time`."""
        number = int(found.payload)
        assert number < len(self.fills), f"{item}: {found!r} was never filled"
        fill = self.fills[number]
        assert self.answers(fill, item), f"{item}: {found!r} belongs to {fill}"
        assert found.size == fill.size and found.nG == fill.nG
        assert fill.removed > time, f"{item} at {time}: {fill} was removed"
        for newer in self.fills[number + 1:]:
            same = newer.key == fill.key and (newer.size, newer.nG) == (fill.size, fill.nG)
            assert not same or newer.time + SETTLED > time, f"{item}: {newer} replaced {fill}"


# --- stimulus ----------------------------------------------------------------------------------

@dataclass
class Choices:
    """Few values of each kind, so that they meet."""

    shifts: tuple
    pages: list
    vmids: tuple = (0, 1, 0x8001)
    asids: tuple = (0, 1, 0x8000)
    recent: list = field(default_factory=list)

    def key(self):
        world = random.choice([World.NS_EL1] * 3 + [World.EL2, World.EL2_E2H])
        ipa = int(world == World.NS_EL1 and random.random() < 0.3)
        return {
            "world": world.value, "ipa": ipa,
            "vmid": random.choice(self.vmids) if world == World.NS_EL1 else 0,
            "asid": 0 if ipa or world == World.EL2 else random.choice(self.asids),
            "aset": 0 if ipa else random.getrandbits(1),
            "va55": 0 if ipa else random.getrandbits(1),
            "addr": random.choice(self.pages) ^ random.choice([0, 0, 1, 2]),
        }

    def fill(self, number):
        key = self.key()
        self.recent.append(key)
        return {"key": key, "size": random.randrange(len(self.shifts)), "payload": number,
                "nG": 0 if key["ipa"] or key["world"] == World.EL2.value
                else random.getrandbits(1)}

    def lookup(self, tag):
        classes = random.choice([(1 << len(self.shifts)) - 1, random.getrandbits(len(self.shifts))])
        key = self.key()
        if self.recent and random.random() < 0.7:
            key = dict(random.choice(self.recent[-8:]))
            if random.random() < 0.2:
                key[random.choice(["asid", "aset", "va55", "vmid"])] ^= 1
        return {"tag": tag, "key": key, "classes": classes}

    def invalidation(self):
        ipa, el2 = random.choice([(0, 0), (0, 0), (1, 0), (0, 1)])
        command = {
            "cfg": int(random.random() < 0.05), "leaf": int(random.random() < 0.2),
            "el2": el2, "ipa": ipa, "va": 1 - ipa, "match_vmid": 1 - el2, "match_asid": 0,
            "keep_global": 0, "match_addr": 0, "vmid": random.choice(self.vmids),
            "asid": random.choice(self.asids), "addr": 0, "tg": 0, "num": 0, "scale": 0}
        kind = random.random()
        if kind < 0.75:
            command["match_addr"] = 1
            command["match_asid"] = 0 if ipa else random.getrandbits(1)
            page = random.choice(self.pages) ^ random.choice([0, 0, 1, 2])
            va55 = 0 if ipa else random.getrandbits(1)
            command["addr"] = page | (0xFFFF << 36 if va55 else 0)
            if random.random() < 0.05:
                command["match_vmid"] = 0
            if random.random() < 0.4:
                command["tg"] = random.randrange(1, 4)
                command["num"] = random.choice([0, 1, 15, 16, random.getrandbits(5)])
                command["scale"] = random.choice([0, 0, 1, 5, 9, random.getrandbits(5)])
                low = 2 * (command["tg"] - 1)
                command["addr"] = command["addr"] >> low << low
        elif kind < 0.85:
            command["match_asid"] = command["keep_global"] = 1
        elif kind < 0.9:
            command.update(va=1, ipa=1 - el2)
        elif kind < 0.95:
            command.update(va=1, ipa=1 - el2, match_vmid=0)
        return command


class Traffic:
    """Offer lookups, fills and invalidations by chance in each cycle; check every result."""

    def __init__(self, dut, kind):
        self.shifts, self.payload = kind["shifts"], kind["payload"]
        self.model = Model(self.shifts, kind["leaf_only_kept"])
        classes = len(self.shifts)
        self.layouts = {"lookups": TLBLookup(TAG_BITS, classes),
                        "fills": TLBFill(classes, self.payload), "invalidations": Invalidation}
        self.pins = {name: [Pin(dut, f"{name}__{pin}") for pin in ("valid", "ready", "payload")]
                     for name in self.layouts}
        self.result_valid = Pin(dut, "results__valid")
        self.result = Pin(dut, "results__payload")
        self.result_layout = TLBResult(TAG_BITS, classes, self.payload)
        self.busy = Pin(dut, "busy")
        self.edge = RisingEdge(dut.clk)
        self.offered = dict.fromkeys(self.layouts)
        self.waiting = []       # lookups that were accepted: (item, time)
        self.answers = []       # of `lookup`: (time, answer)
        self.time = self.hits = self.results = 0
        pages = [0, random.getrandbits(36)]
        for _ in range(6):      # neighbours at each distance that matters
            pages.append(random.choice(pages) ^ (1 << random.choice(self.shifts) - 12))
        self.choices = Choices(self.shifts, pages)

    async def clock(self):
        """One cycle: what was offered may be taken, a result may come."""
        await self.edge
        self.time += 1
        taken = []
        for name in "lookups", "fills", "invalidations":
            item, (valid, ready, _) = self.offered[name], self.pins[name]
            if item is not None and ready.get():
                taken.append(name)
                if name == "lookups":
                    self.waiting.append((item, self.time))
                elif name == "fills":
                    self.model.fill(item, self.time)
                else:  # after the fill of the same cycle
                    self.model.invalidate(item, self.time)
                self.offered[name] = None
                valid.set(0)
        if self.result_valid.get():
            found = view(self.result_layout, self.result.get())
            item, time = self.waiting.pop(0)
            assert found.tag == item["tag"], "results come in order"
            self.results += 1
            if found.hit:
                self.hits += 1
                self.model.check(item, time, found)
            self.answers.append((self.time, found))
        return taken

    def offer(self, name, item):
        assert self.offered[name] is None
        self.offered[name] = item
        self.pins[name][2].set(pack(self.layouts[name], item))
        self.pins[name][0].set(1)

    async def send(self, name, item):
        """Offer, and wait until it is taken; returns the time."""
        self.offer(name, item)
        for _ in range(5000):
            if name in await self.clock():
                return self.time
        raise AssertionError(f"{name} are not taken any more")

    async def lookup(self, key, classes=-1):
        """One lookup alone: latency and result."""
        time = await self.send("lookups", {
            "tag": random.getrandbits(TAG_BITS), "key": key,
            "classes": classes & (1 << len(self.shifts)) - 1})
        self.answers.clear()
        while not self.answers:
            await self.clock()
        return self.answers[0][0] - time, self.answers[0][1]

    async def fill(self, key, size, nG=0):
        """One fill, until it is surely written; returns its payload."""
        number = len(self.model.fills)
        await self.send("fills", {"key": key, "nG": nG, "size": size, "payload": number})
        for _ in range(SETTLED):
            await self.clock()
        return number

    async def invalidate(self, **fields):
        """One invalidation; returns the cycles until it is carried out."""
        time = await self.send("invalidations", {name: 0 for name in (
            "cfg", "leaf", "el2", "va", "ipa", "match_vmid", "match_asid", "keep_global",
            "match_addr", "vmid", "asid", "addr", "tg", "num", "scale")} | fields)
        await self.quiet()
        return self.time - time

    async def quiet(self):
        for _ in range(20000):
            taken = await self.clock()
            if not (taken or self.busy.get() or self.waiting or any(self.offered.values())):
                return
        raise AssertionError("never quiet")


async def start(dut, **options):
    await reset(dut, **options)
    traffic = Traffic(dut, KINDS[os.environ["KIND"]])
    return traffic


def page_key(addr=0x123456789, **fields):
    return {"world": 0, "ipa": 0, "vmid": 7, "asid": 9, "aset": 0, "va55": 0,
            "addr": addr} | fields


# --- tests -------------------------------------------------------------------------------------

@cocotb.test(timeout_time=20, timeout_unit="ms")
async def random_traffic(dut):
    """Nothing stale, nothing foreign, in order; and what is filled is found."""
    rounds = int(os.environ.get("ROUNDS", 12))
    for _ in range(rounds):
        traffic = await start(dut)
        choices = traffic.choices
        rates = {"lookups": random.choice([0.2, 0.6, 1]), "fills": random.choice([0.1, 0.5, 1]),
                 "invalidations": random.choice([0.003, 0.02, 0.2, 1])}
        number = filled = 0
        for _ in range(1500):
            for name, rate in rates.items():
                if traffic.offered[name] is None and random.random() < rate:
                    if name == "lookups":
                        item, number = choices.lookup(number % (1 << TAG_BITS)), number + 1
                    elif name == "fills":
                        item, filled = choices.fill(filled), filled + 1
                    else:
                        item = choices.invalidation()
                    traffic.offer(name, item)
            await traffic.clock()
        await traffic.quiet()
        for _ in range(10):
            item = choices.fill(0)
            number = await traffic.fill(item["key"], item["size"], item["nG"])
            _, found = await traffic.lookup(item["key"], 1 << item["size"])
            assert found.hit and int(found.payload) == number, f"{item} was just filled, {number}"
        dut._log.info("%d of %d lookups hit", traffic.hits, traffic.results)
        assert traffic.results > 50


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def caches_at_rest(dut):
    """With room for all, every entry stays and is found at each of its addresses."""
    traffic = await start(dut)
    filled = []
    for size in range(len(traffic.shifts)):
        key = page_key(random.getrandbits(36), va55=size & 1)
        filled.append((key, size, await traffic.fill(key, size, nG=size & 1)))
    for key, size, number in filled:
        inside = random.getrandbits(traffic.shifts[size] - 12)
        _, found = await traffic.lookup(key | {"addr": key["addr"] ^ inside}, 1 << size)
        assert found.hit and int(found.payload) == number and found.size == size
        outside = 1 << random.randrange(traffic.shifts[size] - 12, 36)
        _, found = await traffic.lookup(key | {"addr": key["addr"] ^ outside}, 1 << size)
        assert not found.hit
        for field_ in "world", "ipa", "vmid", "va55":
            other = {"world": 2, "ipa": 1, "vmid": key["vmid"] ^ 1, "va55": key["va55"] ^ 1}
            _, found = await traffic.lookup(key | {field_: other[field_]}, 1 << size)
            assert not found.hit, f"{field_} is not compared"
        for field_, matters in ("asid", size & 1), ("aset", not size & 1):
            _, found = await traffic.lookup(key | {field_: key[field_] ^ 1}, 1 << size)
            assert found.hit == (not matters), f"{field_}, nG={size & 1}"
        _, found = await traffic.lookup(key, (1 << size) - 1)
        assert not found.hit


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def smallest_class_first(dut):
    traffic = await start(dut)
    key = page_key()
    numbers = [await traffic.fill(key, size) for size in reversed(range(len(traffic.shifts)))]
    numbers.reverse()
    for size, number in enumerate(numbers):
        classes = -1 << size
        latency, found = await traffic.lookup(key, classes)
        assert found.hit and int(found.payload) == number and found.size == size
        assert latency == 5 + 1  # the answer is seen at the edge after the fifth


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def latency_by_classes_in_use(dut):
    traffic = await start(dut)
    latency, found = await traffic.lookup(page_key())
    assert (latency, found.hit) == (6, 0)  # nothing in use: one probe
    for used, size in enumerate(range(len(traffic.shifts))):
        await traffic.fill(page_key(), size)
        latency, found = await traffic.lookup(page_key(vmid=1))
        assert (latency, found.hit) == (6 + used, 0)
        latency, found = await traffic.lookup(page_key(), 1 << size)
        assert (latency, found.hit) == (6, 1)
    # A sweep finds out which classes are empty, also when it removes a part only.
    top = len(traffic.shifts) - 1
    await traffic.fill(page_key(vmid=2), top)
    await traffic.invalidate(va=1, match_vmid=1, vmid=7)
    latency, found = await traffic.lookup(page_key())
    assert (latency, found.hit) == (6, 0)
    latency, found = await traffic.lookup(page_key(vmid=2))
    assert (latency, found.hit, found.size) == (6, 1, top)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def one_probe_per_cycle(dut):
    traffic = await start(dut)
    await traffic.fill(page_key(), 0)
    await traffic.fill(page_key(), 2)
    traffic.answers.clear()
    for count in range(40):
        await traffic.send("lookups", {"tag": count, "key": page_key(vmid=1 + count % 2),
                                       "classes": 0b101})
    while traffic.waiting:
        await traffic.clock()
    times = [time for time, _ in traffic.answers]
    assert [b - a for a, b in zip(times, times[1:], strict=False)] == [2] * 39


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def invalidations_by_address_are_fast(dut):
    """One for each (classes in use + 2) cycles; those that don't concern a TLB, one per cycle."""
    traffic = await start(dut)
    for size in 0, 3:
        await traffic.fill(page_key(), size)
    command = pack_command(va=1, match_vmid=1, vmid=7, match_addr=1, addr=0x123456789)
    times = [await traffic.send("invalidations", command | {"addr": n}) for n in range(30)]
    assert all(b - a <= 2 + 2 for a, b in zip(times, times[1:], strict=False))
    await traffic.quiet()
    assert (await traffic.lookup(page_key()))[1].hit
    await traffic.send("invalidations", command | {"addr": 0x123456789})
    await traffic.quiet()
    assert not (await traffic.lookup(page_key()))[1].hit
    times = [await traffic.send("invalidations", {**command, "cfg": 1}) for _ in range(10)]
    assert times[-1] - times[0] == 9 and not traffic.busy.get()


def pack_command(**fields):
    return {name: 0 for name in (
        "cfg", "leaf", "el2", "va", "ipa", "match_vmid", "match_asid", "keep_global",
        "match_addr", "vmid", "asid", "addr", "tg", "num", "scale")} | fields


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def ranges_remove_what_they_overlap(dut):
    """And no entry that is far away; short ranges none but those."""
    traffic = await start(dut)
    low = traffic.shifts[0] - 12
    for pages in 1, 2, 15, 16:
        base = 0x5_0000_0000 | random.getrandbits(8) << low
        keys = [page_key(base + (n << low)) for n in range(-2, pages + 2)]
        for key in keys:
            await traffic.fill(key, 0, nG=1)
        before = [(await traffic.lookup(key))[1].hit for key in keys]
        scale, num = (low, pages - 1) if low else (0, pages - 1)
        await traffic.invalidate(va=1, match_vmid=1, vmid=7, match_asid=1, asid=9, match_addr=1,
                                 addr=base, tg=1, num=num, scale=scale)
        after = [(await traffic.lookup(key))[1].hit for key in keys]
        assert not any(after[2:-2])
        assert after[:2] + after[-2:] == before[:2] + before[-2:] and sum(before) > pages


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_sweep_compares_the_common_address(dut):
    """A long range leaves what is outside of the aligned block that holds it."""
    traffic = await start(dut)
    shift = traffic.shifts[0] - 12
    inside, outside = page_key(0x2_0000_0000), page_key(0x2_0000_0000 ^ 1 << 35)
    await traffic.fill(inside, 0)
    kept = await traffic.fill(outside, 0)
    await traffic.invalidate(va=1, match_vmid=1, vmid=7, match_addr=1, addr=0x2_0000_0000, tg=1,
                             num=20, scale=shift)
    assert not (await traffic.lookup(inside))[1].hit
    found = (await traffic.lookup(outside))[1]
    assert found.hit and int(found.payload) == kept
    # The longest range wraps to just below its start: all addresses.
    await traffic.fill(inside, 0)
    await traffic.invalidate(va=1, match_vmid=1, vmid=7, match_addr=1, addr=1 << shift, tg=1,
                             num=31, scale=31)
    assert not (await traffic.lookup(inside))[1].hit
    assert not (await traffic.lookup(outside))[1].hit


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def by_asid_global_entries_stay(dut):
    traffic = await start(dut)
    await traffic.fill(page_key(1 << 30), 0, nG=1)
    await traffic.fill(page_key(1 << 32), 0, nG=0)
    await traffic.invalidate(va=1, match_vmid=1, vmid=7, match_asid=1, asid=9, keep_global=1)
    assert not (await traffic.lookup(page_key(1 << 30)))[1].hit
    assert (await traffic.lookup(page_key(1 << 32)))[1].hit
    await traffic.invalidate(va=1, match_vmid=1, vmid=7, match_asid=1, asid=8)
    assert not (await traffic.lookup(page_key(1 << 32)))[1].hit


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def leaf_operations(dut):
    traffic = await start(dut)
    await traffic.fill(page_key(), 1)
    await traffic.invalidate(va=1, match_vmid=1, vmid=7, match_addr=1, addr=0x123456789, leaf=1)
    found = (await traffic.lookup(page_key()))[1]
    assert found.hit == KINDS[os.environ["KIND"]]["leaf_only_kept"]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def reset_in_the_middle_of_work_clears(dut):
    traffic = await start(dut)
    for n in range(30):
        await traffic.fill(page_key(n << traffic.shifts[0] - 12), 0)
    await traffic.send("lookups", {"tag": 1, "key": page_key(0), "classes": 1})
    traffic = await start(dut)
    for n in range(30):
        _, found = await traffic.lookup(page_key(n << traffic.shifts[0] - 12))
        assert not found.hit
        if n == 0:
            await traffic.fill(page_key(1 << 35), 0)  # class 0 is in use: really probe


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def one_key_never_has_two_entries(dut):
    """A fill whose probe reads while its neighbour in the set is removed: at each distance."""
    traffic = await start(dut)
    for distance in range(10):
        for order in (1, -1) * 6:
            mine = page_key(vmid=2 * distance)
            neighbour = mine | {"vmid": mine["vmid"] | 0x8000}  # not a bit of the set's number
            for key in [mine, neighbour][::order]:
                await traffic.fill(key, 0)
            await traffic.send("invalidations", pack_command(
                va=1, match_vmid=1, vmid=neighbour["vmid"], match_addr=1, addr=mine["addr"]))
            for _ in range(distance):
                await traffic.clock()
            number = await traffic.fill(mine, 0)
            await traffic.quiet()
            for other in range(1, 6):  # an older entry would show when the newer one has gone
                _, found = await traffic.lookup(mine)
                assert not found.hit or int(found.payload) == number
                await traffic.fill(mine | {"vmid": mine["vmid"] | other << 8}, 0)
            await traffic.invalidate(va=1, match_vmid=1, vmid=mine["vmid"])


# --- builds ------------------------------------------------------------------------------------

DIRECTED = ["caches_at_rest", "smallest_class_first", "latency_by_classes_in_use",
            "one_probe_per_cycle", "invalidations_by_address_are_fast",
            "ranges_remove_what_they_overlap", "a_sweep_compares_the_common_address",
            "by_asid_global_entries_stay", "leaf_operations",
            "reset_in_the_middle_of_work_clears"]


def make(kind, entries, ways):
    return TLB(**KINDS[kind], entries=entries, ways=ways, tag_bits=TAG_BITS)


@pytest.mark.parametrize("kind", KINDS)
def test_tlb(kind):
    run_cocotb(make(kind, 256, 4), __name__, testcase=DIRECTED, extra_env={"KIND": kind})


@pytest.mark.parametrize("kind, entries, ways", [
    ("main", 32, 4), ("main", 128, 2), ("walk", 16, 2), ("main", 2, 1), ("main", 48, 3)])
def test_random(kind, entries, ways, monkeypatch):
    monkeypatch.setattr(tlb_way, "memory", hostile)
    run_cocotb(make(kind, entries, ways), __name__,
               testcase=["random_traffic", "one_key_never_has_two_entries"],
               extra_env={"KIND": kind})


def test_bad_parameters():
    for shifts, entries, ways, text in (
            ((14, 12), 64, 4, "shifts"), ((12, 48), 64, 4, "shifts"),
            ((12,), 63, 4, "entries"), ((12,), 96, 4, "entries")):
        with pytest.raises(ValueError, match=text):
            TLB(shifts, TLBEntry, entries=entries, ways=ways, tag_bits=6, leaf_only_kept=False)
