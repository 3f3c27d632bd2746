"""PASIDs beside the RID: who uses which CD, every error, rollback."""

import pytest

from smmu_sim.iommu import DomainType
from smmu_sim.iommu.pasid import PASIDAllocator
from smmu_sim.linux_error import LinuxError
from smmu_sim.machine import Machine

A, B = Machine.DEVICE_A, Machine.DEVICE_B
PAGE = 0x5000_0000
HERE, THERE, ELSEWHERE = 0x6000_0000, 0x6001_0000, 0x6002_0000


def unmanaged(host, device, phys, **options):
    domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, **options)
    domain.map(PAGE, phys, 0x1000)
    return domain


# --- who uses which CD ----------------------------------------------------------------------------

def test_a_pasid_and_the_rid_have_domains_of_their_own(host):
    device = host.device(ssid_bits=8)
    rid, five = unmanaged(host, device, HERE), unmanaged(host, device, THERE)
    host.iommu.get_msi_cookie(rid, 0x0800_0000)
    host.iommu.attach_device(rid, device)
    host.iommu.attach_device_pasid(five, device, 5)
    [desc] = host.irq(device)
    assert host.msi(device, desc)
    assert host.write(device, PAGE) == HERE and host.write(device, PAGE, 5) == THERE
    assert host.events() == []
    for pasid, event in ((0, "F_STREAM_DISABLED"), (6, "C_BAD_CD"), (256, "C_BAD_SUBSTREAMID")):
        assert host.write(device, PAGE, pasid) is None
        assert host.events() == [event], pasid


def test_with_a_blocked_rid_messages_abort(host):
    device = host.device()
    [desc] = host.irq(device)
    host.iommu.claim_dma_owner(device.group, "owner")
    five = unmanaged(host, device, THERE)
    host.iommu.attach_device_pasid(five, device, 5)
    assert host.write(device, PAGE, 5) == THERE
    assert not host.msi(device, desc) and host.events() == ["F_STREAM_DISABLED"]


def test_with_an_identity_rid_messages_bypass_stage_1(make_host):
    host = make_host(default_type=DomainType.IDENTITY)
    device = host.device()
    [desc] = host.irq(device)
    host.iommu.attach_device_pasid(unmanaged(host, device, THERE), device, 5)
    assert desc.message.addr == 0x2021_0040 and host.msi(device, desc)
    assert host.write(device, PAGE, 5) == THERE


# --- attach, replace, detach ---------------------------------------------------------------------

def test_replace_and_detach(host):
    device = host.device()
    one, two = unmanaged(host, device, HERE), unmanaged(host, device, THERE)
    host.iommu.attach_device_pasid(one, device, 5, "one")
    host.iommu.replace_device_pasid(two, device, 5, "two")
    assert host.write(device, PAGE, 5) == THERE
    assert host.iommu.attach_handle(device.group, 5) == "two"
    assert not one.in_use
    host.iommu.replace_device_pasid(two, device, 5, "again")
    assert host.iommu.attach_handle(device.group, 5) == "again" and two.pasid_users == 1
    host.iommu.detach_device_pasid(one, device, 5)  # not attached: nothing happens
    assert host.write(device, PAGE, 5) == THERE
    host.iommu.detach_device_pasid(two, device, 5)
    host.iommu.detach_device_pasid(two, device, 5)
    assert host.write(device, PAGE, 5) is None and not two.in_use and device.group.pasids == {}


def test_errors_of_attach(host, fails):
    device = host.device(ssid_bits=4)
    domain, attach = unmanaged(host, device, HERE), host.iommu.attach_device_pasid
    fails("ENODEV", attach, domain, host.device(B, add=False), 5)
    for type in (DomainType.BLOCKED, DomainType.IDENTITY):
        fails("EOPNOTSUPP", attach, host.iommu.alloc_domain(device, type), device, 5)
    parent = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nest_parent=True)
    nested = host.iommu.alloc_domain(device, DomainType.NESTED, parent=parent, vste=(9, 0))
    fails("EOPNOTSUPP", attach, nested, device, 5)
    fails("EINVAL", attach, domain, device, 0)
    fails("EINVAL", attach, domain, device, 16)
    fails("EINVAL", attach, unmanaged(host, device, HERE, stage=2), device, 5)
    attach(domain, device, 15)
    fails("EBUSY", attach, domain, device, 15)
    assert list(device.group.pasids) == [15]


def test_a_device_may_have_fewer_pasids_than_its_bits(host, fails):
    device = host.device(ssid_bits=8, max_pasids=10)
    domain = unmanaged(host, device, HERE)
    fails("EINVAL", host.iommu.attach_device_pasid, domain, device, 10)
    host.iommu.attach_device_pasid(domain, device, 9)


def test_a_device_without_pasids(host, fails):
    device = host.device(ssid_bits=0)
    fails("EINVAL", host.iommu.attach_device_pasid, unmanaged(host, device, HERE), device, 1)


def test_a_foreign_domain(host, make_host, fails):
    device, other = host.device(), make_host()
    foreign = unmanaged(other, other.device(), HERE)
    fails("EINVAL", host.iommu.attach_device_pasid, foreign, device, 5)


