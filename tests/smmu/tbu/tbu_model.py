"""A port with everything around it: device, memory, TCU, barrier, and what must come out."""

import random
from collections import defaultdict, deque

from cocotb.triggers import RisingEdge

from smmu.payloads import (
    PAGE_SHIFTS, FaultRecord, Invalidation, MemType, Overrides, TranslationRequest,
    TranslationResponse, Verdict)
from smmu_sim.bench.layout import pack, view
from smmu_sim.bench.stream import Pin, reset

SLVERR, OKAY = 2, 0
ADDRESS = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "region", "user")


def expected_attributes(txn, translation, *, write):
    """(AxCACHE, AxPROT, shareability) by the rules of IHI 0070 13.1, straight from the text."""
    t, ov, at = translation, translation["overrides"], translation["attrs"]
    cache, prot = txn["cache"], txn["prot"]
    sh_in = txn["user"] >> 54
    if cache >> 2:
        given = MemType.WB.value if cache & 1 else MemType.WT.value
    else:
        given = (MemType.nGnRnE, MemType.nGnRE, MemType.NC, MemType.NC)[cache].value
    if not write:
        hint_in = cache >> 2 & 1
    else:
        hint_in = cache >> 3 & 1
    out_in, in_in = given, given
    if ov["MTCFG"]:
        code = ov["MemAttr"]
        high, low = code >> 2, code & 3
        if high == 0:
            out_in = in_in = low
        elif low == 0:
            out_in = in_in = MemType.nGnRnE.value
        else:
            out_in, in_in = 3 + high, 3 + low

    def combine(one, two):
        return MemType.WB.value if two == MemType.FORCE_WB.value else min(one, two)

    outer, inner = at["outer"], at["inner"]
    strength = {0: 0, 1: 0, 3: 1, 2: 2}
    sh = strength[at["sh"]]
    if t["combine"]:
        outer, inner = combine(out_in, outer), combine(in_in, inner)
        sh = max(sh, strength[sh_in if ov["SHCFG"] == 1 else ov["SHCFG"]])
    outer, inner = min(outer, MemType.WB.value), min(inner, MemType.WB.value)
    cacheable_in = given >= MemType.WT.value
    if ov["ALLOCCFG"] & 8 and (cacheable_in or t["combine"]):
        hint = ov["ALLOCCFG"] >> (1 if write else 2) & 1
    else:
        hint = hint_in if cacheable_in else 1
    allocate = hint & at["wa" if write else "ra"]
    if t["msi"] and write:
        outer = inner = MemType.nGnRE.value
    if outer < MemType.NC.value or (outer == inner == MemType.NC.value):
        sh = 2
    if outer == 0:
        out_cache = 0
    elif outer < MemType.NC.value:
        out_cache = 1
    elif outer == MemType.NC.value:
        out_cache = 3
    else:
        wb = int(outer == MemType.WB.value)
        out_cache = wb | 2 | ((4 | allocate << 3) if write else (8 | allocate << 2))
    if ov["PRIVCFG"] & 2:
        prot = prot & ~1 | ov["PRIVCFG"] & 1
    if not write and ov["INSTCFG"] & 2:
        prot = prot & ~4 | (ov["INSTCFG"] & 1) << 2
    if write:
        prot &= ~4  # a write is data
    return out_cache, prot, (0, 3, 2)[sh]


