"""Groups and what they are attached to: default domains, replacement, rollback."""

from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.driver import Master, SMMUv3Driver
from smmu_sim.iommu import Device, DomainType, ReservedRegion, ResvType
from smmu_sim.linux_error import LinuxError
from smmu_sim.machine import Machine
from smmu_sim.memory import Memory

A, B = Machine.DEVICE_A, Machine.DEVICE_B
PAGE = 0x5000_0000
HERE, THERE = 0x6000_0000, 0x6001_0000


def unmanaged(host, device, phys, **options):
    domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, **options)
    domain.map(PAGE, phys, 0x1000)
    return domain


class Refusing:
    """Lets the driver refuse to attach one master, once."""

    def __init__(self, driver, master):
        self.driver, self.master, self.attach = driver, master, driver.attach
        driver.attach = self

    def __call__(self, master, domain):
        if master is self.master:
            self.driver.attach = self.attach
            raise LinuxError("ENOMEM", "injected")
        self.attach(master, domain)


# --- devices and groups --------------------------------------------------------------------------

def test_a_new_device_has_a_default_domain_that_translates_nothing_yet(host):
    device = host.device()
    assert device.group.domain is device.group.default_domain
    assert device.group.default_domain.type is DomainType.DMA
    assert host.write(device, PAGE) is None
    assert host.events() == ["F_TRANSLATION"]


def test_an_identity_default_domain_translates_nothing(make_host):
    host = make_host(default_type=DomainType.IDENTITY)
    device = host.device()
    assert host.write(device, HERE) == HERE
    assert host.iommu.domain_of(device).iova_to_phys(HERE) == HERE


def test_a_device_is_added_once(host, fails):
    device = host.device()
    fails("EBUSY", host.iommu.add_device, device)


def test_devices_with_one_streamid_are_refused_and_nothing_stays(host, fails):
    host.device(A)
    other = Device("other", Master("other", [A]), host.driver)
    fails("ENODEV", host.iommu.add_device, other)
    assert other.group is None and len(host.iommu.groups) == 1
    host.device(B)
    assert host.iommu.groups[1].number == 1


def test_a_streamid_outside_the_table_is_refused(host, fails):
    fails("ERANGE", host.iommu.add_device,
          Device("far", Master("far", [1 << 20]), host.driver))


def test_a_failed_default_domain_leaves_no_device(host, fails):
    device = host.device(add=False)
    Refusing(host.driver, device.master)
    fails("ENOMEM", host.iommu.add_device, device)
    assert host.iommu.devices == [] and host.iommu.groups == []
    assert host.driver.find_master(A) is None
    host.iommu.add_device(device)
    assert host.driver.find_master(A) is device.master


def test_a_removed_device_is_blocked_and_frees_its_tables(host, fails):
    used = host.machine.allocator.used
    host.device(A)
    mid = host.machine.allocator.used
    device = host.device(B)
    phys = HERE
    iova = host.iommu.dma(device).map_page(phys, 0x1000)
    assert host.write(device, iova) == phys
    host.iommu.remove_device(device)
    assert host.write(device, iova) is None
    assert device.group is None and host.machine.allocator.used == mid > used
    fails("EINVAL", host.iommu.remove_device, device)


def test_a_device_in_use_is_not_removed(host, fails):
    device = host.device()
    host.iommu.claim_dma_owner(device.group, "vfio")
    fails("EBUSY", host.iommu.remove_device, device)
    host.iommu.release_dma_owner(device.group)
    host.iommu.remove_device(device)


def test_devices_of_a_group_share_the_default_domain(host):
    first = host.device(A)
    second = host.device(B, group=first.group)
    iova = host.iommu.dma(first).map_page(HERE, 0x1000)
    assert host.write(second, iova) == HERE
    assert host.iommu.groups == [first.group] and first.group.devices == [first, second]


def other_smmu():
    backend = ModelBackend(Params(), Memory())
    machine = Machine(backend)
    driver = SMMUv3Driver(backend, machine.allocator)
    driver.reset()
    return driver


def test_a_group_is_behind_one_smmu(host, fails):
    first = host.device(A)
    foreign = Device("foreign", Master("foreign", [B]), other_smmu())
    fails("EINVAL", host.iommu.add_device, foreign, first.group)
    assert foreign.group is None and first.group.devices == [first]
    host.iommu.add_device(foreign)
    fails("EINVAL", host.iommu.attach_device, unmanaged(host, first, HERE), foreign)


def test_a_device_that_cannot_join_leaves_no_mapping(host, fails):
    first = host.device(A)
    region = ReservedRegion(0x6100_0000, 0x1000, ResvType.DIRECT)
    second = host.device(B, add=False, resv_regions=[region])
    Refusing(host.driver, second.master)
    fails("ENOMEM", host.iommu.add_device, second, first.group)
    assert first.group.domain.iova_to_phys(0x6100_0000) is None
    host.iommu.add_device(second, first.group)
    assert host.write(first, 0x6100_0000) == 0x6100_0000


def test_one_to_one_mappings_that_do_not_fit_leave_nothing(host, fails):
    first, used = host.device(A), host.machine.allocator.used
    regions = [ReservedRegion(start, 0x1000, ResvType.DIRECT) for start in (0x6100_0000, 1 << 50)]
    fails("EINVAL", host.device, B, group=first.group, resv_regions=regions)
    assert host.machine.allocator.used == used and first.group.devices == [first]
    fails("EINVAL", host.device, 0x50, resv_regions=regions)
    assert host.machine.allocator.used == used and len(host.iommu.groups) == 1


