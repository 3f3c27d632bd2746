"""Queues, global errors and interrupts of the core, as software meets them, with traffic."""

import random

import pytest

from smmu.formats.commands import CERROR, CMD_SYNC, CS, Opcode, pack_command
from smmu.formats.core import plain
from smmu.formats.events import EventType
from smmu.formats.registers import EVENTQ_PROD
from smmu_sim.backend import Resp, Transaction
from smmu_sim.bench.core import run_on_core
from smmu_sim.driver import PageAllocator, SMMUv3Driver, commands, entries
from smmu_sim.driver.errors import CommandError, DriverError
from smmu_sim.driver.smmu import MSI
from smmu_sim.fields import address

PAGE, POOL = 0x1000, (0x4000_0000, 0x1000_0000)
SID, IOVA, TARGET, PAGES = 0x21, 0x10_0000_0000, 0x8000_0000, 4
HOLE = 0x20_0000_0000
EVENTQ_MSI, GERROR_MSI = MSI(0x4F00_0000, 0xE7E7), MSI(0x4F00_0104, 0x6E6E)
SYNC_WORD = 0x4F00_0200
RECORD, COMMAND = 32, 16
ILLEGAL = 0xFF       # no such opcode
DISORDER = {"latency": (1, 60), "out_of_order": True, "pause_rate": 0.2, "gap_rate": 0.2}


def until(backend, done, what):
    """Let single clocks pass until ``done()``."""
    for _ in range(20_000):
        if done():
            return
        backend.wait(1)
    raise TimeoutError(f"{what} does not come")


class Host:
    """A driver, one stream, and everything that the SMMU writes for itself."""

    def __init__(self, backend, msis=True, **options):
        self.backend, self.memory = backend, backend.memory
        self.memory.clear()
        self.memory.remove_aborts()
        backend.reset()
        self.driver = SMMUv3Driver(
            backend, PageAllocator(self.memory, *POOL), sync_by_msi=False,
            msis={"eventq": EVENTQ_MSI, "gerror": GERROR_MSI} if msis else None, **options)
        self.driver.reset()
        self.registers = self.driver.registers
        table = self.driver.page_table()
        table.map(IOVA, TARGET, PAGES * PAGE, levels=[3])
        contexts = self.driver.context_table()
        self.driver.set_cd(contexts, entries.cd(table, asid=9))
        self.driver.set_ste(SID, entries.stage1_ste(contexts))
        self.next_hole, self.transfers = 0, []

    # --- what the SMMU did

    def pulses(self):
        return self.backend.interrupts()

    def msis(self, msi):
        """The writes of one of its MSIs."""
        return [record for record in self.backend.tables.records
                if record.write and record.addr == msi.addr]

    def counts(self):
        """(irq_eventq pulses, event MSIs, irq_gerror pulses, GERROR MSIs)."""
        pulses = self.pulses()
        return (pulses.eventq, len(self.msis(EVENTQ_MSI)), pulses.gerror,
                len(self.msis(GERROR_MSI)))

    def since(self, before):
        return tuple(now - then for now, then in zip(self.counts(), before, strict=True))

    @property
    def event_range(self):
        queue = self.driver.event_queue.queue
        return range(queue.base, queue.base + queue.bytes)

    # --- traffic

    def fault(self, count=1):
        """Let ``count`` reads fault; return their addresses."""
        addrs = [HOLE + (self.next_hole + n) * 8 for n in range(count)]
        self.next_hole += count
        results = self.backend.dma_all([
            Transaction(sid=SID, addr=addr, length=8) for addr in addrs])
        assert all(result.resp == Resp.SLVERR for result in results)
        self.backend.idle()
        return addrs

    def traffic(self, count=8):
        """Start transactions that must succeed; :meth:`settle` looks at them."""
        self.transfers += self.backend.submit_all([
            Transaction(sid=SID, addr=IOVA + n % PAGES * PAGE + 8 * n, length=8,
                        write=bool(n & 1), data=bytes(8) if n & 1 else None)
            for n in range(count)])

    def settle(self):
        self.backend.finish(self.transfers)
        assert all(transfer.ok for transfer in self.transfers)
        count, self.transfers = len(self.transfers), []
        return count

    def events(self):
        """Take the events; their addresses in order."""
        events = self.driver.event_queue.drain()
        assert all(event.type == EventType.F_TRANSLATION for event in events)
        return [event.InputAddr for event in events]


# --- event queue ---------------------------------------------------------------------------------