class Pages:
    """What the TCU knows: a translation for every address, new ones after `change`."""

    def __init__(self, rng, params, *, faults=0.1, msi=0.0):
        self.rng, self.params, self.faults, self.msi = rng, params, faults, msi
        self.known, self.generation = {}, defaultdict(int)
        self.floor = defaultdict(int)  # older ones must not be used by what enters now
        self.nG = {}
        self.sizes, self.contexts, self.shifts = {}, {}, {}

    def context(self, sid, ssv, ssid):
        """(tag, overrides) of a stream."""
        key = sid, ssv, ssid
        if key not in self.contexts:
            rng = self.rng
            self.contexts[key] = (
                {"world": rng.choice((0, 0, 2, 3)), "ipa": rng.getrandbits(1),
                 "vmid": rng.randrange(3), "asid": rng.randrange(3)},
                {"MemAttr": rng.getrandbits(4), "MTCFG": rng.getrandbits(1),
                 "ALLOCCFG": rng.getrandbits(4), "SHCFG": rng.getrandbits(2),
                 "PRIVCFG": rng.getrandbits(2), "INSTCFG": rng.getrandbits(2)})
        return self.contexts[key]

    def leaf(self, sid, ssv, ssid, addr, write):
        """(key, size) of the leaf that maps an address."""
        block = sid, ssv, ssid, addr >> 30
        size = self.sizes.setdefault(block, self.rng.randrange(len(PAGE_SHIFTS)))
        found = sid, ssv, ssid, addr >> PAGE_SHIFTS[size]
        self.shifts[found] = PAGE_SHIFTS[size]
        return found, size

    def lookup(self, sid, ssv, ssid, addr, write, generation=None):
        """(verdict, translation) of an address; verdict as if the access were allowed."""
        leaf, size = self.leaf(sid, ssv, ssid, addr, write)
        if generation is None:
            generation = self.generation[leaf]
        key = leaf, generation, write
        if key not in self.known:
            rng, tag_overrides = self.rng, self.context(sid, ssv, ssid)
            msi = int(write and rng.random() < self.msi)
            verdict = Verdict.OK
            if rng.random() < self.faults:
                verdict = rng.choice((Verdict.ABORT, Verdict.RAZWI))
            perms = {name: int(rng.random() < 0.9) for name in ("pr", "pw", "px", "ur", "uw", "ux")}
            kinds = [kind.value for kind in MemType]
            outer = rng.choice(kinds)
            inner = outer if outer < 4 or outer == 7 else rng.choice((4, 5, 6))
            page = rng.getrandbits(self.params.oas - 12) << 12 >> PAGE_SHIFTS[size] \
                << PAGE_SHIFTS[size] >> 12
            # Bits that are ignored may be anything.
            page |= rng.getrandbits(PAGE_SHIFTS[size] - 12) if PAGE_SHIFTS[size] > 12 else 0
            self.known[key] = verdict, {
                "page": page, "size": 0 if msi else size, "perms": perms,
                "attrs": {"outer": outer, "inner": inner, "ra": rng.getrandbits(1),
                          "wa": rng.getrandbits(1), "sh": rng.getrandbits(2)},
                "combine": rng.getrandbits(1), "overrides": tag_overrides[1], "msi": msi,
                "doorbell": rng.choice((0x10, 0x11)) if msi else 0, "nG": self.is_nG(leaf)}
        return self.known[key]

    def is_nG(self, leaf):
        """Whether a leaf belongs to its ASID alone."""
        return self.nG.setdefault(leaf, self.rng.getrandbits(1))

    def covered(self, command):
        """All leaves that an invalidation names."""
        return [leaf for leaf in {key[0] for key in self.known} if self.covers(command, leaf)]

    def covers(self, command, leaf):
        """Whether an invalidation names a leaf; the docstring of `Invalidation`."""
        sid, ssv, ssid, number = leaf
        tag = self.context(sid, ssv, ssid)[0]
        if command["cfg"]:
            if (sid ^ command["sid"]) & ~command["sid_ignore"] & 0xFFFF_FFFF:
                return False
            return not command["match_ssid"] or (
                command["ssid"] == ssid if ssv else command["ssid"] == 0)
        if (tag["world"] != 0) != command["el2"] or not command["ipa" if tag["ipa"] else "va"]:
            return False
        if command["match_vmid"] and command["vmid"] != tag["vmid"]:
            return False
        if command["match_asid"]:
            if self.is_nG(leaf) and command["asid"] != tag["asid"]:
                return False
            if not self.is_nG(leaf) and command["keep_global"]:
                return False
        if not command["match_addr"]:
            return True
        shift = self.shifts[leaf]
        low, first, size = (number << shift) % (1 << 56), (command["addr"] << 12) % (1 << 56), 1
        if command["tg"]:
            size = (command["num"] + 1 << command["scale"]) << (12, 14, 16)[command["tg"] - 1]
        return first < low + (1 << shift) and low < first + size

    def outcome(self, txn, write, generation=None):
        """(verdict, translation) with the permission check."""
        user = txn["user"]
        sid, ssid, ssv, atst = (user & 0xFFFF_FFFF, user >> 32 & 0xFFFFF, user >> 52 & 1,
                                user >> 53 & 1)
        verdict, translation = self.lookup(sid, ssv, ssid, txn["addr"], write, generation)
        if atst or sid >> self.params.sidsize or ssv and ssid >> self.params.ssidsize:
            return Verdict.ABORT, translation
        kind = "w" if write else "x" if txn["prot"] & 4 else "r"
        if verdict == Verdict.OK and not translation["perms"]["pu"[~txn["prot"] & 1] + kind]:
            verdict = Verdict.ABORT
        return verdict, translation


