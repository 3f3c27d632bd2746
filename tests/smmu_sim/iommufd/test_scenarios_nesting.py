"""A guest's stage 1, commands and faults, from end to end."""

import pytest
from smmu.formats.commands import COMMANDS, Opcode
from smmu.formats.core import unpack
from smmu_sim.backend import Transaction
from smmu_sim.iommufd import IOMMUFD
from smmu_sim.iommufd.uapi import HWPT_PAGE_RESPONSE, HWPT_PGFAULT

VSID, ASID, CD_GPA, GPA = 0x10, 0x21, 0x4000_1000, 0x4000_0000
VA, PA, SCRATCH = 0x7F00_0000_0000, 0x8_8000_0000, 0x1000_0000
NEST_PARENT, FAULT_ID, PASID = 1, 4, 8
NSNH_ALL, NH_ALL, NH_ASID, CFGI_STE, CFGI_CD, S2_IPA, ATC_INV, RESUME, SYNC = (
    0x30, 0x10, 0x11, 0x03, 0x05, 0x2A, 0x40, 0x44, 0x46)


def commands(log):
    """(opcode, fields that are not 0)."""
    return [(raw & 0xFF, {name: value for name, value in unpack(
        COMMANDS[Opcode(raw & 0xFF)], raw).items() if value}) for raw in log]


def test_scenario_23_vste_validation(world, refused):
    device = world.add()
    parent = world.hwpt(device, world.ioas(), NEST_PARENT)
    viommu = world.viommu(device, parent)
    nested = world.nested(device, viommu, (0x4000_100B, 1 << 28))
    refused("EIO", world.nested, device, viommu, (0x4000_100D, 0))           # Config 6
    refused("EIO", world.nested, device, viommu, (0x4000_100B, 1 << 25))     # S2FWB
    refused("EIO", world.nested, device, viommu, (0x4000_100B, 2 << 28))     # EATS 2
    abort = world.nested(device, viommu, (0xDEAD_BEEE, 0xDEAD_BEEF))
    refused("EINVAL", world.nested, device, viommu, data_len=8)
    refused("EOPNOTSUPP", world.nested, device, viommu, flags=PASID)
    device.attach(parent)
    refused("ENOENT", device.attach, nested)
    device.attach(abort)
    assert world.physical(device, 0x1000) is None and world.driver.service() == []


@pytest.mark.parametrize("mode, executed", [("upstream", []), ("strict", [NH_ALL, NH_ASID, SYNC])])
def test_scenario_24_raw_command_batch(make, refused, mode, executed):
    world = make(invalidate_mode=mode)
    device = world.add()
    world.guest()
    nest = world.nest(device)
    vmid = world.object(nest.parent).domain.hw.vmid
    batch = [NSNH_ALL, NH_ASID | ASID << 48, CFGI_CD | 3 << 12 | VSID << 32 | 1 << 64,
             0x06 | VSID << 32]
    with world.driver.log_commands() as log:
        assert world.invalidate(nest.viommu, batch) == 4
    found = commands(log)
    assert [opcode for opcode, _ in found] == [NH_ALL, NH_ASID, CFGI_CD, 0x06, SYNC]
    assert found[0][1]["VMID"] == found[1][1]["VMID"] == vmid and found[1][1]["ASID"] == ASID
    assert found[2][1]["StreamID"] == 0x42 and found[2][1]["SubstreamID"] == 3
    assert found[3][1]["StreamID"] == 0x42
    batch[2] = CFGI_STE | VSID << 32
    with world.driver.log_commands() as log:
        refused("EIO", world.invalidate, nest.viommu, batch)
    assert world.entry_num() == 2 and [raw & 0xFF for raw in log] == executed
    refused("EIO", world.invalidate, nest.viommu, [CFGI_CD | 0x11 << 32])


def test_scenario_24_atc_inv_names_the_physical_stream(world):
    """Without ATS the SMMU finds ATC_INV illegal; what reached its queue shows the conversion."""
    device = world.add()
    world.guest()
    nest = world.nest(device)
    with world.driver.log_commands() as log:
        assert world.invalidate(nest.viommu, [ATC_INV | VSID << 32]) == 1
    assert log[0] == ATC_INV | 0x42 << 32
    assert [error.command for error in world.driver.refused] == [log[0]]


def test_scenario_25_isolation_between_guests(world):
    one, other = world.add(0x42), world.add(0x43)
    second = object.__new__(type(world))
    vars(second).update(vars(world))
    second.process = world.new_process(1)
    second.iommufd = IOMMUFD(world.iommu, second.process)
    other.file.close()
    other = type(other)(second, other.name, other.function, other.device, other.irq_domain).bind()
    guests = [world.guest(0), world.guest(1)]
    nests = [world.nest(one, 0), second.nest(other, 1)]
    for guest in guests:
        guest.stage1.map(0x1000, GPA + 0x5000, 0x1000)
    assert world.physical(one, 0x1000) == PA + 0x5000
    assert second.physical(other, 0x1000) == PA + 0x2000_5000
    vmids = [w.object(nest.parent).domain.hw.vmid for w, nest in zip((world, second), nests)]
    assert vmids[0] != vmids[1]
    with world.driver.log_commands() as log:
        world.invalidate(nests[0].viommu, [NSNH_ALL, NH_ASID | vmids[1] << 32 | ASID << 48])
    assert [fields.get("VMID") for _, fields in commands(log)] == [vmids[0], vmids[0], None]
    guests[0].stage1.unmap(0x1000, 0x1000)
    world.invalidate(nests[0].viommu, [NH_ASID | ASID << 48])
    assert world.physical(one, 0x1000) is None
    assert second.physical(other, 0x1000) == PA + 0x2000_5000


