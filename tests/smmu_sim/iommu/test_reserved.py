"""Reserved regions: the driver's window, merging, sysfs, one to one mappings of firmware."""

import pytest

from smmu_sim.iommu import SW_MSI_WINDOW, DomainType, ReservedRegion, ResvType
from smmu_sim.machine import Machine
from smmu_sim.prot import Prot

A, B = Machine.DEVICE_A, Machine.DEVICE_B
HW_MSI = ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)
RMR = 0x6100_0000


def test_the_driver_adds_its_window_for_doorbells(host):
    device = host.device()
    assert host.iommu.get_resv_regions(device) == [SW_MSI_WINDOW]
    assert (SW_MSI_WINDOW.start, SW_MSI_WINDOW.last) == (0x0800_0000, 0x080F_FFFF)
    assert not SW_MSI_WINDOW.prot.read and SW_MSI_WINDOW.prot.memory == "device"


@pytest.mark.parametrize("region", [HW_MSI, ReservedRegion(0x9000_0000, 0x1000, ResvType.SW_MSI)])
def test_a_device_with_a_region_for_msis_has_no_other(host, region):
    assert host.iommu.get_resv_regions(host.device(resv_regions=[region])) == [region]


@pytest.mark.parametrize("start, length", [(0x1000, 0), (-1, 2), ((1 << 64) - 1, 2)])
def test_a_region_must_be_one(host, fails, start, length):
    region = ReservedRegion(start, length, ResvType.RESERVED)
    fails("EINVAL", host.device, resv_regions=[region])


def test_sysfs_shows_the_regions_of_a_group_merged_by_type(host):
    regions = [ReservedRegion(0x3000, 0x1000, ResvType.RESERVED),
               ReservedRegion(0x1000, 0x2000, ResvType.RESERVED),
               ReservedRegion(RMR, 0x1000, ResvType.DIRECT_RELAXABLE)]
    first = host.device(A, resv_regions=regions)
    host.device(B, group=first.group, resv_regions=[
        ReservedRegion(0x5000, 0x1000, ResvType.RESERVED),
        ReservedRegion(0x2000, 0x100, ResvType.DIRECT)])
    assert host.iommu.resv_regions_text(first.group) == (
        "0x0000000000001000 0x0000000000003fff reserved\n"
        "0x0000000000002000 0x00000000000020ff direct\n"
        "0x0000000000005000 0x0000000000005fff reserved\n"
        "0x0000000008000000 0x00000000080fffff msi\n"
        "0x0000000061000000 0x0000000061000fff direct-relaxable\n")


@pytest.mark.parametrize("type", [ResvType.DIRECT, ResvType.DIRECT_RELAXABLE])
def test_memory_of_firmware_stays_reachable_in_whole_pages(host, type):
    device = host.device(resv_regions=[ReservedRegion(RMR + 0x800, 0x1000, type)])
    assert host.write(device, RMR) == RMR and host.write(device, RMR + 0x1FF8) == RMR + 0x1FF8
    assert host.write(device, RMR + 0x2000) is None
    assert device.require_direct == (type is ResvType.DIRECT)


def test_regions_that_overlap_are_mapped_once(host):
    first = host.device(A, resv_regions=[ReservedRegion(RMR, 0x2000, ResvType.DIRECT)])
    second = host.device(B, group=first.group, resv_regions=[
        ReservedRegion(RMR - 0x1000, 0x4000, ResvType.DIRECT)])
    for page in range(RMR - 0x1000, RMR + 0x3000, 0x1000):
        assert host.write(second, page) == page


def test_an_rmr_is_mapped_with_its_memory_type(host):
    device = host.device(resv_regions=[
        ReservedRegion(RMR, 0x1000, ResvType.DIRECT, Prot(memory="device"))])
    leaf = device.group.domain.hw.table.lookup(RMR)
    assert leaf.raw >> 2 & 7 == 2  # AttrIndx of device memory


def test_reserved_addresses_are_not_mapped_and_not_handed_out(host):
    top = ReservedRegion(0xFFFF_0000, 0x1_0000, ResvType.RESERVED)
    device = host.device(resv_regions=[top, HW_MSI])
    assert device.group.domain.iova_to_phys(0xFFFF_0000) is None
    assert host.iommu.dma(device).map_page(0x6000_0000, 0x1000) == 0xFFFE_F000


def test_relaxable_regions_may_be_blocked(host):
    device = host.device(resv_regions=[ReservedRegion(RMR, 0x1000, ResvType.DIRECT_RELAXABLE)])
    host.iommu.claim_dma_owner(device.group, "vfio")
    assert host.write(device, RMR) is None


def test_an_identity_default_domain_needs_no_mapping(make_host, fails):
    host = make_host(default_type=DomainType.IDENTITY)
    device = host.device(resv_regions=[ReservedRegion(RMR, 0x1000, ResvType.DIRECT)])
    assert host.write(device, RMR) == RMR
    fails("EINVAL", host.iommu.claim_dma_owner, device.group, "vfio")