class Port:
    """Everything around one TBU, moved on by `step` once per clock."""

    def __init__(self, dut, params, *, seed, pages=None, device_pause=0.2, memory_pause=0.2,
                 tcu_pause=0.2, tcu_delay=(1, 30), memory_delay=(1, 30), w_late=0.2, aw_late=0.0,
                 fill_rate=0.9):
        self.dut, self.params, self.rng = dut, params, random.Random(seed)
        self.pages = pages or Pages(self.rng, params)
        self.device_pause, self.memory_pause, self.tcu_pause = device_pause, memory_pause, tcu_pause
        self.tcu_delay, self.memory_delay = tcu_delay, memory_delay
        self.w_late, self.aw_late, self.fill_rate = w_late, aw_late, fill_rate
        self.pins, self.now = {}, 0
        self.edge = RisingEdge(dut.clk)
        self.drive = {}
        self.smmuen, self.abort, self.overrides = 1, 0, {}
        self.log = []
        self.reset_state()

    def reset_state(self):
        self.queue = {True: deque(), False: deque()}        # to be offered
        self.offered = {True: None, False: None}
        self.w_queue, self.w_now = deque(), None
        self.entered = {True: [], False: []}                # accepted, in order
        self.waiting = {True: defaultdict(deque), False: defaultdict(deque)}   # by ID: not left
        self.open = {True: defaultdict(deque), False: defaultdict(deque)}      # by ID: no response
        self.mem_reads = defaultdict(deque)
        self.mem_writes, self.mem_w, self.mem_b = deque(), [], defaultdict(deque)
        self.r_now = self.b_now = None
        self.requests = {True: [], False: []}
        self.response = {True: None, False: None}
        self.invalidation, self.invalidated = None, deque()
        self.snapshot_set, self.snapshot_at = None, None
        self.done, self.serial = 0, 0
        self.faults, self.fault_order = [], []
        self.drive = {}

    def get(self, name):
        pin = self.pins.get(name)
        if pin is None:
            pin = self.pins[name] = Pin(self.dut, name)
        return pin.get()

    def set(self, name, value):
        if self.drive.get(name) != value:
            pin = self.pins.get(name)
            if pin is None:
                pin = self.pins[name] = Pin(self.dut, name)
            pin.set(value)
            self.drive[name] = value

    async def start(self):
        await reset(self.dut, smmuen=self.smmuen, abort=self.abort,
                    overrides=pack(Overrides, self.overrides))

    def chance(self, rate):
        return rate and self.rng.random() < rate

    def submit(self, write, **fields):
        """Queue one transaction; returns its record, a dict that fills up as it goes on."""
        txn = {"id": 0, "addr": 0, "len": 0, "size": 3, "burst": 1, "lock": 0, "cache": 3,
               "prot": 0, "qos": self.serial & 15, "region": self.serial >> 4 & 15, "user": 0}
        self.serial += 1
        data = fields.pop("data", None)
        txn.update(fields)
        txn.update(write=write, state="queued", beats=[], left=None, accepted=None, done=None)
        if write:
            beats = data or [(self.rng.getrandbits(64), self.rng.getrandbits(8))
                             for _ in range(txn["len"] + 1)]
            txn["data"] = beats
            self.w_queue.extend((txn, k, beat) for k, beat in enumerate(beats))
        self.queue[write].append(txn)
        return txn

    # One clock.

    def step(self):
        for write in (False, True):
            self._downstream_address(write)
            self._device_address(write)
            self._tcu(write)
        self._device_w()
        self._memory_w()
        self._memory_response(False)
        self._memory_response(True)
        self._barrier()
        self._faults()
        self._invalidate()
        self.set("smmuen", self.smmuen)
        self.set("abort", self.abort)
        self.set("overrides", pack(Overrides, self.overrides))
        self.now += 1

    async def run(self, clocks):
        for _ in range(clocks):
            await self.edge
            self.step()

    def stuck(self):
        """What has not been answered, for a message."""
        oldest = [queue[0] for write in (False, True) for queue in self.open[write].values()
                  if queue]
        return (f"{len(self.queue[0])} reads, {len(self.queue[1])} writes, {len(self.w_queue)} "
                f"beats to come; TCU: {self.requests}; oldest: {oldest}")

    def idle(self):
        return not (self.queue[0] or self.queue[1] or self.offered[0] or self.offered[1]
                    or self.w_queue or self.w_now
                    or any(any(q) for w in (False, True) for q in self.open[w].values()))

    # Device.

    def _device_address(self, write):
        ax = "s__aw" if write else "s__ar"
        txn = self.offered[write]
        if txn is not None and self.get(ax + "ready"):
            self._accept(txn)
            txn = self.offered[write] = None
        if txn is None and self.queue[write] and not self.chance(self.device_pause):
            head = self.queue[write][0]
            if not (write and self.aw_late and "w_started" not in head
                    and self.rng.random() < self.aw_late):
                txn = self.offered[write] = self.queue[write].popleft()
                for name in ADDRESS:
                    self.set(ax + name, txn[name])
        self.set(ax + "valid", int(txn is not None))

    def _accept(self, txn):
        write = txn["write"]
        txn["accepted"], txn["state"] = self.now, "entered"
        txn["global"] = self.drive["smmuen"], self.drive["abort"], dict(self.overrides_driven())
        leaf, _ = self.pages.leaf(*self._stream(txn), txn["addr"], write)
        txn["leaf"], txn["generation"] = leaf, self.pages.floor[leaf]
        self.entered[write].append(txn)
        self.open[write][txn["id"]].append(txn)
        self.waiting[write][txn["id"]].append(txn)

    def overrides_driven(self):
        return view(Overrides, self.drive["overrides"]).as_dict()

    @staticmethod
    def _stream(txn):
        user = txn["user"]
        return user & 0xFFFF_FFFF, user >> 52 & 1, user >> 32 & 0xFFFFF

    def _device_w(self):
        if self.w_now is not None and self.get("s__wready"):
            self.w_now[0]["w_taken"] = self.w_now[0].get("w_taken", 0) + 1
            self.w_now = None
        if self.w_now is None and self.w_queue and not self.chance(self.w_late):
            txn, k, (data, strb) = self.w_now = self.w_queue.popleft()
            txn["w_started"] = self.now
            self.set("s__wdata", data)
            self.set("s__wstrb", strb)
            self.set("s__wlast", int(k == txn["len"]))
        self.set("s__wvalid", int(self.w_now is not None))
        for channel in "rb":
            if self.get(f"s__{channel}valid") and self.drive.get(f"s__{channel}ready"):
                self._response(channel == "b")
        self.set("s__rready", int(not self.chance(self.device_pause)))
        self.set("s__bready", int(not self.chance(self.device_pause)))

    def _response(self, write):
        c = "s__b" if write else "s__r"
        number, resp = self.get(c + "id"), self.get(c + "resp")
        queue = self.open[write][number]
        assert queue, f"a response for ID {number}, which has nothing outstanding"
        txn = queue[0]
        last = 1 if write else self.get("s__rlast")
        txn["beats"].append((0 if write else self.get("s__rdata"), resp))
        assert bool(last) == (write or len(txn["beats"]) == txn["len"] + 1), f"RLAST of {txn}"
        if not last:
            return
        queue.popleft()
        txn["done"] = self.now
        self.done += 1
        self._check_end(txn)

    def _check_end(self, txn):
        write = txn["write"]
        if txn["left"] is None:
            verdicts = self.allowed(txn)
            resps = {Verdict.ABORT: SLVERR, Verdict.RAZWI: OKAY, None: SLVERR}
            expected = [resps[verdict] for verdict, _, _ in verdicts if verdict != Verdict.OK]
            assert expected, f"terminated, but may pass: {txn}"
            assert {resp for _, resp in txn["beats"]} <= set(expected), f"{expected} for {txn}"
            if not write and OKAY in expected and txn["beats"][0][1] == OKAY:
                assert all(data == 0 for data, _ in txn["beats"])
            if write:
                assert txn.get("w_taken") == txn["len"] + 1, f"answered before its data: {txn}"
            queue = self.waiting[write][txn["id"]]
            assert queue.popleft() is txn, f"overtaken: {txn}"
        else:
            assert txn["beats"] == txn["reply"], f"response differs: {txn}"

    def allowed(self, txn):
        """All (verdict, translation, bypass) that may be right for a transaction."""
        write, (smmuen, abort, overrides) = txn["write"], txn["global"]
        if not smmuen and not txn["user"] >> 53 & 1:
            if abort or txn["addr"] >> self.params.oas:
                return [(Verdict.ABORT, None, True)]
            return [(Verdict.OK, {
                "page": txn["addr"] >> 12, "size": 0, "combine": 1, "overrides": overrides,
                "attrs": {"outer": 6, "inner": 6, "ra": 1, "wa": 1, "sh": 0}, "msi": 0}, True)]
        leaf = txn["leaf"]
        results = []
        for generation in range(txn["generation"], self.pages.generation[leaf] + 1):
            verdict, translation = self.pages.outcome(txn, write, generation)
            if verdict == Verdict.OK and translation["msi"] and not self._good_msi(
                    txn, translation):
                verdict = None
            results.append((verdict, translation, False))
        return results

    @staticmethod
    def _good_msi(txn, translation):
        return (txn["len"] == 0 and txn["size"] == 2 and txn["addr"] & 3 == 0
                and txn["addr"] >> 2 & 0x3FF == translation["doorbell"]
                and txn["data"][0][1] == 0xF << (txn["addr"] & 4))

    # Memory.

    def _downstream_address(self, write):
        ax = "m__aw" if write else "m__ar"
        if self.get(ax + "valid"):
            key = "seen_" + ax
            if getattr(self, key, None) is None:
                setattr(self, key, self.now)
            if self.drive.get(ax + "ready"):
                seen = getattr(self, key)
                setattr(self, key, None)
                self._left(write, {name: self.get(ax + name) for name in ADDRESS}, seen)
        self.set(ax + "ready", int(not self.chance(self.memory_pause)))

    def _left(self, write, out, seen):
        queue = self.waiting[write][out["id"]]
        txn = None
        while queue:
            # Those before it must be terminated ones, which are answered only later.
            txn = queue[0]
            if any(verdict == Verdict.OK for verdict, _, _ in self.allowed(txn)):
                break
            raise AssertionError(f"{out} overtook {txn}")
        assert queue, f"belongs to nothing: {out}"
        queue.popleft()
        same = ("id", "len", "size", "burst", "lock", "qos", "region")
        assert all(out[name] == txn[name] for name in same), f"{out} for {txn}"
        txn["left"], txn["out"] = seen, out
        assert any(self._fits(txn, out, *choice) for choice in self.allowed(txn)), \
            f"{out}\nfor {txn}\nallowed {self.allowed(txn)}"
        due = self.now + self.rng.randint(*self.memory_delay)
        if write:
            self.mem_writes.append((txn, due))
        else:
            reply = [(self.rng.getrandbits(64), self.rng.choice((0, 0, 0, 2, 3)))
                     for _ in range(txn["len"] + 1)]
            txn["reply"] = []
            self.mem_reads[out["id"]].append((txn, due, deque(reply)))

    def _fits(self, txn, out, verdict, translation, bypass):
        if verdict != Verdict.OK:
            return False
        write = txn["write"]
        shift = PAGE_SHIFTS[translation["size"]]
        base = translation["page"] << 12 >> shift << shift
        addr = base | txn["addr"] & ((1 << shift) - 1)
        cache, prot, sh = expected_attributes(txn, translation, write=write)
        user = txn["user"] & 0xFFFF_FFFF | translation["msi"] << 32 | sh << 33
        return (out["addr"], out["cache"], out["prot"], out["user"]) == (addr, cache, prot, user)

    def _memory_w(self):
        if self.get("m__wvalid") and self.drive.get("m__wready"):
            self.mem_w.append((self.get("m__wdata"), self.get("m__wstrb"), self.get("m__wlast")))
        self.set("m__wready", int(not self.chance(self.memory_pause)))
        while self.mem_writes:
            txn, due = self.mem_writes[0]
            count = txn["len"] + 1
            if len(self.mem_w) < count:
                break
            beats, self.mem_w = self.mem_w[:count], self.mem_w[count:]
            wanted = [(data, strb, int(k == txn["len"])) for k, (data, strb)
                      in enumerate(txn["data"])]
            assert beats == wanted, f"data of {txn}: {beats}"
            self.mem_writes.popleft()
            reply = deque([(0, self.rng.choice((0, 0, 3)))])
            self.mem_b[txn["id"]].append((txn, max(due, self.now), reply))

    def _memory_response(self, write):
        c, source = ("m__b", self.mem_b) if write else ("m__r", self.mem_reads)
        name = "b_now" if write else "r_now"
        current = getattr(self, name)
        if current is not None and self.get(c + "ready"):
            setattr(self, name, None)
            current = None
        if current is None and not self.chance(self.memory_pause):
            ready = [queue for queue in source.values() if queue and queue[0][1] <= self.now]
            if ready:
                queue = self.rng.choice(ready)
                txn, _, beats = queue[0]
                data, resp = beats.popleft()
                txn.setdefault("reply", []).append((data, resp))
                self.set(c + "id", txn["id"])
                self.set(c + "resp", resp)
                if not write:
                    self.set(c + "data", data)
                    self.set(c + "last", int(not beats))
                if not beats:
                    queue.popleft()
                setattr(self, name, txn)
                current = txn
        self.set(c + "valid", int(current is not None))

    # TCU.

    def _tcu(self, write):
        name = "write" if write else "read"
        pending = self.requests[write]
        if self.get(f"{name}_requests__valid") and self.drive.get(f"{name}_requests__ready"):
            request = view(TranslationRequest, self.get(f"{name}_requests__payload"))
            assert all(request.slot != other.slot for other, _ in pending), "slot asked twice"
            assert request.rnw == (not write)
            pending.append((request, self.now + self.rng.randint(*self.tcu_delay)))
        self.set(f"{name}_requests__ready", int(not self.chance(self.tcu_pause)))
        if self.response[write] is not None and self.get(f"{name}_responses__ready"):
            self.response[write] = None
        if self.response[write] is None:
            due = [item for item in pending if item[1] <= self.now]
            if due:
                item = self.rng.choice(due)
                pending.remove(item)
                self.response[write] = self._answer(item[0], write)
                self.set(f"{name}_responses__payload", self.response[write])
        self.set(f"{name}_responses__valid", int(self.response[write] is not None))

    def _answer(self, request, write):
        txn = {"addr": request.addr, "prot": request.priv | request.inst << 2,
               "user": request.sid | request.ssid << 32 | request.ssv << 52 | request.atst << 53}
        verdict, translation = self.pages.outcome(txn, write)
        tag, _ = self.pages.context(request.sid, request.ssv, request.ssid)
        return pack(TranslationResponse, {
            "slot": request.slot, "verdict": verdict,
            "fill": int(verdict == Verdict.OK and self.rng.random() < self.fill_rate),
            "translation": translation, "context": tag})

    # Barrier, faults, invalidations.

    def snapshot(self):
        """Pulse in the clock that ends with the next edge."""
        assert self.snapshot_set is None
        self.snapshot_at = self.now
        self.set("snapshot", 1)

    def _barrier(self):
        if self.snapshot_at == self.now:
            # What was accepted up to this edge, this clock's included.
            self.snapshot_set = [t for w in (False, True) for t in self.entered[w]
                                 if t["done"] is None]
            self.set("snapshot", 0)
        elif self.snapshot_set is not None:
            undecided, unfinished = self.get("undecided"), self.get("unfinished")
            if not unfinished:
                late = [t for t in self.snapshot_set if t["done"] is None]
                assert not late, f"finished without {late[0]}"
                assert not undecided
                self.log.append(("snapshot", self.now - self.snapshot_at, len(self.snapshot_set)))
                self.snapshot_set = None
            elif not undecided:
                late = [t for t in self.snapshot_set if t["done"] is None and t["left"] is None
                        and all(verdict == Verdict.OK for verdict, _, _ in self.allowed(t))]
                assert not late, f"decided without {late[0]}"
            if self.snapshot_set is not None and all(
                    t["done"] is not None and t["done"] < self.now - 8 for t in self.snapshot_set):
                raise AssertionError("unfinished, but everything was answered")

    def _faults(self):
        if self.get("faults__valid") and self.drive.get("faults__ready"):
            self.faults.append(view(FaultRecord, self.get("faults__payload")))
        self.set("faults__ready", int(not self.chance(self.tcu_pause)))

    def invalidate(self, command):
        """Change all that a command covers, then send it."""
        self.invalidated.append({name: command.get(name, 0) for name in (
            "cfg", "el2", "va", "ipa", "match_vmid", "match_asid", "keep_global", "match_addr",
            "vmid", "asid", "addr", "tg", "num", "scale", "sid", "sid_ignore", "match_ssid",
            "ssid")})

    def _invalidate(self):
        if self.invalidation is not None and self.get("invalidations__ready"):
            command, changed = self.invalidation
            for leaf in changed:
                self.pages.floor[leaf] = self.pages.generation[leaf]
            self.invalidation = None
        if self.invalidation is None and self.invalidated and not self.chance(self.tcu_pause):
            command = self.invalidated.popleft()
            changed = self.pages.covered(command)
            for leaf in changed:
                self.pages.generation[leaf] += 1
            self.invalidation = command, changed
            self.set("invalidations__payload", pack(Invalidation, command))
        self.set("invalidations__valid", int(self.invalidation is not None))
