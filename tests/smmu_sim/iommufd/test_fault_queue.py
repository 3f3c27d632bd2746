"""FAULT queue: stalls, answered by user space (iommufd/eventq.c)."""

import pytest
from smmu_sim.backend import Transaction
from smmu_sim.iommufd.uapi import HWPT_PAGE_RESPONSE, HWPT_PGFAULT

FAULT_ID, PASID = 4, 8
VA, PA = 0x7F00_0000_0000, 0x8_8000_0000
RESUME, CFGI_STE = 0x44, 0x03
SUCCESS, INVALID = 0, 1
STAGE1_OF_8 = (1 | 5 << 1 | 0x4000_1000 | 3 << 59, 2)   # eight CDs; without PASID CD 0


@pytest.fixture
def world(make):
    return make(stall=True)


@pytest.fixture
def device(world):
    return world.add(master={"can_stall": True}, max_pasids=256)


@pytest.fixture
def queue(world):
    """(id, file)."""
    return world.fault_queue()


@pytest.fixture
def ioas(world):
    return world.ioas()


def access(world, device, addr, pasid=None, write=False):
    """Start an access that stalls."""
    work = {"write": True, "data": b"abcd"} if write else {"length": 4}
    pending = world.backend.submit(Transaction(sid=device.sid, ssid=pasid, addr=addr, **work))
    world.driver.service()
    return pending


def faults(file):
    data = file.read(40 * 16)
    return [HWPT_PGFAULT.unpack(data[at:at + 40]) for at in range(0, len(data), 40)]


def answer(file, cookie, code):
    return file.write(HWPT_PAGE_RESPONSE.pack(cookie=cookie, code=code))


def test_alloc_refuses_flags(world, refused):
    refused("EOPNOTSUPP", world.call, "IOMMU_FAULT_QUEUE_ALLOC", flags=1)


def test_a_fault_of_the_rid_is_answered_and_the_access_completes(world, device, queue, ioas):
    device.attach(world.hwpt(device, ioas, FAULT_ID, queue[0]))
    assert not queue[1].poll()
    pending = access(world, device, 0x10000)
    assert queue[1].poll() and pending.result is None
    fault, = faults(queue[1])
    assert (fault.flags, fault.dev_id, fault.pasid, fault.perm) == (2, device.id, 0, 1)
    assert (fault.addr, fault.length, fault.cookie) == (0x10000, 0, 1)
    assert not queue[1].poll()
    world.map(ioas, 0x10000)
    with world.driver.log_commands() as log:
        assert answer(queue[1], 1, SUCCESS) == 8
    assert [raw & 0xFF for raw in log] == [RESUME] and log[0] >> 12 & 3 == 1
    world.backend.idle()
    assert pending.result.ok and pending.result.pa == PA


def test_an_invalid_fault_aborts(world, device, queue, ioas):
    device.attach(world.hwpt(device, ioas, FAULT_ID, queue[0]))
    pending = access(world, device, 0x10000)
    faults(queue[1])
    answer(queue[1], 1, INVALID)
    world.backend.idle()
    assert pending.result is not None and not pending.result.ok


def test_a_pasid_has_the_queue_of_its_own_hwpt(world, device, queue, ioas):
    device.attach(world.hwpt(device, ioas, PASID))
    device.attach(world.hwpt(device, ioas, FAULT_ID | PASID, queue[0]), pasid=3)
    access(world, device, 0x5000, pasid=3, write=True)
    fault, = faults(queue[1])
    assert (fault.flags, fault.pasid, fault.perm, fault.addr) == (3, 3, 2, 0x5000)
    pending = access(world, device, 0x6000)          # the RID's has no queue
    assert faults(queue[1]) == []
    world.backend.idle()
    assert not pending.result.ok


def test_reads_return_whole_groups(world, device, queue, ioas, refused):
    device.attach(world.hwpt(device, ioas, FAULT_ID, queue[0]))
    for n in range(3):
        access(world, device, 0x10000 * (n + 1))
    for count in (1, 39, 41):
        refused("ESPIPE", queue[1].read, count)
    refused("ESPIPE", queue[1].read, 40, 1)
    assert queue[1].read(0) == b""
    assert len(queue[1].read(80)) == 80 and len(queue[1].read(80)) == 40
    assert queue[1].read(80) == b""


