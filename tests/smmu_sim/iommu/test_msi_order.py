"""request_irq before or after attach: where the message goes, and both proposed solutions."""

import pytest

from smmu_sim.iommu import (
    AddressSpace, AuxDomains, AuxPrimary, DomainType, IOMMUFDCookie, ReservedRegion, ResvType, SVA,
    set_msi_iova)

DOORBELL = 0x2021_0040
PAGE, HERE = 0x5000_0000, 0x6000_0000
IN_D0, IN_WINDOW = 0xFFFF_F040, 0x0800_0040
MODES = ("5.2", "5.3", "6.15")


@pytest.fixture(params=MODES)
def each(request, make_host):
    return make_host(msi=request.param)


def primary(host, device):
    return host.iommu.alloc_domain(device, DomainType.UNMANAGED)


# --- what comes of each order --------------------------------------------------------------------

def test_row_1_request_irq_then_attach_loses_the_interrupt(each):
    device = each.device()
    [desc] = each.irq(device)
    domain = primary(each, device)
    each.iommu.attach_device(domain, device)
    assert desc.message.addr == IN_D0
    assert device.group.default_domain.iova_to_phys(IN_D0) == DOORBELL
    assert domain.iova_to_phys(IN_D0) is None
    assert not each.msi(device, desc)
    [event] = each.driver.service()
    assert (event.name, event.InputAddr) == ("F_TRANSLATION", IN_D0)


def test_row_2_attach_with_a_cookie_then_request_irq_works(each):
    device = each.device()
    domain = primary(each, device)
    each.iommu.get_msi_cookie(domain, 0x0800_0000)
    each.iommu.attach_device(domain, device)
    [desc] = each.irq(device)
    assert domain.iova_to_phys(IN_WINDOW) == DOORBELL and desc.message.addr == IN_WINDOW
    assert device.group.default_domain.iova_to_phys(IN_D0) is None
    assert each.msi(device, desc)


@pytest.mark.parametrize("mode", ["5.2", "5.3"])
@pytest.mark.parametrize("maps_doorbell", [False, True])
def test_row_3_attach_without_a_cookie_then_request_irq(make_host, mode, maps_doorbell):
    host = make_host(msi=mode)
    device = host.device()
    domain = primary(host, device)
    if maps_doorbell:
        domain.map(DOORBELL & -4096, DOORBELL & -4096, 0x1000)
    host.iommu.attach_device(domain, device)
    [desc] = host.irq(device)
    assert desc.message.addr == DOORBELL
    assert host.msi(device, desc) == maps_doorbell
    assert host.events() == ([] if maps_doorbell else ["F_TRANSLATION"])


def test_row_3_is_refused_since_6_15(host, fails):
    device = host.device()
    host.iommu.attach_device(primary(host, device), device)
    fails("EOPNOTSUPP", host.irq, device)


def test_row_4_a_replacement_that_has_the_doorbell_loses_no_interrupt(host):
    """As iommufd does it: required doorbells are mapped in B before the switch."""
    device = host.device()
    required, domains = {}, []
    for _ in range(2):
        domain = primary(host, device)
        domain.cookie = IOMMUFDCookie(lambda desc, doorbell: install(desc, doorbell))
        domains.append(domain)

    def install(desc, doorbell):
        required[0x0800_0000] = doorbell & -4096
        device.group.domain.map(0x0800_0000, doorbell & -4096, 0x1000)
        set_msi_iova(desc, 0x0800_0000, 12)

    host.iommu.claim_dma_owner(device.group, "iommufd")
    host.iommu.attach_group_handle(domains[0], device.group, "A")
    [desc] = host.irq(device)
    assert host.msi(device, desc)
    for iova, page in required.items():
        domains[1].map(iova, page, 0x1000)
    host.iommu.replace_group_handle(device.group, domains[1], "B")
    assert host.msi(device, desc) and domains[1].iova_to_phys(IN_WINDOW) == DOORBELL
    assert host.events() == []


def test_row_5_a_pasid_leaves_the_interrupt_alone(each):
    device = each.device()
    [desc] = each.irq(device)
    domain = primary(each, device)
    domain.map(PAGE, HERE, 0x1000)
    each.iommu.attach_device_pasid(domain, device, 5)
    assert each.write(device, PAGE, 5) == HERE and each.msi(device, desc)
    [later] = each.irq(device)
    assert later.message.addr == IN_D0 and each.msi(device, later)


