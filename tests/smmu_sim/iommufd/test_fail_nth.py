"""Each allocation fails once: nothing leaks, and what was translated before still is."""

import pytest
from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.driver.memory import PageAllocator
from smmu_sim.linux_error import LinuxError

VA, PA, PAGE, MAX = 0x7F00_0000_0000, 0x8_8000_0000, 0x1000, 2**64 - 1
NEST_PARENT, PASID = 1, 8


class Failing(PageAllocator):
    """Memory for tables of the SMMU; ``fail_nth`` as of the allocations of iommufd."""

    fail_nth = None

    def alloc(self, size):
        if self.fail_nth is not None:
            self.fail_nth -= 1
            if not self.fail_nth:
                self.fail_nth = None
                raise OutOfMemory("injected")
        return super().alloc(size)


@pytest.fixture(params=["iommufd", "tables"])
def injector(request, make):
    """(world, the object whose fail_nth makes an allocation fail)."""
    world = make()
    if request.param == "iommufd":
        return world, world.iommufd.allocations
    allocator = world.machine.allocator
    allocator.__class__ = Failing
    return world, allocator


@pytest.fixture
def own(world):
    """The same for allocations of iommufd alone: no tables are made."""
    return world, world.iommufd.allocations


def fail_each(injector, work, check, least=1):
    """Let the first allocation of ``work`` fail, the second …, until none is left to fail."""
    world, target = injector
    for nth in range(1, 200):
        before = world.used()
        target.fail_nth = nth
        try:
            work()
        except LinuxError as error:
            assert error.name == "ENOMEM"
            target.fail_nth = None
            assert world.used() == before, f"allocation {nth} leaks"
            check()
            continue
        assert target.fail_nth is not None, f"allocation {nth} failed, and nobody noticed"
        target.fail_nth = None
        assert nth > least, "nothing was allocated"
        return
    raise AssertionError("there is no end")


def holder(world):
    """A device that translates by another IOAS all the time, and a check that it does."""
    device, ioas = world.add(0x50), world.ioas()
    world.map(ioas, 0x10000, va=VA + 0x7000)
    device.attach(ioas)
    device.request_irqs()

    def check():
        assert world.physical(device, 0x10000) == PA + 0x7000 and device.fire()

    return device, check


def test_basic(own):
    """Map, copy, and unmap without a page table."""
    world, _ = own
    _, check = holder(world)
    ioas = world.ioas()

    def work():
        world.map(ioas, 0x10000, 4 * PAGE)
        try:
            world.copy(ioas, 0x11000, ioas, 0x40000)
            world.copy(ioas, 0x11000, ioas, None)
        finally:
            world.unmap(ioas, 0, MAX)

    fail_each(own, work, check, least=3)


@pytest.mark.parametrize("flags", [0, NEST_PARENT, PASID])
def test_map_domain(injector, flags):
    world, _ = injector
    device, check = holder(world)
    ioas = world.ioas()
    world.map(ioas, 0x10000, 4 * PAGE)

    def work():
        hwpt = world.hwpt(device, ioas, flags)
        try:
            world.map(ioas, 1 << 34, 4 * PAGE)
            world.copy(ioas, 0x11000, ioas, 1 << 36)
            assert world.unmap(ioas, 1 << 34, 4 * PAGE) == 4 * PAGE
        finally:
            for iova in (1 << 34, 1 << 36):
                if world.object(ioas).space.areas_in(iova, iova):
                    world.unmap(ioas, iova, 4 * PAGE)
            world.destroy(hwpt)

    fail_each(injector, work, check, least=4)


def test_map_two_domains(injector):
    """What fits one page table and not the other is in neither."""
    world, _ = injector
    device, check = holder(world)
    ioas = world.ioas()

    def work():
        hwpts = []
        try:
            for _ in range(2):
                hwpts.append(world.hwpt(device, ioas))
            domains = [world.object(hwpt).domain for hwpt in hwpts]
            try:
                world.map(ioas, 1 << 34, 4 * PAGE)
            except LinuxError:
                assert [domain.iova_to_phys(1 << 34) for domain in domains] == [None, None]
                raise
            assert world.unmap(ioas, 1 << 34, 4 * PAGE) == 4 * PAGE
        finally:
            for hwpt in hwpts:
                world.destroy(hwpt)

    fail_each(injector, work, check, least=2)


def test_attach(injector):
    world, _ = injector
    device, check = holder(world)
    other, ioas = world.add(0x51), world.ioas()
    world.map(ioas, 0x10000)
    other.attach(ioas)                               # its CD table stays, as in the kernel
    other.detach()

    def work():
        other.attach(ioas)
        other.detach()

    fail_each(injector, work, check)


def test_replace(own):
    world, target = own
    device, check = holder(world)
    first, second = (world.hwpt(device, world.ioas()) for _ in range(2))
    for hwpt, page in ((first, 0), (second, PAGE)):
        world.map(world.object(hwpt).ioas.id, 0x10000, va=VA + page)
    other = world.add(0x51)
    other.attach(first)

    def work():
        try:
            other.attach(second)
            assert world.physical(other, 0x10000) == PA + PAGE
        finally:
            target.fail_nth, left = None, target.fail_nth
            other.attach(first)
            target.fail_nth = left

    def both():
        check()
        assert world.physical(other, 0x10000) == PA

    fail_each(own, work, both)


def test_pasid(own):
    world, _ = own
    _, check = holder(world)
    device = world.add(0x52, max_pasids=16)
    ioas = world.ioas()
    world.map(ioas, 0x10000)
    hwpt = world.hwpt(device, ioas, PASID)
    device.attach(hwpt)
    device.attach(hwpt, pasid=3)

    def work():
        device.attach(hwpt, pasid=4)
        device.detach(pasid=4)

    def both():
        check()
        assert world.physical(device, 0x10000, pasid=3) == PA

    fail_each(own, work, both)


def test_device(injector):
    """All of nesting, from bind to interrupts."""
    world, target = injector
    _, check = holder(world)
    device = world.add(0x53, bind=False)
    guest = world.guest()
    guest.map_window()

    def work():
        device.bind()
        ioas = world.ioas()
        world.map(ioas, 0x4000_0000, 0x1000_0000)
        parent = world.hwpt(device, ioas, NEST_PARENT)
        device.attach(parent)
        viommu = world.viommu(device, parent)
        world.vdevice(device, viommu, 0x99)
        world.veventq(viommu)
        fault, _ = world.fault_queue()
        device.attach(world.nested(device, viommu, flags=4, fault_id=fault))
        world.invalidate(viommu, [0x30])
        device.request_irqs()
        assert device.fire()

    def clean():
        """Close the device and destroy all that it left, as an exiting program does."""
        device.irq_domain.free(device.vectors)
        device.vectors.clear()
        type(device.file).close(device.file)
        device.file = type(device.file)(device.device, world.process)
        close_queues(world)
        keep = {found.id for found in world.iommufd.objects} & kept
        left = [found for found in world.iommufd.objects if found.id not in keep]
        while left:
            for found in [found for found in left if not found.users]:
                world.destroy(found.id)
                left.remove(found)

    kept = {found.id for found in world.iommufd.objects}

    def attempt():
        try:
            work()
        finally:
            target.fail_nth, remaining = None, target.fail_nth
            clean()
            world.iommufd.objects._hidden.clear()    # tombstones
            target.fail_nth = remaining

    attempt()                                        # what the kernel keeps is there now
    fail_each(injector, attempt, check, least=5)


def close_queues(world):
    for fd, file in list(world.process._files.items()):
        if type(file).__name__ == "QueueFile":
            world.process.close(fd)
