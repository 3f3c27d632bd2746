"""Guest MSI bindings: who may bind, and the life of a binding."""

import pytest

from smmu_sim.iommu import DomainType, NestedMSICookie
from smmu_sim.irq import MSIDescriptor
from smmu_sim.machine import Machine

A, B = Machine.DEVICE_A, Machine.DEVICE_B
DOORBELL, DOORBELL_1 = 0x2021_0040, 0x2031_0040
GIOVA, GDB = 0xFFFF_0000, 0x0809_0000      # the guest's doorbell
GIOVA_B, GDB_B = 0xFFFE_0000, 0x080B_0000


# --- who may bind --------------------------------------------------------------------------------

def test_kernels_without_the_call(host, fails, make_guest):
    device = host.device()
    plain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, stage=2)
    late = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nesting=True, generation="V16")
    for domain in (plain, late):
        fails("ENODEV", host.iommu.bind_guest_msi, domain, device, (GIOVA, GDB, 0x1000))
        fails("ENODEV", host.iommu.unbind_guest_msi, domain, GIOVA)
    guest = make_guest(host, device, "G1")
    fails("ENODEV", host.iommu.unbind_guest_msi, guest.domain, GIOVA)


def test_domains_that_cannot_bind(host, fails):
    device = host.device()
    plain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, stage=2)
    bind, binding = host.iommu.bind_guest_msi, (GIOVA, GDB, 0x1000)
    nesting = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nesting=True)
    host.iommu.get_msi_cookie(nesting, 0)
    assert "not attached" in fails("EINVAL", bind, nesting, device, binding).reason
    host.iommu.attach_device(plain, device)
    assert "nest" in fails("EINVAL", bind, plain, device, binding, "V15").reason
    host.iommu.replace_group_handle(device.group, nesting, "h")
    host.iommu.put_cookie(nesting)
    assert "cookie" in fails("EINVAL", bind, nesting, device, binding).reason
    host.iommu.get_msi_cookie(nesting, 0)
    bind(nesting, device, binding)
    fails("EINVAL", bind, nesting, device, binding, "V7")
    for domain in (plain, nesting):
        host.iommu.unbind_guest_msi(domain, 0x1234_5000, "V8")  # unknown: nothing
    assert len(nesting.cookie.entries) == 1


def test_a_nesting_domain_gets_the_cookie_for_bindings(host, fails):
    device = host.device()
    domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nesting=True)
    host.iommu.get_msi_cookie(domain, 0x0800_0000)
    assert isinstance(domain.cookie, NestedMSICookie)
    fails("EEXIST", host.iommu.get_msi_cookie, domain, 0x0800_0000)


def test_a_granule_is_a_power_of_two(host, guest, fails):
    fails("EINVAL", guest.bind, size=0)
    fails("EINVAL", guest.bind, size=0x1800)


# --- the life of a binding -----------------------------------------------------------------------

def test_more_vectors_use_the_same_page(host, guest):
    guest.bind()
    guest.enable()
    first, second = host.irq(guest.device, 2)
    assert first.message.addr == second.message.addr
    assert host.msi(guest.device, first) and host.msi(guest.device, second)
    assert len(guest.domain.cookie.entries) == 1


def test_a_second_doorbell_needs_a_second_binding(host, guest, fails):
    guest.bind()
    host.irq(guest.device)
    desc = MSIDescriptor(guest.device, 0)
    fails("ENOMEM", host.iommu.prepare_msi, desc, DOORBELL_1)
    assert desc.iommu_msi_shift == 0
    guest.bind(GIOVA_B, GDB_B)
    host.iommu.prepare_msi(desc, DOORBELL_1)
    assert host.iommu.compose_msi(desc, DOORBELL_1) == GIOVA_B + 0x40
    assert guest.domain.iova_to_phys(GDB_B) == DOORBELL_1 & -4096


def test_the_latest_free_binding_is_taken(host, guest):
    guest.bind()
    guest.bind(GIOVA_B, GDB_B)
    assert host.irq(guest.device)[0].message.addr == GIOVA_B + 0x40
    assert guest.domain.iova_to_phys(GDB) is None


def test_a_failed_map_leaves_the_binding_registered(host, guest, fails):
    guest.domain.map(GDB, 0x6000_0000, 0x1000)
    guest.bind()
    fails("ENOMEM", host.irq, guest.device)
    assert "MSI S2 mapping failed" in host.iommu.warnings[0]
    guest.domain.unmap(GDB, 0x1000)
    assert host.irq(guest.device)[0].message.addr == 0xFFFF_0040


def test_putting_the_cookie_unmaps_the_doorbell(host, guest):
    guest.bind()
    guest.enable()
    [desc] = host.irq(guest.device)
    host.iommu.put_cookie(guest.domain)
    assert guest.domain.iova_to_phys(GDB) is None and not host.msi(guest.device, desc)


def test_unbinding_what_is_not_mapped_touches_no_table(host, make_guest):
    guest = make_guest(host, host.device(), "V15")
    guest.bind()
    host.driver.take_commands()
    host.iommu.unbind_guest_msi(guest.domain, GIOVA)
    assert host.driver.take_commands() == [] and guest.domain.cookie.entries == []


def test_an_unmap_that_finds_nothing_is_a_warning(host, make_guest):
    guest = make_guest(host, host.device(), "V15")
    guest.bind()
    host.irq(guest.device)
    guest.domain.unmap(GDB, 0x1000)
    host.iommu.unbind_guest_msi(guest.domain, GIOVA)
    assert "unmapped 0x0 bytes" in host.iommu.warnings[0]


def test_protection_differs_by_generation(host, make_guest):
    for generation, sid, xn in (("V8", A, 0), ("V15", B, 2)):
        guest = make_guest(host, host.device(sid), generation)
        guest.bind()
        host.irq(guest.device)
        raw = guest.domain.hw.table.lookup(GDB).raw
        assert raw >> 53 & 3 == xn and raw >> 6 & 3 == 2 and raw >> 2 & 15 == 1


def test_rfc_v3_devices_may_share_one_doorbell(host, make_guest):
    first, second = host.device(A), host.device(B)
    guest = make_guest(host, first, "G1", doorbells=[(GIOVA, GDB), (GIOVA_B, GDB)])
    host.iommu.attach_device(guest.domain, second)
    guest.bind(device=first)
    guest.bind(GIOVA_B, GDB, device=second)
    guest.enable()
    [desc_a], [desc_b] = host.irq(first), host.irq(second)
    assert (desc_a.message.addr, desc_b.message.addr) == (GIOVA + 0x40, GIOVA_B + 0x40)
    assert host.msi(first, desc_a) and host.msi(second, desc_b)
    host.iommu.put_cookie(guest.domain)
    assert guest.domain.iova_to_phys(GDB) is None and host.iommu.warnings == []


@pytest.mark.parametrize("mode", ["5.2", "5.3"])
def test_bindings_work_with_the_older_ways_to_compose(make_host, mode, make_guest):
    host = make_host(msi=mode)
    guest = make_guest(host, host.device(), "V8")
    guest.bind()
    guest.enable()
    [desc] = host.irq(guest.device)
    assert desc.message.addr == 0xFFFF_0040 and host.msi(guest.device, desc)
