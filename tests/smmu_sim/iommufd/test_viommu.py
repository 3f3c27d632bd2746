"""VIOMMU, VDEVICE, HWPT_INVALIDATE, GET_HW_INFO (iommufd/viommu.c)."""

import pytest
from smmu.formats.commands import COMMANDS, Opcode
from smmu.formats.core import unpack
from smmu_sim.iommufd.uapi import HW_INFO_ARM_SMMUV3

NEST_PARENT = 1
SCRATCH, VSID, ASID = 0x1000_0000, 0x10, 0x21
NSNH_ALL, NH_ALL, NH_ASID, NH_VA, CFGI_STE, CFGI_CD, ATC_INV, SYNC = (
    0x30, 0x10, 0x11, 0x12, 0x03, 0x05, 0x40, 0x46)


@pytest.fixture
def device(world):
    return world.add()


@pytest.fixture
def parent(world, device):
    return world.hwpt(device, world.ioas(), NEST_PARENT)


@pytest.fixture
def viommu(world, device, parent):
    return world.viommu(device, parent)


def lacking(world, **fields):
    features = world.driver.features
    world.driver.features = type(features)(**{**vars(features), **fields})


# --- VIOMMU --------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"flags": 1}), ("EOPNOTSUPP", {"type": 0}), ("EOPNOTSUPP", {"type": 2}),
    ("EOPNOTSUPP", {"type": 0xDEAD}), ("ENOENT", {"dev_id": 99}), ("ENOENT", {"hwpt_id": 99})])
def test_refusals_of_viommus(world, device, parent, refused, name, fields):
    refused(name, world.call, "IOMMU_VIOMMU_ALLOC",
            **{"dev_id": device.id, "hwpt_id": parent, "type": 1, **fields})
    assert world.object(parent).users == 0


def test_a_viommu_needs_a_nest_parent_of_the_same_smmu(world, device, parent, viommu, refused):
    refused("EINVAL", world.viommu, device, world.hwpt(device, world.ioas()))
    refused("ENOENT", world.viommu, device, world.nested(device, viommu, (0, 0)))
    far = world.add(0x44, smmu=world.second_smmu())
    refused("EINVAL", world.viommu, far, parent)


def test_reserved_and_data_of_a_viommu_are_not_looked_at(world, device, parent):
    result = world.call("IOMMU_VIOMMU_ALLOC", dev_id=device.id, hwpt_id=parent, type=1, reserved=7,
                        data_len=4)
    assert world.object(result.out_viommu_id).parent is world.object(parent)


def test_a_viommu_needs_both_stages(world, device, parent, refused):
    lacking(world, S1P=False)
    refused("EOPNOTSUPP", world.viommu, device, parent)


def test_a_viommu_needs_coherent_writes_or_forced_attributes(world, parent, refused):
    weak = world.add(0x43, master={"canwbs": False})
    world.viommu(weak, parent)
    lacking(world, FWB=False)
    refused("EOPNOTSUPP", world.viommu, weak, parent)
    world.viommu(world.add(0x44), parent)


# --- VDEVICE -------------------------------------------------------------------------------------

def test_refusals_of_vdevices(world, device, viommu, refused):
    other, far = world.add(0x43), world.add(0x44, smmu=world.second_smmu())
    refused("ENOENT", world.call, "IOMMU_VDEVICE_ALLOC", viommu_id=99, dev_id=device.id)
    refused("ENOENT", world.call, "IOMMU_VDEVICE_ALLOC", viommu_id=viommu, dev_id=viommu)
    refused("EINVAL", world.vdevice, far, viommu)
    world.vdevice(device, viommu, 0x99)
    refused("EEXIST", world.vdevice, device, viommu, 0x88)
    refused("EEXIST", world.vdevice, other, viommu, 0x99)
    world.vdevice(other, viommu, 0x88)


def test_virtual_ids_are_of_64_bits_and_streamids_their_low_half(world, device, viommu):
    world.vdevice(device, viommu, 0x7_0000_0010)
    assert world.object(viommu).sid_of(0x10) == 0x42
    assert world.object(viommu).vsid_of(device.device.master) == 0x10


# --- HWPT_INVALIDATE -----------------------------------------------------------------------------

def command(opcode, word0=0, word1=0):
    return opcode | word0 | word1 << 64


