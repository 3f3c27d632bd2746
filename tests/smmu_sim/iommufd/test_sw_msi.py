"""Doorbell pages in page tables of user space, and the window that they lie in."""

import pytest
from smmu_sim.iommu import ReservedRegion, ResvType
from smmu_sim.iommufd import IOMMUFD
from smmu_sim.irq import MSIDescriptor

DOORBELL, SECOND_DOORBELL = 0x2021_0000, 0x2031_0000
START, SIZE, SET, GET = 2, 3, 0, 1
WINDOW, MAX, MIB = 0x0800_0000, 2**64 - 1, 1 << 20
NEST_PARENT = 1


@pytest.fixture
def seed(make):
    return make(sw_msi_options="seed")


@pytest.fixture
def strict(make):
    return make(sw_msi_options="strict")


def prepare(world, device, doorbell):
    """Let a controller with that doorbell allocate a vector; return the address."""
    desc = MSIDescriptor(device.device, 0)
    world.iommu.prepare_msi(desc, doorbell)
    return world.iommu.compose_msi(desc, doorbell)


# --- pages ---------------------------------------------------------------------------------------

def test_a_doorbell_page_has_one_place_for_all_devices_and_domains(world):
    one, other = world.add(0x42), world.add(0x43)
    ioas = world.ioas()
    one.attach(world.hwpt(one, ioas))
    other.attach(world.hwpt(other, ioas))
    assert prepare(world, one, DOORBELL + 0x40) == WINDOW + 0x40
    assert prepare(world, other, SECOND_DOORBELL + 0x44) == WINDOW + 0x1044
    assert prepare(world, other, DOORBELL) == WINDOW
    assert [(page.id, page.pgoff) for page in world.iommufd.sw_msi.pages] == [(0, 0), (1, 1)]


def test_the_page_is_mapped_for_reads_and_writes_as_device_memory(world):
    device, ioas = world.add(), world.ioas()
    hwpt = world.hwpt(device, ioas, NEST_PARENT)
    device.attach(hwpt)
    device.request_irqs()
    assert device.fire()
    leaf = world.object(hwpt).domain.hw.table.lookup(WINDOW)
    assert leaf.size == 0x1000 and world.physical(device, WINDOW + 8) == DOORBELL + 8
    result = device.function.write_message(WINDOW + 0x40, 0)
    assert result.cache == 0                        # still Device memory behind the SMMU


def test_a_second_vector_maps_nothing_more(world):
    device = world.add()
    device.attach(world.ioas())
    device.request_irqs(2)                            # mapping again would be EEXIST
    assert device.vectors[0].message.addr == device.vectors[1].message.addr == WINDOW + 0x40
    assert device.fire(0) and device.fire(1) and len(world.iommufd.sw_msi.pages) == 1


def test_messages_stay_physical_without_an_attached_rid(world):
    device = world.add()
    assert device.device.group.domain.cookie is None  # blocked, nothing to ask
    world.iommufd.sw_msi.prepare(None, MSIDescriptor(device.device, 0), DOORBELL)
    assert world.iommufd.sw_msi.pages == []


def test_messages_stay_physical_where_doorbells_are_not_translated(world):
    device = world.add(resv_regions=[ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)])
    device.attach(world.ioas())
    assert prepare(world, device, 0xFEE0_0040) == 0xFEE0_0040
    assert world.iommufd.sw_msi.pages == []


def test_what_is_required_is_installed_before_the_first_device_attaches(world):
    device, ioas = world.add(), world.ioas()
    first, second = world.hwpt(device, ioas), world.hwpt(device, ioas)
    device.attach(first)
    device.request_irqs()
    device.detach()
    device.attach(second)
    assert device.fire() and world.object(second).present_sw_msi == 1


def test_a_failed_install_fails_the_attach_and_undoes_the_reservation(world, refused):
    device, first, second = world.add(), world.ioas(), world.ioas()
    hwpt = world.hwpt(device, second)
    device.attach(first)
    device.request_irqs()
    device.detach()
    world.object(hwpt).domain.map(WINDOW, 0x9000_0000, 0x1000)
    before = world.ranges(second)
    refused("EEXIST", device.attach, hwpt)
    assert world.ranges(second) == before and world.object(hwpt).present_sw_msi == 0


