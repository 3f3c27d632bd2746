import struct

import pytest
from smmu.params import Params

from smmu_sim.iommu import ReservedRegion, ResvType
from smmu_sim.vfio import IOCTL, ExtensionID
from smmu_sim.vfio.container import IOMMU_INFO

STAGE2_ONLY = {"s1p": 0, "hyp": 0, "asid16": 0, "cd2l": 0, "ssidsize": 0, "had": 0}
VA, GPA = 0x7F00_0000_0000, 0x4000_0000
SET_CONTAINER, UNSET_CONTAINER = IOCTL.GROUP_SET_CONTAINER, IOCTL.GROUP_UNSET_CONTAINER


def put(world, vfio):
    return world.groups[vfio.name].ioctl(SET_CONTAINER, world.container_fd)


def take(world, vfio):
    return world.groups[vfio.name].ioctl(UNSET_CONTAINER)


# --- without a type -------------------------------------------------------------------------------

def test_what_an_empty_container_answers(world, refused):
    container = world().container
    assert container.ioctl(IOCTL.GET_API_VERSION) == 0
    answers = {n: container.ioctl(IOCTL.CHECK_EXTENSION, n) for n in range(1, 8)}
    assert answers == {1: 1, 2: 0, 3: 1, 4: 0, 5: 0, 6: 1, 7: 0}
    refused("EINVAL", container.ioctl, IOCTL.SET_IOMMU, 6)
    refused("EINVAL", container.ioctl, IOCTL.IOMMU_GET_INFO, bytearray(24))


def test_set_iommu(world, refused):
    w = world()
    vfio = w.add()
    put(w, vfio)
    refused("ENODEV", w.container.ioctl, IOCTL.SET_IOMMU, 2)
    assert w.container.type is None
    assert w.container.ioctl(IOCTL.SET_IOMMU, 3) == 0 and w.container.type == ExtensionID.TYPE1V2
    refused("EINVAL", w.container.ioctl, IOCTL.SET_IOMMU, 3)
    assert w.container.ioctl(IOCTL.CHECK_EXTENSION, 4) == 1
    refused("ENOTTY", w.container.ioctl, 0x3B00)


def test_the_ioctls_of_another_generation_do_not_exist(world, refused):
    w = world("V15")
    w.join(w.add())
    for n in (22, 23, 24, 25, 26):
        refused("ENOTTY", w.container.ioctl, 0x3B64 + n, bytearray(64))


def test_nesting_needs_both_stages(world, refused):
    w = world(params=Params(**STAGE2_ONLY))
    vfio = w.add()
    put(w, vfio)
    refused("EINVAL", w.container.ioctl, IOCTL.SET_IOMMU, 6)
    assert w.container.type is None
    w.container.ioctl(IOCTL.SET_IOMMU, 3)
    assert w.container.attachments.domains[0].hw.kind == "stage2"


# --- mappings -------------------------------------------------------------------------------------

def test_a_device_reaches_what_is_mapped_and_nothing_else(plain):
    plain.map(GPA, VA, 0x2000)
    plain.map(0x9000_0000, VA + 0x10_0000, 0x1000, flags=1)
    function, ram = plain.vfio.function, plain.machine.guest_ram()[0]
    assert function.write(GPA + 0x1FF8, b"12345678").ok
    assert plain.memory.read(ram + 0x1FF8, 8) == b"12345678"
    assert function.read(0x9000_0000, 8).ok and not function.write(0x9000_0000, bytes(8)).ok
    assert not function.read(GPA + 0x2000, 8).ok
    assert plain.unmap(GPA, 0x2000) == 0x2000
    assert not function.read(GPA, 8).ok


def test_order_of_the_checks_of_map(plain, refused):
    map_, bad = plain.map, 0x7FFF_0000_0000
    plain.map(GPA, VA, 0x1000)
    refused("EFAULT", plain.container.ioctl, IOCTL.IOMMU_MAP_DMA, bytearray(31))
    refused("EINVAL", map_, GPA, bad, 0x1000, argsz=31)
    refused("EINVAL", map_, GPA, bad, 0x1000, flags=4 | 3)
    refused("EINVAL", map_, GPA, bad, 0x1000, flags=0)
    refused("EINVAL", map_, GPA, bad, 0)
    for iova, va, size in ((GPA + 1, bad, 0x1000), (GPA, bad + 8, 0x1000), (GPA, bad, 0x1004)):
        refused("EINVAL", map_, iova, va, size)
    refused("EINVAL", map_, 2**64 - 0x1000, bad, 0x2000)
    refused("EINVAL", map_, GPA, 2**64 - 0x1000, 0x2000)
    refused("EEXIST", map_, GPA - 0x1000, bad, 0x2000)
    refused("EINVAL", map_, 0x0800_0000, bad, 0x1000)
    refused("EINVAL", map_, 1 << 48, bad, 0x1000)
    refused("EFAULT", map_, 0x5000_0000, bad, 0x1000)
    assert [m.iova for m in plain.container.mappings] == [GPA]