def decoded(log):
    """(opcode, VMID, ASID, StreamID, SubstreamID) of each command."""
    found = []
    for raw in log:
        opcode = Opcode(raw & 0xFF)
        fields = unpack(COMMANDS[opcode], raw)
        found.append((opcode.name, *(fields.get(name) for name in (
            "VMID", "ASID", "StreamID", "SubstreamID"))))
    return found


@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"reserved": 1}), ("EINVAL", {"data_uptr": 0}), ("EINVAL", {"entry_len": 0}),
    ("ENOENT", {"hwpt_id": 99}), ("EINVAL", {"data_type": 0}), ("EINVAL", {"data_type": 2}),
    ("EINVAL", {"entry_len": 8}), ("EFAULT", {"data_uptr": 0xDEAD_0000}),
    ("EINVAL", {"entry_num": 0})])
def test_refusals_of_invalidations(world, viommu, refused, name, fields):
    with world.driver.log_commands() as log:
        refused(name, world.invalidate, viommu, [command(NSNH_ALL)], **fields)
    assert log == [] and world.entry_num() == 0


def test_only_a_viommu_invalidates(world, device, parent, viommu, refused):
    refused("EOPNOTSUPP", world.invalidate, world.nested(device, viommu, (0, 0)), [NSNH_ALL])
    refused("EINVAL", world.invalidate, parent, [NSNH_ALL])
    refused("EINVAL", world.invalidate, device.id, [NSNH_ALL])


def test_an_empty_batch_is_a_legal_probe_in_strict_mode(make):
    world = make(invalidate_mode="strict")
    device = world.add()
    viommu = world.viommu(device, world.hwpt(device, world.ioas(), NEST_PARENT))
    assert world.invalidate(viommu, []) == 0


def test_long_entries_must_end_in_zeros(world, viommu, refused):
    data = b"".join(c.to_bytes(24, "little") for c in (NH_ALL, NSNH_ALL))
    world.process.write(SCRATCH, data)
    fields = {"hwpt_id": viommu, "data_uptr": SCRATCH, "data_type": 1, "entry_len": 24,
              "entry_num": 2}
    with world.driver.log_commands() as log:
        assert world.call("IOMMU_HWPT_INVALIDATE", **fields).entry_num == 2
    assert [raw & 0xFF for raw in log] == [NH_ALL, NH_ALL, SYNC]
    world.process.write(SCRATCH + 23, b"\1")
    refused("E2BIG", world.call, "IOMMU_HWPT_INVALIDATE", **fields)


def test_a_guest_names_its_own_vmid_and_streams(world, device, viommu):
    world.vdevice(device, viommu)
    vmid = world.object(viommu).parent.domain.hw.vmid
    with world.driver.log_commands() as log:
        assert world.invalidate(viommu, [
            command(NH_ALL, 99 << 32), command(NH_ASID, 99 << 32 | ASID << 48),
            command(NH_VA, ASID << 48, 0x12345 << 12 | 1),
            command(CFGI_CD, 3 << 12 | VSID << 32, 1), command(0x06, VSID << 32)]) == 5
    assert decoded(log) == [
        ("CMD_TLBI_NH_ALL", vmid, 0, None, None), ("CMD_TLBI_NH_ASID", vmid, ASID, None, None),
        ("CMD_TLBI_NH_VA", vmid, ASID, None, None), ("CMD_CFGI_CD", None, None, 0x42, 3),
        ("CMD_CFGI_CD_ALL", None, None, 0x42, None), ("CMD_SYNC", None, None, None, None)]


@pytest.mark.parametrize("bad", [
    command(CFGI_STE, VSID << 32), command(0x04), command(0x2A), command(0x28), command(0x20),
    command(0x01), command(SYNC), command(0x44), command(0x41), command(0xFF),
    command(CFGI_CD, 0x11 << 32)])
@pytest.mark.parametrize("mode, executed", [("upstream", []), ("strict", [NH_ALL, NH_ALL, SYNC])])
def test_a_bad_command_ends_the_batch(make, refused, bad, mode, executed):
    world = make(invalidate_mode=mode)
    device = world.add()
    viommu = world.viommu(device, world.hwpt(device, world.ioas(), NEST_PARENT))
    world.vdevice(device, viommu)
    with world.driver.log_commands() as log:
        refused("EIO", world.invalidate, viommu, [NSNH_ALL, NH_ALL, bad, NH_ALL])
    assert [raw & 0xFF for raw in log] == executed and world.entry_num() == 2


