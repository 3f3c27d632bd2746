"""Linux's selftest of iommufd, fixtures iommufd_mock_domain, dirty_tracking, vfio_compat."""

import pytest
from smmu_sim.iommufd import MemoryFile
from smmu_sim.iommufd.vfio_uapi import INFO, MAP_DMA, NUMBERS, UNMAP_DMA

VA, PA, PAGE, MAX = 0x7F00_0000_0000, 0x8_8000_0000, 0x1000, 2**64 - 1
FIXED, WRITE, READ = 1, 2, 4
HUGE_PAGES, SET = 1, 0


class Fixture:
    def __init__(self, world, count, huge):
        self.world, self.ioas = world, world.ioas()
        if not huge:
            world.option(HUGE_PAGES, SET, 0, self.ioas)
        self.devices = [world.add(0x42 + n, smmu=world.second_smmu() if n else None)
                        for n in range(count)]
        self.hwpts = [device.attach(self.ioas) for device in self.devices]

    def check(self, iova, length, va):
        """All pages of a range arrive where the process has them."""
        for device in self.devices:
            for offset in range(0, length, PAGE):
                (physical, _), = self.world.process.pages(va + offset, PAGE)
                assert self.world.physical(device, iova + offset) == physical


@pytest.fixture(params=[(1, False), (2, False), (1, True), (2, True)],
                ids=["one", "two", "one_huge", "two_huge"])
def fixture(request, world):
    return Fixture(world, *request.param)


def scattered(world, va, pages):
    """Map pages of a process so that no two are contiguous."""
    made = [world.machine.allocator.alloc(PAGE) for _ in range(2 * pages)][::2]
    for n, physical in enumerate(made):
        world.process.mmap(va + n * PAGE, physical, PAGE)


def test_basic(fixture, refused):
    world = fixture.world
    iova = world.map(fixture.ioas, None, 8 * PAGE)
    fixture.check(iova, 8 * PAGE, VA)
    assert world.unmap(fixture.ioas, iova, 8 * PAGE) == 8 * PAGE
    refused("EFAULT", world.map, fixture.ioas, None, PAGE, 0xDEAD_0000)
    refused("EFAULT", world.map, fixture.ioas, None, 2 * PAGE, 0x1000_F000)


def test_file_basic(fixture):
    world = fixture.world
    frames = [world.machine.allocator.alloc(PAGE) for _ in range(4)]
    fd = world.process.open(MemoryFile(frames))
    world.call("IOMMU_IOAS_MAP_FILE", ioas_id=fixture.ioas, fd=fd, start=PAGE, length=3 * PAGE,
               flags=FIXED | READ | WRITE, iova=0x10000)
    for device in fixture.devices:
        assert [world.physical(device, 0x10000 + n * PAGE) for n in range(3)] == frames[1:]


def test_ro_unshare(fixture):
    """A read-only mapping of writable memory does not let devices write."""
    world = fixture.world
    iova = world.map(fixture.ioas, None, flags=READ)
    for device in fixture.devices:
        assert device.function.read(iova, 4).ok and not device.function.write(iova, b"1234").ok
    world.process.write(VA, b"seen")
    assert fixture.devices[0].function.read(iova, 4).data == b"seen"


def test_all_aligns(fixture):
    """Every start and every length in a few scattered pages."""
    world = fixture.world
    scattered(world, 0x6000_0000, 4)
    for start in range(4):
        for count in range(1, 5 - start):
            va, length = 0x6000_0000 + start * PAGE, count * PAGE
            iova = world.map(fixture.ioas, None, length, va=va)
            fixture.check(iova, length, va)
            assert world.unmap(fixture.ioas, iova, length) == length
    assert not world.process.pinned


def test_all_aligns_copy(fixture):
    """The same, and a copy into a second page table of the same IOAS."""
    world = fixture.world
    scattered(world, 0x6000_0000, 3)
    late = world.add(0x60)
    for start in range(3):
        for count in range(1, 4 - start):
            va, length = 0x6000_0000 + start * PAGE, count * PAGE
            iova = world.map(fixture.ioas, None, length, va=va)
            hwpt = world.hwpt(late, fixture.ioas)
            late.attach(hwpt)
            assert world.physical(late, iova) == world.process.pages(va, PAGE)[0][0]
            late.detach()
            world.destroy(hwpt)
            fixture.check(iova, length, va)
            assert world.unmap(fixture.ioas, iova, length) == length


def test_user_copy(fixture, refused):
    world = fixture.world
    source = world.ioas()
    world.map(source, 0x10000, 4 * PAGE)
    iova = world.copy(source, 0x10000, fixture.ioas, None, 4 * PAGE)
    fixture.check(iova, 4 * PAGE, VA)
    world.unmap(source, 0x10000, 4 * PAGE)
    refused("ENOENT", world.copy, source, 0x10000, fixture.ioas, None)
    fixture.check(iova, 4 * PAGE, VA)
    world.destroy(source)


