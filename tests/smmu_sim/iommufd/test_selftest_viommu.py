"""Linux's selftest of iommufd, fixtures iommufd_viommu and iommufd_device_pasid."""

import pytest
from smmu_sim.backend import Transaction
from smmu_sim.iommufd import attach

VA, PA = 0x7F00_0000_0000, 0x8_8000_0000
NEST_PARENT, FAULT_ID, PASID = 1, 4, 8
BYPASS = (1 | 4 << 1, 0)


class Fixture:
    def __init__(self, world):
        self.world = world
        self.device, self.ioas = world.add(), world.ioas()
        world.map(self.ioas, 0x4000_0000, 0x1000_0000)
        self.parent = world.hwpt(self.device, self.ioas, NEST_PARENT)
        self.viommu = world.viommu(self.device, self.parent)
        self.device.attach(self.parent)


@pytest.fixture
def fixture(world):
    return Fixture(world)


def test_viommu_auto_destroy(fixture):
    fixture.device.file.close()
    fixture.world.iommufd.close()
    assert len(fixture.world.iommufd.objects) == 0


def test_viommu_negative_tests(fixture, refused):
    world, device = fixture.world, fixture.device
    refused("ENOENT", world.call, "IOMMU_VIOMMU_ALLOC", hwpt_id=fixture.parent, type=1)
    refused("ENOENT", world.call, "IOMMU_VIOMMU_ALLOC", dev_id=device.id, type=1)
    refused("EINVAL", world.viommu, device, world.hwpt(device, fixture.ioas))
    refused("EOPNOTSUPP", world.viommu, device, fixture.parent, 0xDEAD)
    refused("EBUSY", world.destroy, fixture.parent)
    nested = world.nested(device, fixture.viommu, BYPASS)
    refused("EBUSY", world.destroy, fixture.viommu)
    world.destroy(nested)
    world.destroy(fixture.viommu)


def test_viommu_alloc_nested_iopf(make, refused):
    fixture = Fixture(make(stall=True))
    world, device, viommu = fixture.world, fixture.device, fixture.viommu
    refused("ENOENT", world.nested, device, viommu, flags=FAULT_ID, fault_id=99)
    queue, file = world.fault_queue()
    refused("EOPNOTSUPP", world.nested, device, viommu, flags=FAULT_ID | 1 << 31, fault_id=queue)
    nested = world.nested(device, viommu, flags=FAULT_ID, fault_id=queue)
    refused("EBUSY", world.destroy, queue)
    refused("ENOENT", device.attach, nested)         # before the VDEVICE
    world.vdevice(device, viommu)
    device.device.master.can_stall = True
    world.guest(S=1)
    device.attach(nested)
    refused("EBUSY", world.destroy, nested)
    pending = world.backend.submit(Transaction(sid=0x42, addr=0x5000, length=4))
    world.driver.service()
    assert file.poll() and len(file.read(40)) == 40
    device.attach(fixture.parent)                    # what was pending is aborted
    world.backend.idle()
    assert not pending.result.ok
    world.destroy(nested)


def test_vdevice_alloc(fixture, refused):
    world, device, viommu = fixture.world, fixture.device, fixture.viommu
    refused("ENOENT", world.vdevice, device, 99, 0x99)
    vdevice = world.vdevice(device, viommu, 0x99)
    refused("EEXIST", world.vdevice, device, viommu, 0x99)
    refused("EEXIST", world.vdevice, device, viommu, 0x88)
    _, file = world.veventq(viommu, depth=2)
    world.guest()
    device.attach(world.nested(device, viommu))

    def faults(count):
        for _ in range(count):
            device.function.read(0xDEAD_0000, 4)
        world.driver.service()

    faults(1)
    data = file.read(100)
    assert len(data) == 40 and data[12:16] == b"\x99\0\0\0"
    faults(3)                                        # overflow
    data = file.read(200)
    assert len(data) == 88 and data[80] == 1
    faults(2)                                        # and recovery
    assert len(file.read(200)) == 80
    device.attach(fixture.parent)
    world.destroy(vdevice)
    world.vdevice(device, viommu, 0x88)