def event_interrupts(backend, report, msis):
    """Host code: an interrupt when the queue becomes non-empty, behind the record and PROD."""
    host = Host(backend, msis)
    seen = []

    def arrived(addr, data, device):
        # The record is in memory before its MSI is.
        queue = host.driver.event_queue.queue
        seen.append(queue.read(queue.cons) != 0)
        assert int.from_bytes(data, "little") == EVENTQ_MSI.data and device is None

    backend.memory.observe(range(EVENTQ_MSI.addr, EVENTQ_MSI.addr + 4), arrived)
    for count in (1, 3, 1, 20, 1, 2, 1, 1):
        host.traffic()
        before = host.counts()
        writes = len(backend.tables.records)
        addrs = host.fault(count)
        assert host.since(before) == (1, int(msis), 0, 0)
        if msis:
            written = [record for record in backend.tables.records[writes:]
                       if record.write and record.addr in host.event_range]
            msi = host.msis(EVENTQ_MSI)[-1]
            assert written[0].finished <= msi.valid_at, "the MSI overtook its record"
            assert seen.pop() and not seen
            assert (msi.size, msi.len, msi.strobes) == (2, 0, 0xF)
        assert host.registers.field("EVENTQ_PROD", "WR") == host.driver.event_queue.queue.advance(
            host.driver.event_queue.queue.cons, count)
        # Not empty: no further interrupt.
        addrs += host.fault(2)
        assert host.since(before) == (1, int(msis), 0, 0)
        assert sorted(host.events()) == sorted(addrs)
        assert host.settle() == 8
    # Disabled: records, but no interrupt; nothing is made up for when it is enabled again.
    before = host.counts()
    host.registers.write_acknowledged("IRQ_CTRL", GERROR_IRQEN=1)
    addrs = host.fault()
    host.registers.write_acknowledged("IRQ_CTRL", GERROR_IRQEN=1, EVENTQ_IRQEN=1)
    backend.wait(100)
    assert host.since(before) == (0, 0, 0, 0)
    assert host.events() == addrs
    host.fault()
    assert host.since(before) == (1, int(msis), 0, 0)


@pytest.mark.parametrize("msis", [False, True], ids=["wires", "msis"])
@pytest.mark.parametrize("options", [{"latency": 10}, DISORDER], ids=["steady", "disorder"])
def test_event_interrupts(options, msis):
    run_on_core(f"{__name__}:event_interrupts", {"msis": msis}, options=options, seed=1)


def visible_before_msi(backend, report, rounds):
    """Host code: whoever sees the MSI finds EVENTQ_PROD moved; and CMDQ_CONS, of a CMD_SYNC."""
    host, rng = Host(backend), random.Random(4)
    for number in range(rounds):
        count = len(host.msis(EVENTQ_MSI))
        before = host.registers.field("EVENTQ_PROD", "WR")
        transfers = backend.submit_all([Transaction(sid=SID, addr=HOLE + 8 * number, length=8)])
        until(backend, lambda old=count: len(host.msis(EVENTQ_MSI)) != old, "the MSI")
        assert host.registers.field("EVENTQ_PROD", "WR") == \
            host.driver.event_queue.queue.advance(before)
        backend.finish(transfers)
        assert host.events() == [HOLE + 8 * number]
        host.traffic(rng.randrange(6))
        queue = host.driver.command_queue
        queue.issue([commands.tlbi(Opcode.CMD_TLBI_NH_ALL),
                     commands.sync_with_msi(SYNC_WORD, 100 + number)], sync=False)
        until(backend, lambda word=100 + number: backend.memory.read32(SYNC_WORD) == word,
              "the MSI of the CMD_SYNC")
        assert host.registers.field("CMDQ_CONS", "RD") == queue.queue.prod
    host.settle()


def test_msis_come_after_what_they_tell():
    run_on_core(f"{__name__}:visible_before_msi", {"rounds": 12}, options=DISORDER, seed=1)


