"""Doorbells: cookies, the three ways of Linux, and scenarios 1, 2, 16 with real interrupts."""

import pytest

from smmu_sim.iommu import DomainType, IOMMUFDCookie, ReservedRegion, ResvType, set_msi_iova
from smmu_sim.iommu.msi import BOGUS_ADDRESS
from smmu_sim.irq import MSIDescriptor
from smmu_sim.machine import Machine

A, B = Machine.DEVICE_A, Machine.DEVICE_B
WINDOW = 0x0800_0000
DOORBELL = 0x2021_0040
MODES = ("5.2", "5.3", "6.15")


@pytest.fixture(params=MODES)
def each(request, make_host):
    return make_host(msi=request.param)


def unmanaged(host, device, base=WINDOW, **options):
    domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, **options)
    if base is not None:
        host.iommu.get_msi_cookie(domain, base)
    return domain


# --- where doorbells are mapped ------------------------------------------------------------------

def test_scenario_1_a_kernel_driver_gets_the_top_iova(each):
    device = each.device()
    [desc] = each.irq(device)
    assert desc.message.addr == 0xFFFF_F040
    assert device.group.domain.iova_to_phys(0xFFFF_F040) == DOORBELL
    assert each.msi(device, desc)


def test_scenario_2_vfio_has_doorbells_side_by_side_in_the_window(each):
    device = each.device()
    domain = unmanaged(each, device)
    each.iommu.attach_device(domain, device)
    first, second = each.irq(device, 2)
    third = each.irq(device, its=1)[0]
    assert [desc.message.addr for desc in (first, second, third)] == [
        0x0800_0040, 0x0800_0040, 0x0800_1040]
    assert each.msi(device, first) and each.msi(device, second) and each.msi(device, third, its=1)
    assert domain.iova_to_phys(0x0800_2000) is None


def test_vfio_with_stage_2_alone(each):
    device = each.device()
    domain = unmanaged(each, device, stage=2)
    each.iommu.attach_device(domain, device)
    [desc] = each.irq(device)
    assert desc.message.addr == 0x0800_0040 and each.msi(device, desc)


def test_an_identity_domain_needs_no_mapping(make_host):
    for mode in MODES:
        host = make_host(msi=mode, default_type=DomainType.IDENTITY)
        device = host.device()
        [desc] = host.irq(device)
        assert desc.message.addr == DOORBELL and desc.iommu_msi_shift == 0
        assert host.msi(device, desc)


def test_a_doorbell_that_is_not_translated_keeps_its_address(each):
    device = each.device(resv_regions=[ReservedRegion(0x2021_0000, 0x1000, ResvType.MSI)])
    [desc] = each.irq(device)
    assert desc.message.addr == DOORBELL
    assert device.group.domain.iova_to_phys(DOORBELL) is None


def test_doorbells_may_be_written_only(host):
    device = host.device()
    [desc] = host.irq(device)
    leaf = device.group.domain.hw.table.lookup(desc.message.addr)
    assert leaf.raw >> 2 & 7 == 2 and leaf.raw >> 54 & 1  # device memory, never executed


def test_a_device_without_a_group_has_the_physical_address(each):
    device = each.device(add=False)
    desc = MSIDescriptor(device, 0)
    each.iommu.prepare_msi(desc, DOORBELL)
    assert each.iommu.compose_msi(desc, DOORBELL) == DOORBELL


# --- cookies -------------------------------------------------------------------------------------

def test_who_gets_a_cookie(host, fails):
    device = host.device()
    domain = unmanaged(host, device, None)
    fails("EINVAL", host.iommu.get_msi_cookie, device.group.default_domain, WINDOW)
    fails("EINVAL", host.iommu.get_msi_cookie,
          host.iommu.alloc_domain(device, DomainType.IDENTITY), WINDOW)
    host.iommu.get_msi_cookie(domain, WINDOW)
    fails("EEXIST", host.iommu.get_msi_cookie, domain, WINDOW)
    host.iommu.put_cookie(domain)
    host.iommu.get_msi_cookie(domain, 0x9000_0000)
    host.iommu.attach_device(domain, device)
    assert host.irq(device)[0].message.addr == 0x9000_0040


@pytest.mark.parametrize("mode", ["5.3", "6.15"])
def test_a_doorbell_that_cannot_be_mapped_fails_the_allocation(make_host, fails, mode):
    host = make_host(msi=mode)
    device = host.device()
    domain = unmanaged(host, device)
    host.iommu.attach_device(domain, device)
    domain.map(WINDOW, 0x6000_0000, 0x1000)
    fails("ENOMEM", host.irq, device)
    domain.unmap(WINDOW, 0x1000)
    assert host.irq(device)[0].message.addr == 0x0800_0040  # the address was not used up


def test_5_2_has_no_way_to_fail(make_host):
    host = make_host(msi="5.2")
    device = host.device()
    domain = unmanaged(host, device)
    host.iommu.attach_device(domain, device)
    domain.map(WINDOW, 0x6000_0000, 0x1000)
    [desc] = host.irq(device)
    assert desc.message.addr == BOGUS_ADDRESS


@pytest.mark.parametrize("mode", ["5.3", "6.15"])
def test_no_iova_for_a_doorbell_fails_the_allocation(make_host, fails, mode):
    host = make_host(msi=mode)
    device = host.device(dma_mask=0xFFF)
    fails("ENOMEM", host.irq, device)