def test_replace(fixture, refused):
    world = fixture.world
    other = world.ioas()
    device, old = fixture.devices[0], fixture.hwpts[0]
    device.attach(other)
    refused("ENOENT", world.destroy, old)            # the automatic HWPT is gone
    device.attach(fixture.ioas)
    hwpt = world.hwpt(device, other)
    device.attach(hwpt)
    refused("EBUSY", world.destroy, hwpt)
    refused("ENOENT", device.attach, 99)
    assert device.idev.hwpt() is world.object(hwpt)


def test_alloc_hwpt(fixture, refused):
    world = fixture.world
    for device in fixture.devices:
        refused("EOPNOTSUPP", world.hwpt, device, fixture.ioas, 1 << 31)
        refused("EINVAL", world.hwpt, device, device.id)
        hwpt = world.hwpt(device, fixture.ioas)
        parent = world.hwpt(device, fixture.ioas, 1)
        device.attach(hwpt)
        refused("EBUSY", world.destroy, hwpt)
        device.attach(parent)
        world.destroy(hwpt)
        device.attach(fixture.ioas)
        world.destroy(parent)


def test_dirty_tracking_is_refused(world, refused):
    """enforce_dirty, set_dirty_tracking, device_dirty_capability, get_dirty_bitmap*."""
    device, ioas = world.add(), world.ioas()
    refused("EOPNOTSUPP", world.hwpt, device, ioas, 2)
    hwpt = world.hwpt(device, ioas)
    refused("EOPNOTSUPP", world.call, "IOMMU_HWPT_SET_DIRTY_TRACKING", hwpt_id=hwpt, flags=1)
    refused("EOPNOTSUPP", world.call, "IOMMU_HWPT_GET_DIRTY_BITMAP", hwpt_id=hwpt, flags=1)
    result = world.call("IOMMU_GET_HW_INFO", dev_id=device.id)
    assert not result.out_capabilities & 1


# --- vfio_compat_mock_domain ---------------------------------------------------------------------

@pytest.fixture(params=[3, 1], ids=["Ver1v2", "Ver1v0"])
def compat(request, world):
    """(world, device, the type)."""
    ioas = world.ioas()
    world.call("IOMMU_VFIO_IOAS", op=1, ioas_id=ioas)
    world.iommufd.ioctl(NUMBERS["VFIO_SET_IOMMU"], request.param)
    device = world.add()
    device.attach(ioas)
    return world, device, request.param


def ioctl(world, name, layout, **fields):
    data = layout.pack(**fields)
    world.iommufd.ioctl(NUMBERS[name], data)
    return layout.unpack(data)


def test_vfio_compat_simple_close(compat):
    world, device, _ = compat
    device.file.close()
    world.iommufd.close()
    assert len(world.iommufd.objects) == 0


def test_vfio_compat_option_huge_pages(compat):
    world, device, kind = compat
    ioas = world.iommufd.vfio_ioas
    assert world.option(HUGE_PAGES, 1, object_id=ioas.id) == int(kind == 3)


def test_vfio_compat_get_info(compat):
    info = ioctl(compat[0], "VFIO_IOMMU_GET_INFO", INFO)
    assert info.flags & 1 and info.iova_pgsizes & PAGE and info.argsz > INFO.size


def map_one(world, iova, size=PAGE, va=VA):
    ioctl(world, "VFIO_IOMMU_MAP_DMA", MAP_DMA, flags=3, vaddr=va, iova=iova, size=size)


def unmap_one(world, iova, size):
    return ioctl(world, "VFIO_IOMMU_UNMAP_DMA", UNMAP_DMA, iova=iova, size=size).size


def test_vfio_compat_map(compat, refused):
    world, device, _ = compat
    map_one(world, 0x10000)
    refused("EEXIST", map_one, world, 0x10000)
    refused("EFAULT", map_one, world, 0x20000, PAGE, 0xDEAD_0000)
    assert world.physical(device, 0x10000) == PA
    assert unmap_one(world, 0x10000, PAGE) == PAGE
    refused("ENOENT", unmap_one, world, 0x10000, PAGE)
    map_one(world, 0x10000)
    assert ioctl(world, "VFIO_IOMMU_UNMAP_DMA", UNMAP_DMA, flags=2).size == PAGE


def test_vfio_compat_huge_map(compat, refused):
    world, device, kind = compat
    size = 0x40_0000
    for part in (size, size // 2, PAGE):
        map_one(world, 0x4000_0000, size)
        assert world.physical(device, 0x4000_0000 + size - PAGE) == PA + size - PAGE
        if kind == 1 or part == size:
            for offset in range(0, size, part)[:4]:
                assert unmap_one(world, 0x4000_0000 + offset, part) == part
                assert world.physical(device, 0x4000_0000 + offset) is None
        else:
            refused("ENOENT", unmap_one, world, 0x4000_0000, part)
        ioctl(world, "VFIO_IOMMU_UNMAP_DMA", UNMAP_DMA, flags=2)
