"""After a CMD_SYNC no transaction uses the old mapping, and none that used it is unanswered.

Traffic never stops: reads and writes of many IDs run over a few pages while software moves pages,
or takes them away, invalidates in each of the ways there are, and waits for the CMD_SYNC's
interrupt. Each move goes to a physical page that was never used before, so what leaves the core
tells which mapping it used.
"""

import random

import pytest

from smmu.formats.commands import Opcode
from smmu_sim.backend import Transaction
from smmu_sim.bench.core import run_on_core
from smmu_sim.benchmark.setup import ASID, IOVA, PAGE, VMID, Bench
from smmu_sim.driver import commands, entries
from smmu_sim.pagetable import Granule
from smmu_sim.prot import Prot

SID, PAGES = 0x21, 6
FRESH = 0x10_0000_0000     # physical pages that moves go to
SYNC_WORD = 0x4F00_0000


class Moves:
    """Pages that move under traffic, and the rule about what may still be seen of the old ones."""

    def __init__(self, backend, nested, nonglobal, rng):
        self.backend, self.nested, self.nonglobal, self.rng = backend, nested, nonglobal, rng
        self.bench = Bench(backend)
        self.table = self.make(nested)
        self.vmid = VMID if nested else 0
        self.fresh = FRESH
        self.ipa = [self.table.iova_to_phys(IOVA + n * PAGE) for n in range(PAGES)]
        self.home = list(self.ipa)  # physical; stage 2 begins one to one
        self.retired = {}        # physical page: clock of the CMD_SYNC
        self.gone = {}           # page number: clock since which it is unmapped for sure
        self.transfers, self.checked = [], 0

    def make(self, nested):
        if not nested:
            return self.bench.stage1(SID, PAGES)
        driver = self.bench.driver
        self.stage2 = driver.page_table(stage=2, granule=Granule.G4K)
        # Tables and the fresh pages, one to one and in pages.
        self.stage2.map(0x4000_0000, 0x4000_0000, 1 << 23, Prot(), levels=[3])
        self.stage2.map(0x8000_0000, 0x8000_0000, PAGES * PAGE, Prot(), levels=[3])
        self.stage2.map(FRESH, FRESH, 1 << 22, Prot(), levels=[3])
        table = driver.page_table(granule=Granule.G4K)
        table.map(IOVA, 0x8000_0000, PAGES * PAGE, Prot(), levels=[3])
        contexts = driver.context_table()
        driver.set_cd(contexts, entries.cd(table, asid=ASID))
        driver.set_ste(SID, entries.nested_ste(contexts, self.stage2, vmid=VMID))
        return table

    # --- traffic

    def feed(self, depth=40):
        """Keep many transactions under way; check what has ended."""
        alive = []
        for page, transfer in self.transfers:
            if transfer.finished is None:
                alive.append((page, transfer))
            else:
                self.check(page, transfer)
        self.transfers = alive
        rng = self.rng
        while len(self.transfers) < depth:
            page = rng.randrange(PAGES)
            addr = IOVA + page * PAGE + 64 * rng.randrange(PAGE // 64)
            length = rng.choice([8, 8, 8, 64])
            write = rng.random() < 0.5
            transfer = self.backend.submit_all([Transaction(
                sid=SID, addr=addr, write=write, data=bytes(length) if write else None,
                length=length)])[0]
            self.transfers.append((page, transfer))

    def check(self, page, transfer):
        """Hold one finished transaction against every CMD_SYNC so far."""
        self.checked += 1
        record = transfer.downstream
        if record is None:
            assert not transfer.ok
            return
        sync = self.retired.get(record.addr & -PAGE)
        if sync is not None:
            assert record.valid_at <= sync, (
                f"{transfer} used the old page {record.addr:#x} at clock {record.valid_at}; "
                f"its CMD_SYNC was complete at {sync}")
            assert record.finished <= sync, (
                f"{transfer} to the old page {record.addr:#x} was answered at {record.finished}; "
                f"its CMD_SYNC was complete at {sync}")
        gone = self.gone.get(page)
        if gone is not None:
            assert transfer.accepted <= gone, f"{transfer} reached unmapped page {page}"

    # --- software

    def move(self):
        """Move or take away some pages, invalidate, and wait for the CMD_SYNC."""
        rng = self.rng
        pages = rng.sample(range(PAGES), rng.choice([1, 1, 2, PAGES]))
        retired, broken = [], []
        for page in pages:
            leaf = self.table.lookup(IOVA + page * PAGE)
            slot = self.slots[page]
            if leaf is not None:
                retired.append(self.home[page])
            if leaf is not None and rng.random() < 0.25:
                self.table.write_descriptor(slot, 0)
                broken.append(page)
            else:
                self.table.write_descriptor(
                    slot, self.table.leaf_descriptor(3, self.fresh, Prot(nG=self.nonglobal)))
                self.ipa[page] = self.take_fresh(page)
        self.complete(self.batch(pages), retired, broken)

    def move_stage2(self):
        """The same in stage 2: the guest's pages stay where they are, their memory changes."""
        rng, stage2 = self.rng, self.stage2
        pages = [page for page in range(PAGES) if self.mapped_now(page)]
        pages = rng.sample(pages, rng.randrange(1, len(pages) + 1)) if pages else []
        retired, broken = [], []
        for page in pages:
            slot = list(stage2.path(self.ipa[page]))[-1][1]
            if stage2.lookup(self.ipa[page]) is not None:
                retired.append(self.home[page])
            if rng.random() < 0.25:
                stage2.write_descriptor(slot, 0)
                broken.append(page)
            else:
                stage2.write_descriptor(slot, stage2.leaf_descriptor(3, self.fresh, Prot()))
                self.take_fresh(page)
        self.complete(self.stage2_batch(pages), retired, broken)

    def take_fresh(self, page):
        """Note that ``page`` lies at a physical page never used before; return it."""
        self.home[page] = self.fresh
        self.fresh += PAGE
        self.gone.pop(page, None)
        return self.home[page]

    def complete(self, batch, retired, broken=()):
        """Invalidate, and note which pages nothing may use from then on."""
        sync = self.invalidate(batch)
        for home in retired:
            self.retired.setdefault(home, sync)
        for page in broken:
            self.gone[page] = sync

    def stage2_batch(self, pages):
        """One of the ways to invalidate these pages of stage 2."""
        tags = {"VMID": self.vmid}
        everything = commands.tlbi(Opcode.CMD_TLBI_NH_ALL, **tags)  # stage 1 combines stage 2
        match self.rng.choice(["ipa", "range", "vmall", "nsnh"]):
            case "vmall":
                return [commands.tlbi(Opcode.CMD_TLBI_S12_VMALL, **tags)]
            case "nsnh":
                return [commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)]
            case way:
                return [command for page in pages for command in commands.tlbi_range(
                    Opcode.CMD_TLBI_S2_IPA, self.ipa[page], PAGE, granule=12,
                    ril=way == "range", leaf_size=PAGE, **tags)] + [everything]

    def batch(self, pages):
        """One of the ways to invalidate these pages."""
        rng, tags = self.rng, {"VMID": self.vmid}
        ways = ["all", "vmall", "nsnh", "va", "vaa", "range"]
        if self.nonglobal:
            ways.append("asid")
        match rng.choice(ways):
            case "all":
                return [commands.tlbi(Opcode.CMD_TLBI_NH_ALL, **tags)]
            case "vmall":
                return [commands.tlbi(Opcode.CMD_TLBI_S12_VMALL, **tags)]
            case "nsnh":
                return [commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)]
            case "asid":
                return [commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=ASID, **tags)]
            case "range":
                return commands.tlbi_range(
                    Opcode.CMD_TLBI_NH_VA, IOVA, 8 * PAGE, granule=12, ril=True, ASID=ASID, **tags)
            case way:
                opcode = Opcode.CMD_TLBI_NH_VA if way == "va" else Opcode.CMD_TLBI_NH_VAA
                asid = {"ASID": ASID} if way == "va" else {}
                return [commands.tlbi_range(opcode, IOVA + page * PAGE, PAGE, granule=12,
                                            ril=False, **asid, **tags)[0] for page in pages]

    def invalidate(self, batch):
        """Issue commands and a CMD_SYNC; return the clock in which its interrupt came."""
        queue = self.bench.driver.command_queue
        before = self.backend.interrupts().cmdq_sync
        queue.issue([*batch, commands.sync_with_msi(SYNC_WORD, 1)], sync=False)
        waited = 0
        while self.backend.interrupts().cmdq_sync == before:
            self.backend.wait(1)
            if waited % 20 == 0:
                self.feed()
            waited += 1
            assert waited < 20_000, "the CMD_SYNC does not complete"
        return self.backend.now

    def reconfigure(self):
        """Point the CD at another copy of the tables; CFGI_CD and TLBI_NH_ASID, as Linux does."""
        driver = self.bench.driver
        table = driver.page_table(granule=Granule.G4K)
        retired = []
        for page in range(PAGES):
            if self.mapped_now(page):
                retired.append(self.home[page])
            self.ipa[page] = self.take_fresh(page)
            table.map(IOVA + page * PAGE, self.ipa[page], PAGE, Prot(nG=self.nonglobal))
        contexts = driver.context_table()
        driver.set_cd(contexts, entries.cd(table, asid=ASID))
        ste = entries.nested_ste(contexts, self.stage2, vmid=VMID) if self.nested \
            else entries.stage1_ste(contexts, vmid=0)
        # The old CD table stays in memory: only a stale copy of the STE can still lead there.
        place = driver.stream_table.find(SID)
        for number in range(3, -1, -1):
            self.backend.memory.write64(place + 8 * number, ste >> 64 * number & (1 << 64) - 1)
        self.table = table
        self.find_slots()
        self.complete([commands.cfgi_ste(SID),
                       commands.tlbi(Opcode.CMD_TLBI_NH_ALL, VMID=self.vmid)], retired)

    def mapped_now(self, page):
        return self.table.lookup(IOVA + page * PAGE) is not None

    def find_slots(self):
        self.slots = [list(self.table.path(IOVA + page * PAGE))[-1][1] for page in range(PAGES)]


