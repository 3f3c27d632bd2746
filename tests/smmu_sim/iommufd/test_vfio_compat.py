"""An iommufd as a VFIO type 1 container."""

import pytest
from smmu_sim.iommufd.vfio_uapi import INFO, MAP_DMA, NUMBERS, UNMAP_DMA

VA, PA, PAGE = 0x7F00_0000_0000, 0x8_8000_0000, 0x1000
GET, SET, CLEAR = 0, 1, 2
TYPE1, TYPE1V2, DMA_CC, NESTING, UNMAP_ALL = 1, 3, 4, 6, 9


def ioctl(world, name, argument=None):
    return world.iommufd.ioctl(NUMBERS[name], argument)


def container(world, ioas_id=None, op=SET):
    return world.call("IOMMU_VFIO_IOAS", op=op, ioas_id=ioas_id or 0).ioas_id


def map_dma(world, iova, size=PAGE, **fields):
    return ioctl(world, "VFIO_IOMMU_MAP_DMA", MAP_DMA.pack(**{
        "flags": 3, "vaddr": VA, "iova": iova, "size": size, **fields}))


def unmap_dma(world, iova=0, size=0, **fields):
    data = UNMAP_DMA.pack(**{"iova": iova, "size": size, **fields})
    ioctl(world, "VFIO_IOMMU_UNMAP_DMA", data)
    return UNMAP_DMA.unpack(data).size


@pytest.fixture
def ioas(world):
    ioas = world.ioas()
    container(world, ioas)
    return ioas


def test_which_ioas_is_the_container(world, refused):
    refused("ENODEV", container, world, op=GET)
    refused("ENOENT", container, world, 99)
    ioas = world.ioas()
    container(world, ioas)
    assert container(world, op=GET) == ioas
    container(world, op=CLEAR)
    refused("ENODEV", container, world, op=GET)
    refused("EOPNOTSUPP", container, world, op=3)
    refused("EOPNOTSUPP", world.call, "IOMMU_VFIO_IOAS", op=GET, reserved=1)


def test_a_destroyed_ioas_is_no_container(world, ioas, refused):
    world.destroy(ioas)
    refused("ENODEV", container, world, op=GET)
    world.ioas()                                     # with the same id
    refused("ENODEV", container, world, op=GET)


def test_version_and_extensions(world, ioas, refused):
    assert ioctl(world, "VFIO_GET_API_VERSION") == 0
    for extension, there in ((TYPE1, 1), (TYPE1V2, 1), (UNMAP_ALL, 1), (NESTING, 0), (77, 0)):
        assert ioctl(world, "VFIO_CHECK_EXTENSION", extension) == there
    assert ioctl(world, "VFIO_CHECK_EXTENSION", DMA_CC) == 1
    world.add(master={"canwbs": False}).attach(ioas)
    assert ioctl(world, "VFIO_CHECK_EXTENSION", DMA_CC) == 0
    refused("ENOTTY", ioctl, world, "VFIO_IOMMU_DIRTY_PAGES", bytearray(64))


def test_types(world, ioas, refused):
    assert ioctl(world, "VFIO_SET_IOMMU", TYPE1V2) == 0
    assert world.object(ioas).huge_pages
    assert ioctl(world, "VFIO_SET_IOMMU", TYPE1) == 0
    assert not world.object(ioas).huge_pages
    refused("EINVAL", ioctl, world, "VFIO_SET_IOMMU", NESTING)


def test_without_an_ioas_nothing_works(world, refused):
    refused("ENODEV", ioctl, world, "VFIO_SET_IOMMU", TYPE1)
    refused("ENODEV", map_dma, world, 0x10000)
    refused("ENODEV", unmap_dma, world, 0x10000, PAGE)
    refused("ENODEV", ioctl, world, "VFIO_IOMMU_GET_INFO", INFO.pack())
    refused("ENODEV", ioctl, world, "VFIO_CHECK_EXTENSION", DMA_CC)