def test_blocks_of_63_commands_each_end_with_a_sync(world, viommu):
    with world.driver.log_commands() as log:
        assert world.invalidate(viommu, [NH_ALL] * 130) == 130
    opcodes = [raw & 0xFF for raw in log]
    assert opcodes == ([NH_ALL] * 63 + [SYNC]) * 2 + [NH_ALL] * 4 + [SYNC]


def test_a_bad_command_in_a_later_block(world, viommu, refused):
    with world.driver.log_commands() as log:
        refused("EIO", world.invalidate, viommu, [NH_ALL] * 70 + [CFGI_STE])
    assert len(log) == 64 and world.entry_num() == 70


# --- GET_HW_INFO ---------------------------------------------------------------------------------

def hw_info(world, device, length=40, **fields):
    world.process.write(SCRATCH, bytes([0xAA]) * 64)
    return world.call("IOMMU_GET_HW_INFO", **{
        "dev_id": device.id, "data_len": length, "data_uptr": SCRATCH, **fields})


def test_hw_info_has_the_id_registers(world, device):
    result = hw_info(world, device)
    info = HW_INFO_ARM_SMMUV3.unpack(world.process.read(SCRATCH, 40))
    read = world.backend.read32
    assert info.idr == tuple(read(4 * n) for n in range(6))
    assert (info.iidr, info.aidr, info.flags) == (read(0x18), read(0x1C), 0)
    assert (result.data_type, result.data_len, result.out_max_pasid_log2) == (2, 40, 0)
    assert result.out_capabilities == 8             # no ATS


@pytest.mark.parametrize("length", [0, 1, 16, 39, 40, 41, 64])
def test_hw_info_fills_any_buffer(world, device, length):
    hw_info(world, device)
    whole = world.process.read(SCRATCH, 40)
    assert hw_info(world, device, length).data_len == 40
    found = world.process.read(SCRATCH, 64)
    assert found[:length] == (whole + bytes(24))[:length]
    assert set(found[length:]) <= {0xAA}


@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"flags": 2}), ("EOPNOTSUPP", {"reserved": (0, 0, 1)}),
    ("EOPNOTSUPP", {"flags": 1, "data_type": 1}), ("EOPNOTSUPP", {"flags": 1, "data_type": 3}),
    ("ENOENT", {"dev_id": 99}), ("EFAULT", {"data_uptr": 0xDEAD_0000})])
def test_refusals_of_hw_info(world, device, refused, name, fields):
    refused(name, hw_info, world, device, **fields)


@pytest.mark.parametrize("fields", [
    {"flags": 1, "data_type": 0}, {"flags": 1, "data_type": 2}, {"data_type": 0xDEAD}])
def test_hw_info_of_a_type(world, device, fields):
    assert hw_info(world, device, **fields).data_type == 2


@pytest.mark.parametrize("pasids, log2", [(0, 0), (1, 0), (256, 8), (1 << 20, 20), (300, 8)])
def test_hw_info_tells_how_many_pasids(world, pasids, log2):
    assert hw_info(world, world.add(0x43, max_pasids=pasids)).out_max_pasid_log2 == log2


# --- what an SMMUv3 of this kind refuses ---------------------------------------------------------

@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"flags": 1}), ("EOPNOTSUPP", {"type": 0}), ("EINVAL", {"length": 0}),
    ("EOVERFLOW", {"nesting_parent_iova": 2**64 - 0x1000, "length": 0x1001}),
    ("ENOENT", {"viommu_id": 99}), ("EOPNOTSUPP", {})])
def test_there_are_no_hardware_queues(world, viommu, refused, name, fields):
    refused(name, world.call, "IOMMU_HW_QUEUE_ALLOC", **{
        "viommu_id": viommu, "type": 1, "length": 0x1000, "nesting_parent_iova": 0x1000, **fields})


@pytest.mark.parametrize("ioctl", ["IOMMU_HWPT_SET_DIRTY_TRACKING", "IOMMU_HWPT_GET_DIRTY_BITMAP"])
def test_dirty_pages_are_not_tracked(world, device, parent, viommu, refused, ioctl):
    refused("EOPNOTSUPP", world.call, ioctl, hwpt_id=parent)
    refused("EOPNOTSUPP", world.call, ioctl, hwpt_id=parent, flags=1)
    refused("EOPNOTSUPP", world.call, ioctl, hwpt_id=parent, flags=2)
    refused("EOPNOTSUPP", world.call, ioctl, hwpt_id=parent, reserved=1)
    for number in (99, viommu, world.nested(device, viommu, (0, 0))):
        refused("ENOENT", world.call, ioctl, hwpt_id=number)
