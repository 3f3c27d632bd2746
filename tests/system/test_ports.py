"""Two device ports: each answers for itself, and both share one TCU and one sync guarantee."""

import random

import pytest

from smmu.formats.commands import Opcode
from smmu.formats.events import EventType
from smmu_sim.backend import Resp, Transaction
from smmu_sim.bench.core import run_on_core
from smmu_sim.benchmark.setup import IOVA, PAGE, TARGET, VMID, Bench
from smmu_sim.driver import commands, entries
from smmu_sim.pagetable import Granule
from smmu_sim.prot import Prot

CORE = {"config": "small", "settings": "ports=2 ttendian=0 oas=44 term_model=1"}
DISORDER = {"latency": (1, 60), "out_of_order": True, "interleave": True, "pause_rate": 0.2}
PAGES = 12
SIDS = (0x21, 0x22, 0x23)
ABUSED = 0x24              # has no mapping at all
SYNC_WORD = 0x4F00_0000


class AnyPort:
    """A backend whose transactions take ports at random."""

    def __init__(self, backend, rng):
        self._backend, self._rng = backend, rng

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def submit_all(self, transactions):
        for transaction in transactions:
            transaction.port = self._rng.randrange(self.params.ports)
        return self._backend.submit_all(transactions)


class Streams:
    """Streams at the same IOVAs, each with physical pages of its own."""

    def __init__(self, backend):
        self.backend, self.bench = backend, Bench(backend)
        self.driver = driver = self.bench.driver
        stage2 = driver.page_table(stage=2, granule=Granule.G4K)
        stage2.map(0x4000_0000, 0x4000_0000, 1 << 23, Prot())
        stage2.map(TARGET, TARGET, len(SIDS) * PAGES * PAGE, Prot(), levels=[3])
        self.tables = {}
        for number, sid in enumerate((*SIDS, ABUSED)):
            table = driver.page_table(granule=Granule.G4K)
            if sid != ABUSED:
                table.map(IOVA, self.home(sid), PAGES * PAGE, Prot(), levels=[3])
            contexts = driver.context_table()
            driver.set_cd(contexts, entries.cd(table, asid=number + 1))
            # Two of one VM, and two that have stage 1 alone.
            driver.set_ste(sid, entries.nested_ste(contexts, stage2, vmid=VMID) if number < 2
                           else entries.stage1_ste(contexts))
            self.tables[sid] = contexts

    @staticmethod
    def home(sid):
        return TARGET + SIDS.index(sid) * PAGES * PAGE

    def forget(self):
        self.driver.issue([commands.cfgi_all(), commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])

    def access(self, rng, port, sid, page=None, write=None):
        page = rng.randrange(PAGES) if page is None else page
        write = rng.random() < 0.5 if write is None else write
        return Transaction(
            port=port, sid=sid, addr=IOVA + page * PAGE + 64 * rng.randrange(PAGE // 64),
            write=write, data=rng.randbytes(64) if write else None, length=64)

    def check(self, transaction, transfer):
        if transaction.sid == ABUSED:
            assert transfer.resp == Resp.SLVERR and transfer.downstream is None
            return
        result = self.backend.result(transfer)
        assert (result.resp, result.pa, result.device_id) == (
            Resp.OKAY, self.home(transaction.sid) + transaction.addr - IOVA, transaction.sid)
        assert transfer.downstream.port == f"m{transaction.port}_axi"


def routing(backend, report, rounds):
    """Host code: each port's transactions leave at its own master, translated for their stream."""
    rng = random.Random(21)
    streams = Streams(backend)
    for number in range(rounds):
        if rng.random() < 0.5:
            streams.forget()
        before = [len(memory.records) for memory in backend.memories]
        transactions = [streams.access(rng, rng.randrange(2), rng.choice((*SIDS, ABUSED)))
                        for _ in range(40)]
        transfers = backend.submit_all(transactions)
        backend.finish(transfers)
        for transaction, transfer in zip(transactions, transfers, strict=True):
            streams.check(transaction, transfer)
        for port, memory in enumerate(backend.memories):
            passed = [t for t in transactions if t.port == port and t.sid != ABUSED]
            assert len(memory.records) - before[port] == len(passed)
        backend.idle()
        events = streams.driver.service()
        assert all(event.type == EventType.F_TRANSLATION for event in events)
        assert sorted((event.StreamID, event.InputAddr, event.RnW) for event in events) == sorted(
            (t.sid, t.addr, not t.write) for t in transactions if t.sid == ABUSED)
        report(number)


@pytest.mark.parametrize("options", [{"latency": 8}, DISORDER], ids=["steady", "disorder"])
def test_each_port_has_its_own_way(options):
    run_on_core(f"{__name__}:routing", {"rounds": 20}, options=options, seed=1, **CORE)


def sharing(backend, report):
    """Host code: what one port has looked up the other need not read again."""
    rng = random.Random(22)
    streams = Streams(backend)
    for sid in SIDS:
        for first in (0, 1):
            streams.forget()
            cold, warm, again = (
                streams.bench.reads_during([streams.access(rng, port, sid, 3)])
                for port in (first, 1 - first, first))
            assert cold > 4 and (warm, again) == (0, 0)
            # Both at once: one walk for both.
            streams.forget()
            before = backend.tables.reads
            streams.bench.run([streams.access(rng, port, sid, 3, write)
                               for port in (0, 1) for write in (False, True)])
            assert backend.tables.reads - before == cold


def test_ports_share_caches_and_walks():
    run_on_core(f"{__name__}:sharing", options={"latency": 20}, seed=1, **CORE)


def blocked(backend, report):
    """Host code: behind one port nothing moves; the other goes on, and a CMD_SYNC waits."""
    rng = random.Random(23)
    streams = Streams(backend)
    queue = streams.driver.command_queue
    for port in (0, 1):
        memory = backend.memories[port]
        streams.forget()
        memory.pause_rate = 1.0
        backend.wait(2)
        stuck_transactions = [streams.access(rng, port, rng.choice(SIDS)) for _ in range(24)]
        stuck = backend.submit_all(stuck_transactions)
        for _ in range(5):
            moving_transactions = [
                streams.access(rng, 1 - port, rng.choice(SIDS)) for _ in range(40)]
            moving = backend.submit_all(moving_transactions)
            backend.finish(moving)
            for item in zip(moving_transactions, moving, strict=True):
                streams.check(*item)
        # One of each direction can slip through before READY falls.
        assert sum(transfer.finished is not None for transfer in stuck) <= 2
        accepted = [transfer for transfer in stuck if transfer.accepted is not None]
        assert len(accepted) > 4
        before = backend.interrupts().cmdq_sync
        queue.issue([commands.tlbi(Opcode.CMD_TLBI_NH_ALL, VMID=VMID),
                     commands.sync_with_msi(SYNC_WORD, 1)], sync=False)
        backend.wait(400)
        assert backend.interrupts().cmdq_sync == before, "the CMD_SYNC did not wait"
        memory.pause_rate = 0.01
        for _ in range(20_000):
            if backend.interrupts().cmdq_sync != before:
                break
            backend.wait(1)
        # All that was accepted before the CMD_SYNC began is answered.
        assert all(transfer.finished is not None for transfer in accepted)
        backend.finish(stuck)
        for item in zip(stuck_transactions, stuck, strict=True):
            streams.check(*item)


def test_a_blocked_port_does_not_stop_the_other():
    run_on_core(f"{__name__}:blocked", options={"latency": 8}, seed=1, **CORE)


def doorbells(backend, report):
    """Host code: the doorbells of two devices of a guest at different ports."""
    streams = Streams(backend)
    places = {SIDS[0]: 0x2021_0040, SIDS[1]: 0x2031_0040}
    pages = {sid: streams.home(sid) + 5 * PAGE for sid in places}
    for sid, doorbell in places.items():
        streams.driver.remap.bind(sid, pages[sid], doorbell)
    transactions = [
        Transaction(port=port, sid=sid, addr=IOVA + 5 * PAGE + 0x40, write=True, data=bytes(size))
        for size in (4, 8) for sid in places for port in (0, 1)]
    for transaction, transfer in zip(
            transactions, backend.submit_all(transactions), strict=True):
        backend.finish([transfer])
        if transaction.length == 8:
            assert transfer.resp == Resp.SLVERR and transfer.downstream is None
            continue
        result = backend.result(transfer)
        assert (result.pa, result.msi, result.device_id) == (
            places[transaction.sid], True, transaction.sid)
        assert transfer.downstream.port == f"m{transaction.port}_axi"
    backend.idle()
    assert sorted((e.type, e.StreamID) for e in streams.driver.service()) == [
        (EventType.F_UUT, sid) for sid in places for _ in (0, 1)]


def test_doorbells_at_both_ports():
    run_on_core(f"{__name__}:doorbells", seed=1, **CORE)


def move_pages(backend, report, seed, rounds, nested):
    """Host code: the sync guarantee, with the traffic on all ports."""
    from tests.system import test_sync_guarantee

    return test_sync_guarantee.move_pages(
        AnyPort(backend, random.Random(seed)), report, seed, rounds, nested, not nested)


@pytest.mark.parametrize("nested", [False, True], ids=["stage1", "nested"])
@pytest.mark.parametrize("options", [{"latency": 8}, DISORDER], ids=["steady", "disorder"])
def test_no_stale_page_at_any_port(nested, options):
    (checked, retired), _ = run_on_core(
        f"{__name__}:move_pages", {"seed": 17 + nested, "rounds": 40, "nested": nested},
        options=options, seed=1, **CORE)
    assert checked > 800 and retired > 25


def switch(backend, report, seed, rounds):
    """Host code: changes of SMMUEN and GBPA, with the traffic on all ports."""
    from tests.system import test_enable

    return test_enable.switch(AnyPort(backend, random.Random(seed)), report, seed, rounds)


def test_both_ports_follow_smmuen_and_gbpa():
    met, _ = run_on_core(f"{__name__}:switch", {"seed": 18, "rounds": 40}, options=DISORDER,
                         seed=1, **CORE)
    assert min(met[kind] for kind in ("translated", "bypassed", "aborted")) > 60, met
