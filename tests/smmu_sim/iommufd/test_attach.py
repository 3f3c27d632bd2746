"""Bind, attach, replace and detach devices (iommufd/device.c)."""

import pytest
from smmu_sim.iommufd import attach
from smmu_sim.iommufd.vfio_uapi import ATTACH_PT, BIND_IOMMUFD, DETACH_PT
from smmu_sim.iommufd.vfio_uapi import NUMBERS as VFIO

PA, VA = 0x8_8000_0000, 0x7F00_0000_0000
FAULT_ID = 4
BIND, ATTACH, DETACH = (VFIO[f"VFIO_DEVICE_{name}"] for name in
                        ("BIND_IOMMUFD", "ATTACH_IOMMUFD_PT", "DETACH_IOMMUFD_PT"))


@pytest.fixture
def device(world):
    return world.add()


@pytest.fixture
def spaces(world):
    """Two IOASes that map IOVA 0x10000 to different pages."""
    made = [world.ioas(), world.ioas()]
    for n, ioas in enumerate(made):
        world.map(ioas, 0x10000, va=VA + n * 0x1000)
    return made


# --- bind ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, options", [
    ("EINVAL", {"cache_coherent": False}), ("EPERM", {"isolated_msi": False})])
def test_devices_that_cannot_be_bound(world, refused, name, options):
    device = world.add(bind=False, **options)
    refused(name, device.bind)
    assert len(world.iommufd.objects) == 0 and device.device.group.owner is None


def test_interrupts_that_are_not_isolated_can_be_allowed(make):
    make(allow_unsafe_interrupts=True).add(isolated_msi=False)


def test_a_device_has_one_owner(world, refused):
    device = world.add(bind=False)
    world.iommu.claim_dma_owner(device.device.group, "somebody")
    refused("EPERM", device.bind)
    world.iommu.release_dma_owner(device.device.group)
    device.bind()


def test_a_group_that_is_in_use_cannot_be_bound(world, refused):
    device = world.add(bind=False)
    domain = world.iommu.alloc_domain(device.device, "unmanaged")
    world.iommu.attach_device(domain, device.device)
    refused("EBUSY", device.bind)


def test_bind_checks_its_arguments(world, refused):
    device = world.add(bind=False)
    ioctl = device.file.ioctl
    refused("EFAULT", ioctl, BIND, None)
    refused("EINVAL", ioctl, BIND, BIND_IOMMUFD.pack(argsz=15, iommufd=world.iommufd.fd))
    refused("EINVAL", ioctl, BIND, BIND_IOMMUFD.pack(flags=1, iommufd=world.iommufd.fd))
    refused("EINVAL", ioctl, BIND, BIND_IOMMUFD.pack(iommufd=-1))
    refused("EBADF", device.bind, 77)
    refused("EBADFD", device.bind, device.file.fd)
    refused("EINVAL", ioctl, ATTACH, ATTACH_PT.pack(pt_id=1))      # not bound yet
    device.bind()
    refused("EINVAL", device.bind)
    refused("ENOTTY", ioctl, 0x3B79, bytearray(16))
    device.file.close()
    refused("EBADF", device.bind)


def test_dma_is_blocked_between_bind_and_attach(world, device):
    assert world.physical(device, 0x10000) is None
    assert device.device.group.domain.type.value == "blocked"


# --- attach --------------------------------------------------------------------------------------

def test_attach_and_detach(world, device, spaces):
    hwpt = device.attach(spaces[0])
    assert world.physical(device, 0x10000) == PA and hwpt == world.object(spaces[0]).hwpts[0].id
    device.detach()
    assert world.physical(device, 0x10000) is None
    device.detach()                                  # nothing is attached: nothing happens


@pytest.mark.parametrize("name, pt_id", [("ENOENT", 99), ("ENOENT", 0)])
def test_attach_to_nothing(device, refused, name, pt_id):
    refused(name, device.attach, pt_id)


def test_attach_to_something_else(world, device, refused):
    refused("EINVAL", device.attach, device.id)
    refused("EINVAL", device.attach, world.fault_queue()[0])


def test_attach_and_detach_check_their_arguments(world, device, spaces, refused):
    ioctl = device.file.ioctl
    for number, layout in ((ATTACH, ATTACH_PT), (DETACH, DETACH_PT)):
        refused("EFAULT", ioctl, number, None)
        refused("EINVAL", ioctl, number, layout.pack(argsz=layout.min_size - 1))
        refused("EINVAL", ioctl, number, layout.pack(flags=2))
        refused("EINVAL", ioctl, number, layout.pack(argsz=layout.min_size, flags=1))
    short = ATTACH_PT.pack(argsz=12, pt_id=spaces[0])[:12]
    ioctl(ATTACH, short)
    assert world.physical(device, 0x10000) == PA


def test_a_second_attach_in_the_kernel_is_refused(world, device, spaces, refused):
    device.attach(spaces[0])
    refused("EBUSY", attach.attach, device.idev, world.object(spaces[0]).hwpts[0].id)


