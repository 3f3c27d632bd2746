"""AXI4 bursts through the core: each kind, on hits and misses, in disorder, and terminated."""

import random

import pytest

from smmu.formats.axi import AxPROT, Burst, Resp, UntranslatedUser
from smmu.formats.commands import Opcode
from smmu.formats.core import pack
from smmu_sim.bench.axi_rules import beat_addresses, broken_rule
from smmu_sim.bench.core import run_on_core
from smmu_sim.benchmark.setup import ASID, IOVA, PAGE, TARGET, VMID, Bench
from smmu_sim.driver import commands, entries
from smmu_sim.pagetable import Granule
from smmu_sim.prot import Prot

SMALL = ("small", "ports=2 ttendian=0 oas=44 term_model=1")
SID, RAZ_SID = 0x21, 0x22
PAGES = 64
HOLE = IOVA + (1 << 30)      # nothing is mapped there
CORE_BYTES = 8
DISORDER = {"latency": (1, 60), "out_of_order": True, "interleave": True, "pause_rate": 0.2,
            "gap_rate": 0.2}
LENGTHS = {Burst.INCR: (1, 2, 3, 4, 8, 15, 16, 17, 64, 128, 255, 256),
           Burst.WRAP: (2, 4, 8, 16), Burst.FIXED: (1, 2, 5, 16)}


class Access:
    """One burst of a device: what it is, and what it must come to."""

    def __init__(self, rng, kind, size, beats, offset, write):
        self.kind, self.size, self.beats, self.offset, self.write = kind, size, beats, offset, write
        self.addresses = beat_addresses(offset, beats, size, kind)
        self.count = sum((1 << size) - at % (1 << size) for at in self.addresses)
        self.data = rng.randbytes(self.count) if write else None
        self.strobes = rng.choice((None, None, rng.getrandbits(self.count))) if write else None
        self.fields = {"cache": rng.choice((0, 1, 3, 7, 15)), "prot": pack(AxPROT, {
            "privileged": rng.randrange(2), "nonsecure": rng.randrange(2)})}

    @property
    def places(self):
        """(place in the data, byte offset in the page) of each byte, in order."""
        place, step = 0, 1 << self.size
        for address in self.addresses:
            for byte in range(step - address % step):
                yield place, address + byte
                place += 1

    def submit(self, device, base, sid=SID, **more):
        """Hand it to a device, with ``base`` as the page."""
        work = {"data": self.data, "strobes": self.strobes} if self.write else {
            "length": self.count}
        return device.submit(base + self.offset, write=self.write, size=self.size, burst=self.kind,
                             user=pack(UntranslatedUser, {"StreamID": sid}), **self.fields, **work,
                             **more)

    def stored(self, before):
        """The page after this write."""
        after = bytearray(before)
        for place, at in self.places:
            if self.strobes is None or self.strobes >> place & 1:
                after[at] = self.data[place]
        return bytes(after)

    def loaded(self, page):
        """What this read returns."""
        return bytes(page[at] for _, at in self.places)

    def __repr__(self):
        return (f"{'write' if self.write else 'read'} {self.kind.name}, {self.beats} beats of "
                f"{1 << self.size} at {self.offset:#x}")


