"""What a device tells of itself: regions and interrupts with their capabilities."""

import struct

import pytest

from smmu_sim.vfio import IOCTL, OFFSET_SHIFT, IRQIndex
from smmu_sim.vfio.device import DEVICE_INFO
from smmu_sim.vfio.device_interrupts import IRQ_INFO
from smmu_sim.vfio.device_regions import REGION_INFO

BAR4 = 4 << OFFSET_SHIFT


def device_info(vfio):
    argument = bytearray(DEVICE_INFO.pack(argsz=16))
    vfio.ioctl(IOCTL.DEVICE_GET_INFO, argument)
    fields = DEVICE_INFO.unpack(argument)
    return fields["flags"], fields["num_regions"], fields["num_irqs"]


def region_info(vfio, index, argsz=128):
    argument = bytearray(REGION_INFO.pack(argsz=argsz, index=index).ljust(argsz, b"\0"))
    vfio.ioctl(IOCTL.DEVICE_GET_REGION_INFO, argument)
    return REGION_INFO.unpack(argument), capabilities(argument, REGION_INFO.unpack(argument))


def irq_info(vfio, index, argsz=64):
    argument = bytearray(IRQ_INFO.pack(argsz=argsz, index=index).ljust(argsz, b"\0"))
    vfio.ioctl(IOCTL.DEVICE_GET_IRQ_INFO, argument[:argsz] and argument)
    return IRQ_INFO.unpack(argument), capabilities(argument, IRQ_INFO.unpack(argument))


def capabilities(argument, fields):
    found, at = {}, fields["cap_offset"]
    while at:
        number, version, following = struct.unpack_from("<HHI", argument, at)
        assert version == 1
        found[number] = bytes(argument[at + 8 : following or len(argument)])
        at = following
    return found


def u32(data, count):
    return struct.unpack_from(f"<{count}I", data)


@pytest.mark.parametrize("generation, regions, irqs", [
    ("v3", 10, 6), ("V8", 11, 6), ("V10", 10, 6), ("V15", 11, 6)])
def test_numbers_of_regions_and_interrupts(world, generation, regions, irqs):
    w = world(generation)
    vfio = w.add()
    w.join(vfio)
    assert device_info(vfio) == (3, regions, irqs)


def test_without_nesting_there_is_nothing_for_faults(plain):
    assert device_info(plain.vfio) == (3, 9, 5) and plain.vfio.faults is None


def test_errors_of_the_ioctls(plain, refused):
    vfio = plain.vfio
    refused("EFAULT", vfio.ioctl, IOCTL.DEVICE_GET_INFO, bytearray(15))
    refused("EINVAL", vfio.ioctl, IOCTL.DEVICE_GET_INFO, bytearray(16))
    refused("EFAULT", vfio.ioctl, IOCTL.DEVICE_GET_REGION_INFO, bytearray(31))
    refused("EINVAL", region_info, vfio, 9)
    refused("ENOTTY", vfio.ioctl, IOCTL.IOMMU_MAP_DMA, bytearray(32))
    short = bytearray(REGION_INFO.pack(argsz=31))
    refused("EINVAL", vfio.ioctl, IOCTL.DEVICE_GET_REGION_INFO, short)


def test_the_bar_with_the_table_is_mappable_around_it(plain):
    fields, caps = region_info(plain.vfio, 4)
    assert fields["size"] == 0x10000 and fields["offset"] == BAR4 and fields["flags"] == 15
    assert list(caps) == [1] and struct.unpack("<IIQQ", caps[1][:24]) == (1, 0, 0x1000, 0xF000)
    fields, caps = region_info(plain.vfio, 4, 32)
    assert fields["argsz"] == 64 and fields["cap_offset"] == 0 and fields["flags"] & 8
    fields, caps = region_info(plain.vfio, 0)
    assert fields["flags"] == 7 and not caps
    assert region_info(plain.vfio, 6)[0]["size"] == 0


@pytest.mark.parametrize("generation, kind, entry", [("v3", 2, 48), ("V10", 2, 64), ("V15", 4, 64)])
def test_the_fault_region_describes_itself(world, generation, kind, entry):
    w = world(generation)
    vfio = w.add()
    w.join(vfio)
    fields, caps = region_info(vfio, 9)
    size = 4096 + entry * 512
    assert fields["size"] == size and fields["flags"] == 15
    assert fields["offset"] == 9 << OFFSET_SHIFT
    assert u32(caps[2], 2) == (kind, 1) and u32(caps[6], 1) == (1,)
    assert struct.unpack_from("<IIQQ", caps[1]) == (1, 0, 4096, size - 4096)
    assert u32(vfio.read(9 << OFFSET_SHIFT, 20), 5) == (0, entry, 512, 4096, 0)


def test_the_two_fault_regions_of_v8(world, refused):
    w = world("V8")
    vfio = w.add()
    w.join(vfio)
    fields, caps = region_info(vfio, 9)
    assert fields["flags"] == 1 | 4 | 8 and u32(caps[2], 2) == (2, 1) and u32(caps[6], 1) == (1,)
    fields, caps = region_info(vfio, 10)
    assert fields["flags"] == 2 | 8 and fields["size"] == 8 and u32(caps[2], 2) == (2, 2)
    assert 6 not in caps
    refused("EINVAL", vfio.mmap, 10 << OFFSET_SHIFT, 4096)


def test_the_response_region_of_v15(world):
    w = world("V15")
    vfio = w.add()
    w.join(vfio)
    fields, caps = region_info(vfio, 10)
    assert fields["size"] == 4096 + 24 * 512 and u32(caps[2], 2) == (4, 2)
    assert 6 not in caps and u32(caps[7], 1) == (1,)
    assert u32(vfio.read(10 << OFFSET_SHIFT, 20), 5) == (0, 24, 512, 4096, 0)


def test_irq_info(plain, refused):
    vfio = plain.vfio
    answers = {index: (irq_info(vfio, index)[0]["count"], irq_info(vfio, index)[0]["flags"])
               for index in (0, 1, 2, 4)}
    assert answers == {0: (0, 7), 1: (0, 9), 2: (8, 9), 4: (1, 1)}
    refused("EINVAL", irq_info, vfio, IRQIndex.ERR)
    refused("EINVAL", irq_info, vfio, 5)
    refused("EINVAL", vfio.ioctl, IOCTL.DEVICE_GET_IRQ_INFO,
            bytearray(IRQ_INFO.pack(argsz=15, index=2)))
    refused("EFAULT", vfio.ioctl, IOCTL.DEVICE_GET_IRQ_INFO, bytearray(15))
    old = bytearray(IRQ_INFO.pack(argsz=16, index=2)[:16])
    vfio.ioctl(IOCTL.DEVICE_GET_IRQ_INFO, old)
    assert u32(old, 4) == (16, 9, 2, 8)


@pytest.mark.parametrize("generation, by_capability", [
    ("v3", False), ("V8", False), ("V10", True), ("V15", True)])
def test_how_the_fault_interrupt_is_found(world, generation, by_capability):
    w = world(generation)
    vfio = w.add()
    w.join(vfio)
    fields, caps = irq_info(vfio, 5)
    assert fields["count"] == 1 and fields["flags"] == (17 if by_capability else 1)
    assert (u32(caps[3], 2) == (1, 1)) if by_capability else not caps
    if by_capability:
        short, _ = irq_info(vfio, 5, 20)
        assert short["argsz"] == 36 and short["cap_offset"] == 0
