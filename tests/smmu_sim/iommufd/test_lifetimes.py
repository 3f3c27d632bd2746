"""Ids, references, tombstones, and what closing files does (iommufd/main.c)."""

VSTE_BYPASS = (1 | 4 << 1, 0)
GUEST_RAM = 0x8_8000_0000


def test_ids_begin_at_one_and_the_lowest_free_one_is_used(world):
    assert [world.ioas() for _ in range(3)] == [1, 2, 3]
    world.destroy(2)
    assert world.ioas() == 2


def test_destroying_what_is_not_there_is_refused(world, refused):
    refused("ENOENT", world.destroy, 0)
    refused("ENOENT", world.destroy, world.ioas() + 1)


def test_each_reference_keeps_its_object(world, refused):
    device = world.add()
    nest = world.nest(device, queue=2)
    nest.fault, fault_file = world.fault_queue()
    other = world.nested(device, nest.viommu, VSTE_BYPASS, flags=4, fault_id=nest.fault)
    for number in (nest.ioas, nest.parent, nest.viommu, nest.hwpt, nest.queue_id, nest.fault,
                   device.id):
        refused("EBUSY", world.destroy, number)
    fault_file.close()
    refused("EBUSY", world.destroy, nest.fault)     # a HWPT has it
    world.destroy(other)
    world.destroy(nest.fault)
    nest.queue.close()
    world.destroy(nest.queue_id)
    refused("EBUSY", world.destroy, nest.hwpt)      # attached
    device.detach()
    world.destroy(nest.hwpt)
    refused("EBUSY", world.destroy, nest.viommu)    # a VDEVICE has it
    world.destroy(nest.vdevice)
    refused("EBUSY", world.destroy, nest.parent)
    world.destroy(nest.viommu)
    refused("EBUSY", world.destroy, nest.ioas)
    world.destroy(nest.parent)
    world.destroy(nest.ioas)
    refused("EBUSY", world.destroy, device.id)      # bound
    device.file.close()
    assert len(world.iommufd.objects) == 0


def test_an_automatic_hwpt_goes_with_its_last_device(world, refused):
    one, other, ioas = world.add(0x42), world.add(0x43), world.ioas()
    hwpt = one.attach(ioas)
    assert other.attach(ioas) == hwpt
    refused("EBUSY", world.destroy, hwpt)
    refused("EBUSY", world.destroy, ioas)
    one.detach()
    assert world.object(hwpt).domain in world.object(ioas).domains
    other.detach()
    refused("ENOENT", world.destroy, hwpt)
    world.destroy(ioas)


def test_a_manual_hwpt_stays_after_its_last_device(world):
    device, ioas = world.add(), world.ioas()
    hwpt = world.hwpt(device, ioas)
    device.attach(hwpt)
    device.detach()
    world.destroy(hwpt)


def test_unbinding_leaves_a_tombstone_of_the_vdevice(world, refused):
    device, other = world.add(0x42), world.add(0x43)
    nest = world.nest(device)
    device.file.close()
    refused("ENOENT", world.destroy, nest.vdevice)
    made = world.ioas()
    assert made != nest.vdevice                     # its id is not used again
    assert world.vdevice(other, nest.viommu) not in (nest.vdevice, made)


def test_a_destroyed_vdevice_leaves_the_attached_device_its_name(world):
    """The SMMU keeps its copy of the virtual StreamID until the next attach."""
    device = world.add()
    nest = world.nest(device, queue=4)
    world.destroy(nest.vdevice)
    device.function.read(0xDEAD_0000, 4)
    world.driver.service()
    record = nest.queue.read(40)
    assert int.from_bytes(record[12:16], "little") == 0x10


def test_closing_the_device_detaches_and_blocks(world):
    device, ioas = world.add(), world.ioas()
    world.map(ioas, 0x10000)
    device.attach(ioas)
    assert world.physical(device, 0x10000) == GUEST_RAM
    device.file.close()
    device.file.close()
    assert world.physical(device, 0x10000) is None
    assert device.device.group.owner is None


def test_closing_the_iommufd_destroys_everything(world):
    before = world.used()
    device = world.add()
    nest = world.nest(device, queue=2)
    device.file.close()
    nest.queue.close()
    world.iommufd.close()
    assert len(world.iommufd.objects) == 0
    world.iommu.remove_device(device.device)
    assert not world.process.pinned and world.driver.vmids.used == before[2]


def test_a_bound_device_keeps_the_objects_of_a_closed_iommufd(world):
    device, ioas = world.add(), world.ioas()
    world.map(ioas, 0x10000)
    device.attach(ioas)
    world.process.close(world.iommufd.fd)
    assert world.physical(device, 0x10000) == GUEST_RAM
    device.file.close()
    assert len(world.iommufd.objects) == 0


def test_an_open_queue_keeps_the_objects_of_a_closed_iommufd(world):
    _, file = world.fault_queue()
    world.iommufd.close()
    assert len(world.iommufd.objects) == 1
    file.close()
    assert len(world.iommufd.objects) == 0


def test_a_queue_is_closed_by_its_file_descriptor(world, refused):
    result = world.call("IOMMU_FAULT_QUEUE_ALLOC")
    refused("EBUSY", world.destroy, result.out_fault_id)
    file = world.process.file(result.out_fault_fd)
    world.process.close(result.out_fault_fd)
    refused("EBADF", file.read, 40)
    assert not file.poll()
    world.destroy(result.out_fault_id)


def test_what_shares_a_file_after_fork_closes_it_last(world):
    _, file = world.fault_queue()
    child = world.process.fork()
    child.exit()
    assert file.poll() is False and file.read(40) == b""
