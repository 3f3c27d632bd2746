"""Doorbells and interrupts from end to end."""

import pytest
from smmu_sim.iommu import ReservedRegion, ResvType
from smmu_sim.iommufd import IOMMUFD
from smmu_sim.irq import MSIDescriptor

START, SIZE, SET, GET = 2, 3, 0, 1
WINDOW, MAX = 0x0800_0000, 2**64 - 1
DOORBELL = 0x2021_0000
VSID = 0x10


@pytest.fixture
def seed(make):
    return make(sw_msi_options="seed")


def vector_address(device):
    return device.request_irqs()[0].message.addr


def test_scenario_10_hardware_msi_region(world):
    device = world.add(resv_regions=[ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)])
    device.attach(world.ioas())
    assert vector_address(device) == DOORBELL + 0x40
    assert world.iommufd.sw_msi.pages == []


def test_scenario_11_defaults(seed, refused):
    assert (seed.option(START, GET), seed.option(SIZE, GET)) == (MAX, 0)
    refused("EOPNOTSUPP", seed.option, START, GET, 0, 1)
    refused("EOPNOTSUPP", seed.option, START, 2)
    device = seed.add()
    device.attach(seed.ioas())
    assert vector_address(device) == 0x0800_0040 and device.fire()


def test_scenario_12_override(seed, refused):
    seed.option(START, SET, 0x9000_0000)
    seed.option(SIZE, SET, 1)
    device, ioas = seed.add(), seed.ioas()
    device.attach(ioas)
    assert vector_address(device) == 0x9000_0040 and device.fire()
    assert seed.ranges(ioas)[0][:2] == [
        (0, 0x07FF_FFFF), (0x0810_0000, seed.object(ioas).domains[0].aperture[1])]


def test_scenario_12_a_user_mapping_in_the_window_breaks_the_vector(seed, refused):
    seed.option(START, SET, 0x9000_0000)
    seed.option(SIZE, SET, 1)
    device, ioas = seed.add(), seed.ioas()
    device.attach(ioas)
    seed.map(ioas, 0x9000_0000)
    refused("EEXIST", device.request_irqs)
    assert device.irq_domain.driver.devices == {}


@pytest.mark.parametrize("options, address", [
    ({START: 0x9000_0000}, 0x0800_0040), ({SIZE: 1}, 0x0800_0040), ({START: 0, SIZE: 1}, 0x40)])
def test_scenario_13_start_only_or_size_only(seed, options, address):
    for number, value in options.items():
        seed.option(number, SET, value)
    device = seed.add()
    device.attach(seed.ioas())
    assert vector_address(device) == address and device.fire()


def test_scenario_14_late_set(seed):
    one, other = seed.add(0x42), seed.add(0x43)
    one.attach(seed.ioas())
    seed.option(START, SET, 0x9000_0000)
    seed.option(SIZE, SET, 1)
    other.attach(seed.ioas())
    assert (vector_address(one), vector_address(other)) == (0x0800_0040, 0x9000_0040)
    assert [(page.start, page.pgoff, page.id) for page in seed.iommufd.sw_msi.pages] == [
        (0x0800_0000, 0, 0), (0x9000_0000, 0, 1)]
    assert one.fire() and other.fire()


def test_scenario_15_per_device_option(make, refused):
    world = make(sw_msi_options="strict")
    device = world.add(resv_regions=[
        ReservedRegion(0x8000_0000, 0x100_0000, ResvType.RESERVED)])
    refused("ENOENT", world.option, START, SET, 0x7000_0000, 0)
    refused("EINVAL", world.option, START, SET, 0x7FFF_0000, device.id)
    refused("EADDRINUSE", world.option, START, SET, 0x8040_0000, device.id)
    world.option(START, SET, 0x7FF0_0000, device.id)
    refused("EADDRINUSE", world.option, SIZE, SET, 2, device.id)
    world.option(SIZE, SET, 1, device.id)
    device.attach(world.ioas())
    refused("EBUSY", world.option, START, SET, 0x7000_0000, device.id)
    assert vector_address(device) == 0x7FF0_0040 and device.fire()