def every_kind(rng):
    """All kinds, sizes and classes of lengths, from aligned and unaligned places."""
    for kind, lengths in LENGTHS.items():
        for size in range(4):
            for beats in lengths:
                step = 1 << size
                starts = {0, PAGE - beats * step, step * rng.randrange(PAGE // step)}
                if kind == Burst.INCR:
                    starts |= {start + rng.randrange(step) for start in starts}
                for offset in sorted(starts):
                    if not broken_rule(offset, beats, size, kind, CORE_BYTES) and (
                            kind == Burst.INCR or offset + beats * step <= PAGE):
                        for write in (False, True):
                            yield Access(rng, kind, size, beats, offset, write)


def random_access(rng, longest=256):
    while True:
        kind = rng.choice((Burst.INCR, Burst.INCR, Burst.WRAP, Burst.FIXED))
        size, beats = rng.randrange(4), rng.choice(
            [length for length in LENGTHS[kind] if length <= longest])
        offset = rng.randrange(PAGE)
        if kind != Burst.INCR:
            offset &= -1 << size
        if not broken_rule(offset, beats, size, kind, CORE_BYTES):
            return Access(rng, kind, size, beats, offset, rng.random() < 0.5)


class Pages:
    """A stream whose pages lie scattered in memory, with random content."""

    def __init__(self, backend, rng, nested=False):
        self.backend, self.memory, self.rng = backend, backend.memory, rng
        bench = Bench(backend)
        self.driver, self.device = bench.driver, backend.devices[0]
        order = rng.sample(range(PAGES), PAGES)
        self.home = [TARGET + n * PAGE for n in order]
        table = self.driver.page_table(granule=Granule.G4K)
        for n, home in enumerate(self.home):
            table.map(IOVA + n * PAGE, home, PAGE, Prot())
        contexts = self.driver.context_table()
        self.driver.set_cd(contexts, entries.cd(table, asid=ASID))
        stage2 = self.driver.page_table(stage=2, granule=Granule.G4K)
        stage2.map(0x4000_0000, 0x4000_0000, 1 << 23, Prot())
        stage2.map(TARGET, TARGET, PAGES * PAGE, Prot(), levels=[3])
        self.driver.set_ste(SID, entries.nested_ste(contexts, stage2, vmid=VMID) if nested
                            else entries.stage1_ste(contexts))
        # Faults of this one read as zero, and its writes are ignored, where the core can do that.
        contexts = self.driver.context_table()
        self.driver.set_cd(contexts, entries.cd(
            table, asid=ASID + 1, A=int(backend.params.term_model)))
        self.driver.set_ste(RAZ_SID, entries.stage1_ste(contexts))
        for home in self.home:
            self.memory.poke(home, rng.randbytes(PAGE))

    def page(self, n):
        return self.memory.peek(self.home[n], PAGE)

    def forget(self):
        self.driver.issue([commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL), commands.cfgi_all()])

    def perform(self, accesses, **more):
        """Perform accesses at once, each in a page of its own, and check all about them."""
        rng, records = self.rng, self.backend.memories[0].records
        start = len(records)
        jobs = []
        for access, n in zip(accesses, rng.sample(range(PAGES), len(accesses)), strict=True):
            tags = {"id": rng.randrange(self.device.ids), "qos": rng.randrange(16),
                    "region": rng.randrange(16), "lock": rng.randrange(2)}
            jobs.append((access, n, tags, self.page(n), access.submit(
                self.device, IOVA + n * PAGE, **tags, **more)))
        self.backend.finish([transfer for *_, transfer in jobs])
        assert len(records) - start == len(jobs)
        for access, n, tags, before, transfer in jobs:
            self.check(access, n, tags, before, transfer)
        self.check_order([transfer for *_, transfer in jobs], records[start:])

    def check(self, access, n, tags, before, transfer):
        record = transfer.downstream
        assert transfer.ok and record is not None, f"{access}: {transfer}"
        expected = {"addr": self.home[n] + access.offset, "len": access.beats - 1,
                    "size": access.size, "burst": access.kind, "prot": access.fields["prot"],
                    **tags}
        found = {name: getattr(record, name) for name in expected}
        assert found == expected, access
        assert len(transfer.resps) == (1 if access.write else access.beats)
        if access.write:
            assert self.page(n) == access.stored(before), access
        else:
            assert transfer.data == access.loaded(before), access
            assert self.page(n) == before

    @staticmethod
    def check_order(transfers, records):
        """Transactions of one ID and direction leave and end in their order."""
        place = {id(record): number for number, record in enumerate(records)}
        latest = {}
        for transfer in transfers:
            key = transfer.write, transfer.id
            now = place[id(transfer.downstream)], transfer.finished
            before = latest.get(key, (-1, -1))
            assert before[0] < now[0] and before[1] < now[1], f"{transfer} left its order"
            latest[key] = now


def kinds(backend, report, warm, at_once):
    """Host code: every kind of burst, ``at_once`` in flight; how many there were."""
    rng = random.Random(11)
    pages = Pages(backend, rng)
    accesses = list(every_kind(rng))
    rng.shuffle(accesses)
    # A warm core has few pages in use, so that micro-TLBs keep them.
    for start in range(0, len(accesses), at_once):
        if not warm:
            pages.forget()
        pages.perform(accesses[start:start + at_once])
        report(start)
    return len(accesses)


@pytest.mark.parametrize("config", [("default", ""), SMALL], ids=["default", "small"])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_every_kind_of_burst(config, warm):
    count, _ = run_on_core(f"{__name__}:kinds", {"warm": warm, "at_once": 16}, config=config[0],
                           settings=config[1], options={"latency": 6}, seed=1)
    assert count > 400


def disorder(backend, report, rounds, nested):
    """Host code: random bursts, random invalidations, random pauses on every channel."""
    rng = random.Random(12 + nested)
    pages = Pages(backend, rng, nested)
    for number in range(rounds):
        # Never 0 again: READY would stay as it is.
        pages.device.pause_rate = rng.choice((0.01, 0.3))
        pages.device.gap_rate = rng.choice((0, 0.3))
        if rng.random() < 0.4:
            pages.forget()
        accesses = [random_access(rng, rng.choice((8, 64, 256))) for _ in range(40)]
        pages.perform(accesses, skew=rng.choice((0, 0, 1, 30, -1, -30)))
        report(number)


@pytest.mark.parametrize("config", [("default", ""), SMALL], ids=["default", "small"])
@pytest.mark.parametrize("nested", [False, True], ids=["stage1", "nested"])
def test_data_survives_disorder(config, nested):
    run_on_core(f"{__name__}:disorder", {"rounds": 12, "nested": nested}, config=config[0],
                settings=config[1], options=DISORDER, seed=1)


def terminated(backend, report, rounds):
    """Host code: bursts that end in the core, between others; the number of each kind."""
    rng = random.Random(14)
    pages = Pages(backend, rng)
    records, memory = backend.memories[0].records, {}
    seen = {"SLVERR": 0, "zeros": 0, "fine": 0}
    raz = not backend.params.term_model
    for number in range(rounds):
        if rng.random() < 0.5:
            pages.forget()
        pages.device.pause_rate = rng.choice((0.01, 0.3))
        start, jobs = len(records), []
        free = rng.sample(range(PAGES), 30)
        for n in free:
            access, sid = random_access(rng, rng.choice((4, 16, 256))), SID
            base, expected = IOVA + n * PAGE, "fine"
            if rng.random() < 0.5:
                sid = rng.choice((SID, RAZ_SID))
                base, expected = HOLE + n * PAGE, "zeros" if sid == RAZ_SID and raz else "SLVERR"
            # Few IDs, so that both kinds follow each other in one ID.
            jobs.append((access, n, expected, pages.page(n), access.submit(
                pages.device, base, sid, id=rng.randrange(3), skew=rng.choice((0, 0, 20, -20)))))
        backend.finish([transfer for *_, transfer in jobs])
        passed = [transfer for _, _, expected, _, transfer in jobs if expected == "fine"]
        assert len(records) - start == len(passed)
        pages.check_order(passed, records[start:])
        ends = {}
        for access, n, expected, before, transfer in jobs:
            seen[expected] += 1
            key = access.write, transfer.id
            assert ends.get(key, -1) < transfer.finished
            ends[key] = transfer.finished
            memory[n] = access.stored(before) if expected == "fine" and access.write else before
            assert pages.page(n) == memory[n], f"{access} {expected}"
            code = Resp.SLVERR if expected == "SLVERR" else Resp.OKAY
            assert transfer.resps == [code] * (1 if access.write else access.beats)
            assert (transfer.downstream is not None) == (expected == "fine")
            if not access.write and expected != "SLVERR":
                assert transfer.data == (
                    access.loaded(before) if expected == "fine" else bytes(access.count))
            if not access.write and expected != "fine":
                assert not any(data for data, _ in transfer.got), "a terminated read shows data"
        backend.idle()
        pages.driver.service()
        report(number)
    return seen


@pytest.mark.parametrize("config", [("default", ""), SMALL], ids=["default", "small"])
@pytest.mark.parametrize("options", [{"latency": 5}, DISORDER], ids=["steady", "disorder"])
def test_terminated_bursts(config, options):
    seen, _ = run_on_core(f"{__name__}:terminated", {"rounds": 12}, config=config[0],
                          settings=config[1], options=options, seed=1)
    assert seen["SLVERR"] > 50 and seen["fine"] > 100
    assert (seen["zeros"] > 30) == (config[0] == "default")


def downstream_errors(backend, report):
    """Host code: errors of the memory reach the device on the beats that they belong to."""
    rng = random.Random(15)
    pages = Pages(backend, rng)
    handle = backend.memory.abort_at(range(pages.home[0] + 0x20, pages.home[0] + 0x28))
    for ident in range(4):
        read = Access(rng, Burst.INCR, 3, 8, 0x08, False)
        write = Access(rng, Burst.INCR, 3, 8, 0x08, True)
        fine = Access(rng, Burst.INCR, 3, 8, 0x100, False)
        transfers = [access.submit(pages.device, IOVA, id=ident) for access in (read, write, fine)]
        backend.finish(transfers)
        assert [transfer.resps for transfer in transfers] == [
            [2 if at == 0x20 else 0 for at in read.addresses], [2], [0] * 8]
    backend.memory.remove(handle)
    backend.idle()
    assert pages.driver.service() == []


def test_errors_of_memory_pass_through():
    run_on_core(f"{__name__}:downstream_errors", seed=1)
