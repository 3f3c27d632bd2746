import os
import random
from dataclasses import dataclass

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from smmu.params import Params
from smmu.payloads import CONFIG_ROWS, ConfigFill, ConfigRow, Invalidation
from smmu.tcu import config_cache
from smmu.payloads import ConfigLoad, ConfigLookup, ConfigResult
from smmu.tcu.config_cache import ConfigCache
from smmu_sim.bench.layout import pack, view, width
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, reset
from tests.smmu.tcu.hostile_memory import hostile

FAR_FUTURE = 1 << 60
SETTLED = 40  # cycles after its last row in which a fill becomes visible
STREAMS = {"lookups": ConfigLookup, "loads": ConfigLoad, "fills": ConfigFill,
           "invalidations": Invalidation}
LOOKUP_BITS = 143


# --- the model ---------------------------------------------------------------------------------

@dataclass
class Fill:
    key: tuple             # StreamID, and SubstreamID or None
    number: int            # what its rows say
    begun: int             # when the first row was accepted
    done: int = FAR_FUTURE  # when the last row was
    removed: int = FAR_FUTURE
    by: dict = None
    void: bool = False     # perhaps never became visible


def key_of(item):
    key = item["key"]
    return key["sid"], key["ssid"] if key["ssv"] else None


def row_bits(number, row):
    """Three rows that can't be mistaken for those of another fill."""
    return (number * 4 + row) * 0x1_0000_0000_0000_0001_0000_0001 & (1 << LOOKUP_BITS) - 1


def covers(command, key):
    sid, ssid = key
    if not command["cfg"] or (sid ^ command["sid"]) & ~command["sid_ignore"]:
        return False
    return not command["match_ssid"] or (ssid or 0) == command["ssid"]


