"""IOAS: ranges, options, files, who pays (iommufd/ioas.c)."""

import pytest
from smmu_sim.iommufd import MemoryFile

PAGE, MAX = 0x1000, 2**64 - 1
FIXED, WRITE, READ = 1, 2, 4
RLIMIT_MODE, HUGE_PAGES, SET, GET = 0, 1, 0, 1
SCRATCH = 0x1000_0000


@pytest.fixture
def ioas(world):
    return world.ioas()


# --- ranges --------------------------------------------------------------------------------------

def test_an_empty_ioas_has_everything(world, ioas):
    assert world.ranges(ioas) == ([(0, MAX)], 1)


def test_ranges_leave_out_what_is_reserved(world, ioas):
    world.add().attach(ioas)
    last = world.object(ioas).domains[0].aperture[1]
    assert world.ranges(ioas) == ([(0, 0x07FF_FFFF), (0x0810_0000, last)], PAGE)


@pytest.mark.parametrize("room", [0, 1])
def test_a_buffer_that_is_too_small_gets_what_fits(world, ioas, refused, room):
    world.add().attach(ioas)
    world.process.write(SCRATCH, bytes([0xAA]) * 64)
    refused("EMSGSIZE", world.ranges, ioas, room)
    assert world.last[8:12] == (2).to_bytes(4, "little")
    assert world.stored_ranges(1)[0] == ((0, 0x07FF_FFFF) if room else (0xAAAAAAAAAAAAAAAA,) * 2)
    assert world.stored_ranges(2)[1] == (0xAAAAAAAAAAAAAAAA,) * 2


def test_ranges_and_allowed_ranges_check_their_arguments(world, ioas, refused):
    for name in ("IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_ALLOW_IOVAS"):
        refused("EOPNOTSUPP", world.call, name, ioas_id=ioas, reserved=1)
        refused("ENOENT", world.call, name, ioas_id=9)
        refused("EFAULT", world.call, name, ioas_id=ioas, num_iovas=1, allowed_iovas=0xDEAD_0000)


@pytest.mark.parametrize("name, ranges", [
    ("EINVAL", [(0x2000, 0x1000)]), ("EINVAL", [(0x1000, 0x1000)]),
    ("EINVAL", [(0x1000, 0x2FFF), (0x2000, 0x3FFF)]), ("EADDRINUSE", [(0x0800_0000, 0x0800_0FFF)]),
    ("EADDRINUSE", [(0x1000, 0x1FFF), (0x0700_0000, 0x0900_0000)])])
def test_allowed_ranges_that_are_refused_leave_the_old_ones(world, ioas, refused, name, ranges):
    world.add().attach(ioas)
    world.allow(ioas, [(0x5000, 0x5FFF)])
    refused(name, world.allow, ioas, ranges)
    assert world.object(ioas).space.allowed == [(0x5000, 0x5FFF)]


# --- options -------------------------------------------------------------------------------------

def test_huge_pages_are_on_and_can_be_turned_off(world, ioas, refused):
    assert world.option(HUGE_PAGES, GET, object_id=ioas) == 1
    world.option(HUGE_PAGES, SET, 0, ioas)
    assert world.option(HUGE_PAGES, GET, object_id=ioas) == 0
    refused("EINVAL", world.map, ioas, 0x10800, PAGE)
    world.option(HUGE_PAGES, SET, 1, ioas)
    world.map(ioas, 0x10800, PAGE)
    refused("EADDRINUSE", world.option, HUGE_PAGES, SET, 0, ioas)
    refused("EINVAL", world.option, HUGE_PAGES, SET, 2, ioas)
    refused("EOPNOTSUPP", world.option, HUGE_PAGES, 2, 0, ioas)
    for number in (0, world.add().id):
        refused("ENOENT", world.option, HUGE_PAGES, SET, 0, number)
    assert world.option(HUGE_PAGES, GET, object_id=ioas) == 1


def test_without_huge_pages_each_page_has_a_leaf(world, ioas, refused):
    device = world.add()
    world.option(HUGE_PAGES, SET, 0, ioas)
    device.attach(ioas)
    table = world.object(ioas).domains[0].hw.table
    world.map(ioas, 0x4000_0000, 0x20_0000)
    assert table.lookup(0x4000_0000).size == PAGE
    world.option(HUGE_PAGES, SET, 1, ioas)
    world.map(ioas, 0x4020_0000, 0x20_0000)
    assert table.lookup(0x4020_0000).size == 0x20_0000
    refused("EINVAL", world.option, HUGE_PAGES, SET, 0, ioas)   # a page table has large leaves