def test_an_interrupt_that_cannot_be_mapped_is_refused(world, refused):
    device = world.add()
    hwpt = device.attach(world.ioas())
    world.object(hwpt).domain.map(WINDOW, 0x9000_0000, 0x1000)
    refused("EEXIST", device.request_irqs)
    assert device.device.group.domain is world.object(hwpt).domain
    assert device.idev.igroup.required_sw_msi == 0


def test_the_limit_counts_pages_of_all_windows(seed, refused):
    one, other = seed.add(0x42), seed.add(0x43)
    one.attach(seed.ioas())
    for n in range(60):
        prepare(seed, one, 0x3000_0000 + n * 0x1000)
    seed.option(START, SET, 0x9000_0000)
    seed.option(SIZE, SET, 1)
    other.attach(seed.ioas())
    for n in range(4):
        assert prepare(seed, other, 0x3000_0000 + n * 0x1000) == 0x9000_0000 + n * 0x1000
    refused("EOVERFLOW", prepare, seed, one, 0x4000_0000)
    refused("EOVERFLOW", prepare, seed, other, 0x4000_0000)
    assert prepare(seed, one, 0x3000_0000) == WINDOW


# --- options: none and seed ----------------------------------------------------------------------

def test_linux_has_no_such_options(world, make, refused):
    for number in (START, SIZE):
        refused("EOPNOTSUPP", world.option, number, GET)
    with pytest.raises(ValueError):
        IOMMUFD(world.iommu, world.process, sw_msi_options="both")


def test_seed_options_are_stored_as_they_are(seed):
    for value in (0xFFFF_FFFF, 3, MAX, 0):
        seed.option(START, SET, value)
        seed.option(SIZE, SET, value)
        assert seed.option(START, GET) == seed.option(SIZE, GET) == value


def test_seed_options_check_object_op_and_reserved_alone(seed, refused):
    ioas = seed.ioas()
    for number in (START, SIZE):
        refused("EOPNOTSUPP", seed.option, number, SET, 1, ioas)
        refused("EOPNOTSUPP", seed.option, number, GET, 0, 1)
        refused("EOPNOTSUPP", seed.option, number, 2)
        refused("EOPNOTSUPP", seed.call, "IOMMU_OPTION", option_id=number, op=GET, reserved=1)


def test_seed_a_group_keeps_its_window_until_it_is_gone(seed):
    device, ioas = seed.add(), seed.ioas()
    seed.option(START, SET, 0x9000_0000)
    seed.option(SIZE, SET, 1)
    device.attach(ioas)
    device.detach()
    seed.option(SIZE, SET, 0)
    device.attach(ioas)
    assert prepare(seed, device, DOORBELL) == 0x9000_0000
    device.file.close()
    again = type(device)(seed, device.name, device.function, device.device, device.irq_domain)
    again.bind().attach(ioas)
    assert prepare(seed, again, DOORBELL) == WINDOW


def test_seed_a_second_device_applies_the_option_to_its_group_again(seed):
    one, ioas = seed.add(0x42), seed.ioas()
    other = seed.add(0x43, group=one.device.group)
    one.attach(ioas)
    seed.option(START, SET, 0x9000_0000)
    seed.option(SIZE, SET, 1)
    assert prepare(seed, one, DOORBELL) == WINDOW
    other.attach(ioas)
    assert prepare(seed, one, DOORBELL) == 0x9000_0000


def test_seed_replace_does_not_look_at_the_option(seed):
    device = seed.add()
    device.attach(seed.ioas())
    seed.option(START, SET, 0x9000_0000)
    seed.option(SIZE, SET, 1)
    device.attach(seed.ioas())
    assert prepare(seed, device, DOORBELL) == WINDOW


# --- options: strict -----------------------------------------------------------------------------

RESERVED = ReservedRegion(0x8000_0000, 0x100_0000, ResvType.RESERVED)


