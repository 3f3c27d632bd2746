"""Streams for measurements: stage 1, or nested, with as many mapped pages as are wanted."""

from smmu.formats.descriptors import Granule
from smmu_sim.backend import Transaction
from smmu_sim.driver import PageAllocator, SMMUv3Driver, entries
from smmu_sim.prot import Prot

__all__ = ["Bench", "PAGE"]

PAGE = 4096
POOL = (0x4000_0000, 0x1000_0000)
TARGET = 0x8000_0000     # where pages are mapped to
IOVA = 0x10_0000_0000
VMID, ASID = 5, 9


class Bench:
    """A driver on the backend, and streams to measure with."""

    def __init__(self, backend):
        self.backend = backend
        backend.memory.clear()
        backend.reset()
        self.allocator = PageAllocator(backend.memory, *POOL)
        self.driver = SMMUv3Driver(backend, self.allocator, sync_by_msi=False)
        self.driver.reset()

    def stage1(self, sid, pages, *, asid=ASID):
        """Let ``sid`` reach ``pages`` pages at IOVA by stage 1, 4 KB pages and 48 bits."""
        table = self.driver.page_table(granule=Granule.G4K)
        table.map(IOVA, TARGET, pages * PAGE, Prot(), levels=[3])
        contexts = self.driver.context_table()
        self.driver.set_cd(contexts, entries.cd(table, asid=asid))
        self.driver.set_ste(sid, entries.stage1_ste(contexts, vmid=0))
        return table

    def nested(self, sid, pages):
        """Let ``sid`` reach ``pages`` pages, four levels by four, nothing contiguous or large.

        All tables of stage 1 lie in one 1 GiB of IPA space, mapped one to one.
        """
        driver = self.driver
        stage2 = driver.page_table(stage=2, granule=Granule.G4K, start_level=0)
        stage2.map(POOL[0], POOL[0], 1 << 23, Prot(), levels=[3])
        stage2.map(TARGET, TARGET, max(pages, 512) * PAGE, Prot(), levels=[3])
        table = driver.page_table(granule=Granule.G4K)
        table.map(IOVA, TARGET, pages * PAGE, Prot(), levels=[3])
        contexts = driver.context_table()
        driver.set_cd(contexts, entries.cd(table, asid=ASID))
        driver.set_ste(sid, entries.nested_ste(contexts, stage2, vmid=VMID))
        return table

    # --- traffic

    def read(self, sid, page, offset=0):
        return Transaction(sid=sid, addr=IOVA + page * PAGE + offset, length=8)

    def write(self, sid, page, offset=0):
        return Transaction(sid=sid, addr=IOVA + page * PAGE + offset, write=True, data=bytes(8))

    def run(self, transactions):
        """Perform transactions at once; return their transfers. Each must succeed."""
        transfers = self.backend.submit_all(transactions)
        self.backend.finish(transfers)
        for transfer in transfers:
            if not transfer.ok or transfer.downstream is None:
                raise RuntimeError(f"{transfer} failed: {transfer.resp}")
        return transfers

    def reads_during(self, transactions):
        """Table reads that transactions cause, performed one after the other."""
        before = self.backend.tables.reads
        for transaction in transactions:
            self.run([transaction])
        return self.backend.tables.reads - before
