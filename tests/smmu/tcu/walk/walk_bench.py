"""What surrounds a walk table in its tests: memory, caches, remap, dispatcher."""

import random

import cocotb
from cocotb.triggers import Event, RisingEdge
from smmu_sim.bench.layout import pack, view
from smmu_sim.bench.stream import Pin, cycle, reset
from smmu_sim.memory import BusAbort

from smmu.formats.core import fields, plain
from smmu.formats.events import EVENTS, EventType, pack_event
from smmu.formats.registers import CR1, CR2, STRTAB_BASE, STRTAB_BASE_CFG
from smmu.payloads import (
    PAGE_SHIFTS, TABLE_SHIFTS, ConfigFill, ConfigRow, FaultRecord, RemapAnswer, RemapQuery,
    StrtabConfig, TableData, TablePointer, TableRead, TLBEntry, TLBFill, TLBLookup, TLBResult,
    WalkAttributes, WalkResult, WalkStart)
from smmu.payloads import ConfigLoad

__all__ = ["WalkBench", "Doorbell", "event_words"]

PAGES, TABLES = len(PAGE_SHIFTS), len(TABLE_SHIFTS)
KEY = ("world", "ipa", "vmid", "asid", "aset", "va55", "addr")


class Doorbell:
    """A binding of the remap."""

    def __init__(self, sid, ipa, doorbell):
        self.sid, self.ipa, self.doorbell = sid, ipa, doorbell


def event_words(record):
    """The four words of memory that a `FaultRecord` becomes."""
    event = EventType(record.event)
    values = {
        "SSV": record.ssv, "SubstreamID": record.ssid, "StreamID": record.sid,
        "PnU": record.pnu, "InD": record.ind, "RnW": record.rnw, "S2": record.s2,
        "CLASS": record.cls, "TTRnW": record.ttrnw, "InputAddr": record.input_addr,
        "IPA": record.ipa, "FetchAddr": record.fetch_addr}
    known = fields(EVENTS[event])
    for name, value in values.items():
        assert name in known or not value, f"{event.name} has no {name}, given {value:#x}"
    raw = pack_event(event, {name: value for name, value in values.items() if name in known})
    return [raw >> 64 * n & (1 << 64) - 1 for n in range(4)]


class _Cache:
    """A TLB of unlimited size."""

    def __init__(self, shifts):
        self.shifts, self.entries = shifts, {}

    def _key(self, key, nG, size):
        who = ("asid", key["asid"]) if nG else ("aset", key["aset"])
        return (key["world"], key["ipa"], key["vmid"], who, key["va55"],
                key["addr"] << 12 >> self.shifts[size], size)

    def fill(self, fill):
        fill = fill.as_dict()
        self.entries[self._key(fill["key"], fill["nG"], fill["size"])] = fill

    def lookup(self, lookup):
        key = lookup.key.as_dict()
        for size in range(len(self.shifts)):
            for nG in (0, 1):
                found = self.entries.get(self._key(key, nG, size))
                if found and lookup.classes >> size & 1:
                    return {"hit": 1, "size": size, "nG": nG, "payload": found["payload"]}
        return {"hit": 0}