class Traffic:
    """Drive all streams cycle by cycle, and check every answer."""

    def __init__(self, dut):
        self.pins = {name: [Pin(dut, f"{name}__{pin}") for pin in ("valid", "ready", "payload")]
                     for name in STREAMS}
        self.answers = {name: [Pin(dut, f"{name}__{pin}") for pin in ("valid", "payload")]
                        for name in ("results", "rows")}
        self.abandon, self.busy = Pin(dut, "abandon"), Pin(dut, "busy")
        self.edge = RisingEdge(dut.clk)
        self.offered = dict.fromkeys(STREAMS)
        self.waiting = {"results": [], "rows": []}
        self.fills, self.filling = [], None   # `filling`: the fill and the rows still to be sent
        self.found = []                       # (time, what) of each answer
        self.time = self.hits = self.abandoned = 0

    async def clock(self, abandon=False):
        self.abandon.set(int(abandon))
        await self.edge
        self.time += 1
        taken = {name for name, item in self.offered.items()
                 if item is not None and self.pins[name][1].get()}
        for name in ("fills", "lookups", "loads", "invalidations"):
            if name in taken:
                getattr(self, f"take_{name}")(self.offered[name])
                self.offered[name] = None
                self.pins[name][0].set(0)
        if abandon:
            self.void()
        if abandon and self.filling:
            self.abandoned += 1
            self.filling = None
            self.offered["fills"] = None
            self.pins["fills"][0].set(0)
        if self.answers["results"][0].get():
            self.check_result(view(ConfigResult, self.answers["results"][1].get()))
        self.check_row(view(ConfigRow, self.answers["rows"][1].get())
                       if self.answers["rows"][0].get() else None)
        return taken

    def take_lookups(self, item):
        self.waiting["results"].append((item, self.time))

    def take_loads(self, item):
        self.waiting["rows"].append((item, self.time))

    def take_fills(self, item):
        fill, rows = self.filling
        if item["row"] == 0:
            fill.begun = self.time
            self.fills.append(fill)
        if rows:
            self.filling = fill, rows[1:]
        if item["row"] == CONFIG_ROWS - 1:
            fill.done = self.time
            self.filling = None

    def void(self):
        """What is being filled may come to nothing."""
        for fill in self.fills:
            fill.void |= fill.done + SETTLED > self.time

    def take_invalidations(self, command):
        if command["cfg"]:
            self.void()
        for fill in self.fills:
            if fill.removed == FAR_FUTURE and covers(command, fill.key):
                fill.removed, fill.by = self.time, command

    def check_answer(self, item, time, bits, row):
        number = (bits & 0xFFFF_FFFF) >> 2
        assert number < len(self.fills) and bits == row_bits(number, row), f"{item}: {bits:#x}"
        fill = self.fills[number]
        assert fill.key == key_of(item), f"{item} has found {fill}"
        assert fill.done <= self.time, f"{item}: {fill} is not complete"
        assert fill.removed > time, f"{item} at {time}: {fill} was removed"
        for newer in self.fills[number + 1:]:
            assert (newer.key != fill.key or newer.void or newer.done + SETTLED > time), \
                f"{newer} replaced {fill}"
        self.hits += 1

    def check_result(self, found):
        item, time = self.waiting["results"].pop(0)
        assert found.tag == item["tag"], "results come in order"
        self.found.append((self.time - time, found))
        if found.hit:
            self.check_answer(item, time, int(found.row0), 0)

    def check_row(self, found):
        """Rows 0, 1, 2 in consecutive cycles."""
        assert self.row_due == 0 or found is not None, "a row is missing"
        if found is None:
            return
        assert found.row == self.row_due
        item, time = self.waiting["rows"][0]
        assert found.walk == item["walk"]
        if found.row == 0:
            self.found.append((self.time - time, found))
            self.first_row = int(found.bits)
        if found.hit:
            self.check_answer(item, time, int(found.bits), found.row)
            assert int(found.bits) >> 2 & 0xFFF == self.first_row >> 2 & 0xFFF, "rows of two fills"
        else:
            assert found.row == 0
        self.row_due = (found.row + 1) % CONFIG_ROWS if found.hit else 0
        if self.row_due == 0:
            self.waiting["rows"].pop(0)

    row_due = 0

    def offer(self, name, item):
        self.offered[name] = item
        self.pins[name][2].set(pack(STREAMS[name], item))
        self.pins[name][0].set(1)

    def begin_fill(self, key):
        assert self.filling is None
        fill = Fill(key, len(self.fills), FAR_FUTURE)
        whole = {"sid": key[0], "ssv": int(key[1] is not None), "ssid": key[1] or 0}
        self.filling = fill, [
            {"key": whole, "row": row, "bits": row_bits(fill.number, row)}
            for row in range(CONFIG_ROWS)]

    def offer_next_row(self):
        if self.filling and self.offered["fills"] is None and self.filling[1]:
            self.offer("fills", self.filling[1][0])

    async def send(self, name, item):
        self.offer(name, item)
        for _ in range(2000):
            if name in await self.clock():
                return self.time
        raise AssertionError(f"{name} are not taken any more")

    async def fill(self, key, settle=SETTLED):
        """One fill, until it is surely visible; returns what its rows say."""
        number = len(self.fills)
        self.begin_fill(key)
        while self.filling:
            self.offer_next_row()
            await self.clock()
        for _ in range(settle):
            await self.clock()
        return number

    async def ask(self, key, name="lookups"):
        """One lookup or load alone; returns its latency and first answer."""
        whole = {"sid": key[0], "ssv": int(key[1] is not None), "ssid": key[1] or 0}
        self.found.clear()
        tag = {"lookups": "tag", "loads": "walk"}[name]
        await self.send(name, {tag: random.getrandbits(5), "key": whole})
        while any(self.waiting.values()):
            await self.clock()
        return self.found[0]

    async def invalidate(self, **fields):
        """One CFGI; returns the cycles until it is carried out."""
        time = await self.send("invalidations", command(**fields))
        await self.clock()
        while self.busy.get():
            await self.clock()
        return self.time - time

    async def quiet(self):
        for _ in range(3000):
            taken = await self.clock()
            if not (taken or self.busy.get() or any(self.waiting.values())
                    or any(self.offered.values())):
                return
        raise AssertionError("never quiet")


def command(**fields):
    return {"cfg": 1, "sid": 0, "sid_ignore": 0, "match_ssid": 0, "ssid": 0} | fields


async def start(dut):
    await reset(dut)
    return Traffic(dut)