def test_row_5_holds_for_processes(each):
    device = each.device()
    [desc] = each.irq(device)
    SVA(each.iommu).bind(device, AddressSpace(each.memory, each.machine.allocator))
    assert each.msi(device, desc)


# --- the two solutions ---------------------------------------------------------------------------

@pytest.mark.parametrize("first", ["request_irq", "attach"])
def test_a_shared_table_makes_the_order_irrelevant(each, first):
    device = each.device()
    descs = each.irq(device) if first == "request_irq" else []
    driver = AuxPrimary(each.iommu, device, "shared")
    driver.attach()
    driver.map_msi()
    descs += each.irq(device)
    driver.map(PAGE, HERE, 0x1000)
    assert device.group.domain is driver.domain is not device.group.default_domain
    assert all(desc.message.addr == IN_D0 and each.msi(device, desc) for desc in descs)
    assert each.write(device, PAGE) == HERE
    buffer = each.iommu.dma(device).map_page(HERE, 0x1000)
    assert each.write(device, buffer) == HERE
    driver.unmap(PAGE, 0x1000)
    assert each.write(device, PAGE) is None
    driver.detach()
    assert all(each.msi(device, desc) for desc in descs)
    assert device.group.domain is device.group.default_domain


def test_an_ordered_driver_gets_its_interrupts(each):
    device = each.device()
    driver = AuxPrimary(each.iommu, device, "ordered")
    driver.attach()
    driver.map_msi()
    [desc] = each.irq(device)
    driver.map(PAGE, HERE, 0x1000)
    assert desc.message.addr == IN_WINDOW and each.msi(device, desc)
    assert each.write(device, PAGE) == HERE
    driver.unmap(PAGE, 0x1000)
    assert each.write(device, PAGE) is None
    used = each.machine.allocator.used
    driver.detach()
    assert each.machine.allocator.used < used


def test_a_driver_that_ignores_the_order_loses_its_interrupts(each):
    device = each.device()
    [desc] = each.irq(device)
    driver = AuxPrimary(each.iommu, device, "ordered")
    driver.attach()
    driver.map_msi()
    assert not each.msi(device, desc) and each.events() == ["F_TRANSLATION"]


def test_untranslated_doorbells_need_no_order(make_host):
    host = make_host(msi="5.3")
    device = host.device(resv_regions=[ReservedRegion(0x2021_0000, 0x1000, ResvType.MSI)])
    driver = AuxPrimary(host.iommu, device, "ordered")
    driver.attach()
    driver.map_msi()
    assert driver.domain.cookie is None and host.irq(device)[0].message.addr == DOORBELL


def test_the_dma_api_and_a_shared_primary_do_not_collide(host, fails):
    device = host.device()
    driver = AuxPrimary(host.iommu, device, "shared")
    driver.attach()
    buffer = host.iommu.dma(device).map_page(HERE, 0x1000)
    fails("EEXIST", driver.map, buffer, HERE, 0x1000)
    fails("EINVAL", driver.map, 0x1_0000, HERE + 8, 0x1000)
    driver.map(buffer - 0x1000, HERE + 0x1000, 0x1000)
    assert host.iommu.dma(device).map_page(HERE, 0x1000) == buffer - 0x2000


def test_a_table_that_is_not_there_cannot_be_shared(make_host, fails):
    host = make_host(default_type=DomainType.IDENTITY)
    device = host.device()
    fails("EINVAL", AuxPrimary(host.iommu, device, "shared").attach)
    with pytest.raises(ValueError, match="'neither'"):
        AuxPrimary(host.iommu, device, "neither")


@pytest.mark.parametrize("solution", ["shared", "ordered"])
def test_a_primary_that_cannot_be_attached_leaves_nothing(host, fails, solution):
    device = host.device()
    host.iommu.attach_device(primary(host, device), device)
    used = host.machine.allocator.used
    driver = AuxPrimary(host.iommu, device, solution)
    fails("EBUSY", driver.attach)
    assert driver.domain is None and host.machine.allocator.used == used


# --- aux domains ---------------------------------------------------------------------------------

