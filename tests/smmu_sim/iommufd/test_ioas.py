"""IOAS: map, copy, unmap (iommufd/ioas.c)."""

import pytest

VA, PA, PAGE, MAX = 0x7F00_0000_0000, 0x8_8000_0000, 0x1000, 2**64 - 1
FIXED, WRITE, READ = 1, 2, 4


@pytest.fixture
def ioas(world):
    return world.ioas()


def areas(world, ioas):
    return [(area.iova, area.length) for area in world.object(ioas).space.areas]


# --- map -----------------------------------------------------------------------------------------

def test_alloc_refuses_flags(world, refused):
    refused("EOPNOTSUPP", world.call, "IOMMU_IOAS_ALLOC", flags=1)


@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"flags": 8 | READ}), ("EOPNOTSUPP", {"reserved": 1}),
    ("EOVERFLOW", {"iova": MAX}), ("EOVERFLOW", {"length": MAX}), ("EINVAL", {"flags": FIXED}),
    ("EINVAL", {"length": 0}), ("EOVERFLOW", {"length": 0, "flags": READ}),
    ("EOVERFLOW", {"length": 1 << 63, "flags": READ}), ("EOVERFLOW", {"user_va": MAX - 1}),
    ("EOVERFLOW", {"iova": MAX - PAGE + 1, "length": 2 * PAGE}), ("ENOENT", {"ioas_id": 9})])
def test_map_refuses(world, ioas, refused, name, fields):
    refused(name, world.call, "IOMMU_IOAS_MAP", **{
        "ioas_id": ioas, "flags": FIXED | READ, "user_va": VA, "length": PAGE, "iova": 0x10000,
        **fields})
    assert areas(world, ioas) == []


def test_overlaps_are_refused(world, ioas, refused):
    world.map(ioas, 0x10000, 4 * PAGE)
    for iova, length in ((0x10000, PAGE), (0xF000, 2 * PAGE), (0x13000, PAGE), (0xF000, 8 * PAGE)):
        refused("EEXIST", world.map, ioas, iova, length)
    world.map(ioas, 0xF000)
    world.map(ioas, 0x14000)


def test_without_a_domain_any_alignment_and_any_address_will_do(world, ioas):
    world.map(ioas, 0x1_0003, 5, va=0xDEAD_BEEF)
    assert areas(world, ioas) == [(0x1_0003, 5)] and not world.process.pinned


@pytest.mark.parametrize("fields", [
    {"iova": 0x10800}, {"length": 0x800}, {"va": VA + 0x800}])
def test_a_domain_brings_its_alignment(world, ioas, refused, fields):
    world.add().attach(ioas)
    refused("EINVAL", world.map, ioas, **{"iova": 0x10000, **fields})


def test_bad_user_memory_shows_when_it_is_pinned(world, ioas, refused):
    device = world.add()
    world.map(ioas, 0x10000, va=0xDEAD_0000)
    refused("EFAULT", device.attach, ioas)
    world.unmap(ioas, 0x10000, PAGE)
    device.attach(ioas)
    refused("EFAULT", world.map, ioas, 0x10000, va=0xDEAD_0000)
    refused("EFAULT", world.map, ioas, 0x10000, 2 * PAGE, va=0x1000_F000)   # half of it
    assert areas(world, ioas) == [] and not world.process.pinned
    assert world.physical(device, 0x10000) is None


def test_read_only_user_memory(world, ioas, refused):
    world.process.map_anonymous(0x6000_0000, PAGE, writable=False)
    device = world.add()
    device.attach(ioas)
    refused("EFAULT", world.map, ioas, 0x10000, va=0x6000_0000)
    world.map(ioas, 0x10000, va=0x6000_0000, flags=FIXED | READ)
    assert device.function.read(0x10000, 4).ok and not device.function.write(0x10000, b"1234").ok


def test_a_write_only_mapping_is_for_stage_2_alone(world, ioas):
    device = world.add()
    device.attach(world.hwpt(device, ioas, 1))
    world.map(ioas, 0x10000, flags=FIXED | WRITE)
    assert device.function.write(0x10000, b"1234").ok and not device.function.read(0x10000, 4).ok


def test_dma_reaches_scattered_user_pages(world, ioas):
    device, process = world.add(), world.process
    physical = [world.machine.allocator.alloc(PAGE) for _ in range(6)]
    for n, at in enumerate(physical[::2]):
        process.mmap(0x6000_0000 + n * PAGE, at, PAGE)
    device.attach(ioas)
    world.map(ioas, 0x10000, 3 * PAGE, va=0x6000_0000)
    assert device.function.write(0x10FF0, bytes(range(64))).ok
    assert process.read(0x6000_0FF0, 64) == bytes(range(64))


# --- automatic IOVAs -----------------------------------------------------------------------------

def test_automatic_iovas_avoid_page_zero_and_what_is_there(world, ioas):
    world.map(ioas, 0x1000, PAGE)
    found = [world.map(ioas, None) for _ in range(3)]
    assert found == [0x2000, 0x3000, 0x4000]


@pytest.mark.parametrize("length, va, alignment", [
    (PAGE, VA, PAGE), (3 * PAGE, VA, 4 * PAGE), (0x20_0000, VA, 0x20_0000),
    (0x80_0000, VA, 0x20_0000), (0x80_0000, VA + 0x1_0000, 0x1_0000)])
def test_automatic_iovas_let_large_leaves_fit(world, ioas, length, va, alignment):
    iova = world.map(ioas, None, length, va=va)
    assert iova and iova % alignment == 0 and iova < 2 * alignment


def test_automatic_iovas_keep_the_offset_in_the_page(world, ioas):
    assert world.map(ioas, None, 0x100, va=VA + 0x340) & 0xFFF == 0x340