@pytest.mark.parametrize("mode", ["5.3", "6.15"])
def test_a_taken_iova_fails_the_allocation_and_is_not_kept(make_host, fails, mode):
    host = make_host(msi=mode)
    device = host.device()
    domain = device.group.domain
    domain.map(0xFFFF_F000, 0x6000_0000, 0x1000)
    fails("ENOMEM", host.irq, device)
    assert domain.cookie.iovas.used == 0


# --- the ways of Linux ---------------------------------------------------------------------------

def test_an_unknown_way_is_refused(make_host):
    with pytest.raises(ValueError, match="'6.0'"):
        make_host(msi="6.0")


def test_6_15_wants_a_cookie_and_older_ones_use_the_physical_address(make_host, fails):
    for mode in MODES:
        host = make_host(msi=mode)
        device = host.device()
        host.iommu.attach_device(unmanaged(host, device, None), device)
        if mode == "6.15":
            fails("EOPNOTSUPP", host.irq, device)
        else:
            assert host.irq(device)[0].message.addr == DOORBELL


def test_a_blocked_device_cannot_prepare_in_6_15(host, fails):
    device = host.device()
    host.iommu.claim_dma_owner(device.group, "vfio")
    fails("EOPNOTSUPP", host.irq, device)


def test_where_the_result_is_kept(make_host):
    for mode, after in (("5.2", 0x0800_0040), ("5.3", DOORBELL), ("6.15", 0x0800_0040)):
        host = make_host(msi=mode)
        device = host.device()
        cookie, bare = unmanaged(host, device), unmanaged(host, device, None)
        desc = MSIDescriptor(device, 0)
        host.iommu.attach_device(bare if mode == "5.2" else cookie, device)
        if mode == "5.2":  # nothing is mapped before compose time
            host.iommu.prepare_msi(desc, DOORBELL)
            host.iommu.replace_group_handle(device.group, cookie, "h")
            assert cookie.iova_to_phys(WINDOW) is None
        else:              # 5.3 asks the domain again, 6.15 does not
            host.iommu.prepare_msi(desc, DOORBELL)
            assert cookie.iova_to_phys(WINDOW) == DOORBELL & -4096
            host.iommu.replace_group_handle(device.group, bare, "h")
        assert host.iommu.compose_msi(desc, DOORBELL) == after, mode
        assert bool(desc.iommu_msi_shift) == (mode == "6.15")


def test_a_second_preparation_forgets_the_first(make_host):
    host = make_host(msi="5.3")
    device = host.device()
    cookie, bare = unmanaged(host, device), unmanaged(host, device, None)
    desc = MSIDescriptor(device, 0)
    for domain in (cookie, bare):
        host.iommu.replace_group_handle(device.group, domain, "h")
        host.iommu.prepare_msi(desc, DOORBELL)
    host.iommu.replace_group_handle(device.group, cookie, "h")
    assert host.iommu.compose_msi(desc, DOORBELL) == DOORBELL


def test_the_descriptor_holds_page_number_and_shift(host, fails):
    desc = MSIDescriptor(host.device(), 0)
    set_msi_iova(desc, 0x1234_5000, 12)
    assert (desc.iommu_msi_iova, desc.iommu_msi_shift) == (0x1_2345, 12)
    assert host.iommu.compose_msi(desc, DOORBELL) == 0x1234_5040
    fails("EINVAL", set_msi_iova, desc, 0x1234_5800, 12)


# --- iommufd's cookie ----------------------------------------------------------------------------

def test_iommufd_maps_by_itself(host):
    device = host.device()
    domain = unmanaged(host, device, None)
    domain.map(0x4_0000, DOORBELL & -4096, 0x1000)
    calls = []
    domain.cookie = IOMMUFDCookie(lambda desc, doorbell: (
        calls.append(doorbell), set_msi_iova(desc, 0x4_0000, 12)))
    host.iommu.attach_device(domain, device)
    [desc] = host.irq(device)
    assert desc.message.addr == 0x4_0040 and calls == [DOORBELL] and host.msi(device, desc)


def test_iommufd_may_leave_the_message_alone(host):
    device = host.device()
    domain = unmanaged(host, device, None)
    domain.cookie = IOMMUFDCookie(lambda desc, doorbell: None)
    host.iommu.attach_device(domain, device)
    assert host.irq(device)[0].message.addr == DOORBELL


def test_older_kernels_do_not_know_iommufds_cookie(make_host, fails):
    host = make_host(msi="5.3")
    device = host.device()
    domain = unmanaged(host, device, None)
    domain.cookie = IOMMUFDCookie(lambda desc, doorbell: None)
    host.iommu.attach_device(domain, device)
    fails("EOPNOTSUPP", host.irq, device)


def test_under_a_nested_domain_the_doorbell_goes_to_its_parent(host):
    device = host.device()
    parent = unmanaged(host, device, nest_parent=True)
    nested = host.iommu.alloc_domain(device, DomainType.NESTED, parent=parent, vste=(9, 0))
    host.iommu.attach_device(nested, device)
    [desc] = host.irq(device)
    assert desc.message.addr == 0x0800_0040 and parent.iova_to_phys(0x0800_0040) == DOORBELL
    assert host.msi(device, desc)