@pytest.mark.parametrize("solution", ["shared", "ordered"])
def test_aux_domains_have_pasids_beside_the_primary_one(each, solution):
    device = each.device()
    driver = AuxPrimary(each.iommu, device, solution)
    driver.attach()
    driver.map_msi()
    [desc] = each.irq(device)
    aux = AuxDomains(each.iommu)
    aux.enable(device)
    child, other = primary(each, device), primary(each, device)
    child.map(PAGE, HERE, 0x1000)
    aux.attach(child, device)
    aux.attach(other, device)
    assert (aux.pasid(child, device), aux.pasid(other, device)) == (1, 2)
    assert each.write(device, PAGE, 1) == HERE and each.write(device, PAGE, 2) is None
    assert each.msi(device, desc)
    aux.detach(child, device)
    assert each.write(device, PAGE, 1) is None and each.msi(device, desc)


def test_an_aux_domain_has_one_pasid_for_all_devices(host):
    first, second = host.device(0x42), host.device(0x43)
    aux, domain = AuxDomains(host.iommu), primary(host, first)
    domain.map(PAGE, HERE, 0x1000)
    for device in (first, second):
        aux.enable(device)
        aux.attach(domain, device)
        assert host.write(device, PAGE, aux.pasid(domain, device)) == HERE
    assert aux.pasid(domain, first) == aux.pasid(domain, second) == 1
    aux.detach(domain, first)
    assert 1 in host.iommu.pasids and host.write(second, PAGE, 1) == HERE
    aux.detach(domain, second)
    aux.detach(domain, second)
    assert 1 not in host.iommu.pasids and not domain.in_use


def test_devices_of_a_group_share_the_pasid_of_an_aux_domain(host, fails):
    first = host.device(0x42)
    second = host.device(0x43, group=first.group)
    aux, domain = AuxDomains(host.iommu), primary(host, first)
    domain.map(PAGE, HERE, 0x1000)
    for device in (first, second):
        aux.enable(device)
        aux.attach(domain, device)
    aux.detach(domain, first)
    assert host.write(first, PAGE, 1) is None and host.write(second, PAGE, 1) == HERE
    fails("EBUSY", host.iommu.attach_device_pasid, primary(host, first), first, 1)
    aux.detach(domain, second)
    assert first.group.pasids == {}


def test_rules_of_aux_domains(host, fails):
    device, aux = host.device(), AuxDomains(host.iommu)
    domain = primary(host, device)
    fails("ENODEV", aux.enable, host.device(0x50, add=False))
    fails("ENODEV", aux.enable, host.device(0x51, ssid_bits=0))
    fails("ENODEV", aux.attach, domain, host.device(0x52, add=False))
    assert not aux.enabled(device)
    fails("EPERM", aux.attach, domain, device)
    aux.enable(device)
    assert aux.enabled(device)
    fails("EPERM", aux.attach, host.iommu.alloc_domain(device, DomainType.IDENTITY), device)
    fails("EINVAL", aux.pasid, domain, device)
    fails("EPERM", host.iommu.attach_device, domain, device)
    aux.attach(domain, device)
    aux.enable(device)
    fails("EBUSY", aux.attach, domain, device)
    fails("EBUSY", aux.disable, device)
    fails("EBUSY", host.iommu.remove_device, device)
    fails("EPERM", host.iommu.attach_device,
          host.iommu.alloc_domain(device, DomainType.IDENTITY), device)
    fails("EBUSY", host.iommu.free_domain, domain)
    aux.detach(domain, device)
    aux.disable(device)
    host.iommu.attach_device(domain, device)


def test_aux_domains_need_free_pasids(host, fails):
    device = host.device(ssid_bits=1)
    small = host.device(0x43, ssid_bits=2)
    aux, domains = AuxDomains(host.iommu), [primary(host, device) for _ in range(3)]
    for each in (device, small):
        aux.enable(each)
    aux.attach(domains[0], device)
    fails("ENOSPC", aux.attach, domains[1], device)
    aux.attach(domains[1], small)           # PASID 2
    fails("EINVAL", aux.attach, domains[1], device)
    host.iommu.attach_device_pasid(domains[2], small, 3)
    fails("EBUSY", aux.attach, domains[2], small)
    assert 3 not in host.iommu.pasids and list(small.group.pasids) == [2, 3]


def test_a_refused_aux_domain_keeps_no_pasid(host, fails):
    device, aux = host.device(), AuxDomains(host.iommu)
    aux.enable(device)
    two = host.iommu.alloc_domain(device, DomainType.UNMANAGED, stage=2)
    fails("EINVAL", aux.attach, two, device)
    assert 1 not in host.iommu.pasids and device.group.pasids == {}
