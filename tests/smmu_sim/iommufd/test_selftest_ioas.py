"""Linux's selftest of iommufd, fixture iommufd_ioas.

Its variants have no device, one, or two that cannot share a page table.
"""

import pytest

VA, PA, PAGE, MAX = 0x7F00_0000_0000, 0x8_8000_0000, 0x1000, 2**64 - 1
FIXED, WRITE, READ = 1, 2, 4
RESERVED = 0x0800_0000
HUGE_PAGES, SET, GET = 1, 0, 1
SCRATCH = 0x1000_0000


class Fixture:
    def __init__(self, world, count):
        self.world, self.ioas = world, world.ioas()
        self.devices = [world.add(0x42 + n, smmu=world.second_smmu() if n else None)
                        for n in range(count)]
        self.hwpts = [device.attach(self.ioas) for device in self.devices]

    def reach(self, iova):
        """Where each device arrives."""
        return {self.world.physical(device, iova) for device in self.devices}


@pytest.fixture(params=[0, 1, 2], ids=["no_domain", "mock_domain", "two_mock_domain"])
def fixture(request, world):
    return Fixture(world, request.param)


@pytest.fixture
def domain(world):
    return Fixture(world, 1)


def test_ioas_auto_destroy(fixture):
    world = fixture.world
    for device in fixture.devices:
        device.file.close()
    world.iommufd.close()
    assert len(world.iommufd.objects) == 0


def test_ioas_destroy(fixture, refused):
    if fixture.devices:
        refused("EBUSY", fixture.world.destroy, fixture.ioas)
    else:
        fixture.world.destroy(fixture.ioas)


def test_alloc_hwpt_nested(domain, refused):
    world, device = domain.world, domain.devices[0]
    parent = world.hwpt(device, domain.ioas, 1)
    plain = world.hwpt(device, domain.ioas)
    refused("EOPNOTSUPP", world.hwpt, device, domain.ioas, 1 << 31)
    refused("EINVAL", world.viommu, device, plain)
    refused("EOPNOTSUPP", world.nested, device, parent)
    viommu = world.viommu(device, parent)
    world.vdevice(device, viommu)
    refused("EINVAL", world.nested, device, viommu, data_len=4)
    refused("EOPNOTSUPP", world.nested, device, viommu, flags=1)
    nested = [world.nested(device, viommu) for _ in range(2)]
    refused("EBUSY", world.destroy, parent)
    device.attach(nested[0])
    refused("EBUSY", world.destroy, nested[0])
    device.attach(nested[1])                         # rotate
    world.destroy(nested[0])
    refused("EIO", world.invalidate, viommu, [0x30, 0x46])
    assert world.entry_num() == 1
    device.attach(domain.ioas)
    for number in (nested[1], world.object(viommu).vdevices[0x10].id, viommu, parent, plain):
        world.destroy(number)


def test_hwpt_attach(fixture, refused):
    world = fixture.world
    device = world.add(0x50)
    refused("ENOENT", device.attach, 99)
    hwpt = world.hwpt(device, fixture.ioas)
    device.attach(hwpt)
    device.detach()
    world.destroy(hwpt)


def test_ioas_area_destroy(fixture, refused):
    world = fixture.world
    world.map(fixture.ioas, 0x10000)
    if fixture.devices:
        refused("EBUSY", world.destroy, fixture.ioas)
    else:
        world.destroy(fixture.ioas)
        assert not world.process.pinned


def test_ioas_area_auto_destroy(fixture):
    world = fixture.world
    for n in range(10):
        world.map(fixture.ioas, 0x10000 * (n + 1))
    for device in fixture.devices:
        device.file.close()
    world.iommufd.close()
    assert not world.process.pinned and world.process.user.locked_pages == 0


def test_get_hw_info(fixture, refused):
    world = fixture.world
    device = world.add(0x50, max_pasids=1 << 20)

    def info(length, **fields):
        return world.call("IOMMU_GET_HW_INFO", **{
            "dev_id": device.id, "data_len": length, "data_uptr": SCRATCH, **fields})

    for length in (0, 40, 64, 4):
        result = info(length)
        assert (result.data_type, result.data_len, result.out_max_pasid_log2) == (2, 40, 20)
    refused("EOPNOTSUPP", info, 40, flags=1, data_type=0xDEAD)
    refused("ENOENT", info, 40, dev_id=fixture.ioas)