def test_strict_options_belong_to_devices(strict, refused):
    device, ioas = strict.add(), strict.ioas()
    for number in (START, SIZE):
        for op in (SET, GET):
            refused("ENOENT", strict.option, number, op, 0, 0)
            refused("ENOENT", strict.option, number, op, 0, ioas)
        refused("EOPNOTSUPP", strict.option, number, 2, 0, device.id)
    assert strict.option(START, GET, object_id=device.id) == MAX
    assert strict.option(SIZE, GET, object_id=device.id) == 0
    device.attach(ioas)
    for number in (START, SIZE):
        for op in (SET, GET):
            refused("EBUSY", strict.option, number, op, 0, device.id)


@pytest.mark.parametrize("start", [0x7FFF_FFFF, 0x7FFF_FF00, 0x7FFF_0000])
def test_strict_start_is_aligned(strict, refused, start):
    refused("EINVAL", strict.option, START, SET, start, strict.add().id)


def test_strict_size_is_in_mebibytes_and_limited(strict, refused):
    device = strict.add()
    strict.option(START, SET, 0, device.id)
    refused("EINVAL", strict.option, SIZE, SET, (MAX >> 20) + 1, device.id)
    strict.option(SIZE, SET, 3, device.id)
    assert strict.option(SIZE, GET, object_id=device.id) == 3


def test_strict_windows_do_not_wrap(strict, refused):
    device = strict.add()
    refused("EOVERFLOW", strict.option, SIZE, SET, 1, device.id)    # before START
    strict.option(START, SET, 2**64 - MIB, device.id)
    refused("EOVERFLOW", strict.option, SIZE, SET, 2, device.id)
    strict.option(SIZE, SET, 1, device.id)


@pytest.mark.parametrize("start", [0x8000_0000, 0x8040_0000, 0x8080_0000, 0x80C0_0000, 0x80F0_0000])
def test_strict_windows_keep_off_reserved_regions(strict, refused, start):
    device = strict.add(resv_regions=[RESERVED])
    refused("EADDRINUSE", strict.option, START, SET, start, device.id)
    strict.option(START, SET, 0x8100_0000, device.id)
    strict.option(START, SET, 0x7FF0_0000, device.id)
    refused("EADDRINUSE", strict.option, SIZE, SET, 2, device.id)
    strict.option(SIZE, SET, 1, device.id)


def test_strict_windows_may_lie_over_the_drivers_and_relaxable_regions(strict):
    device = strict.add(resv_regions=[ReservedRegion(0x4000_0000, MIB, ResvType.DIRECT_RELAXABLE)])
    for start in (WINDOW, 0x4000_0000):
        strict.option(START, SET, start, device.id)
        strict.option(SIZE, SET, 2, device.id)


def test_strict_the_chosen_window_is_reserved_instead_of_the_drivers(strict, refused):
    device, ioas = strict.add(), strict.ioas()
    strict.option(START, SET, 0x7000_0000, device.id)
    strict.option(SIZE, SET, 2, device.id)
    device.attach(ioas)
    refused("EINVAL", strict.map, ioas, 0x701F_F000)
    strict.map(ioas, 0x7020_0000)
    strict.map(ioas, WINDOW)
    device.request_irqs()
    assert device.vectors[0].message.addr == 0x7000_0040 and device.fire()


def test_strict_size_zero_is_the_drivers_window(strict):
    device = strict.add()
    strict.option(START, SET, 0x7000_0000, device.id)
    strict.option(SIZE, SET, 2, device.id)
    strict.option(SIZE, SET, 0, device.id)
    device.attach(strict.ioas())
    assert prepare(strict, device, DOORBELL) == WINDOW


def test_strict_devices_of_one_group_differ(strict):
    one = strict.add(0x42)
    other = strict.add(0x43, group=one.device.group)
    strict.option(START, SET, 0x7000_0000, other.id)
    strict.option(SIZE, SET, 1, other.id)
    ioas = strict.ioas()
    one.attach(ioas)
    other.attach(ioas)
    starts = [region[0] for region in strict.object(ioas).space.reserved]
    assert 0x7000_0000 in starts and WINDOW in starts
