"""The DMA API: protection, IOVAs, lists, lazy and strict invalidation, and running out."""

import pytest

from smmu.formats.commands import Opcode
from smmu.params import Params
from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.iommu import Direction, DomainType
from smmu_sim.machine import Machine

A, B = Machine.DEVICE_A, Machine.DEVICE_B
PHYS = 0x6000_0000


def opcodes(commands):
    return [Opcode(command & 0xFF).name for command in commands]


def test_the_offset_in_the_page_is_kept_and_pages_are_whole(host):
    device = host.device()
    iova = host.iommu.dma(device).map_page(PHYS + 0xF04, 0x200)
    assert iova == 0xFFFF_EF04
    assert host.write(device, iova + 0x1FC, data=b"abcd") == PHYS + 0x1100
    assert host.write(device, 0x1_0000_0000) is None


def test_a_freed_range_faults_and_can_be_had_again(host):
    device = host.device()
    dma = host.iommu.dma(device)
    iova = dma.map_page(PHYS, 0x1000)
    assert host.write(device, iova) == PHYS
    dma.unmap_page(iova, 0x1000)
    assert host.write(device, iova) is None and dma.cookie.iovas.used == 0
    assert dma.map_page(PHYS + 0x5000, 0x1000) == iova
    assert host.write(device, iova) == PHYS + 0x5000


@pytest.mark.parametrize("direction, reads, writes", [
    (Direction.TO_DEVICE, True, False), (Direction.BIDIRECTIONAL, True, True)])
def test_protection_in_stage_1(host, direction, reads, writes):
    device = host.device()
    iova = host.iommu.dma(device).map_page(PHYS, 0x1000, direction)
    assert (host.read(device, iova) is not None) == reads
    assert (host.write(device, iova) is not None) == writes


def test_stage_2_can_forbid_reads(make_host):
    host = make_host(params=Params(s1p=0, hyp=0, had=0))
    device = host.device()
    iova = host.iommu.dma(device).map_page(PHYS, 0x1000, Direction.FROM_DEVICE)
    assert host.read(device, iova) is None and host.write(device, iova) == PHYS


def test_devices_that_do_not_snoop_get_non_cacheable_memory(host):
    device = host.device(cache_coherent=False)
    iova = host.iommu.dma(device).map_page(PHYS, 0x1000)
    assert device.group.domain.hw.table.lookup(iova).raw >> 2 & 7 == 0


def test_impossible_calls(host, fails):
    device = host.device()
    dma = host.iommu.dma(device)
    fails("EINVAL", dma.map_page, PHYS, 0)
    fails("EINVAL", dma.unmap_page, 0xFFFF_F000, 0x1000)
    iova = dma.map_page(PHYS, 0x1000)
    fails("EINVAL", dma.unmap_page, iova, 0x2000)
    assert host.write(device, iova) == PHYS
    fails("EINVAL", dma.map_sg, [])
    fails("EINVAL", dma.map_sg, [(PHYS, 0x100), (PHYS, 0)])
    fails("ENODEV", host.iommu.dma, host.device(B, add=False))


# --- where IOVAs come from -----------------------------------------------------------------------

def test_pci_devices_get_low_addresses_until_there_are_none(host):
    device = host.device()
    dma = host.iommu.dma(device)
    dma.cookie.iovas.reserve(0, (1 << 32) - 1)
    assert dma.map_page(PHYS, 0x1000) == 0xFFFF_FFFF_F000


def test_a_mask_limits_addresses(host, fails):
    device = host.device()
    device.dma_mask = (1 << 24) - 1
    dma = host.iommu.dma(device)
    assert dma.map_page(PHYS, 0x1000) == 0xFF_F000
    fails("ENOMEM", dma.map_page, PHYS, 0x100_0000)
    assert host.write(device, 0xFF_F000) == PHYS


def test_identity_checks_the_mask(make_host, fails):
    host = make_host(default_type=DomainType.IDENTITY)
    device = host.device(dma_mask=PHYS + 0xFFF)
    dma = host.iommu.dma(device)
    assert dma.map_page(PHYS, 0x1000) == PHYS and dma.map_sg([(PHYS, 8)]) == [(PHYS, 8)]
    fails("ENOMEM", dma.map_page, PHYS, 0x1001)
    fails("ENOMEM", dma.map_sg, [(PHYS, 0x1001)])
    dma.unmap_page(PHYS, 0x1000)
    dma.unmap_sg([(PHYS, 8)])
    assert host.write(device, PHYS) == PHYS


def test_no_memory_for_tables_leaves_nothing_behind(host, fails):
    device = host.device()
    dma, allocator = host.iommu.dma(device), host.machine.allocator
    dma.map_page(PHYS, 0x1000)
    used, iovas = allocator.used, dma.cookie.iovas.used
    device.dma_mask = (1 << 24) - 1     # needs tables that are not there
    alloc = allocator.alloc

    def nothing(size):
        raise OutOfMemory("none")

    allocator.alloc = nothing
    fails("ENOMEM", dma.map_page, PHYS, 0x1000)
    fails("ENOMEM", dma.alloc_coherent, 0x1000)
    allocator.alloc = alloc
    assert (allocator.used, dma.cookie.iovas.used) == (used, iovas)
    assert dma.map_page(PHYS, 0x1000) == 0xFF_F000


# --- lists and memory ----------------------------------------------------------------------------