def test_an_empty_group_can_be_used_again(host):
    device = host.device()
    group = device.group
    host.iommu.remove_device(device)
    assert host.iommu.groups == []
    host.iommu.add_device(device, group)
    assert host.iommu.groups == [group] and group.domain is group.default_domain
    assert host.device(B).group.number == 1


# --- attach, replace, detach ---------------------------------------------------------------------

def test_attach_translates_by_the_new_domain_and_detach_by_the_default_one(host):
    device = host.device()
    iova = host.iommu.dma(device).map_page(THERE, 0x1000)
    domain = unmanaged(host, device, HERE)
    host.iommu.attach_device(domain, device)
    assert host.write(device, PAGE) == HERE and host.write(device, iova) is None
    host.iommu.detach_device(domain, device)
    assert host.write(device, PAGE) is None and host.write(device, iova) == THERE


def test_a_second_attach_needs_a_detach_in_between(host, fails):
    device = host.device()
    first, second = unmanaged(host, device, HERE), unmanaged(host, device, THERE)
    host.iommu.attach_device(first, device)
    fails("EBUSY", host.iommu.attach_device, second, device)
    fails("EBUSY", host.iommu.attach_group, second, device.group)
    assert host.write(device, PAGE) == HERE
    host.iommu.detach_device(second, device)  # is not attached: nothing happens
    assert host.write(device, PAGE) == HERE
    host.iommu.detach_group(first, device.group)
    host.iommu.attach_group(second, device.group)
    assert host.write(device, PAGE) == THERE


def test_attach_device_wants_the_device_alone_in_its_group(host, fails):
    first = host.device(A)
    second = host.device(B, group=first.group)
    domain = unmanaged(host, first, HERE)
    fails("EINVAL", host.iommu.attach_device, domain, first)
    host.iommu.attach_group(domain, first.group)
    host.iommu.detach_device(domain, first)
    assert host.write(first, PAGE) == host.write(second, PAGE) == HERE


def test_attach_needs_a_group(host, fails):
    device = host.device(add=False)
    known = host.device(B)
    fails("ENODEV", host.iommu.attach_device, unmanaged(host, known, HERE), device)


def test_the_second_device_of_a_group_fails_and_the_first_keeps_its_domain(host, fails):
    first = host.device(A)
    second = host.device(B, group=first.group)
    old, new = unmanaged(host, first, HERE), unmanaged(host, first, THERE)
    host.iommu.attach_group_handle(old, first.group, "old")
    Refusing(host.driver, second.master)
    fails("ENOMEM", host.iommu.replace_group_handle, first.group, new, "new")
    assert host.write(first, PAGE) == host.write(second, PAGE) == HERE
    assert host.iommu.attach_handle(first.group) == "old" and not new.in_use
    host.iommu.replace_group_handle(first.group, new, "new")
    assert host.write(first, PAGE) == host.write(second, PAGE) == THERE
    assert not old.in_use and host.iommu.attach_handle(first.group) == "new"


def test_handles(host, fails):
    device = host.device()
    group, domain = device.group, unmanaged(host, device, HERE)
    fails("EINVAL", host.iommu.attach_group_handle, domain, group, None)
    fails("ENOENT", host.iommu.attach_handle, group)
    host.iommu.attach_group_handle(domain, group, "handle")
    fails("EBUSY", host.iommu.attach_group_handle, domain, group, "again")
    fails("EBUSY", host.iommu.attach_handle, group, 0, DomainType.SVA)
    assert host.iommu.attach_handle(group, 0, DomainType.UNMANAGED) == "handle"
    fails("EINVAL", host.iommu.replace_group_handle, group, None, "handle")
    fails("EINVAL", host.iommu.replace_group_handle, group, domain, None)
    host.iommu.replace_group_handle(group, domain, "same domain")
    assert host.iommu.attach_handle(group) == "same domain"
    host.iommu.detach_group_handle(domain, group)
    fails("ENOENT", host.iommu.attach_handle, group)
    assert group.domain is group.default_domain


def test_a_failed_attach_with_a_handle_keeps_no_handle(host, fails):
    device = host.device()
    domain = unmanaged(host, device, HERE)
    Refusing(host.driver, device.master)
    fails("ENOMEM", host.iommu.attach_group_handle, domain, device.group, "handle")
    fails("ENOENT", host.iommu.attach_handle, device.group)
    host.iommu.attach_group_handle(domain, device.group, "handle")


def test_stage_2_replaces_stage_1_and_back(host):
    device = host.device()
    one, two = unmanaged(host, device, HERE), unmanaged(host, device, THERE, stage=2)
    host.iommu.attach_device(one, device)
    host.iommu.replace_group_handle(device.group, two, "two")
    assert host.write(device, PAGE) == THERE and two.hw.kind == "stage2"
    host.iommu.replace_group_handle(device.group, one, "one")
    assert host.write(device, PAGE) == HERE


def test_blocked_and_identity_domains(host):
    device = host.device()
    blocked = host.iommu.alloc_domain(device, DomainType.BLOCKED)
    identity = host.iommu.alloc_domain(device, DomainType.IDENTITY)
    host.iommu.attach_device(identity, device)
    assert host.write(device, HERE) == HERE
    host.iommu.replace_group_handle(device.group, blocked, "blocked")
    assert host.write(device, HERE) is None and blocked.iova_to_phys(HERE) is None
    host.iommu.free_domain(identity)


def test_a_domain_in_use_is_not_freed(host, fails):
    device = host.device()
    used = host.machine.allocator.used
    domain = unmanaged(host, device, HERE)
    host.iommu.attach_device(domain, device)
    fails("EBUSY", host.iommu.free_domain, domain)
    host.iommu.detach_device(domain, device)
    host.iommu.free_domain(domain)
    assert host.machine.allocator.used == used
