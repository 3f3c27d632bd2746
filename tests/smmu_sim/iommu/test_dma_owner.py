"""Who may use a group: owners, kernel drivers, and the type of the default domain."""

from smmu_sim.driver import Master
from smmu_sim.iommu import Device, DomainType, ReservedRegion, ResvType
from smmu_sim.machine import Machine

A, B = Machine.DEVICE_A, Machine.DEVICE_B
PAGE = 0x5000_0000
HERE, THERE = 0x6000_0000, 0x6001_0000


def unmanaged(host, device, phys):
    domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED)
    domain.map(PAGE, phys, 0x1000)
    return domain


def test_an_owner_blocks_dma_until_it_attaches(host):
    device = host.device()
    iova = host.iommu.dma(device).map_page(THERE, 0x1000)
    host.iommu.claim_dma_owner(device.group, "vfio")
    assert host.write(device, iova) is None
    domain = unmanaged(host, device, HERE)
    host.iommu.attach_group(domain, device.group)
    assert host.write(device, PAGE) == HERE
    host.iommu.detach_group(domain, device.group)
    assert device.group.domain is device.group.blocking_domain
    host.iommu.release_dma_owner(device.group)
    assert host.write(device, iova) == THERE
    host.iommu.release_dma_owner(device.group)
    assert host.write(device, iova) == THERE


def test_a_group_has_one_owner(host, fails):
    device = host.device()
    fails("EINVAL", host.iommu.claim_dma_owner, device.group, None)
    host.iommu.claim_dma_owner(device.group, "vfio")
    fails("EPERM", host.iommu.claim_dma_owner, device.group, "vfio")
    fails("EPERM", host.iommu.claim_device_dma_owner, device, "iommufd")


def test_a_group_in_use_has_no_new_owner(host, fails):
    device = host.device()
    domain = unmanaged(host, device, HERE)
    host.iommu.attach_device(domain, device)
    fails("EBUSY", host.iommu.claim_dma_owner, device.group, "vfio")
    host.iommu.detach_device(domain, device)
    host.iommu.attach_device_pasid(domain, device, 5)
    fails("EBUSY", host.iommu.claim_dma_owner, device.group, "vfio")
    host.iommu.detach_device_pasid(domain, device, 5)
    host.iommu.claim_dma_owner(device.group, "vfio")


def test_the_same_owner_takes_all_devices_of_a_group(host, fails):
    first = host.device(A)
    second = host.device(B, group=first.group)
    fails("EINVAL", host.iommu.claim_device_dma_owner, first, None)
    unknown = Device("x", Master("x", [9]), None)
    fails("ENODEV", host.iommu.claim_device_dma_owner, unknown, "iommufd")
    host.iommu.claim_device_dma_owner(first, "iommufd")
    host.iommu.claim_device_dma_owner(second, "iommufd")
    fails("EPERM", host.iommu.claim_device_dma_owner, second, "another")
    host.iommu.release_device_dma_owner(first)
    assert first.group.owner == "iommufd"
    host.iommu.release_device_dma_owner(second)
    assert first.group.owner is None and first.group.domain is first.group.default_domain


def test_kernel_drivers_and_owners_exclude_each_other(host, fails):
    device = host.device()
    host.iommu.use_default_domain(device)
    fails("EPERM", host.iommu.claim_dma_owner, device.group, "vfio")
    host.iommu.unuse_default_domain(device)
    host.iommu.claim_dma_owner(device.group, "vfio")
    fails("EBUSY", host.iommu.use_default_domain, device)


def test_owners_may_not_block_what_firmware_wants_mapped(host, fails):
    region = ReservedRegion(0x6100_0000, 0x1000, ResvType.DIRECT)
    device = host.device(resv_regions=[region])
    fails("EINVAL", host.iommu.claim_dma_owner, device.group, "vfio")
    assert device.group.owner is None and host.write(device, 0x6100_0000) == 0x6100_0000


# --- the type of the default domain --------------------------------------------------------------

def test_the_default_type_changes_while_nobody_uses_the_group(host, fails):
    device = host.device()
    used = host.machine.allocator.used
    fails("EINVAL", host.iommu.set_default_type, device.group, DomainType.BLOCKED)
    host.iommu.use_default_domain(device)
    fails("EPERM", host.iommu.set_default_type, device.group, DomainType.IDENTITY)
    host.iommu.set_default_type(device.group, DomainType.DMA_FQ)
    assert device.group.default_domain.type is DomainType.DMA_FQ
    host.iommu.unuse_default_domain(device)
    host.iommu.set_default_type(device.group, DomainType.IDENTITY)
    assert host.write(device, HERE) == HERE
    host.iommu.set_default_type(device.group, DomainType.DMA)
    assert host.write(device, HERE) is None and host.machine.allocator.used == used