def params():
    return Params(sidsize=int(os.environ["SIDSIZE"]), ssidsize=int(os.environ["SSIDSIZE"]),
                  cfg_entries=int(os.environ["ENTRIES"]))


class Choices:
    """Few keys, some in one set."""

    def __init__(self):
        p = params()
        self.sids = [random.getrandbits(p.sidsize) for _ in range(4)] + [0]
        self.sids.append(self.sids[0] ^ 1 << p.sidsize - 1)
        self.ssids = [None, 0] + [random.getrandbits(p.ssidsize) for _ in range(3)]
        if not p.ssidsize:
            self.ssids = [None]

    def key(self):
        return random.choice(self.sids), random.choice(self.ssids)

    def item(self, name, number):
        sid, ssid = self.key()
        p = params()
        if random.random() < 0.05 and p.sidsize < 32:
            sid |= 1 << random.randrange(p.sidsize, 32)
        if random.random() < 0.05 and p.ssidsize < 20:
            ssid = 1 << random.randrange(p.ssidsize, 20)
        key = {"sid": sid, "ssv": int(ssid is not None), "ssid": ssid or 0}
        return ({"tag": number % 64} if name == "lookups" else {"walk": number % 32}) | {"key": key}

    def command(self):
        sid, ssid = self.key()
        kind = random.randrange(5)
        if kind == 0:
            return command(cfg=0, va=1, sid=sid)
        if kind <= 2 and params().ssidsize:
            return command(sid=sid, match_ssid=1, ssid=ssid or 0)
        if kind == 3:
            return command(sid=sid)
        return command(sid=sid, sid_ignore=(1 << random.choice([1, 3, 8, 32])) - 1)


# --- tests -------------------------------------------------------------------------------------

