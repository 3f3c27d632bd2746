"""Domains: what can be had of which SMMU, and mapping."""

import pytest

from smmu.params import Params
from smmu_sim.iommu import DomainType

PAGE = 0x5000_0000
HERE, THERE = 0x6000_0000, 0x6001_0000


def unmanaged(host, device, phys):
    domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED)
    domain.map(PAGE, phys, 0x1000)
    return domain


@pytest.mark.parametrize("options", [
    {"stage": 3}, {"stage": 1, "nest_parent": True}, {"nesting": True, "nest_parent": True},
    {"stage": 1, "nesting": True}, {"nesting": True, "generation": "V7"}])
def test_domain_options_that_do_not_fit(host, fails, options):
    device = host.device()
    fails("EINVAL", host.iommu.alloc_domain, device, DomainType.UNMANAGED, **options)


def test_domains_need_what_the_smmu_has(make_host, fails):
    host = make_host(params=Params(s2p=0, hyp=0, xnx=0))
    device = host.device()
    fails("EOPNOTSUPP", host.iommu.alloc_domain, device, DomainType.UNMANAGED, stage=2)
    fails("EOPNOTSUPP", host.iommu.alloc_domain, device, DomainType.UNMANAGED, nest_parent=True)
    fails("EINVAL", host.iommu.alloc_domain, device, DomainType.UNMANAGED, nesting=True)


def test_without_stage_1_the_kernel_uses_stage_2(make_host, fails):
    host = make_host(params=Params(s1p=0, hyp=0, had=0))
    device = host.device()
    assert device.group.default_domain.hw.kind == "stage2"
    iova = host.iommu.dma(device).map_page(HERE, 0x1000)
    assert host.write(device, iova) == HERE
    fails("EOPNOTSUPP", host.iommu.alloc_domain, device, DomainType.UNMANAGED, stage=1)


def test_a_nested_domain_needs_parent_and_ste(host, fails):
    device = host.device()
    plain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, stage=2)
    parent = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nest_parent=True)
    fails("EINVAL", host.iommu.alloc_domain, device, DomainType.NESTED, parent=parent)
    fails("EINVAL", host.iommu.alloc_domain, device, DomainType.NESTED, parent=plain, vste=(9, 0))
    fails("EIO", host.iommu.alloc_domain, device, DomainType.NESTED, parent=parent, vste=(0xD, 0))
    nested = host.iommu.alloc_domain(device, DomainType.NESTED, parent=parent, vste=(9, 0))
    parent.map(PAGE, HERE, 0x1000)
    host.iommu.attach_device(nested, device)  # the guest's stage 1 is bypassed
    assert host.write(device, PAGE) == HERE
    fails("EINVAL", nested.map, PAGE, HERE, 0x1000)
    assert nested.iova_to_phys(PAGE) is None
    fails("EINVAL", host.iommu.alloc_domain, device, DomainType.SVA)


def test_map_and_unmap(host, fails):
    device = host.device()
    domain = unmanaged(host, device, HERE)
    for arguments in ((0x800, HERE, 0x1000), (0, HERE + 8, 0x1000), (0, HERE, 0x100), (0, HERE, 0)):
        fails("EINVAL", domain.map, *arguments)
    fails("EEXIST", domain.map, PAGE - 0x1000, THERE, 0x2000)
    assert domain.iova_to_phys(PAGE - 0x1000) is None and domain.iova_to_phys(PAGE + 9) == HERE + 9
    fails("EINVAL", domain.map, domain.aperture[1] + 1, HERE, 0x1000)
    fails("EINVAL", domain.unmap, PAGE + 8, 0x1000)
    host.iommu.attach_device(domain, device)
    assert host.write(device, PAGE) == HERE
    assert domain.unmap(PAGE, 0x1000) == 0x1000 and domain.unmap(PAGE, 0x1000) == 0
    assert host.write(device, PAGE) is None
    assert domain.page_sizes[0] == 0x1000