def test_all_devices_of_a_group_have_the_same_hwpt(world, device, spaces, refused):
    other = world.add(0x43, group=device.device.group)
    first, second = (world.hwpt(device, ioas) for ioas in spaces)
    device.attach(first)
    refused("EINVAL", other.attach, second)
    assert world.physical(other, 0x10000) == PA      # the group is attached by its first device
    other.attach(first)
    device.detach()
    assert world.physical(device, 0x10000) == PA
    other.detach()
    assert world.physical(device, 0x10000) is None


def test_devices_share_an_automatic_hwpt_where_that_is_possible(world, device, spaces):
    other, far = world.add(0x43), world.add(0x44, smmu=world.second_smmu())
    hwpt = device.attach(spaces[0])
    assert other.attach(spaces[0]) == hwpt != far.attach(spaces[0])
    assert world.physical(far, 0x10000) == world.physical(device, 0x10000) == PA
    world.map(spaces[0], 0x20000, va=VA + 0x5000)
    assert {world.physical(d, 0x20000) for d in (device, other, far)} == {PA + 0x5000}
    assert world.unmap(spaces[0], 0x20000, 0x1000) == 0x1000
    assert {world.physical(d, 0x20000) for d in (device, other, far)} == {None}


def test_a_manual_hwpt_is_not_taken_for_an_ioas(world, device, spaces):
    hwpt = world.hwpt(device, spaces[0])
    assert device.attach(spaces[0]) != hwpt


def test_a_hwpt_of_another_smmu(world, device, spaces, refused):
    far = world.add(0x44, smmu=world.second_smmu())
    refused("EINVAL", device.attach, world.hwpt(far, spaces[0]))
    assert not device.idev.is_attached()


def test_a_failed_attach_leaves_no_automatic_hwpt(world, device, refused):
    ioas = world.ioas()
    world.map(ioas, 0x10000, va=0xDEAD_0000)
    before = world.used()
    refused("EFAULT", device.attach, ioas)
    assert world.used() == before and world.object(ioas).users == 0


def test_a_device_that_cannot_snoop_does_not_join_one_that_can(world, device, spaces, refused):
    weak = world.add(0x43, master={"canwbs": False})
    hwpt = world.hwpt(device, spaces[0])
    refused("EINVAL", weak.attach, hwpt)
    assert weak.attach(spaces[0]) != hwpt


def test_a_fault_queue_is_not_for_functions_that_share_page_requests(world, spaces, refused):
    queue, _ = world.fault_queue()
    shared = world.add(0x43, is_vf=True, pri=True)
    refused("EINVAL", shared.attach, world.hwpt(shared, spaces[0], FAULT_ID, queue))
    fine = world.add(0x44, is_vf=True)
    fine.attach(world.hwpt(fine, spaces[0], FAULT_ID, queue))


def test_page_faults_need_a_single_streamid(make, refused):
    world = make(stall=True)
    device = world.add(master={"can_stall": True})
    device.device.master.sids = (0x42, 0x52)
    queue, _ = world.fault_queue()
    refused("EOPNOTSUPP", device.attach, world.hwpt(device, world.ioas(), FAULT_ID, queue))
    assert not device.idev.is_attached()


# --- replace -------------------------------------------------------------------------------------

def test_a_second_attach_replaces(world, device, spaces, refused):
    first = device.attach(spaces[0])
    device.attach(spaces[1])
    assert world.physical(device, 0x10000) == PA + 0x1000
    refused("ENOENT", world.destroy, first)          # it was automatic
    refused("EINVAL", attach.replace, world.add(0x43).idev, spaces[1])


def test_replacing_by_the_same_is_nothing(world, device, spaces):
    hwpt = device.attach(spaces[0])
    with world.driver.log_commands() as log:
        assert device.attach(hwpt) == hwpt == device.attach(spaces[0])
    assert log == [] and world.object(hwpt).users == 1


def test_replacing_switches_the_whole_group(world, device, spaces):
    other = world.add(0x43, group=device.device.group)
    first, second = (world.hwpt(device, ioas) for ioas in spaces)
    device.attach(first)
    other.attach(first)
    device.attach(second)
    assert world.physical(other, 0x10000) == PA + 0x1000
    assert world.object(second).users == 2 and world.object(first).users == 0
    world.destroy(first)
    assert other.idev.hwpt() is world.object(second)


def test_a_failed_replace_keeps_the_old_hwpt(world, device, spaces, refused):
    hwpt = device.attach(spaces[0])
    far = world.add(0x44, smmu=world.second_smmu())
    before = world.ranges(spaces[1])
    foreign = world.hwpt(far, spaces[1])
    reserved = world.object(spaces[1]).space.reserved[:]
    refused("EINVAL", device.attach, foreign)
    assert world.physical(device, 0x10000) == PA and device.idev.hwpt().id == hwpt
    assert world.object(spaces[1]).space.reserved == reserved
    world.destroy(foreign)
    assert world.ranges(spaces[1]) == before
