"""A guest's memory and stage 1, with the numbers of the scenarios, for several tests."""

from smmu_sim.driver import ContextDescriptorTable, MemoryWindow, PageAllocator, PageTable, entries
from smmu_sim.pagetable import Prot

IPA, PA, SIZE = 0x4000_0000, 0x8_8000_0000, 64 << 20
VMID, ASID = 7, 0x21
MIB = 1 << 20


class GuestMemory:
    """64 MiB of guest memory: at IPA 0x4000_0000, physically at ``pa``; tables in its first half.

    IOVA 0x1_0000 and up is mapped to its second half, 16 pages.
    """

    def __init__(self, system, stage2, pa=PA, asid=ASID):
        stage2.map(IPA, pa, SIZE)
        self.memory = MemoryWindow(system.backend.memory, IPA, pa, SIZE)
        allocator = PageAllocator(self.memory, IPA, SIZE // 2)
        self.table = PageTable(self.memory, allocator, ia_bits=48,
                               oa_bits=system.driver.features.oas)
        self.data = IPA + SIZE // 2
        self.table.map(0x1_0000, self.data, 0x1_0000, Prot(), levels=[3])
        self.cds = ContextDescriptorTable(self.memory, allocator)
        self.cds.write(entries.cd(self.table, asid=asid))

    def ste_words(self, **fields):
        """The first two words of the STE that the guest would write."""
        raw = entries.stage1_ste(self.cds, **fields)
        return raw & (1 << 64) - 1, raw >> 64 & (1 << 64) - 1