def test_scenario_16_sixty_four_pages(world, refused):
    device = world.add()
    device.attach(world.ioas())
    found = []
    for n in range(65):
        desc = MSIDescriptor(device.device, n)
        doorbell = 0x3000_0000 + n * 0x1000
        if n == 64:
            refused("EOVERFLOW", world.iommu.prepare_msi, desc, doorbell)
        else:
            world.iommu.prepare_msi(desc, doorbell)
            found.append(world.iommu.compose_msi(desc, doorbell))
    assert found == [WINDOW + n * 0x1000 for n in range(64)] and found[-1] == 0x0803_F000
    assert [page.id for page in world.iommufd.sw_msi.pages] == list(range(64))


def test_scenario_17_rmr_nested(world):
    device, guest = world.add(), world.guest()
    nest = world.nest(device, queue=4)
    assert vector_address(device) == 0x0800_0040
    parent = world.object(nest.parent).domain
    assert parent.iova_to_phys(WINDOW) == DOORBELL
    assert not device.fire()
    world.driver.service()
    record = nest.queue.read(40)
    assert record[8] == 0x10 and record[12:16] == VSID.to_bytes(4, "little")
    assert int.from_bytes(record[24:32], "little") == 0x0800_0040
    guest.map_window()
    assert device.fire()
    result = device.function.write_message(0x0800_0040, 0)
    assert result.pa == DOORBELL + 0x40 and result.device_id == 0x42


def test_scenario_18_replace_keeps_msis(world):
    device, ioas = world.add(), world.ioas()
    first, second = world.hwpt(device, ioas), world.hwpt(device, ioas)
    device.attach(first)
    device.request_irqs()
    target, seen = world.object(second).domain, []

    def attached(master, domain, attach=world.driver.attach):
        seen.append(target.iova_to_phys(WINDOW))
        attach(master, domain)

    world.driver.attach = attached
    device.attach(second)
    assert seen == [DOORBELL] and device.fire()


def test_scenario_28_reserved_conflict(world, refused):
    device, ioas = world.add(), world.ioas()
    world.map(ioas, WINDOW)
    refused("EADDRINUSE", device.attach, ioas)
    assert world.object(ioas).space.reserved == []
    world.unmap(ioas, WINDOW, 0x1000)
    device.attach(ioas)
    refused("EINVAL", world.map, ioas, WINDOW)
    other, limited = world.add(0x43), world.ioas()
    world.allow(limited, [(0, 0x0FFF_FFFF)])
    refused("EADDRINUSE", other.attach, limited)
    both = world.add(0x44, resv_regions=[
        ReservedRegion(0x100_0000, 0x1000, ResvType.MSI),
        ReservedRegion(WINDOW, 0x10_0000, ResvType.SW_MSI)])
    refused("EINVAL", both.attach, world.ioas())


def test_scenario_36_two_guests_one_doorbell(make):
    world = make()
    one, guest_one = world.add(0x42), world.guest(0)
    nest_one = world.nest(one, 0)
    second = make_second(world)
    other, guest_other = second.add(0x43), world.guest(1)
    nest_other = second.nest(other, 1)
    for guest in (guest_one, guest_other):
        guest.map_window()
    assert vector_address(one) == vector_address(other) == 0x0800_0040
    assert one.vectors[0].message == other.vectors[0].message     # the data, too
    tables = [world.object(nest_one.parent).domain, second.object(nest_other.parent).domain]
    assert [table.iova_to_phys(WINDOW) for table in tables] == [DOORBELL] * 2
    its = world.machine.its[0]
    for device, others in ((one, other), (other, one)):
        device.function.trigger(0)
        assert its.take_pending() == [device.vectors[0].hwirq] != [others.vectors[0].hwirq]


def make_second(world):
    """A second iommufd on the same host, of another process."""
    second = object.__new__(type(world))
    vars(second).update(vars(world))
    second.process = world.new_process(1)
    second.iommufd = IOMMUFD(world.iommu, second.process)
    return second