def test_lists_lie_side_by_side_and_neighbours_are_joined(host):
    device = host.device()
    dma = host.iommu.dma(device)
    pieces = [(PHYS + 0x800, 0x800), (PHYS + 0x9000, 0x1000), (PHYS + 0x4100, 0x10)]
    segments = dma.map_sg(pieces)
    assert segments == [(0xFFFF_C800, 0x1800), (0xFFFF_E100, 0x10)]
    assert host.write(device, 0xFFFF_C800) == PHYS + 0x800
    assert host.write(device, 0xFFFF_D000) == PHYS + 0x9000
    assert host.write(device, 0xFFFF_E100) == PHYS + 0x4100
    dma.unmap_sg(segments)
    assert host.write(device, 0xFFFF_D000) is None and dma.cookie.iovas.used == 0


def test_a_list_that_fails_in_the_middle_leaves_nothing(host, fails):
    device = host.device()
    dma = host.iommu.dma(device)
    fails("ENOMEM", dma.map_sg, [(PHYS, 0x1000), (1 << 60, 0x1000)])
    assert dma.cookie.iovas.used == 0
    assert device.group.domain.iova_to_phys(0xFFFF_E000) is None


def test_coherent_memory_is_shared_and_goes_back(host):
    device = host.device()
    dma, used = host.iommu.dma(device), host.machine.allocator.used
    phys, iova = dma.alloc_coherent(0x2000)
    host.memory.write(phys + 0x1000, b"from CPU")
    assert host.read(device, iova + 0x1000) == b"from CPU"
    dma.free_coherent(phys, iova, 0x2000)
    assert host.write(device, iova) is None and host.machine.allocator.used <= used + 0x3000


def test_coherent_memory_without_iovas_is_not_kept(host, fails):
    device = host.device()
    device.dma_mask = 0xFFF
    dma, used = host.iommu.dma(device), host.machine.allocator.used
    fails("ENOMEM", dma.alloc_coherent, 0x1000)
    assert host.machine.allocator.used == used


# --- strict and lazy -----------------------------------------------------------------------------

def two_pages(host, device):
    """Map two pages, so that unmapping one does not free a table; both are in the TLB."""
    dma = host.iommu.dma(device)
    pages = [dma.map_page(PHYS + n * 0x1000, 0x1000) for n in range(2)]
    for page in pages:
        host.write(device, page)
    host.driver.take_commands()
    return dma, pages


def test_strict_unmap_invalidates_before_it_returns(host):
    device = host.device()
    dma, pages = two_pages(host, device)
    dma.unmap_page(pages[0], 0x1000)
    assert opcodes(host.driver.take_commands()) == ["CMD_TLBI_NH_VA", "CMD_SYNC"]
    assert host.write(device, pages[0]) is None


def test_lazy_unmap_keeps_the_iova_until_the_flush(make_host):
    host = make_host(default_type=DomainType.DMA_FQ)
    device = host.device()
    dma, pages = two_pages(host, device)
    dma.unmap_page(pages[0], 0x1000)
    assert host.driver.take_commands() == [] and dma.cookie.flush_queue.pending == 1
    assert dma.map_page(PHYS, 0x1000) not in pages
    dma.flush()
    assert opcodes(host.driver.take_commands()) == ["CMD_TLBI_NH_ASID", "CMD_SYNC"]
    assert host.write(device, pages[0]) is None and dma.cookie.flush_queue.pending == 0
    assert dma.map_page(PHYS, 0x1000) == pages[0]
    dma.flush()
    assert host.driver.take_commands() == []


def test_a_full_flush_queue_is_flushed(make_host):
    host = make_host(default_type=DomainType.DMA_FQ)
    device = host.device()
    dma, _ = two_pages(host, device)
    for _ in range(255):
        dma.unmap_page(dma.map_page(PHYS, 0x1000), 0x1000)
    assert host.driver.take_commands() == [] and dma.cookie.flush_queue.pending == 255
    dma.unmap_page(dma.map_page(PHYS, 0x1000), 0x1000)
    assert opcodes(host.driver.take_commands()) == ["CMD_TLBI_NH_ASID", "CMD_SYNC"]
    assert dma.cookie.flush_queue.pending == 1 and dma.cookie.iovas.used == 0x3000


def test_lazy_unmap_of_the_last_page_of_a_table_invalidates_at_once(make_host):
    host = make_host(default_type=DomainType.DMA_FQ)
    device = host.device()
    dma = host.iommu.dma(device)
    iova = dma.map_page(PHYS, 0x1000)
    host.write(device, iova)
    host.driver.take_commands()
    dma.unmap_page(iova, 0x1000)
    assert host.write(device, iova) is None and dma.cookie.flush_queue.pending == 1
    commands = host.driver.take_commands()
    assert opcodes(commands) == ["CMD_TLBI_NH_VA", "CMD_SYNC"]
    assert not commands[0] >> 64 & 1  # Leaf: pointers to tables are forgotten as well


def test_lazily_freed_iovas_are_used_before_the_space_runs_out(make_host):
    host = make_host(default_type=DomainType.DMA_FQ)
    device = host.device(dma_mask=0x2FFF)
    dma, pages = two_pages(host, device)
    dma.unmap_page(pages[1], 0x1000)
    assert dma.map_page(PHYS, 0x1000) == pages[1]


def test_coherent_memory_is_never_freed_lazily(make_host):
    host = make_host(default_type=DomainType.DMA_FQ)
    device = host.device()
    dma, _ = two_pages(host, device)
    phys, iova = dma.alloc_coherent(0x1000)
    host.write(device, iova)
    dma.free_coherent(phys, iova, 0x1000)
    assert host.write(device, iova) is None and dma.cookie.flush_queue.pending == 0
    assert opcodes(host.driver.take_commands()) == ["CMD_TLBI_NH_ASID", "CMD_SYNC"]