def overflow(backend, report):
    """Host code: what does not fit is lost, and OVFLG tells; each CMD_SYNC completes anyway."""
    host = Host(backend, eventq_log2size=2)
    flag = plain(EVENTQ_PROD).OVFLG
    expected = 0
    for count in (4, 5, 12, 4, 6):
        host.traffic(20)
        addrs = host.fault(count)
        host.driver.sync()
        if count > 4:
            expected ^= 1
        prod = host.registers.read("EVENTQ_PROD")
        assert flag(prod) == expected
        # Lost ones do not toggle the flag again before the acknowledge.
        if count > 4:
            host.fault(3)
            assert host.registers.read("EVENTQ_PROD") == prod
        found = host.events()
        assert len(found) == 4 and set(found) <= set(addrs)
        host.settle()
    assert host.driver.event_queue.overflows == 3
    # Space without an acknowledge is used.
    host.fault(6)
    expected ^= 1
    queue = host.driver.event_queue.queue
    host.registers.write("EVENTQ_CONS", RD=queue.advance(queue.cons, 2), OVACKFLG=1 - expected)
    host.fault(2)
    prod = host.registers.fields("EVENTQ_PROD")
    assert prod == {"WR": queue.advance(queue.cons, 6), "OVFLG": expected}
    assert host.driver.errors.handle() == []


def test_event_queue_overflow():
    run_on_core(f"{__name__}:overflow", options=DISORDER, seed=1)


def event_abort(backend, report):
    """Host code: a record that memory refuses is a global error; traffic and commands go on."""
    host = Host(backend)
    for _ in range(3):
        handle = backend.memory.abort_at(host.event_range, "write")
        before, prod = host.counts(), host.registers.read("EVENTQ_PROD")
        host.traffic(20)
        host.fault(3)
        host.driver.sync()
        assert host.since(before) == (0, 0, 1, 1)
        assert host.registers.read("EVENTQ_PROD") == prod
        # Until software acknowledges, records are dropped.
        backend.memory.remove(handle)
        writes = backend.tables.writes
        host.fault(2)
        assert backend.tables.writes == writes
        assert host.driver.errors.handle() == ["EVENTQ_ABT_ERR"]
        assert host.events() == []
        addrs = host.fault(2)
        assert host.since(before) == (1, 1, 1, 1)
        assert sorted(host.events()) == sorted(addrs)
        assert host.settle() == 20


def test_event_queue_abort():
    run_on_core(f"{__name__}:event_abort", options=DISORDER, seed=1)


# --- command queue -------------------------------------------------------------------------------

def command_errors(backend, report, rounds):
    """Host code: illegal commands and aborted fetches under traffic; software recovers."""
    host, rng = Host(backend), random.Random(6)
    queue, tlbi = host.driver.command_queue, commands.tlbi(Opcode.CMD_TLBI_NH_ALL)
    for number in range(rounds):
        before, word = host.counts(), 1 + number
        position, length = rng.randrange(12), 12
        batch = [tlbi] * length
        bad_pointer = queue.queue.advance(queue.queue.prod, position)
        handle = None
        if number % 2:
            batch[position] = ILLEGAL
            code = CERROR.CERROR_ILL
        else:
            where = queue.queue.addr(bad_pointer)
            handle = backend.memory.abort_at(range(where, where + COMMAND), "read")
            code = CERROR.CERROR_ABT
        host.traffic(16)
        queue.issue([*batch, commands.sync_with_msi(SYNC_WORD, word)], sync=False)
        until(backend, lambda old=before: host.counts() != old, "an error")
        host.traffic(16)
        backend.wait(rng.randrange(200))
        cons = host.registers.fields("CMDQ_CONS")
        assert (cons["ERR"], cons["RD"]) == (code, bad_pointer)
        # Stopped: nothing behind it happens, whatever is written to CMDQ_PROD.
        host.registers.write("CMDQ_PROD", WR=queue.queue.prod)
        backend.wait(100)
        assert backend.memory.read32(SYNC_WORD) == number
        assert host.registers.fields("CMDQ_CONS") == cons
        assert host.since(before) == (0, 0, 1, 1)
        if handle is not None:
            backend.memory.remove(handle)
        if code == CERROR.CERROR_ILL:
            with pytest.raises(CommandError) as caught:
                host.driver.sync()
            assert (caught.value.code, caught.value.index, caught.value.command) == (
                code, queue.queue.index(bad_pointer), ILLEGAL)
        else:
            host.driver.sync()
        assert backend.memory.read32(SYNC_WORD) == word
        assert host.since(before) == (0, 0, 1, 1)
        assert host.settle() == 32
    assert host.driver.errors.seen == ["CMDQ_ERR"] * rounds
    # A fetch that goes on failing is reported again after each acknowledge, until software stops.
    handle = backend.memory.abort_at(range(queue.queue.base, queue.queue.base + queue.queue.bytes),
                                     "read")
    before = host.counts()
    with pytest.raises(DriverError, match="CERROR_ABT"):
        host.driver.sync()
    assert host.since(before) == (0, 0, 3, 3)
    backend.memory.remove(handle)