class WalkBench:
    """Everything around the walk table, moved on by one task, a clock at a time.

    Parameters
    ----------
    caching
        Whether the caches keep what is filled; else every lookup misses.
    pause_rate
        Probability that a stream is not ready, or has a gap.
    latency
        Clocks from a read to its data: (least, most).
    """

    def __init__(self, dut, memory, params, *, caching=False, pause_rate=0.0, latency=(2, 2),
                 seed=1):
        self.dut, self.memory, self.params = dut, memory, params
        self.caching, self.pause_rate, self.latency = caching, pause_rate, latency
        self.random = random.Random(seed)
        self.events, self.reads, self.fills = [], [], []
        self.doorbells = []
        self.caches = {"tlb": _Cache(PAGE_SHIFTS), "wc1": _Cache(TABLE_SHIFTS),
                       "wc2": _Cache(TABLE_SHIFTS)}
        self.configurations = {}
        self.read_attributes = []
        self.step_times = []      # clocks from the data of a single read to the next read
        self.marked = 0
        self._waiting, self._starts = {}, []
        self._answers = {name: [] for name in ("tlb", "wc1", "wc2")}
        self._rows, self._filling, self._beats = [], [], []
        self._data_at = {}

    def _pin(self, name):
        return Pin(self.dut, name)

    async def start(self, registers, clocks=1):
        """Reset, with the registers' values by name, and begin."""
        base, cfg = registers["STRTAB_BASE"], registers["STRTAB_BASE_CFG"]
        await reset(self.dut, reset_clocks=clocks, **self._static(
            base, cfg, registers.get("CR1", 0), registers.get("CR2", 0)))
        self._task = cocotb.start_soon(self._run())

    def stop(self):
        """Leave the ports alone from now on."""
        self._task.cancel()

    def _static(self, base, cfg, cr1, cr2):
        base_, cfg_, cr1_, cr2_ = plain(STRTAB_BASE), plain(STRTAB_BASE_CFG), plain(CR1), plain(CR2)
        log2size, fmt = cfg_.LOG2SIZE(cfg), cfg_.FMT(cfg) == 1 and self.params.st_level
        split = cfg_.SPLIT(cfg) if cfg_.SPLIT(cfg) in (6, 8, 10) else 6
        size = max(64, 8 << max(log2size - split, 0)) if fmt else 64 << log2size
        addr = (base_.ADDR(base) << 6) & -size & (1 << self.params.oas) - 1
        strtab = {"base": addr >> 6, "log2size": min(log2size, self.params.sidsize),
                  "split": split, "fmt": int(fmt), "ra": base_.RA(base)}
        attrs = {"ic": cr1_.TABLE_IC(cr1), "oc": cr1_.TABLE_OC(cr1), "sh": cr1_.TABLE_SH(cr1)}
        return {"strtab": pack(StrtabConfig, strtab), "table_attrs": pack(WalkAttributes, attrs),
                "e2h": cr2_.E2H(cr2), "recinvsid": cr2_.RECINVSID(cr2)}

    async def walk(self, request, walk=0):
        """Start a walk; return its `WalkResult`."""
        done = Event()
        self._starts.append({"walk": walk, "request": request})
        assert walk not in self._waiting
        answer = []
        self._waiting[walk] = done, answer
        await done.wait()
        return answer[0]

    def _chance(self):
        return self.random.random() >= self.pause_rate

    async def _run(self):
        edge = RisingEdge(self.dut.clk)
        outs = {"results": WalkResult, "cfg_loads": ConfigLoad, "cfg_fills": ConfigFill,
                "tlb_lookups": TLBLookup(6, PAGES), "tlb_fills": TLBFill(PAGES, TLBEntry),
                "wc1_lookups": TLBLookup(6, TABLES), "wc1_fills": TLBFill(TABLES, TablePointer),
                "wc2_lookups": TLBLookup(6, TABLES), "wc2_fills": TLBFill(TABLES, TablePointer),
                "reads": TableRead, "events": FaultRecord}
        ports = [(name, shape, self._pin(f"{name}__valid"), self._pin(f"{name}__ready"),
                  self._pin(f"{name}__payload"), getattr(self, f"_{name}"))
                 for name, shape in outs.items()]
        ready = dict.fromkeys(outs, 0)
        start_valid, start_ready = self._pin("starts__valid"), self._pin("starts__ready")
        start_payload, marked = self._pin("starts__payload"), self._pin("marked")
        query, answer = self._pin("remap_query"), self._pin("remap_answer")
        abandon = self._pin("cfg_abandon")
        only_valid = {name: (self._pin(f"{port}__valid"), self._pin(f"{port}__payload"))
                      for name, port in (("tlb", "tlb_results"), ("wc1", "wc1_results"),
                                         ("wc2", "wc2_results"), ("rows", "cfg_rows"),
                                         ("data", "data"))}
        data_ready = self._pin("data__ready")
        starting = offering = False
        while True:
            await edge
            now = cycle()
            for name, shape, valid, ready_pin, payload, call in ports:
                if ready[name] and valid.get():
                    call(view(shape, payload.get()), now)
                fresh = int(self._chance())
                if fresh != ready[name]:
                    ready[name] = fresh
                    ready_pin.set(fresh)
            if abandon.get():
                self._filling = []
            if starting and start_ready.get():
                self._starts.pop(0)
                starting = False
            if not starting and self._starts:
                starting = True
                start_payload.set(pack(WalkStart, self._starts[0]))
            start_valid.set(int(starting))
            marked.set(self.marked)
            answer.set(self._remap(view(RemapQuery, query.get())))

            for name, queue in (*self._answers.items(), ("rows", self._rows),
                                ("data", self._beats)):
                valid, payload = only_valid[name]
                if name == "data" and offering and not data_ready.get():
                    continue
                item = self._due(name, queue, now)
                valid.set(int(item is not None))
                if item is not None:
                    payload.set(item)
                if name == "data":
                    offering = item is not None

    def _due(self, name, queue, now):
        """The next item of a queue of (time, value), if it is due. Reads may overtake."""
        if not queue or not self._chance():
            return None
        if name == "data":
            due = [n for n, (time, raw, key) in enumerate(queue) if time <= now
                   and all(other[2] != key for other in queue[:n])]
            if not due:
                return None
            _, raw, key = queue.pop(self.random.choice(due) if self.pause_rate else due[0])
            self._data_at[key] = now
            return raw
        return queue.pop(0)[1] if queue[0][0] <= now else None

    def _remap(self, query):
        hits = [d for d in self.doorbells if d.ipa >> 12 == query.ipa]
        mine = [d for d in hits if d.sid == query.sid]
        near = any(d.ipa >> 30 == query.ipa >> 18 for d in self.doorbells)
        return pack(RemapAnswer, {
            "hit": int(bool(mine)), "bound": int(bool(hits)), "near": int(near),
            "doorbell": mine[0].doorbell >> 2 if mine else 0})

    # Outputs of the walk table

    def _results(self, result, now):
        done, answer = self._waiting.pop(result.walk)
        answer.append(result)
        done.set()

    def _reads(self, read, now):
        addr = read.addr << 3
        self.reads.append(addr)
        self.read_attributes.append(read.attrs.as_dict())
        if read.id in self._data_at and self._data_at[read.id]:
            self.step_times.append(now - self._data_at[read.id])
        self._data_at[read.id] = None
        time = now + self.random.randint(*self.latency)
        for beat in range(read.beats):
            try:
                data, error = self.memory.read64(addr + 8 * beat), 0
            except BusAbort:
                data, error = self.random.getrandbits(64), 1
            self._beats.append((time, pack(TableData, {
                "id": read.id, "beat": beat, "first": int(beat == 0), "data": data, "error": error,
                "last": int(beat == read.beats - 1)}), read.id))

    def _events(self, record, now):
        self.events.append(record)

    def _cfg_loads(self, load, now):
        rows = self.configurations.get(int(load.key))
        if rows is None:
            self._rows.append((now, pack(ConfigRow, {"walk": load.walk, "hit": 0})))
            return
        for number, bits in enumerate(rows):
            self._rows.append((now, pack(ConfigRow, {
                "walk": load.walk, "hit": 1, "row": number, "bits": bits})))

    def _cfg_fills(self, fill, now):
        assert fill.row == len(self._filling), "rows must come in order"
        self._filling.append(fill.bits)
        if len(self._filling) == 3:
            if self.caching:
                self.configurations[int(fill.key)] = self._filling
            self.fills.append(("cfg", fill))
            self._filling = []

    def _lookup(self, name, lookup, now):
        assert lookup.classes, "a lookup without a class"
        cache = self.caches[name]
        found = cache.lookup(lookup) if self.caching else {"hit": 0}
        shape = TLBResult(6, len(cache.shifts), TLBEntry if name == "tlb" else TablePointer)
        self._answers[name].append((now + 3, pack(shape, {"tag": lookup.tag, **found})))

    def _fill(self, name, fill, now):
        self.fills.append((name, fill))
        self.caches[name].fill(fill)


for _name in ("tlb", "wc1", "wc2"):
    setattr(WalkBench, f"_{_name}_lookups",
            lambda self, lookup, now, name=_name: self._lookup(name, lookup, now))
    setattr(WalkBench, f"_{_name}_fills",
            lambda self, fill, now, name=_name: self._fill(name, fill, now))
