"""The NIC: frames through rings, interrupts, errors."""

import pytest

from smmu_sim.devices import PCIFunction, RingNIC, RingNICDriver, TrafficGenerator
from smmu_sim.devices.nic_queue import DESCRIPTOR, NICError
from smmu_sim.irq import MSIMessage

DOORBELL = 0x2021_0040


@pytest.fixture
def messages(backend):
    found = []
    backend.memory.observe(range(DOORBELL, DOORBELL + 4),
                           lambda addr, data, device_id: found.append(data[0]))
    return found


@pytest.fixture
def sent():
    return []


@pytest.fixture
def nic(function, sent):
    for n in range(2):
        function.set_message(n, MSIMessage(DOORBELL, 0x70 + n))
    return RingNIC(function, queues=2, on_transmit=sent.append)


@pytest.fixture
def software(nic, function, backend, dma_alloc):
    return RingNICDriver(function, backend.memory, dma_alloc, queues=2, size=8)


def frames(count, flow=0, size=None):
    generator = TrafficGenerator(1)
    return [generator.frame(flow, size) for _ in range(count)]


# Receive

def test_a_burst_arrives_intact_with_one_interrupt_for_each_queue(software, nic, messages):
    burst = frames(3) + frames(2, flow=1)
    assert nic.receive(burst) == 5 and messages == [0x70, 0x71]
    assert software.poll(0) == burst[:3] and software.poll(1) == burst[3:]
    assert software.poll() == [] and nic.counts["received"] == 5


def test_rings_go_round(software, nic):
    generator, got = TrafficGenerator(2), []
    sent = [generator.frame() for _ in range(60)]
    for n in range(0, 60, 5):
        assert nic.receive(sent[n:n + 5]) == 5
        got += software.poll()
    assert sorted(frame.number for frame in got) == list(range(60))
    assert all(frame.intact for frame in got)


def test_frames_without_a_descriptor_are_dropped(software, nic):
    assert nic.receive(frames(10)) == 7          # one descriptor always stays free
    assert nic.counts["dropped"] == 3 and len(software.poll()) == 7
    assert nic.receive(frames(2)) == 2


def test_a_frame_that_is_too_large_for_its_buffer_is_dropped(software, nic):
    small = frames(1)
    assert nic.receive(frames(1, size=3000) + small) == 1
    assert nic.counts["too large"] == 1 and software.poll() == small


def test_frame_and_descriptor_are_written_before_the_msi(software, nic, backend):
    seen = []
    backend.memory.observe(DOORBELL, lambda *_: seen.append(software.poll()))
    burst = frames(2)
    nic.receive(burst)
    assert seen == [burst]


def test_a_nic_that_is_off_drops_everything(function, nic):
    assert nic.receive(frames(2)) == 0 and nic.counts["dropped"] == 2


@pytest.mark.parametrize("what, error", [
    ("ring", NICError.DESCRIPTOR_FETCH), ("buffer", NICError.BUFFER),
    ("write back", NICError.WRITE_BACK)])
def test_an_error_stops_one_receive_queue_only(software, nic, backend, messages, what, error):
    ring = software.rx[0]
    where = {"ring": (ring.ring[1], "read"), "buffer": (ring.buffers[1][1], "write"),
             "write back": (ring.ring[1] + DESCRIPTOR.size + 8, "write")}[what]
    backend.memory.abort_at(*where)
    arrived = nic.receive(frames(3))
    assert software.errors() == {"RX0": (error, where[0])}
    assert messages == [0x70] and arrived == (1 if what == "buffer" else 0)
    assert nic.counts["dropped"] == 3 - arrived and nic.counts["received"] == arrived
    assert nic.receive(frames(2, flow=1)) == 2 and nic.receive(frames(1)) == 0
    backend.memory.remove_aborts()
    software.start()
    assert software.errors() == {} and nic.receive(frames(2)) == 2


# Transmit

def test_frames_are_sent_in_order_with_one_interrupt(software, nic, sent, messages):
    burst = frames(5)
    software.send(burst)
    assert sent == burst and messages == [0x70] and nic.counts["transmitted"] == 5
    software.send(frames(3), queue=1)
    assert len(sent) == 8 and messages == [0x70, 0x71]


def test_transmit_rings_go_round_and_descriptors_come_back(software, sent):
    for _ in range(10):
        software.send(frames(5))
    assert len(sent) == 50


def test_a_full_transmit_ring_is_refused(software):
    with pytest.raises(ValueError, match="room for 7"):
        software.send(frames(8))
    with pytest.raises(ValueError, match="2048"):
        software.send(frames(1, size=2049))


@pytest.mark.parametrize("what, error, out", [
    ("ring", NICError.DESCRIPTOR_FETCH, 0), ("buffer", NICError.BUFFER, 1),
    ("write back", NICError.WRITE_BACK, 3)])
def test_an_error_stops_a_transmit_queue(
        software, function, backend, sent, messages, what, error, out):
    ring = software.tx[0]
    where = {"ring": (ring.ring[1], "read"), "buffer": (ring.buffers[1][1], "read"),
             "write back": (ring.ring[1] + 8, "write")}[what]
    function.bar_write(0, 0, bytes(4))
    software.send(frames(3))
    backend.memory.abort_at(*where)
    function.bar_write(0, 0, b"\1\0\0\0")
    assert software.errors() == {"TX0": (error, where[0])} and len(sent) == out
    assert messages == [0x70]
    software.send(frames(1), queue=1)
    assert len(sent) == out + 1


@pytest.mark.parametrize("length", [0, 9217])
def test_a_bad_transmit_descriptor_stops_the_queue(software, nic, backend, sent, length):
    ring = software.tx[0]
    backend.memory.poke(ring.ring[0], DESCRIPTOR.pack(ring.buffers[0][1], length, 0))
    software._set("TX0_TAIL", 1)
    assert software.errors()["TX0"][0] == NICError.BAD_DESCRIPTOR and sent == []


def test_descriptors_wait_until_the_nic_is_on(software, function, sent):
    function.bar_write(0, 0, bytes(4))
    software.send(frames(1))
    assert sent == []
    function.bar_write(0, 0, b"\1\0\0\0")
    assert len(sent) == 1


def test_two_nics_back_to_back(backend, dma_alloc):
    ends = []
    for sid in (1, 2):
        nic = RingNIC(PCIFunction(backend, sid, name=f"nic {sid}"))
        ends.append((nic, RingNICDriver(nic.function, backend.memory, dma_alloc)))
    (one, left), (two, right) = ends
    one.on_transmit = lambda frame: two.receive([frame])
    burst = TrafficGenerator(4).burst()
    left.send(burst)
    assert right.poll() == burst and left.poll() == []


@pytest.mark.parametrize("queues", [0, 65])
def test_impossible_numbers_of_queues(function, queues):
    with pytest.raises(ValueError, match="queues"):
        RingNIC(function, queues=queues)


def test_the_nic_says_how_many_queues_it_has(nic, function):
    assert function.bar_read(0, 4, 4) == b"\2\0\0\0"
    function.config_write(0x48, b"\x00\x80")
    function.config.enable()
    assert function.bar_read(0, 4, 4) == b"\2\0\0\0" and not nic.enabled