def test_rlimit_mode(make, refused):
    world = make(capabilities=["CAP_SYS_RESOURCE"])
    assert world.option(RLIMIT_MODE, GET) == 0
    world.option(RLIMIT_MODE, SET, 1)
    assert world.option(RLIMIT_MODE, GET) == 1
    refused("EINVAL", world.option, RLIMIT_MODE, SET, 2)
    refused("EOPNOTSUPP", world.option, RLIMIT_MODE, GET, 0, 1)
    refused("EOPNOTSUPP", world.option, RLIMIT_MODE, 2)
    world.ioas()
    refused("EBUSY", world.option, RLIMIT_MODE, SET, 0)
    refused("EPERM", make().option, RLIMIT_MODE, SET, 1)


def test_options_check_their_arguments(world, refused):
    refused("EOPNOTSUPP", world.option, 9, GET)
    refused("EOPNOTSUPP", world.call, "IOMMU_OPTION", option_id=RLIMIT_MODE, op=GET, reserved=1)


@pytest.mark.parametrize("mode", [0, 1])
def test_pinned_pages_count_against_the_limit(make, refused, mode):
    world = make(memlock=3 * PAGE, capabilities=["CAP_SYS_RESOURCE"])
    world.option(RLIMIT_MODE, SET, mode)
    device, ioas = world.add(), world.ioas()
    world.map(ioas, 0x10000, 8 * PAGE)                # nothing is pinned without a domain
    refused("ENOMEM", device.attach, ioas)
    world.unmap(ioas, 0, MAX)
    device.attach(ioas)
    world.map(ioas, 0x10000, 2 * PAGE)
    refused("ENOMEM", world.map, ioas, 0x20000, 2 * PAGE)
    world.map(ioas, 0x20000)
    paid = (world.process.user.locked_pages, world.process.locked_pages)
    assert paid == ((3, 0) if mode == 0 else (0, 3))
    world.unmap(ioas, 0, MAX)
    assert world.process.user.locked_pages == world.process.locked_pages == 0


def test_those_who_may_lock_memory_do_not_pay(make):
    world = make(memlock=0, capabilities=["CAP_IPC_LOCK"])
    device, ioas = world.add(), world.ioas()
    device.attach(ioas)
    world.map(ioas, 0x10000, 8 * PAGE)
    assert world.process.user.locked_pages == 0


# --- files ---------------------------------------------------------------------------------------

def map_file(world, ioas, fd, start=0, length=PAGE, **fields):
    return world.call("IOMMU_IOAS_MAP_FILE", **{
        "ioas_id": ioas, "fd": fd, "start": start, "length": length, "iova": 0x10000,
        "flags": FIXED | READ | WRITE, **fields}).iova


def test_a_file_is_mapped_by_its_pages(world, ioas, refused):
    frames = [world.machine.allocator.alloc(PAGE) for _ in range(4)]
    fd = world.process.open(MemoryFile(frames))
    device = world.add()
    device.attach(ioas)
    map_file(world, ioas, fd, PAGE, 2 * PAGE)
    assert [world.physical(device, iova) for iova in (0x10000, 0x11000)] == frames[1:3]
    world.process.close(fd)
    assert world.physical(device, 0x10000) == frames[1]
    refused("EBADF", map_file, world, ioas, fd, iova=0x40000)
    refused("EBADF", map_file, world, ioas, -1, iova=0x40000)
    refused("EINVAL", map_file, world, ioas, world.iommufd.fd, iova=0x40000)
    refused("ENOENT", map_file, world, 9, fd)


def test_a_range_beyond_the_file_is_refused(world, ioas, refused):
    fd = world.process.open(MemoryFile([world.machine.allocator.alloc(PAGE)]))
    refused("EINVAL", map_file, world, ioas, fd, PAGE)
    refused("EINVAL", map_file, world, ioas, fd, 0, 2 * PAGE)
    refused("EOPNOTSUPP", map_file, world, ioas, fd, flags=8 | READ)


def test_who_pays_for_files_can_change(make, refused):
    world = make(memlock=4 * PAGE, capabilities=["CAP_SYS_RESOURCE"])
    world.option(RLIMIT_MODE, SET, 1)
    device, ioas = world.add(), world.ioas()
    device.attach(ioas)
    fd = world.process.open(MemoryFile([world.machine.allocator.alloc(PAGE) for _ in range(2)]))
    map_file(world, ioas, fd, 0, 2 * PAGE)
    map_file(world, ioas, fd, 0, PAGE, iova=0x40000)
    poor = world.process.fork()
    poor.memlock = 2 * PAGE
    refused("ENOMEM", world.call, "IOMMU_IOAS_CHANGE_PROCESS", process=poor)
    assert (world.process.locked_pages, poor.locked_pages) == (3, 0)
    child = world.process.fork()
    world.call("IOMMU_IOAS_CHANGE_PROCESS", process=child)
    assert (world.process.locked_pages, child.locked_pages) == (0, 3)
    refused("EOPNOTSUPP", world.call, "IOMMU_IOAS_CHANGE_PROCESS", reserved=1)
    world.map(ioas, 0x80000)
    refused("EINVAL", world.call, "IOMMU_IOAS_CHANGE_PROCESS")
