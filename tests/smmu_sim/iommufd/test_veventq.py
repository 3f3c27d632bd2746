"""VEVENTQ: a guest's events (iommufd/eventq.c)."""

import pytest
from smmu_sim.backend import Transaction

VSID = 0x10
CD_GPA = 0x4000_1000
EVENT, HEADER = 40, 8
WINDOW = 0x0800_0000


@pytest.fixture
def device(world):
    return world.add()


def records(data):
    """Return [(flags, sequence, words or None)]."""
    found, at = [], 0
    while at < len(data):
        flags, sequence = (int.from_bytes(data[at + n:at + n + 4], "little") for n in (0, 4))
        at += HEADER
        words = None
        if not flags:
            words = [int.from_bytes(data[at + 8 * n:at + 8 * n + 8], "little") for n in range(4)]
            at += 32
        found.append((flags, sequence, words))
    return found


def fault(world, device, iova=0xDEAD_0000, count=1):
    for _ in range(count):
        device.function.read(iova, 4)
    return world.driver.service()


@pytest.mark.parametrize("name, fields", [
    ("EOPNOTSUPP", {"flags": 1}), ("EOPNOTSUPP", {"reserved": 1}), ("EOPNOTSUPP", {"type": 0}),
    ("EINVAL", {"veventq_depth": 0}), ("ENOENT", {"viommu_id": 99}), ("EOPNOTSUPP", {"type": 2}),
    ("EEXIST", {})])
def test_refusals(world, device, refused, name, fields):
    nest = world.nest(device, queue=2)
    before = len(world.iommufd.objects)
    refused(name, world.call, "IOMMU_VEVENTQ_ALLOC", **{
        "viommu_id": nest.viommu, "type": 1, "veventq_depth": 2, **fields})
    assert len(world.iommufd.objects) == before


def test_an_event_has_the_guests_streamid(world, device):
    nest = world.nest(device, queue=4)
    world.guest()
    assert not nest.queue.poll()
    assert fault(world, device) == []                # somebody took it
    assert nest.queue.poll()
    (flags, sequence, words), = records(nest.queue.read(1000))
    assert (flags, sequence) == (0, 0)
    assert words[0] == 0x10 | VSID << 32             # F_TRANSLATION, the virtual StreamID
    assert words[1] >> 35 & 1 and not words[1] >> 39 & 1     # a read, stage 1
    assert words[2] == 0xDEAD_0000
    assert not nest.queue.poll() and nest.queue.read(1000) == b""


def test_events_of_each_kind_that_a_guest_is_told_of(world, device):
    nest, guest = world.nest(device, queue=8), world.guest()
    window = guest.window
    seen = []

    def kind():
        world.driver.service()
        found = records(nest.queue.read(1000))
        seen.extend(words[0] & 0xFF for _, _, words in found)

    window.write64(CD_GPA, window.read64(CD_GPA) & ~(1 << 31))          # CD.V = 0
    world.invalidate(nest.viommu, [0x05 | VSID << 32])
    device.function.read(0x10000, 4)
    kind()
    world.backend.dma(Transaction(sid=0x42, ssid=3, addr=0x10000, length=4))
    kind()
    assert seen == [0x0A, 0x08]                      # C_BAD_CD, C_BAD_SUBSTREAMID


def test_stage_2_faults_are_the_hosts(world, device):
    nest, guest = world.nest(device, queue=4), world.guest()
    guest.stage1.map(0x10000, 0x9_0000_0000, 0x1000)
    event, = fault(world, device, 0x10000)
    assert event.stage == 2 and not nest.queue.poll()


def test_cd_fetch_errors_are_the_hosts(world, device):
    nest = world.nest(device, queue=4)
    world.memory.abort_at(0x8_8000_1000)
    event, = fault(world, device)
    assert event.name == "F_CD_FETCH" and not nest.queue.poll()


def test_without_a_queue_the_host_logs(world, device):
    world.nest(device)
    world.guest()
    assert len(fault(world, device)) == 1


def test_a_device_that_is_not_nested_has_no_guest(world, device):
    nest = world.nest(device, queue=4)
    device.attach(nest.parent)
    assert len(fault(world, device, 0x10000)) == 1 and not nest.queue.poll()


def test_a_full_queue_tells_of_the_loss_at_its_end(world, device):
    nest = world.nest(device, queue=2)
    world.guest()
    fault(world, device, count=3)
    assert [record[:2] for record in records(nest.queue.read(1000))] == [(0, 0), (0, 1), (1, 2)]
    fault(world, device)
    assert [record[:2] for record in records(nest.queue.read(1000))] == [(0, 3)]


def test_several_losses_are_one_record_with_the_last_sequence(world, device):
    nest = world.nest(device, queue=1)
    world.guest()
    fault(world, device, count=4)
    assert [record[:2] for record in records(nest.queue.read(1000))] == [(0, 0), (1, 3)]


def test_a_loss_before_a_queued_event_is_a_gap_in_the_sequence_alone(world, device):
    nest = world.nest(device, queue=2)
    world.guest()
    fault(world, device, count=4)                    # 0, 1 and two losses
    assert records(nest.queue.read(EVENT))[0][1] == 0
    fault(world, device)                             # 4 has room again
    assert [record[:2] for record in records(nest.queue.read(1000))] == [(0, 1), (0, 4)]


def test_an_event_without_memory_counts_as_lost(world, device):
    nest = world.nest(device, queue=4)
    world.guest()
    world.iommufd.allocations.fail_nth = 1
    fault(world, device)
    assert records(nest.queue.read(1000)) == [(1, 0, None)]


def test_sequence_numbers_wrap_below_the_sign_bit(world, device):
    nest = world.nest(device, queue=4)
    queue = world.object(nest.queue_id)
    queue._sequence = 2**31 - 1
    queue.put(bytes(32))
    queue.put(bytes(32))
    assert [record[1] for record in records(nest.queue.read(1000))] == [2**31 - 1, 0]


def test_reads_return_whole_records(world, device):
    nest = world.nest(device, queue=2)
    world.guest()
    fault(world, device, count=3)
    assert nest.queue.read(39) == b"" and nest.queue.poll()
    assert len(nest.queue.read(79)) == 40
    assert len(nest.queue.read(47)) == 40            # the header of the loss does not fit
    assert nest.queue.read(7) == b"" and len(nest.queue.read(8)) == 8


def test_the_file_has_no_position_and_takes_nothing(world, device, refused):
    nest = world.nest(device, queue=2)
    refused("ESPIPE", nest.queue.read, 40, 1)
    refused("EBADF", nest.queue.write, bytes(8))
    nest.queue.close()
    refused("EBADF", nest.queue.read, 40)