def test_memory_that_the_process_cannot_write_is_mapped_to_read(plain, refused):
    plain.process.mmap(VA - 0x1000, plain.machine.HOST_RAM[0], 0x1000, writable=False)
    refused("EFAULT", plain.map, GPA, VA - 0x1000, 0x1000)
    refused("EFAULT", plain.map, GPA, VA - 0x1000, 0x1000, flags=2)
    plain.map(GPA, VA - 0x1000, 0x1000, flags=1)


def test_a_mapping_that_meets_something_half_way_leaves_nothing(plain, refused):
    domain = plain.container.attachments.domains[0]
    plain.process.mmap(VA - 0x1000, plain.machine.HOST_RAM[0], 0x1000)
    domain.map(0x6000_1000, 0x4000_0000, 0x1000)
    refused("EEXIST", plain.map, 0x6000_0000, VA - 0x1000, 0x3000)
    assert domain.iova_to_phys(0x6000_0000) is None
    assert not list(plain.container.mappings)


def test_too_many_mappings(plain, refused, monkeypatch):
    monkeypatch.setattr("smmu_sim.vfio.dma_mappings._MOST_MAPPINGS", 2)
    plain.map(GPA, VA, 0x1000)
    plain.map(GPA + 0x1000, VA, 0x1000)
    refused("ENOSPC", plain.map, 0x0800_0000, VA, 0x1000)
    plain.unmap(GPA, 0x1000)
    plain.map(GPA, VA, 0x1000)


def test_order_of_the_checks_of_unmap(plain, refused):
    plain.map(GPA, VA, 0x3000)
    refused("EFAULT", plain.container.ioctl, IOCTL.IOMMU_UNMAP_DMA, bytearray(23))
    refused("EINVAL", plain.unmap, GPA, 0x3000, argsz=23)
    refused("EINVAL", plain.unmap, GPA, 0x3000, flags=1)
    refused("EINVAL", plain.unmap, GPA, 0)
    refused("EINVAL", plain.unmap, GPA, 0x3004)
    refused("EINVAL", plain.unmap, 2**64 - 0x1000, 0x2000)
    refused("EINVAL", plain.unmap, GPA + 0x1000, 0x2000)
    refused("EINVAL", plain.unmap, GPA, 0x2000)
    assert plain.unmap(0x1000, 0x1000) == 0
    assert plain.vfio.function.read(GPA, 8).ok
    plain.map(GPA + 0x4000, VA, 0x1000)
    assert plain.unmap(GPA - 0x1000, 0x10000) == 0x4000


# --- information ----------------------------------------------------------------------------------

def info(container, argsz, size=None):
    argument = bytearray(b"\xEE" * (size or argsz))
    IOMMU_INFO.put(argument, 0, argsz=argsz)
    container.ioctl(IOCTL.IOMMU_GET_INFO, argument)
    return argument, IOMMU_INFO.unpack(argument)


def test_get_info_tells_pages_and_ranges(plain, refused):
    refused("EFAULT", plain.container.ioctl, IOCTL.IOMMU_GET_INFO, bytearray(15))
    refused("EINVAL", plain.container.ioctl, IOCTL.IOMMU_GET_INFO, bytearray(24))
    _, short = info(plain.container, 24)
    assert short["flags"] == 3 and short["cap_offset"] == 0 and short["argsz"] == 72
    assert short["iova_pgsizes"] & 0xFFFF_FFFF == 0x4020_1000
    argument, full = info(plain.container, 72)
    assert full["argsz"] == 72 and full["cap_offset"] == 24
    assert struct.unpack_from("<HHIII", argument, 24) == (1, 1, 0, 2, 0)
    assert struct.unpack_from("<QQQQ", argument, 40) == (
        0, 0x07FF_FFFF, 0x0810_0000, (1 << 48) - 1)


def test_a_short_get_info_is_not_overrun(plain):
    argument, fields = info(plain.container, 16, 24)
    assert fields["flags"] == 3 and argument[16:] == b"\xEE" * 8


@pytest.mark.parametrize("generation", ["v3", "V8"])
def test_before_2019_there_were_no_ranges(world, generation):
    w = world(generation)
    w.join(w.add(), type=3)
    argument, fields = info(w.container, 24)
    assert fields["flags"] == 1 and fields["argsz"] == 24
    w.map(0x0800_0000, VA, 0x1000)


# --- groups ---------------------------------------------------------------------------------------