def test_area(fixture, refused):
    world, ioas = fixture.world, fixture.ioas
    refused("ENOENT", world.unmap, ioas, 0x4000_0000, PAGE)
    for n in range(10):
        world.map(ioas, 0x4000_0000 + n * 16 * PAGE, 8 * PAGE)
    assert world.unmap(ioas, 0x4000_0000, 8 * PAGE) == 8 * PAGE
    start = 0x4000_0000 + 16 * PAGE
    refused("ENOENT", world.unmap, ioas, start + PAGE, PAGE)
    refused("ENOENT", world.unmap, ioas, start, PAGE)
    refused("ENOENT", world.unmap, ioas, start + PAGE, 8 * PAGE)
    refused("EEXIST", world.map, ioas, start, PAGE)
    refused("EEXIST", world.map, ioas, start - PAGE, 2 * PAGE)
    assert world.unmap(ioas, 0, MAX) == 9 * 8 * PAGE
    assert world.unmap(ioas, 0, MAX) == 0
    assert fixture.reach(start) <= {None}


def test_unmap_fully_contained_areas(fixture):
    world, ioas = fixture.world, fixture.ioas
    for n in range(4):
        world.map(ioas, 0x4000_0000 + n * 16 * PAGE, 8 * PAGE)
    assert world.unmap(ioas, 0x4000_0000 - PAGE, 80 * PAGE) == 32 * PAGE


def test_area_auto_iova(fixture, refused):
    world, ioas = fixture.world, fixture.ioas
    iovas = []
    for n in range(8):
        length = PAGE << n
        iova = world.map(ioas, None, length)
        assert iova % length == 0
        iovas.append((iova, length))
    for iova, length in iovas:
        assert world.unmap(ioas, iova, length) == length
    if fixture.devices:
        refused("EADDRINUSE", world.allow, ioas, [(RESERVED, RESERVED + PAGE)])
        world.allow(ioas, [(RESERVED - PAGE, RESERVED - 1)])
        assert world.map(ioas, None) == RESERVED - PAGE
        refused("ENOSPC", world.map, ioas, None)
    world.allow(ioas, [])
    world.allow(ioas, [(0x5000, 0xCFFF)])
    for _ in range(4):
        assert 0x5000 <= world.map(ioas, None) <= 0xCFFF


def test_reserved_overflow(fixture, refused):
    """The rest of a small room is not counted wrongly."""
    world, ioas = fixture.world, fixture.ioas
    world.allow(ioas, [(0x10000, 0x15FFF)])
    world.map(ioas, 0x12000)
    refused("ENOSPC", world.map, ioas, None, 8 * PAGE)
    assert world.map(ioas, None, 2 * PAGE) == 0x10000


def test_area_allowed(domain, refused):
    """A device's regions, and allowed ranges, keep off each other in both directions."""
    world = domain.world
    ioas = world.ioas()
    world.allow(ioas, [(RESERVED - PAGE, RESERVED + PAGE)])
    refused("EADDRINUSE", domain.devices[0].attach, ioas)
    refused("EADDRINUSE", world.allow, domain.ioas, [(RESERVED, RESERVED + PAGE)])
    world.allow(domain.ioas, [(0x10000, 0x1FFFF)])


def test_copy_area(fixture):
    world, ioas = fixture.world, fixture.ioas
    iova = world.map(ioas, 0x10000)
    assert world.copy(ioas, iova, ioas, 0x40000) == 0x40000
    other = world.ioas()
    assert world.copy(ioas, iova, other, None) and world.copy(ioas, iova, ioas, None)
    assert fixture.reach(0x40000) <= {PA}