@pytest.mark.parametrize("call, layout", [
    ("VFIO_IOMMU_MAP_DMA", MAP_DMA), ("VFIO_IOMMU_UNMAP_DMA", UNMAP_DMA),
    ("VFIO_IOMMU_GET_INFO", INFO)])
def test_arguments(world, ioas, refused, call, layout):
    refused("EFAULT", ioctl, world, call)
    refused("EINVAL", ioctl, world, call, layout.pack(argsz=layout.min_size - 1))


def test_map_and_unmap(world, ioas, refused):
    device = world.add()
    device.attach(ioas)
    for flags in (0, 4, 8, 7):
        refused("EINVAL", map_dma, world, 0x10000, flags=flags)
    map_dma(world, 0x10000, 4 * PAGE)
    refused("EEXIST", map_dma, world, 0x11000)
    map_dma(world, 0x20000, flags=1)
    assert world.physical(device, 0x13000) == PA + 0x3000
    assert not device.function.write(0x20000, b"1234").ok
    refused("ENOENT", unmap_dma, world, 0x11000, PAGE)
    refused("EINVAL", unmap_dma, world, 0x10000, PAGE, flags=1)
    assert unmap_dma(world, 0x10000, 4 * PAGE) == 4 * PAGE
    refused("EINVAL", unmap_dma, world, 0x10000, 0, flags=2)
    assert unmap_dma(world, flags=2) == PAGE and world.physical(device, 0x20000) is None


def test_type_1_cuts_mappings(world, ioas, refused):
    ioctl(world, "VFIO_SET_IOMMU", TYPE1)
    device = world.add()
    device.attach(ioas)
    map_dma(world, 0x40_0000, 0x20_0000)
    assert unmap_dma(world, 0x40_2000, 3 * PAGE) == 3 * PAGE
    assert [world.physical(device, 0x40_0000 + n * PAGE) is None for n in range(6)] == [
        False, False, True, True, True, False]
    refused("EINVAL", unmap_dma, world, 0x40_0800, PAGE)
    assert unmap_dma(world, flags=2) == 0x20_0000 - 3 * PAGE
    assert not world.process.pinned and world.process.user.locked_pages == 0


def test_info(world, ioas):
    data = INFO.pack()
    ioctl(world, "VFIO_IOMMU_GET_INFO", data)
    info = INFO.unpack(data)
    assert info.flags == 3 and info.cap_offset == 0 and info.iova_pgsizes == 2**64 - PAGE
    world.add().attach(ioas)
    data = bytearray(INFO.pack(argsz=24)[:24])
    ioctl(world, "VFIO_IOMMU_GET_INFO", data)
    size = INFO.unpack(data).argsz
    assert size == 24 + 16 + 2 * 16 + 12
    data = INFO.pack(argsz=size) + bytes(size - 24)
    ioctl(world, "VFIO_IOMMU_GET_INFO", data)
    info = INFO.unpack(data)
    assert (info.argsz, info.cap_offset) == (size, 24)
    assert info.iova_pgsizes == sum(world.object(ioas).domains[0].page_sizes)
    words = [int.from_bytes(data[at:at + 8], "little") for at in range(40, 72, 8)]
    assert words[:3] == [0, 0x07FF_FFFF, 0x0810_0000]
    assert data[24:28] == bytes([1, 0, 1, 0]) and data[28] == 72 and data[32] == 2
    assert data[72:76] == bytes([3, 0, 1, 0]) and data[80:84] == b"\xff\xff\0\0"


def test_info_of_an_old_user_is_not_longer_than_he_says(world, ioas):
    data = bytearray(INFO.pack(argsz=16)[:16])
    ioctl(world, "VFIO_IOMMU_GET_INFO", data)
    assert len(data) == 16 and INFO.unpack(data).iova_pgsizes == 2**64 - PAGE
