"""What is common to all ioctls: numbers, sizes, bad pointers."""

import pytest
from smmu_sim.iommufd.uapi import LAYOUTS, NUMBERS

DESTROY, ALLOC = NUMBERS["IOMMU_DESTROY"], NUMBERS["IOMMU_IOAS_ALLOC"]
ADDR = 0x1000_0000


def test_a_null_pointer_is_refused(world, refused):
    refused("EFAULT", world.iommufd.ioctl, DESTROY, None)


@pytest.mark.parametrize("number", [0x3B7F, 0x3BFF, 0x3B95, 0x3C80, 0x80, 0x4008_3B80])
def test_unknown_numbers_are_refused(world, refused, number):
    refused("ENOTTY", world.iommufd.ioctl, number, bytearray(64))


def test_the_pointer_is_looked_at_before_the_encoding(world, refused):
    refused("EFAULT", world.iommufd.ioctl, 0x4008_3B80, None)
    refused("ENOTTY", world.iommufd.ioctl, 0x3B7F, None)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_struct_that_is_too_short_is_refused(world, refused, name):
    layout = LAYOUTS[name]
    data = layout.pack(size=layout.min_size - 1)
    refused("EINVAL", world.iommufd.ioctl, NUMBERS[name], data)


@pytest.mark.parametrize("name", LAYOUTS)
def test_unknown_bytes_must_be_zero(world, refused, name):
    layout = LAYOUTS[name]
    data = layout.pack(size=layout.size + 1) + b"\1"
    refused("E2BIG", world.iommufd.ioctl, NUMBERS[name], data)


def outcome(world, number, data):
    try:
        return world.iommufd.ioctl(number, data)
    except OSError as error:
        return error.name


@pytest.mark.parametrize("name", LAYOUTS)
def test_unknown_bytes_that_are_zero_change_nothing(make, name):
    layout, number = LAYOUTS[name], NUMBERS[name]
    exact = outcome(make(), number, layout.pack())
    longer = outcome(make(), number, layout.pack(size=layout.size + 1) + b"\0")
    assert exact == longer


def test_a_struct_beyond_the_argument_is_a_bad_pointer(world, refused):
    refused("EFAULT", world.iommufd.ioctl, DESTROY, bytearray(b"\x08\0\0\0\1\0"))
    refused("EFAULT", world.iommufd.ioctl, DESTROY, bytearray(3))


def test_what_an_old_user_did_not_pass_is_zero_and_not_written(world):
    device, ioas = world.add(), world.ioas()
    layout = LAYOUTS["IOMMU_HWPT_ALLOC"]
    data = layout.pack(size=24, dev_id=device.id, pt_id=ioas)[:24]
    world.iommufd.ioctl(NUMBERS["IOMMU_HWPT_ALLOC"], data)
    assert len(data) == 24 and world.object(layout.unpack(data).out_hwpt_id)


def test_the_argument_can_be_an_address_of_the_process(world, refused):
    world.process.write(ADDR, LAYOUTS["IOMMU_IOAS_ALLOC"].pack())
    assert world.iommufd.ioctl(ALLOC, ADDR) == 0
    assert world.process.read(ADDR + 8, 4) == b"\1\0\0\0"
    refused("EFAULT", world.iommufd.ioctl, ALLOC, 0xDEAD_0000)


def test_an_object_whose_id_cannot_be_told_does_not_come_to_life(world, refused):
    physical = world.machine.allocator.alloc(0x1000)
    world.memory.write(physical, bytes(LAYOUTS["IOMMU_IOAS_ALLOC"].pack()))
    world.process.mmap(0x2000_0000, physical, 0x1000, writable=False)
    refused("EFAULT", world.iommufd.ioctl, ALLOC, 0x2000_0000)
    assert len(world.iommufd.objects) == 0 and world.ioas() == 1


def test_other_arguments_are_a_mistake_of_the_caller(world):
    with pytest.raises(TypeError):
        world.iommufd.ioctl(DESTROY, b"\0" * 8)


def test_a_closed_file_takes_no_ioctl(world, refused):
    world.process.close(world.iommufd.fd)
    refused("EBADF", world.ioas)