def test_iova_ranges(fixture, refused):
    world, ioas = fixture.world, fixture.ioas
    ranges, alignment = world.ranges(ioas)
    if not fixture.devices:
        assert (ranges, alignment) == ([(0, MAX)], 1)
        refused("EMSGSIZE", world.ranges, ioas, 0)
        return
    assert alignment == PAGE and ranges[0] == (0, RESERVED - 1) and len(ranges) == 2
    refused("EMSGSIZE", world.ranges, ioas, 1)
    assert world.stored_ranges(1) == ranges[:1]
    assert world.ranges(ioas, 8)[0] == ranges


def test_access_domain_destory(domain):
    """Pages outlive the page table that they were pinned for, if they are used otherwise."""
    world = domain.world
    other = Fixture(world, 0)
    device = world.add(0x60)
    world.map(domain.ioas, 0x10000)
    world.copy(domain.ioas, 0x10000, other.ioas, 0x20000)
    device.attach(other.ioas)
    domain.devices[0].detach()
    world.unmap(domain.ioas, 0x10000, PAGE)
    assert world.physical(device, 0x20000) == PA and world.process.pinned


def test_fork_gone(fixture, refused):
    world = fixture.world
    child = world.process.fork()
    world.call("IOMMU_IOAS_MAP", process=child, ioas_id=fixture.ioas, iova=0x10000, length=PAGE,
               user_va=VA, flags=FIXED | READ | WRITE)
    child.exit()
    late = world.add(0x60)
    if fixture.devices:
        assert fixture.reach(0x10000) == {PA}        # pinned while there was a process
        late.attach(world.hwpt(late, fixture.ioas))
        assert world.physical(late, 0x10000) == PA
    else:
        refused("EFAULT", late.attach, fixture.ioas)


def test_fork_present(fixture):
    world = fixture.world
    child = world.process.fork()
    world.call("IOMMU_IOAS_MAP", process=child, ioas_id=fixture.ioas, iova=0x10000, length=PAGE,
               user_va=VA, flags=FIXED | READ | WRITE)
    late = world.add(0x60)
    late.attach(world.hwpt(late, fixture.ioas))
    assert world.physical(late, 0x10000) == PA and fixture.reach(0x10000) <= {PA}


def test_ioas_option_huge_pages(fixture, refused):
    world, ioas = fixture.world, fixture.ioas
    assert world.option(HUGE_PAGES, GET, object_id=ioas) == 1
    for value in (0, 1):
        world.option(HUGE_PAGES, SET, value, ioas)
        assert world.option(HUGE_PAGES, GET, object_id=ioas) == value
    refused("EINVAL", world.option, HUGE_PAGES, SET, 2, ioas)
    refused("ENOENT", world.option, HUGE_PAGES, SET, 1, 0)


def test_ioas_iova_alloc(fixture, refused):
    world, ioas = fixture.world, fixture.ioas
    for length in (1, PAGE // 2 + 1, PAGE + 1, 3 * PAGE):
        if fixture.devices and length % PAGE:
            refused("EINVAL", world.map, ioas, None, length)
        else:
            iova = world.map(ioas, None, length)
            assert iova % min(1 << (length - 1).bit_length(), PAGE) == 0
            assert world.unmap(ioas, iova, length) == length


def test_ioas_align_change(domain, refused):
    world = domain.world
    ioas = world.ioas()
    world.map(ioas, 0x10001, PAGE)
    refused("EADDRINUSE", world.option, HUGE_PAGES, SET, 0, ioas)
    refused("EADDRINUSE", domain.devices[0].attach, ioas)
    world.unmap(ioas, 0, MAX)
    domain.devices[0].attach(ioas)
    refused("EINVAL", world.map, ioas, 0x10001, PAGE)


def test_copy_sweep(fixture, refused):
    """Every range of a page around and in a mapping."""
    world, ioas = fixture.world, fixture.ioas
    target = world.ioas()
    start, end = 0x10000, 0x14000
    world.map(ioas, start, end - start)
    for iova in range(start - PAGE, end + PAGE, PAGE // 2):
        if start <= iova <= end - PAGE:
            copied = world.copy(ioas, iova, target, None)
            assert world.unmap(target, copied, PAGE) == PAGE
        else:
            refused("ENOENT", world.copy, ioas, iova, target, None)