def test_vdevice_cache(fixture, refused):
    world, device, viommu = fixture.world, fixture.device, fixture.viommu
    refused("ENOENT", world.invalidate, 99, [0x30])
    refused("EINVAL", world.invalidate, viommu, [0x30], data_type=7)
    refused("EINVAL", world.invalidate, viommu, [0x30], entry_len=0)
    refused("EINVAL", world.invalidate, viommu, [0x30], data_uptr=0)
    refused("EIO", world.invalidate, viommu, [0x30, 0x06 | 0x99 << 32])   # no VDEVICE yet
    assert world.entry_num() == 1
    world.vdevice(device, viommu, 0x99)
    assert world.invalidate(viommu, [0x30, 0x06 | 0x99 << 32]) == 2


def test_hw_queue(fixture, refused):
    refused("EOPNOTSUPP", fixture.world.call, "IOMMU_HW_QUEUE_ALLOC", viommu_id=fixture.viommu,
            type=1, length=0x1000)


def test_vdevice_tombstone(fixture, refused):
    world, device = fixture.world, fixture.device
    vdevice = world.vdevice(device, fixture.viommu, 0x99)
    device.file.close()
    refused("ENOENT", world.destroy, vdevice)
    assert 0x99 not in world.object(fixture.viommu).vdevices


# --- iommufd_device_pasid ------------------------------------------------------------------------

PASIDS = (100, 200, 1024, 2048)


@pytest.fixture
def pasids(world):
    """(device, HWPTs with the flag, one without)."""
    device = world.add(0x48, max_pasids=1 << 12, master={"ssid_bits": 12})
    spaces = [world.ioas() for _ in range(2)]
    for n, ioas in enumerate(spaces):
        world.map(ioas, 0x10000, va=VA + n * 0x1000)
    return (device, [world.hwpt(device, ioas, PASID) for ioas in spaces],
            world.hwpt(device, spaces[0]))


def test_pasid_attach_every_number(world, pasids):
    device, hwpts, _ = pasids
    device.attach(hwpts[0])
    for n, pasid in enumerate(PASIDS):
        device.attach(hwpts[n % 2], pasid=pasid)
    for n, pasid in enumerate(PASIDS):
        assert world.physical(device, 0x10000, pasid=pasid) == PA + n % 2 * 0x1000
    for pasid in PASIDS:
        device.detach(pasid=pasid)
        assert world.physical(device, 0x10000, pasid=pasid) is None
    assert world.physical(device, 0x10000) == PA


def test_pasid_attach_rules(world, pasids, refused):
    device, hwpts, plain = pasids
    refused("EINVAL", attach.attach, device.idev, plain, 100)
    refused("ENOENT", attach.attach, device.idev, 99, 100)
    device.attach(plain)
    refused("EINVAL", attach.attach, device.idev, hwpts[0], 100)
    device.detach()
    device.attach(hwpts[0], pasid=100)
    refused("EINVAL", device.attach, plain)
    refused("EBUSY", attach.attach, device.idev, hwpts[0], 100)
    device.attach(hwpts[0])
    refused("EBUSY", world.destroy, hwpts[0])


def test_pasid_replace(world, pasids, refused):
    device, hwpts, plain = pasids
    refused("EINVAL", attach.replace, device.idev, hwpts[0], 100)
    device.attach(hwpts[0], pasid=100)
    refused("EINVAL", attach.replace, device.idev, plain, 100)
    assert world.physical(device, 0x10000, pasid=100) == PA      # keeps the old one
    attach.replace(device.idev, hwpts[1], 100)
    assert world.physical(device, 0x10000, pasid=100) == PA + 0x1000
    world.destroy(hwpts[0])


def test_pasid_attach_of_a_device_without_pasids(world, pasids, refused):
    _, hwpts, _ = pasids
    other = world.add(0x49)
    refused("EINVAL", other.attach, hwpts[0], 100)
    assert not other.idev.is_attached(100)


def test_pasid_iopf(make):
    world = make(stall=True)
    device = world.add(0x48, max_pasids=256, master={"ssid_bits": 8, "can_stall": True})
    queue, file = world.fault_queue()
    ioas = world.ioas()
    device.attach(world.hwpt(device, ioas, FAULT_ID | PASID, queue), pasid=100)
    pending = world.backend.submit(Transaction(sid=0x48, ssid=100, addr=0x5000, length=4))
    world.driver.service()
    data = file.read(40)
    assert data[:12] == (3).to_bytes(4, "little") + device.id.to_bytes(4, "little") + (
        100).to_bytes(4, "little")
    world.map(ioas, 0x5000)
    file.write(data[36:40] + bytes(4))
    world.backend.idle()
    assert pending.result.pa == PA
