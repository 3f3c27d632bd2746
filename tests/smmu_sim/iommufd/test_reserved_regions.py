"""Reserved regions at attach (iommufd/io_pagetable.c)."""

import pytest
from smmu_sim.iommu import ReservedRegion, ResvType

WINDOW = 0x0800_0000
MAX = 2**64 - 1


def region(start, type, length=0x1000):
    return ReservedRegion(start, length, type)


def test_attach_reserves_the_devices_regions_and_detach_gives_them_back(world, refused):
    device = world.add(resv_regions=[region(0x100_0000, ResvType.RESERVED),
                                     region(0x200_0000, ResvType.RESERVED)])
    ioas = world.ioas()
    hwpt = world.hwpt(device, ioas)
    before = world.ranges(ioas)
    device.attach(hwpt)
    for iova in (0x100_0000, 0x200_0000, WINDOW, WINDOW + 0xF_F000):
        refused("EINVAL", world.map, ioas, iova)
    world.map(ioas, 0x101_0000)
    device.detach()
    assert world.ranges(ioas) == before
    world.map(ioas, WINDOW)


def test_relaxable_regions_are_not_reserved(world):
    device = world.add(resv_regions=[region(0x100_0000, ResvType.DIRECT_RELAXABLE)])
    ioas = world.ioas()
    device.attach(ioas)
    world.map(ioas, 0x100_0000)


def test_what_is_mapped_in_a_region_prevents_the_attach(world, refused):
    device, ioas = world.add(resv_regions=[region(0x100_0000, ResvType.RESERVED)]), world.ioas()
    hwpt = world.hwpt(device, ioas)
    world.map(ioas, WINDOW)
    before = world.ranges(ioas)
    refused("EADDRINUSE", device.attach, hwpt)
    assert world.ranges(ioas) == before and not device.idev.is_attached()
    world.unmap(ioas, WINDOW, 0x1000)
    device.attach(hwpt)


def test_what_is_allowed_in_a_region_prevents_the_attach(world, refused):
    device, ioas = world.add(), world.ioas()
    world.allow(ioas, [(0, 0x0FFF_FFFF)])
    refused("EADDRINUSE", device.attach, ioas)
    world.allow(ioas, [(0, WINDOW - 1)])
    device.attach(ioas)


@pytest.mark.parametrize("types", [
    (ResvType.SW_MSI, ResvType.MSI), (ResvType.SW_MSI, ResvType.SW_MSI)])
def test_contradictory_doorbell_regions_are_refused(world, refused, types):
    device = world.add(resv_regions=[region(0x100_0000 * (n + 1), kind)
                                     for n, kind in enumerate(types)])
    ioas = world.ioas()
    before = world.ranges(ioas)
    refused("EINVAL", device.attach, ioas)
    assert world.ranges(ioas) == before and len(world.iommufd.objects) == 2


def test_regions_of_several_devices_may_overlap(world, refused):
    one, other, ioas = world.add(0x42), world.add(0x43), world.ioas()
    one.attach(ioas)
    other.attach(ioas)
    one.detach()
    refused("EINVAL", world.map, ioas, WINDOW)
    other.detach()
    world.map(ioas, WINDOW)


def test_replace_moves_reservations_to_the_other_ioas(world, refused):
    device, first, second = world.add(), world.ioas(), world.ioas()
    device.attach(first)
    device.attach(second)
    refused("EINVAL", world.map, second, WINDOW)
    world.map(first, WINDOW)
    refused("EADDRINUSE", device.attach, first)      # and a refused one leaves them
    refused("EINVAL", world.map, second, WINDOW)
    world.unmap(first, WINDOW, 0x1000)
    assert world.ranges(first) == ([(0, MAX)], 1)


def test_a_device_that_firmware_wants_mapped_one_to_one_cannot_be_bound(world, refused):
    device = world.add(resv_regions=[region(0x4800_0000, ResvType.DIRECT)], bind=False)
    refused("EINVAL", device.bind)
    assert len(world.iommufd.objects) == 0 and world.physical(device, 0x4800_0000) == 0x4800_0000