def test_automatic_iovas_stay_in_what_is_allowed(world, ioas, refused):
    world.allow(ioas, [(0x10000, 0x11FFF), (0x40000, 0x40FFF)])
    assert [world.map(ioas, None) for _ in range(3)] == [0x10000, 0x11000, 0x40000]
    refused("ENOSPC", world.map, ioas, None)
    world.map(ioas, 0x9000)                          # a fixed one may lie anywhere
    world.allow(ioas, [])
    assert world.map(ioas, None) == 0x1000


def test_an_alignment_that_the_memory_cannot_have_is_refused(world, ioas, refused):
    world.add().attach(ioas)
    refused("EINVAL", world.map, ioas, None, PAGE, VA + 0x800)


# --- copy ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"flags": 8 | READ}), ("EOVERFLOW", {"length": MAX}),
    ("EOVERFLOW", {"dst_iova": MAX}), ("EINVAL", {"flags": FIXED}), ("EINVAL", {"length": 0}),
    ("EOVERFLOW", {"src_iova": MAX - 1}), ("ENOENT", {"src_iova": 0x20000}),
    ("ENOENT", {"length": 3 * PAGE}), ("ENOENT", {"src_iova": 0xF000}),
    ("ENOENT", {"src_ioas_id": 9}), ("ENOENT", {"dst_ioas_id": 9}),
    ("EEXIST", {"dst_iova": 0x10000})])
def test_copy_refuses(world, ioas, refused, name, fields):
    world.map(ioas, 0x10000, 2 * PAGE)
    refused(name, world.call, "IOMMU_IOAS_COPY", **{
        "src_ioas_id": ioas, "dst_ioas_id": ioas, "flags": FIXED | READ, "length": PAGE,
        "src_iova": 0x10000, "dst_iova": 0x40000, **fields})


def test_a_copy_shares_pages_and_outlives_its_source(world, ioas):
    device, target = world.add(), world.ioas()
    device.attach(target)
    world.map(ioas, 0x10000, 4 * PAGE)
    world.copy(ioas, 0x11000, target, 0x50000, 2 * PAGE)
    world.destroy(ioas)
    assert [world.physical(device, iova) for iova in (0x50000, 0x51000)] == [
        PA + 0x1000, PA + 0x2000]


def test_a_copy_may_span_areas(world, ioas):
    device = world.add()
    device.attach(ioas)
    world.map(ioas, 0x10000, PAGE, va=VA + 0x8000)
    world.map(ioas, 0x11000, PAGE, va=VA + 0x3000)
    world.copy(ioas, 0x10000, ioas, 0x50000, 2 * PAGE)
    assert [world.physical(device, iova) for iova in (0x50000, 0x51000)] == [
        PA + 0x8000, PA + 0x3000]
    assert world.unmap(ioas, 0x50000, 2 * PAGE) == 2 * PAGE
    assert world.physical(device, 0x10000) == PA + 0x8000


def test_a_copy_cannot_make_pages_writable(world, ioas, refused):
    world.map(ioas, 0x10000, flags=FIXED | READ)
    refused("EPERM", world.copy, ioas, 0x10000, ioas, 0x20000)
    world.copy(ioas, 0x10000, ioas, 0x20000, flags=FIXED | READ)


# --- unmap ---------------------------------------------------------------------------------------

def test_unmap_takes_whole_areas(world, ioas, refused):
    device = world.add()
    device.attach(ioas)
    for n in range(4):
        world.map(ioas, 0x10000 + n * 0x4000, 2 * PAGE)
    refused("ENOENT", world.unmap, ioas, 0x10000, PAGE)
    refused("ENOENT", world.unmap, ioas, 0x11000, 0x4000)
    refused("ENOENT", world.unmap, ioas, 0x12000, 2 * PAGE)     # nothing there
    refused("ENOENT", world.unmap, ioas, 0x10000, 0x5000)       # cuts the second
    assert len(areas(world, ioas)) == 4 and world.physical(device, 0x10000) == PA
    assert world.unmap(ioas, 0xF000, 0x8000) == 4 * PAGE
    assert world.physical(device, 0x10000) is None and world.physical(device, 0x18000) == PA


@pytest.mark.parametrize("name, iova, length", [
    ("EINVAL", 0x10000, 0), ("EOVERFLOW", MAX, PAGE), ("EOVERFLOW", 0x1000, MAX),
    ("EOVERFLOW", MAX - 1, PAGE)])
def test_unmap_refuses(world, ioas, refused, name, iova, length):
    refused(name, world.unmap, ioas, iova, length)


def test_unmapping_all_succeeds_even_without_anything(world, ioas):
    assert world.unmap(ioas, 0, MAX) == 0
    for n in range(3):
        world.map(ioas, 0x10000 * (n + 1))
    assert world.unmap(ioas, 0, MAX) == 3 * PAGE
    assert areas(world, ioas) == []


def test_a_locked_area_stays(world, ioas, refused):
    world.map(ioas, 0x10000)
    world.object(ioas).space.areas[0].locks = 1
    refused("EBUSY", world.unmap, ioas, 0x10000, PAGE)
    refused("EBUSY", world.unmap, ioas, 0, MAX)
    assert areas(world, ioas) == [(0x10000, PAGE)]


def test_unmapping_invalidates_before_it_returns(world, ioas):
    device = world.add()
    device.attach(ioas)
    world.map(ioas, 0x10000)
    with world.driver.log_commands() as log:
        world.unmap(ioas, 0x10000, PAGE)
    assert [command & 0xFF for command in log] == [0x12, 0x46]   # TLBI_NH_VA, SYNC
    assert world.physical(device, 0x10000) is None