def test_scenario_26_veventq_overflow(world):
    device, guest = world.add(), world.guest()
    nest = world.nest(device, queue=2)
    guest.window.write64(CD_GPA, 0)                  # V = 0: C_BAD_CD
    world.invalidate(nest.viommu, [CFGI_CD | VSID << 32])
    for _ in range(3):
        device.function.read(0x1000, 4)
    world.driver.service()
    assert nest.queue.read(39) == b""
    first, second, lost = nest.queue.read(40), nest.queue.read(40), nest.queue.read(40)
    assert first[:8] == bytes(8) and first[8] == 0x0A
    assert first[12:16] == VSID.to_bytes(4, "little")
    assert second[:8] == bytes([0, 0, 0, 0, 1, 0, 0, 0]) and len(second) == 40
    assert lost == bytes([1, 0, 0, 0, 2, 0, 0, 0])
    device.function.read(0x1000, 4)
    world.driver.service()
    assert nest.queue.read(40)[:8] == bytes([0, 0, 0, 0, 3, 0, 0, 0])


@pytest.mark.parametrize("code, retry", [(0, 1), (1, 2)])
def test_scenario_27_stall_round_trip(make, refused, code, retry):
    world = make(stall=True)
    device = world.add(master={"can_stall": True, "ssid_bits": 8})
    guest = world.guest(ssid_bits=3, S=1)
    queue, file = world.fault_queue()
    world.nest(device, ste=(1 | 5 << 1 | CD_GPA | 3 << 59, 2), flags=FAULT_ID, fault_id=queue)

    def access():
        pending = world.backend.submit(Transaction(
            sid=0x42, ssid=3, addr=0x5000, write=True, data=b"data"))
        world.driver.service()
        return pending

    pending = access()
    fault = HWPT_PGFAULT.unpack(file.read(40))
    assert (fault.flags, fault.pasid, fault.perm, fault.addr, fault.cookie) == (3, 3, 2, 0x5000, 1)
    guest.stage1.map(0x5000, GPA + 0x5000, 0x1000)
    refused("EINVAL", file.write, HWPT_PAGE_RESPONSE.pack(cookie=9))
    with world.driver.log_commands() as log:
        file.write(HWPT_PAGE_RESPONSE.pack(cookie=1, code=code))
    (opcode, fields), = commands(log)
    assert opcode == RESUME and fields["StreamID"] == 0x42 and fields["STAG"] == fault.grpid
    assert log[0] >> 12 & 3 == retry
    world.backend.idle()
    assert pending.result.ok == (code == 0)
    assert guest.window.read(GPA + 0x5000, 4) == (b"data" if code == 0 else bytes(4))


def test_scenario_27_detach_aborts_what_is_pending(make):
    world = make(stall=True)
    device = world.add(master={"can_stall": True})
    world.guest(S=1)
    queue, _ = world.fault_queue()
    world.nest(device, flags=FAULT_ID, fault_id=queue)
    pending = world.backend.submit(Transaction(sid=0x42, addr=0x5000, length=4))
    world.driver.service()
    with world.driver.log_commands() as log:
        device.detach()
    assert RESUME in [raw & 0xFF for raw in log]
    world.backend.idle()
    assert pending.result is not None and not pending.result.ok


def test_scenario_35_unmap_of_stage_2_under_nesting(world):
    device, guest = world.add(), world.guest()
    ioas = world.ioas()
    world.map(ioas, GPA, 0x1000_0000 - 0x20_0000)
    world.map(ioas, GPA + 0xFE0_0000, 0x20_0000, VA + 0xFE0_0000)
    parent = world.hwpt(device, ioas, NEST_PARENT)
    device.attach(parent)
    viommu = world.viommu(device, parent)
    world.vdevice(device, viommu)
    device.attach(world.nested(device, viommu))
    guest.stage1.map(0x40_0000, GPA + 0xFE0_0000, 0x20_0000)
    assert world.physical(device, 0x40_1000) == PA + 0xFE0_1000
    vmid = world.object(parent).domain.hw.vmid
    with world.driver.log_commands() as log:
        assert world.unmap(ioas, GPA + 0xFE0_0000, 0x20_0000) == 0x20_0000
    found = commands(log)
    assert [opcode for opcode, _ in found] == [S2_IPA, SYNC, NH_ALL, SYNC]
    assert found[0][1]["VMID"] == found[2][1]["VMID"] == vmid
    assert found[0][1]["Address"] << 12 == GPA + 0xFE0_0000
    assert world.physical(device, 0x40_1000) is None
    event, = world.driver.service()
    assert event.stage == 2