def test_groups_of_one_smmu_share_a_domain(world):
    w = world()
    a, b = w.add(0x42), w.add(0x43)
    w.join(a, type=3)
    w.map(GPA, VA, 0x1000)
    w.join(b)
    assert len(w.container.attachments.domains) == 1
    assert b.function.read(GPA, 8).ok


def test_a_second_smmu_gets_a_domain_with_all_mappings(world):
    w = world()
    smmu = w.second_smmu()
    a, b = w.add(0x42), w.add(0x43, smmu=smmu)
    w.join(a, type=3)
    w.map(GPA, VA, 0x1000)
    w.join(b)
    assert len(w.container.attachments.domains) == 2
    w.map(GPA + 0x1000, VA, 0x1000)
    assert b.function.write(GPA, b"abcdefgh").ok
    assert a.function.read(GPA + 0x1000, 8).data == b"abcdefgh"
    w.unmap(GPA, 0x1000)
    assert not b.function.read(GPA, 8).ok and not a.function.read(GPA, 8).ok


def test_a_mapping_that_one_domain_refuses_is_in_none(world, refused):
    w = world()
    a, b = w.add(0x42), w.add(0x43, smmu=w.second_smmu())
    w.join(a, b, type=3)
    first, second = w.container.attachments.domains
    second.map(GPA, 0x4000_0000, 0x1000)
    refused("EEXIST", w.map, GPA, VA, 0x1000)
    assert first.iova_to_phys(GPA) is None and not list(w.container.mappings)


def test_a_mapping_in_a_reserved_region_keeps_a_group_out(world, refused):
    w = world()
    a = w.add(0x42)
    b = w.add(0x43, resv_regions=[ReservedRegion(0x9000_0000, 0x1000, ResvType.RESERVED)])
    w.join(a, type=3)
    w.map(0x9000_0000, VA, 0x1000)
    before = b.device.group.domain
    refused("EINVAL", put, w, b)
    assert b.device.group.domain is before and b.device.group.owner is None
    w.unmap(0x9000_0000, 0x1000)
    put(w, b)
    refused("EINVAL", w.map, 0x9000_0000, VA, 0x1000)
    assert (0, 0x07FF_FFFF) in w.container.iova_ranges()


def test_a_relaxable_region_keeps_nobody_out(world):
    w = world()
    region = ReservedRegion(0x9000_0000, 0x1000, ResvType.DIRECT_RELAXABLE)
    w.join(w.add(0x43, resv_regions=[region]), type=3)
    w.map(0x9000_0000, VA, 0x1000)


def test_a_mapping_outside_of_the_aperture_keeps_a_group_out(world, refused):
    w = world()
    a = w.add(0x42)
    w.join(a, type=3)
    w.map(1 << 45, VA, 0x1000)
    small = Params(**STAGE2_ONLY, oas=40)
    b = w.add(0x43, smmu=w.second_smmu(small), isolated_msi=False)
    assert "aperture" in refused("EINVAL", put, w, b).reason
    w.unmap(1 << 45, 0x1000)
    refused("EPERM", put, w, b)


def test_interrupts_must_be_isolated(world, refused):
    w = world()
    vfio = w.add(isolated_msi=False)
    put(w, vfio)
    refused("EPERM", w.container.ioctl, IOCTL.SET_IOMMU, 3)
    assert w.container.type is None
    w.container.allow_unsafe_interrupts = True
    assert w.container.ioctl(IOCTL.SET_IOMMU, 3) == 0


def test_set_iommu_attaches_all_groups_or_none(world, refused):
    w = world()
    a, b = w.add(0x42), w.add(0x43, isolated_msi=False)
    put(w, a)
    put(w, b)
    refused("EPERM", w.container.ioctl, IOCTL.SET_IOMMU, 3)
    blocked = [v.device.group.domain is v.device.group.blocking_domain for v in (a, b)]
    assert blocked == [True, True] and not w.container.attachments.domains


def test_the_last_group_takes_type_and_mappings_along(world):
    w = world()
    a, b = w.add(0x42), w.add(0x43)
    for vfio in (a, b):
        put(w, vfio)
    w.container.ioctl(IOCTL.SET_IOMMU, 3)
    w.map(GPA, VA, 0x1000)
    used = w.machine.allocator.used
    take(w, a)
    assert list(w.container.mappings) and w.container.type == 3
    take(w, b)
    assert not list(w.container.mappings) and w.container.type is None
    assert w.machine.allocator.used < used
    assert not a.function.read(GPA, 8).ok


def test_the_window_of_the_driver_is_used_for_doorbells(world):
    w = world()
    region = ReservedRegion(0x9000_0000, 0x10_0000, ResvType.SW_MSI)
    vfio = w.add(resv_regions=[region])
    w.join(vfio, type=3)
    w.interrupts(vfio, 1)
    assert vfio.function.vectors[0].message.addr == 0x9000_0040