def test_cookies_begin_at_one_and_are_used_again(world, device, queue, ioas):
    device.attach(world.hwpt(device, ioas, FAULT_ID, queue[0]))
    for n in range(2):
        access(world, device, 0x10000 * (n + 1))
    assert [fault.cookie for fault in faults(queue[1])] == [1, 2]
    answer(queue[1], 1, INVALID)
    access(world, device, 0x30000)
    assert [fault.cookie for fault in faults(queue[1])] == [1]


def test_responses_are_checked(world, device, queue, ioas, refused):
    device.attach(world.hwpt(device, ioas, FAULT_ID, queue[0]))
    for n in range(2):
        access(world, device, 0x10000 * (n + 1))
    faults(queue[1])
    refused("ESPIPE", queue[1].write, bytes(7))
    refused("ESPIPE", queue[1].write, bytes(8), 1)
    refused("EINVAL", answer, queue[1], 9, SUCCESS)
    refused("EINVAL", answer, queue[1], 1, 2)
    good, bad = (HWPT_PAGE_RESPONSE.pack(cookie=cookie, code=INVALID) for cookie in (1, 9))
    assert queue[1].write(good + bad) == 8           # a part was taken
    refused("EINVAL", queue[1].write, good)          # answered already
    assert answer(queue[1], 2, INVALID) == 8


@pytest.mark.parametrize("end", ["detach", "replace", "close"])
@pytest.mark.parametrize("seen", [False, True])
def test_what_waits_at_the_end_of_an_attachment_is_invalid(world, device, queue, ioas, end, seen):
    device.attach(world.hwpt(device, ioas, FAULT_ID, queue[0]))
    pending = access(world, device, 0x10000)
    if seen:
        faults(queue[1])
    if end == "detach":
        device.detach()
    elif end == "replace":
        device.attach(world.hwpt(device, ioas))
    else:
        device.file.close()
    world.backend.idle()
    assert pending.result is not None and not pending.result.ok
    assert not queue[1].poll() and not world.object(queue[0])._answers


def test_the_end_of_one_attachment_leaves_others_alone(world, device, queue, ioas):
    other = world.add(0x43, master={"can_stall": True})
    for each in (device, other):
        each.attach(world.hwpt(each, ioas, FAULT_ID, queue[0]))
    pending = [access(world, each, 0x10000) for each in (device, other)]
    device.detach()
    world.backend.idle()
    assert pending[0].result is not None and pending[1].result is None
    fault, = faults(queue[1])
    assert fault.dev_id == other.id


def test_a_fault_without_memory_is_invalid(world, device, queue, ioas):
    device.attach(world.hwpt(device, ioas, FAULT_ID, queue[0]))
    world.iommufd.allocations.fail_nth = 1
    pending = access(world, device, 0x10000)
    world.backend.idle()
    assert pending.result is not None and not pending.result.ok and not queue[1].poll()


def test_without_a_queue_a_stall_is_aborted_at_once(world, device, ioas):
    device.attach(world.hwpt(device, ioas))
    pending = access(world, device, 0x10000)
    world.backend.idle()
    assert not pending.result.ok


@pytest.mark.parametrize("pasid, flags", [(None, 2), (3, 3)])
def test_a_nested_hwpt_has_faults_of_the_rid_and_of_all_pasids(world, queue, pasid, flags):
    device = world.add(0x43, master={"can_stall": True, "ssid_bits": 8})
    guest = world.guest(ssid_bits=3, S=1)
    world.nest(device, ste=STAGE1_OF_8, flags=FAULT_ID, fault_id=queue[0])
    pending = access(world, device, 0x10000, pasid)
    fault, = faults(queue[1])
    assert (fault.addr, fault.flags, fault.pasid) == (0x10000, flags, pasid or 0)
    guest.stage1.map(0x10000, 0x4000_5000, 0x1000)
    answer(queue[1], fault.cookie, SUCCESS)
    world.backend.idle()
    assert pending.result.pa == PA + 0x5000
