"""HWPT_ALLOC: paging ones, and a guest's STEs (iommufd/hw_pagetable.c)."""

import pytest
from smmu.formats.core import unpack
from smmu.formats.stream_table import STE

NEST_PARENT, DIRTY, FAULT_ID, PASID = 1, 2, 4, 8
SCRATCH, CD_GPA = 0x1000_0000, 0x4000_1000
STAGE1 = (1 | 5 << 1 | CD_GPA, 0)
BYPASS, ABORT = (1 | 4 << 1, 0), (1, 0)
VA, PA = 0x7F00_0000_0000, 0x8_8000_0000


@pytest.fixture
def device(world):
    return world.add()


@pytest.fixture
def viommu(world, device):
    return world.viommu(device, world.hwpt(device, world.ioas(), NEST_PARENT))


def lacking(world, **fields):
    """Let the driver believe that the SMMU lacks something."""
    features = world.driver.features
    world.driver.features = type(features)(**{**vars(features), **fields})


# --- arguments -----------------------------------------------------------------------------------

@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"reserved": 1}), ("EINVAL", {"data_len": 16}), ("EINVAL", {"data_type": 2}),
    ("ENOENT", {"dev_id": 99}), ("EINVAL", {"pt_id": 99}), ("EOPNOTSUPP", {"flags": 16}),
    ("EOPNOTSUPP", {"flags": DIRTY}), ("EOPNOTSUPP", {"flags": FAULT_ID | NEST_PARENT}),
    ("EOPNOTSUPP", {"flags": NEST_PARENT | PASID}), ("EOPNOTSUPP", {"flags": DIRTY | PASID}),
    ("EOPNOTSUPP", {"flags": NEST_PARENT | DIRTY}),
    ("EOPNOTSUPP", {"data_type": 2, "data_len": 16, "data_uptr": SCRATCH}),
    ("ENOENT", {"flags": FAULT_ID, "fault_id": 99})])
def test_refusals_of_paging_hwpts(world, device, refused, name, fields):
    ioas = world.ioas()
    before = world.used()
    refused(name, world.call, "IOMMU_HWPT_ALLOC",
            **{"dev_id": device.id, "pt_id": ioas, **fields})
    assert world.used() == before and world.object(ioas).users == 0


def test_a_wrong_object_to_make_it_of(world, device, viommu, refused):
    nested = world.nested(device, viommu, BYPASS)
    for pt_id in (device.id, nested, world.fault_queue()[0]):
        refused("EINVAL", world.hwpt, device, pt_id)
    refused("ENOENT", world.call, "IOMMU_HWPT_ALLOC", dev_id=viommu, pt_id=viommu)


# --- paging --------------------------------------------------------------------------------------

@pytest.mark.parametrize("flags, kind, ia_bits", [
    (0, "stage1", 48), (PASID, "stage1", 48), (NEST_PARENT, "stage2", None)])
def test_flags_choose_the_stage(world, device, flags, kind, ia_bits):
    hw = world.object(world.hwpt(device, world.ioas(), flags)).domain.hw
    assert hw.kind == kind
    assert hw.aperture == (0, (1 << (ia_bits or world.driver.features.oas)) - 1)


def test_without_stage_1_the_default_is_stage_2(world, device, refused):
    lacking(world, S1P=False)
    hwpt = world.hwpt(device, world.ioas())
    assert world.object(hwpt).domain.hw.kind == "stage2"
    for flags in (NEST_PARENT, PASID):
        refused("EOPNOTSUPP", world.hwpt, device, world.ioas(), flags)


def test_nesting_needs_both_stages(world, device, refused):
    lacking(world, S2P=False)
    refused("EOPNOTSUPP", world.hwpt, device, world.ioas(), NEST_PARENT)


def test_a_new_hwpt_has_what_the_ioas_has(world, device):
    ioas = world.ioas()
    world.map(ioas, 0x10000, 0x3000)
    domain = world.object(world.hwpt(device, ioas)).domain
    assert [domain.iova_to_phys(0x10000 + n * 0x1000) for n in range(4)] == [
        PA, PA + 0x1000, PA + 0x2000, None]


@pytest.mark.parametrize("name, iova, va", [
    ("EADDRINUSE", 1 << 50, VA), ("EADDRINUSE", 0x10800, VA + 0x800),
    ("EFAULT", 0x10000, 0xDEAD_0000)])
def test_an_ioas_that_does_not_fit_makes_no_hwpt(world, device, refused, name, iova, va):
    ioas = world.ioas()
    world.map(ioas, iova, va=va)
    before = world.used()
    refused(name, world.hwpt, device, ioas)
    assert world.used() == before and world.ranges(ioas) == ([(0, 2**64 - 1)], 1)
    assert world.object(ioas).users == 0


def test_what_is_allowed_beyond_the_aperture_prevents_a_hwpt(world, device, refused):
    ioas = world.ioas()
    world.allow(ioas, [(0x10000, 1 << 50)])
    refused("EADDRINUSE", world.hwpt, device, ioas)