@pytest.mark.parametrize("options", [{"latency": 10}, DISORDER], ids=["steady", "disorder"])
def test_command_queue_errors(options):
    run_on_core(f"{__name__}:command_errors", {"rounds": 10}, options=options, seed=1)


def sync_signals(backend, report):
    """Host code: which CMD_SYNC pulses, which writes, and their order."""
    host = Host(backend)
    written = []
    backend.memory.observe(range(SYNC_WORD, SYNC_WORD + 4),
                           lambda _, data, __: written.append(int.from_bytes(data, "little")))
    for signal, where, pulses, words in (
            (CS.SIG_NONE, SYNC_WORD, 0, 0), (CS.SIG_SEV, SYNC_WORD, 0, 0),
            (CS.SIG_IRQ, 0, 1, 0), (CS.SIG_IRQ, SYNC_WORD, 1, 1)):
        before = host.pulses().cmdq_sync
        host.driver.issue([pack_command(Opcode.CMD_SYNC, {
            "CS": signal, "MSIAddress": address(CMD_SYNC, "MSIAddress", where), "MSIData": 7})])
        backend.wait(100)
        assert host.pulses().cmdq_sync - before == pulses, signal
        assert written == [7] * words, signal
        written.clear()
    before = host.pulses().cmdq_sync
    host.traffic(30)
    host.driver.issue([command for n in range(20) for command in (
        commands.tlbi(Opcode.CMD_TLBI_NH_ALL), commands.sync_with_msi(SYNC_WORD, n))])
    assert written == list(range(20))
    assert host.pulses().cmdq_sync - before == 20
    host.settle()


@pytest.mark.parametrize("options", [{"latency": 10}, DISORDER], ids=["steady", "disorder"])
def test_signals_of_cmd_sync(options):
    run_on_core(f"{__name__}:sync_signals", options=options, seed=1)


# --- MSIs that fail ------------------------------------------------------------------------------

def msi_aborts(backend, report):
    """Host code: a failed MSI is a global error of its own, and later MSIs are sent again."""
    host = Host(backend)
    queue = host.driver.command_queue
    for _ in range(2):
        # Event queue: the GERROR MSI tells.
        handle = backend.memory.abort_at(range(EVENTQ_MSI.addr, EVENTQ_MSI.addr + 4))
        before = host.counts()
        addrs = host.fault()
        assert host.since(before) == (1, 1, 1, 1)
        assert host.driver.errors.handle() == ["MSI_EVENTQ_ABT_ERR"]
        assert host.events() == addrs
        backend.memory.remove(handle)
        assert host.fault() == host.events()
        assert host.since(before) == (2, 2, 1, 1)
        assert backend.memory.read32(EVENTQ_MSI.addr) == EVENTQ_MSI.data
        # CMD_SYNC: it completes, and a later one tells that the MSI failed.
        handle = backend.memory.abort_at(range(SYNC_WORD, SYNC_WORD + 4), "write")
        before = host.counts()
        queue.issue([commands.sync_with_msi(SYNC_WORD, 1)], sync=False)
        queue.issue([], sync=True)
        host.driver.errors.handle()
        assert host.driver.errors.seen[-1] == "MSI_CMDQ_ABT_ERR"
        backend.idle()
        assert host.since(before) == (0, 0, 1, 1)
        backend.memory.remove(handle)
        # GERROR: no interrupt about that one.
        handle = backend.memory.abort_at(range(GERROR_MSI.addr, GERROR_MSI.addr + 4))
        before = host.counts()
        queue.issue([ILLEGAL], sync=False)
        host.traffic()
        host.settle()
        backend.idle()
        assert host.since(before) == (0, 0, 1, 1)
        with pytest.raises(CommandError):
            host.driver.sync()
        assert host.driver.errors.handle() == ["MSI_GERROR_ABT_ERR"]
        assert host.driver.errors.seen[-2:] == ["CMDQ_ERR", "MSI_GERROR_ABT_ERR"]
        assert host.since(before) == (0, 0, 1, 1)
        backend.memory.remove(handle)
        backend.memory.write32(EVENTQ_MSI.addr, 0)
    assert host.registers.read("GERROR") == host.registers.read("GERRORN")


def test_aborted_msis():
    run_on_core(f"{__name__}:msi_aborts", options={"latency": 10}, seed=1)
