"""A host with one guest and two devices behind the SMMU, each device at an ITS of its own."""

from dataclasses import dataclass

from smmu_sim.driver import MemoryWindow, PageAllocator, SMMUv3Driver, entries
from smmu_sim.driver.context_descriptors import ContextDescriptorTable
from smmu_sim.pagetable import PageTable, Prot

__all__ = ["ASID", "DEVICE_A", "DEVICE_B", "EVENT_A", "EVENT_B", "GUEST_DOORBELL",
           "HOST_DOORBELL_1", "HOST_DOORBELL_2", "MSI_IOVA", "Arrival", "Doorbells", "System",
           "VMID"]

# Physical memory
RAM = (0x4000_0000, 0x4000_0000)         # the host's
GUEST_RAM = (0x8_8000_0000, 0x2000_0000)  # what is the guest's of it
HOST_DOORBELL_1 = 0x2021_0040            # GITS_TRANSLATER of the first ITS
HOST_DOORBELL_2 = 0x2031_0040            # and of the second
ITS_FRAMES = (0x2020_0000, 0x20_0000)

# Intermediate physical addresses, the guest's view
GUEST_BASE = 0x4000_0000
GUEST_DOORBELL = 0x0809_0040             # GITS_TRANSLATER of the guest's ITS

# The guest's IOVAs
MSI_IOVA = 0xFFFF_F040
BUFFERS = 0x10_0000                      # pages that lie scattered
BUFFER_PAGES = 96
READ_ONLY = 0x30_0000
BEYOND_STAGE_2 = 0x31_0000               # stage 1 maps it to an IPA that the host has not given
BLOCK, BLOCK_BYTES = 0x4000_0000, 0x20_0000
UNMAPPED = 0x5000_0000

DEVICE_A, DEVICE_B = 0x42, 0x43
EVENT_A, EVENT_B = 5, 9
VMID, ASID = 7, 0x21

_PAGE = 0x1000
_MIB = 1 << 20
_STRIDE = 37  # pages from one buffer to the next, modulo their number


@dataclass(frozen=True)
class Arrival:
    """One write that reached a doorbell."""

    doorbell: int
    device_id: int
    event_id: int
    length: int


class Doorbells:
    """Watches both doorbells."""

    def __init__(self, memory):
        self.arrivals = []
        for addr in (HOST_DOORBELL_1, HOST_DOORBELL_2):
            memory.observe(range(addr, addr + 4), self._arrived)

    def _arrived(self, addr, data, device_id):
        self.arrivals.append(Arrival(addr, device_id, int.from_bytes(data, "little"), len(data)))

    def take(self):
        """Return what arrived since the last call."""
        taken, self.arrivals = self.arrivals, []
        return taken


class System:
    """Everything set up: the host owns stage 2, the guest stage 1, both devices are the guest's."""

    def __init__(self, backend):
        self.backend, self.memory = backend, backend.memory
        self.memory.limit_to((RAM, GUEST_RAM, ITS_FRAMES))
        self.doorbells = Doorbells(self.memory)
        self.host = SMMUv3Driver(backend, PageAllocator(self.memory, *RAM))

    def start_host(self):
        """The host: reset, and stage 2 with the guest's memory and its doorbell."""
        self.features = self.host.probe()
        self.host.reset()
        self.stage2 = self.host.page_table(stage=2, ia_bits=40)
        self.stage2.map(GUEST_BASE, GUEST_RAM[0], GUEST_RAM[1])
        self.stage2.map(GUEST_DOORBELL & -_PAGE, HOST_DOORBELL_1 & -_PAGE, _PAGE,
                        Prot(memory="device"))

    def start_guest(self):
        """The guest: stage 1 tables and CDs in its own memory; the host points the STEs there."""
        window = MemoryWindow(self.memory, GUEST_BASE, *GUEST_RAM)
        # The first 64 MiB of the guest's memory are for tables, the rest for buffers.
        allocator = PageAllocator(window, GUEST_BASE, 64 * _MIB)
        self.guest_memory, self.cd_tables = window, {}
        self.stage1 = PageTable(window, allocator, stage=1, ia_bits=48,
                                oa_bits=self.features.oas)
        scattered = GUEST_BASE + 64 * _MIB
        for n in range(BUFFER_PAGES):
            self.stage1.map(BUFFERS + n * _PAGE,
                            scattered + n * _STRIDE % BUFFER_PAGES * _PAGE, _PAGE)
        self.stage1.map(READ_ONLY, scattered + BUFFER_PAGES * _PAGE, _PAGE, Prot(write=False))
        self.stage1.map(BEYOND_STAGE_2, GUEST_BASE + GUEST_RAM[1], _PAGE)
        self.stage1.map(BLOCK, GUEST_BASE + 128 * _MIB, BLOCK_BYTES)
        self.stage1.map(MSI_IOVA & -_PAGE, GUEST_DOORBELL & -_PAGE, _PAGE, Prot(memory="device"))
        for sid in (DEVICE_A, DEVICE_B):
            table = ContextDescriptorTable(window, allocator)
            table.write(entries.cd(self.stage1, asid=ASID))
            self.host.set_ste(sid, entries.nested_ste(table, self.stage2, vmid=VMID))
            self.cd_tables[sid] = table

    def physical(self, iova):
        """Return the physical address behind an IOVA of the guest, or None: what software says."""
        ipa = self.stage1.iova_to_phys(iova)
        return None if ipa is None else self.stage2.iova_to_phys(ipa)

    def structures(self, sid, iova):
        """Return ``{physical address: name}`` of all that a translation of ``iova`` may read."""
        cd_ipa = self.cd_tables[sid].find()
        found = {self.host.stream_table.find(sid): "STE",
                 self.guest_memory.to_target(cd_ipa): "CD"}
        if self.host.stream_table.two_level:
            found[self.host.stream_table.l1std_addr(sid)] = "L1STD"
        ipas = [cd_ipa, self.stage1.iova_to_phys(iova)]
        for level, ipa, _ in self.stage1.path(iova):
            found[self.guest_memory.to_target(ipa)] = f"stage 1 level {level}"
            ipas.append(ipa)
        for ipa in ipas:
            for level, addr, _ in self.stage2.path(ipa):
                found[addr] = f"stage 2 level {level}"
        return found
