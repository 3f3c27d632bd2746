"""Attach, replace and detach PASIDs (iommufd/device.c)."""

import pytest
from smmu_sim.iommufd import attach

PA, VA = 0x8_8000_0000, 0x7F00_0000_0000
NEST_PARENT, PASID = 1, 8


@pytest.fixture
def spaces(world):
    """Two IOASes that map IOVA 0x10000 to different pages."""
    made = [world.ioas(), world.ioas()]
    for n, ioas in enumerate(made):
        world.map(ioas, 0x10000, va=VA + n * 0x1000)
    return made


@pytest.fixture
def pasid_device(world):
    return world.add(0x48, max_pasids=256)


@pytest.fixture
def hwpts(world, pasid_device, spaces):
    """Two HWPTs with the PASID flag."""
    return [world.hwpt(pasid_device, ioas, PASID) for ioas in spaces]


def test_a_pasid_has_a_domain_of_its_own(world, pasid_device, hwpts):
    pasid_device.attach(hwpts[0])
    pasid_device.attach(hwpts[1], pasid=5)
    assert world.physical(pasid_device, 0x10000) == PA
    assert world.physical(pasid_device, 0x10000, pasid=5) == PA + 0x1000
    assert world.physical(pasid_device, 0x10000, pasid=6) is None
    pasid_device.detach(pasid=5)
    pasid_device.detach(pasid=5)
    assert world.physical(pasid_device, 0x10000, pasid=5) is None
    assert world.physical(pasid_device, 0x10000) == PA


def test_a_second_attach_of_a_pasid(world, pasid_device, hwpts, refused):
    pasid_device.attach(hwpts[0], pasid=5)
    refused("EBUSY", attach.attach, pasid_device.idev, hwpts[0], 5)
    refused("EBUSY", attach.attach, pasid_device.idev, hwpts[1], 5)
    pasid_device.attach(hwpts[1], pasid=5)           # VFIO replaces
    assert world.physical(pasid_device, 0x10000, pasid=5) == PA + 0x1000
    refused("EINVAL", attach.replace, pasid_device.idev, hwpts[1], 6)


def test_a_pasid_that_the_kernel_uses_is_busy(world, pasid_device, hwpts, refused):
    domain = world.iommu.alloc_domain(pasid_device.device, "unmanaged")
    world.iommu.attach_device_pasid(domain, pasid_device.device, 5)
    refused("EBUSY", pasid_device.attach, hwpts[0], 5)
    assert 5 not in pasid_device.idev.igroup.attachments


def test_pasids_need_the_flag(world, pasid_device, spaces, hwpts, refused):
    plain = world.hwpt(pasid_device, spaces[0])
    refused("EINVAL", pasid_device.attach, plain, 5)
    refused("EINVAL", pasid_device.attach, spaces[0], 5)     # automatic HWPTs have not the flag
    pasid_device.attach(plain)
    refused("EINVAL", pasid_device.attach, hwpts[0], 5)      # the RID's has not
    pasid_device.detach()
    pasid_device.attach(hwpts[0], 5)
    refused("EINVAL", pasid_device.attach, plain)            # a PASID is attached
    refused("EINVAL", pasid_device.attach, spaces[0])
    assert world.physical(pasid_device, 0x10000, pasid=5) == PA


@pytest.mark.parametrize("pasid", [256, 1 << 20])
def test_pasids_that_the_device_cannot_send(pasid_device, hwpts, refused, pasid):
    refused("EINVAL", pasid_device.attach, hwpts[0], pasid)


def test_a_failed_pasid_replace_keeps_the_old_domain(world, pasid_device, spaces, hwpts, refused):
    pasid_device.attach(hwpts[0], 5)
    refused("EINVAL", pasid_device.attach, world.hwpt(pasid_device, spaces[1]), 5)
    assert world.physical(pasid_device, 0x10000, pasid=5) == PA


def test_stage_2_leaves_no_place_for_pasids(world, pasid_device, spaces, hwpts, refused):
    parent = world.hwpt(pasid_device, spaces[0], NEST_PARENT)
    pasid_device.attach(hwpts[0], 5)
    refused("EINVAL", pasid_device.attach, parent)           # not made for PASIDs
    world.object(parent).pasid_compatible = True
    refused("EBUSY", pasid_device.attach, parent)            # the driver's own rule


def test_closing_detaches_pasids(world, pasid_device, hwpts):
    pasid_device.attach(hwpts[0])
    for pasid in (5, 9):
        pasid_device.attach(hwpts[1], pasid)
    pasid_device.file.close()
    assert not pasid_device.device.group.pasids and pasid_device.device.group.owner is None
    for hwpt in hwpts:
        world.destroy(hwpt)


def test_interrupts_go_by_the_rid_whatever_pasids_have(world, pasid_device, hwpts):
    pasid_device.attach(hwpts[0])
    pasid_device.request_irqs()
    pasid_device.attach(hwpts[1], pasid=5)
    assert pasid_device.fire()
    assert world.object(hwpts[1]).present_sw_msi == 0