def test_errors_of_replace(host, fails):
    device = host.device()
    domain, replace = unmanaged(host, device, HERE), host.iommu.replace_device_pasid
    fails("EINVAL", replace, domain, device, 5, "handle")
    host.iommu.attach_device_pasid(domain, device, 5, "handle")
    fails("EINVAL", replace, domain, device, 5, None)
    fails("EINVAL", replace, domain, device, 0, "handle")
    fails("EINVAL", replace, unmanaged(host, device, THERE, stage=2), device, 5, "two")
    assert host.write(device, PAGE, 5) == HERE
    assert host.iommu.attach_handle(device.group, 5) == "handle"


def test_stage_2_and_pasids_exclude_each_other(host, fails):
    device = host.device()
    one, two = unmanaged(host, device, HERE), unmanaged(host, device, THERE, stage=2)
    host.iommu.attach_device_pasid(one, device, 5)
    fails("EBUSY", host.iommu.attach_device, two, device)
    assert host.write(device, PAGE, 5) == HERE
    host.iommu.detach_device_pasid(one, device, 5)
    host.iommu.attach_device(two, device)
    fails("EINVAL", host.iommu.attach_device_pasid, one, device, 5)
    assert host.write(device, PAGE) == THERE


def test_while_a_device_is_reset_nothing_is_attached(host, fails):
    device = host.device()
    domain, iova = unmanaged(host, device, HERE), host.iommu.dma(device).map_page(ELSEWHERE, 0x1000)
    host.iommu.attach_device_pasid(domain, device, 5, "handle")
    host.iommu.reset_prepare(device)
    assert host.write(device, iova) is None and host.write(device, PAGE, 5) is None
    fails("EBUSY", host.iommu.attach_device_pasid, domain, device, 6)
    fails("EBUSY", host.iommu.replace_device_pasid, domain, device, 5, "other")
    fails("EBUSY", host.iommu.attach_device, domain, device)
    fails("EBUSY", host.iommu.reset_prepare, device)
    host.iommu.reset_done(device)
    assert host.write(device, iova) == ELSEWHERE and host.write(device, PAGE, 5) == HERE
    host.iommu.reset_done(device)
    host.iommu.attach_device_pasid(domain, device, 6)


# --- groups --------------------------------------------------------------------------------------

def pair(host):
    first = host.device(A)
    return first, host.device(B, group=first.group)


class Refusing:
    """Lets the driver refuse a PASID of one master."""

    def __init__(self, driver, master):
        self.master, self.attach = master, driver.attach_pasid
        driver.attach_pasid = self

    def __call__(self, master, ssid, domain):
        if master is self.master:
            raise LinuxError("ENOMEM", "injected")
        self.attach(master, ssid, domain)


def test_all_devices_of_a_group_get_the_domain(host):
    first, second = pair(host)
    host.iommu.attach_device_pasid(unmanaged(host, first, HERE), first, 5)
    assert host.write(first, PAGE, 5) == host.write(second, PAGE, 5) == HERE


def test_a_failure_of_the_second_device_undoes_the_first(host, fails):
    first, second = pair(host)
    Refusing(host.driver, second.master)
    domain = unmanaged(host, first, HERE)
    fails("ENOMEM", host.iommu.attach_device_pasid, domain, first, 5)
    assert host.write(first, PAGE, 5) is None and not domain.in_use
    assert first.group.pasids == {}


def test_a_failed_replacement_brings_the_old_domain_back(host, fails):
    first, second = pair(host)
    old, new = unmanaged(host, first, HERE), unmanaged(host, first, THERE)
    host.iommu.attach_device_pasid(old, first, 5, "old")
    Refusing(host.driver, second.master)
    fails("ENOMEM", host.iommu.replace_device_pasid, new, first, 5, "new")
    assert host.write(first, PAGE, 5) == host.write(second, PAGE, 5) == HERE
    assert not new.in_use and old.pasid_users == 1
    assert host.iommu.attach_handle(first.group, 5) == "old"


def test_devices_without_pasids_do_not_matter_to_a_group(host):
    first = host.device(A)
    host.device(B, group=first.group, ssid_bits=0)
    host.iommu.attach_device_pasid(unmanaged(host, first, HERE), first, 5)
    assert host.write(first, PAGE, 5) == HERE


def test_a_group_has_the_pasids_that_all_its_devices_can_send(host, fails):
    first = host.device(A)
    host.device(B, group=first.group, ssid_bits=2)
    fails("EINVAL", host.iommu.attach_device_pasid, unmanaged(host, first, HERE), first, 5)


# --- numbers -------------------------------------------------------------------------------------

def test_numbers_start_at_1_and_end(fails):
    pasids = PASIDAllocator()
    assert [pasids.alloc(4) for _ in range(3)] == [1, 2, 3]
    fails("ENOSPC", pasids.alloc, 4)
    fails("ENOSPC", PASIDAllocator().alloc, 0)
    pasids.free(2)
    assert 2 not in pasids and pasids.alloc(4) == 2
    with pytest.raises(KeyError):
        pasids.free(9)
