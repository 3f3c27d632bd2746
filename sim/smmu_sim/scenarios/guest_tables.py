"""A guest's stage 1 in its own memory: page table and CD, at the addresses of the scenarios."""

from smmu_sim.driver import ContextDescriptorTable, MemoryWindow, PageAllocator, entries
from smmu_sim.machine import Machine
from smmu_sim.pagetable import PageTable
from smmu_sim.prot import DEFAULT, Prot

__all__ = ["ASID", "DEVICE_MEMORY", "GuestTables"]

ASID = 0x21
DEVICE_MEMORY = Prot(memory="device")
_TABLES = 16 << 20  # bytes at the beginning of the guest's RAM


class GuestTables:
    """What a guest's kernel would build; the CD stands at GPA 0x4000_1000.

    Parameters
    ----------
    host
        The scenario's :class:`Host`.
    number
        Which guest, for its RAM.
    substreamid_bits
        log2 of the number of CDs.

    Attributes
    ----------
    ram
        (physical base, bytes) of its RAM, which it sees at 0x4000_0000.
    table, contexts
        :class:`PageTable` of CD 0, and the :class:`ContextDescriptorTable`.
    """

    def __init__(self, host, number=0, *, asid=ASID, substreamid_bits=0):
        self.ram = host.machine.guest_ram(number)
        self.memory = MemoryWindow(host.machine.memory, Machine.GUEST_RAM_IPA, *self.ram)
        self.allocator = PageAllocator(self.memory, Machine.GUEST_RAM_IPA, _TABLES)
        self._next = Machine.GUEST_RAM_IPA + _TABLES
        self.allocator.alloc(0x1000)
        self.contexts = ContextDescriptorTable(self.memory, self.allocator, substreamid_bits)
        self._host = host
        self.table = self.new_table()
        self.contexts.write(entries.cd(self.table, asid=asid))

    def new_table(self):
        """Return a new stage 1 page table in the guest's RAM."""
        return PageTable(self.memory, self.allocator, stage=1, ia_bits=48,
                         oa_bits=self._host.driver.features.oas)

    def map(self, iova, ipa, size=0x1000, prot=DEFAULT):
        """Map in stage 1, CD 0."""
        self.table.map(iova, ipa, size, prot)

    def map_doorbell(self, iova, ipa):
        """Map a page of Device memory."""
        self.table.map(iova, ipa, 0x1000, DEVICE_MEMORY)

    def buffer(self, size=0x1000):
        """Return the IPA of fresh RAM."""
        self._next = -(-self._next // size) * size + size
        return self._next - size

    def physical(self, ipa):
        """Return where the host has an IPA of the guest's RAM."""
        return ipa - Machine.GUEST_RAM_IPA + self.ram[0]

    @property
    def cd_ipa(self):
        """The IPA of CD 0, or of the CD table: what S1ContextPtr holds."""
        return self.contexts.base