def test_destroying_a_hwpt_gives_its_pages_back(world, device):
    ioas = world.ioas()
    world.map(ioas, 0x10000, 0x3000)
    before = world.used()
    hwpt = world.hwpt(device, ioas)
    assert world.process.pinned == {(PA, 0x3000): 1} and world.process.user.locked_pages == 3
    world.destroy(hwpt)
    assert world.used() == before and world.ranges(ioas)[1] == 1


# --- nested --------------------------------------------------------------------------------------

def test_nested_hwpts_come_from_viommus_alone(world, device, refused):
    ioas = world.ioas()
    for parent in (world.hwpt(device, ioas, NEST_PARENT), world.hwpt(device, ioas)):
        refused("EOPNOTSUPP", world.nested, device, parent)
        refused("EOPNOTSUPP", world.hwpt, device, parent, NEST_PARENT)


@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"flags": PASID}), ("EOPNOTSUPP", {"flags": NEST_PARENT}),
    ("EOPNOTSUPP", {"flags": 1 << 31}), ("EINVAL", {"data_len": 8}), ("EINVAL", {"data_len": 24}),
    ("EINVAL", {"data_type": 1}), ("EFAULT", {"data_uptr": 0xDEAD_0000}),
    ("EOPNOTSUPP", {"data_type": 0, "data_len": 0}),
    ("ENOENT", {"flags": FAULT_ID, "fault_id": 99})])
def test_refusals_of_nested_hwpts(world, device, viommu, refused, name, fields):
    before = world.used()
    refused(name, world.nested, device, viommu, STAGE1, **fields)
    assert world.used() == before and world.object(viommu).users == 0


def test_a_device_behind_another_smmu_has_no_place_in_a_viommu(world, viommu, refused):
    refused("EINVAL", world.nested, world.add(0x44, smmu=world.second_smmu()), viommu)


@pytest.mark.parametrize("words", [
    (1 | 6 << 1, 0), (1 | 7 << 1, 0), (1 | 1 << 1, 0), (1 | 2 << 1, 0), (1 | 3 << 1, 0),
    (STAGE1[0] | 1 << 52, 0), (STAGE1[0] | 1 << 58, 0), (STAGE1[0], 1 << 25), (STAGE1[0], 1 << 19),
    (STAGE1[0], 1 << 30), (STAGE1[0], 1 << 44), (STAGE1[0], 2 << 28), (STAGE1[0], 3 << 28)])
def test_stes_that_a_guest_must_not_have(world, device, viommu, refused, words):
    refused("EIO", world.nested, device, viommu, words)


@pytest.mark.parametrize("words", [STAGE1, BYPASS, ABORT, (0xFFFF_FFFE, 2**64 - 1), (0, 0),
                                   (STAGE1[0] | 3 << 59, 0x80000FD), (STAGE1[0], 1 << 28)])
def test_stes_that_a_guest_may_have(world, device, viommu, words):
    assert world.nested(device, viommu, words)


def test_the_physical_ste_of_a_guests(world, device):
    nest = world.nest(device, ste=(STAGE1[0] | 2 << 4, 1 << 2 | 1 << 4 | 3 << 6))
    ste = unpack(STE, world.driver.stream_table.read(0x42))
    parent = world.object(nest.parent).domain.hw
    assert (ste["V"], ste["Config"], ste["S1Fmt"], ste["S1ContextPtr"] << 6) == (1, 7, 2, CD_GPA)
    assert (ste["S1CIR"], ste["S1COR"], ste["S1CSH"], ste["MEV"]) == (1, 1, 3, 1)
    assert ste["S2VMID"] == parent.vmid and ste["S2TTB"] << 4 == parent.table.root


def test_what_a_guests_ste_makes_of_dma(world, device):
    guest = world.guest()
    guest.stage1.map(0x10000, 0x4000_5000, 0x1000)
    nest = world.nest(device)
    assert world.physical(device, 0x10000) == PA + 0x5000
    device.attach(world.nested(device, nest.viommu, BYPASS))
    assert world.physical(device, 0x4000_5000) == PA + 0x5000
    for words in (ABORT, (0, 0)):
        device.attach(world.nested(device, nest.viommu, words))
        assert world.physical(device, 0x4000_5000) is None


def test_a_vdevice_is_needed_for_stage_1_alone(world, device, viommu, refused):
    nested = world.nested(device, viommu)
    parent = world.object(viommu).parent
    device.attach(parent.id)
    refused("ENOENT", device.attach, nested)
    assert device.idev.hwpt() is parent
    device.attach(world.nested(device, viommu, BYPASS))
    device.attach(world.nested(device, viommu, ABORT))
    world.vdevice(device, viommu)
    device.attach(nested)


def test_the_parent_alone_translates_by_stage_2(world, device):
    ioas = world.ioas()
    world.map(ioas, 0x4000_0000, 0x10000)
    device.attach(world.hwpt(device, ioas, NEST_PARENT))
    assert world.physical(device, 0x4000_3000) == PA + 0x3000
    ste = unpack(STE, world.driver.stream_table.read(0x42))
    assert ste["Config"] == 6 and ste["S2FWB"] == world.driver.features.FWB