@cocotb.test(timeout_time=20, timeout_unit="ms")
async def random_traffic(dut):
    for _ in range(12):
        traffic, choices = await start(dut), Choices()
        rates = {"lookups": random.choice([0.1, 0.5, 1]), "loads": random.choice([0.05, 0.3, 1]),
                 "invalidations": random.choice([0.002, 0.02, 0.2])}
        fill_rate, row_rate = random.choice([0.05, 1]), random.choice([0.3, 1])
        abandon_rate = random.choice([0, 0.003, 0.03])
        number = 0
        for _ in range(1500):
            for name, rate in rates.items():
                if traffic.offered[name] is None and random.random() < rate:
                    number += 1
                    traffic.offer(name, choices.command() if name == "invalidations"
                                  else choices.item(name, number))
            if traffic.filling is None and random.random() < fill_rate:
                traffic.begin_fill(choices.key())
            if random.random() < row_rate:
                traffic.offer_next_row()
            await traffic.clock(abandon=random.random() < abandon_rate)
        while traffic.filling:
            traffic.offer_next_row()
            await traffic.clock()
        await traffic.quiet()
        for _ in range(8):
            key = choices.key()
            number = await traffic.fill(key)
            for name in "lookups", "loads":
                _, found = await traffic.ask(key, name)
                bits = int(found.row0 if name == "lookups" else found.bits)
                assert found.hit and bits == row_bits(number, 0), f"{key} was just filled"
        dut._log.info("%d hits, %d abandoned", traffic.hits, traffic.abandoned)
        assert traffic.hits > 16


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def keys_and_latency(dut):
    traffic = await start(dut)
    p = params()
    keys = [(5, None), (5, 0), (5, 1), (4, None)] if p.ssidsize else [(5, None), (4, None)]
    for count, key in enumerate(keys):
        await traffic.fill(key)
        for n, other in enumerate(keys):
            for name in "lookups", "loads":
                latency, found = await traffic.ask(other, name)
                assert found.hit == (n <= count)
                assert latency == (5 if name == "lookups" else 6)
    for other in (5 | 1 << p.sidsize, None), (5, 1 << p.ssidsize):
        assert not (await traffic.ask(other))[1].hit
        assert not (await traffic.ask(other, "loads"))[1].hit


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def one_lookup_per_cycle(dut):
    traffic = await start(dut)
    await traffic.fill((1, None))
    start_time = traffic.time
    for n in range(40):
        await traffic.send("lookups", {"tag": n, "key": {"sid": n & 1, "ssv": 0, "ssid": 0}})
    assert traffic.time - start_time == 40
    await traffic.quiet()
    assert [found.hit for _, found in traffic.found] == [0, 1] * 20


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def invalidation_rules(dut):
    """CFGI_CD, CFGI_STE, ranges, all: what they remove and what they leave."""
    traffic = await start(dut)
    if params().ssidsize:
        keys = [(8, None), (8, 0), (8, 3), (9, None), (9, 3), (12, 3), (200, None)]
    else:
        keys = [(8, None), (9, None), (12, None), (200, None)]
    for fields in ({"sid": 8, "match_ssid": 1}, {"sid": 8, "match_ssid": 1, "ssid": 3},
                   {"sid": 8}, {"sid": 9, "sid_ignore": 1}, {"sid": 12, "sid_ignore": 7},
                   {"sid_ignore": 0xFFFF_FFFF}, {"sid": 8, "cfg": 0}):
        if fields.get("ssid") and not params().ssidsize:
            continue
        for key in keys:
            await traffic.fill(key)
        before = [(await traffic.ask(key))[1].hit for key in keys]
        cycles = await traffic.invalidate(**fields)
        after = [(await traffic.ask(key))[1].hit for key in keys]
        assert after == [hit and not covers(command(**fields), key)
                         for key, hit in zip(keys, before, strict=True)], fields
        assert sum(before) >= 4
        if "match_ssid" in fields:
            assert cycles < 20


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def abandoned_fills_never_appear(dut):
    traffic = await start(dut)
    for when in range(30):
        key = (when, None)
        traffic.begin_fill(key)
        begun = traffic.time
        while traffic.filling and traffic.time < begun + when:
            traffic.offer_next_row()
            await traffic.clock()
        if traffic.filling:
            await traffic.clock(abandon=True)
            expected = 0
        else:
            expected = 1
        for _ in range(SETTLED):
            await traffic.clock()
        assert (await traffic.ask(key))[1].hit == expected
    assert traffic.abandoned > 5


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_cfgi_during_a_fill_voids_it(dut):
    """Whenever it is accepted from the first row on; and the next fill is good again."""
    traffic = await start(dut)
    for when in range(40):
        key = (when, None)
        traffic.begin_fill(key)
        begun = traffic.time
        while traffic.filling or traffic.time < begun + when:
            traffic.offer_next_row()
            if traffic.time == begun + when:
                traffic.offer("invalidations", command(sid=when))
            await traffic.clock()
        if traffic.fills[-1].removed == FAR_FUTURE:
            await traffic.invalidate(sid=when)
        for _ in range(SETTLED):
            await traffic.clock()
        assert not (await traffic.ask(key))[1].hit
        await traffic.fill(key)
        assert (await traffic.ask(key))[1].hit


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def reset_in_the_middle_of_work_clears(dut):
    traffic = await start(dut)
    for sid in range(16):
        await traffic.fill((sid, None))
    await traffic.send("lookups", {"tag": 1, "key": {"sid": 3, "ssv": 0, "ssid": 0}})
    traffic = await start(dut)
    for sid in range(16):
        assert not (await traffic.ask((sid, None)))[1].hit


@pytest.mark.parametrize("sidsize, ssidsize, entries", [
    (16, 16, 64), (8, 0, 16), (32, 20, 4)])
def test_config_cache(sidsize, ssidsize, entries, monkeypatch):
    monkeypatch.setattr(config_cache, "memory", hostile)
    run_cocotb(
        ConfigCache(Params(sidsize=sidsize, ssidsize=ssidsize, cfg_entries=entries)), __name__,
        testcase=["random_traffic", "reset_in_the_middle_of_work_clears"] if entries < 16 else None,
        extra_env={"SIDSIZE": str(sidsize), "SSIDSIZE": str(ssidsize), "ENTRIES": str(entries)})


def test_bad_parameters():
    for entries in 2, 6, 63:
        with pytest.raises(ValueError, match="cfg_entries"):
            ConfigCache(Params(cfg_entries=entries))


def test_rows_fit():
    assert width(ConfigResult) == 7 + LOOKUP_BITS