def move_pages(backend, report, seed, rounds, nested, nonglobal=True):
    """Host code: ``rounds`` moves under traffic; the number of transactions that were checked."""
    rng = random.Random(seed)
    moves = Moves(backend, nested, nonglobal, rng)
    moves.find_slots()
    for number in range(rounds):
        for _ in range(rng.randrange(1, 4)):
            moves.feed()
            backend.wait(rng.randrange(5, 120))
        if rng.random() < 0.15:
            moves.reconfigure()
        elif nested and rng.random() < 0.4:
            moves.move_stage2()
        else:
            moves.move()
        report(number)
    backend.finish([transfer for _, transfer in moves.transfers])
    for page, transfer in moves.transfers:
        moves.check(page, transfer)
    moves.bench.driver.service()
    return [moves.checked, len(moves.retired)]


@pytest.mark.parametrize("nested", [False, True], ids=["stage1", "nested"])
@pytest.mark.parametrize("options", [
    {"latency": 10}, {"latency": (1, 80), "out_of_order": True, "pause_rate": 0.2}],
    ids=["steady", "disorder"])
def test_no_stale_page_after_a_sync(nested, options):
    (checked, retired), _ = run_on_core(
        f"{__name__}:move_pages",
        {"seed": 7 + nested, "rounds": 60, "nested": nested, "nonglobal": not nested},
        options=options, seed=1)
    assert checked > 1500 and retired > 40
