"""The virtio devices, with a driver that does what Linux does to them."""

import hashlib
import struct

import pytest
from smmu_sim.backend import ModelBackend
from smmu_sim.live.rogue import Rogue
from smmu_sim.live.virtio.block import Block
from smmu_sim.live.virtio.frame import VirtioFrame
from smmu_sim.live.virtio.net import Net
from smmu_sim.live.virtio.port import DevicePort, DMAError
from smmu_sim.live.virtio.rng import RNG
from smmu.params import Params
from tests.smmu_sim.live.virtio_driver import Driver

DATA = 0x10_0000  # of buffers, from the start of RAM
BAD = 0x10        # no memory there: the access aborts


class Board:
    """A device with its driver; the SMMU is in bypass, as after reset."""

    def __init__(self, memory, layout, kind, make):
        self.transactions, self.pulses = [], 0
        backend = ModelBackend(Params(), memory)
        backend.reset()

        def perform(transactions):
            self.transactions += transactions
            return [backend.dma(transaction) for transaction in transactions]

        self.perform, self.memory = perform, memory
        place = layout.devices[kind]
        port = DevicePort(perform, place.sid)
        self.device = make(port)
        self.frame = VirtioFrame(place, memory, port, self.device, self._pulse)
        self.driver = Driver(self.frame, memory, memory.base + 0x20_0000)
        self.data = memory.base + DATA

    def _pulse(self):
        self.pulses += 1


@pytest.fixture
def rng(memory, layout):
    board = Board(memory, layout, "rng", RNG)
    board.driver.set_up()
    return board


@pytest.fixture
def blk(memory, layout):
    board = Board(memory, layout, "blk", lambda port: Block(port, bytearray(range(256)) * 64))
    board.driver.set_up()
    return board


@pytest.fixture
def net(memory, layout):
    board = Board(memory, layout, "net", Net)
    board.driver.set_up(queues=2)
    return board


def test_the_registers_say_which_device_it_is(rng, blk, net):
    for board, number in ((rng, 4), (blk, 2), (net, 1)):
        assert board.driver.get(0x00) == int.from_bytes(b"virt", "little")
        assert board.driver.get(0x04) == 2 and board.driver.get(0x08) == number
        assert board.driver.get(0x10) & 3 == 3  # bits 32, 33: VERSION_1, ACCESS_PLATFORM
    assert blk.driver.get(0x100) == 32          # sectors


def test_random_bytes_arrive_with_the_devices_streamid(rng, layout):
    rng.driver.offer(0, [(rng.data, 100, True)])
    assert rng.frame.poll()
    assert rng.driver.used(0) == [(0, 100)]
    data = rng.memory.peek(rng.data, 100)
    assert len(set(data)) > 20 and rng.device.delivered == 100
    assert {each.sid for each in rng.transactions} == {layout.devices["rng"].sid}
    assert rng.pulses == 1 and rng.driver.pending() == 1


def test_without_a_notification_nothing_happens(rng):
    rng.driver.offer(0, [(rng.data, 8, True)], notify=False)
    assert not rng.frame.poll()
    assert rng.driver.used(0) == [] and not rng.transactions


def test_the_next_interrupt_waits_for_the_acknowledge_of_the_last(rng):
    rng.driver.offer(0, [(rng.data, 8, True)])
    rng.frame.poll()
    rng.driver.offer(0, [(rng.data, 8, True)])
    rng.frame.poll()
    assert len(rng.driver.used(0)) == 2 and rng.pulses == 1
    rng.driver.acknowledge()
    rng.frame.poll()
    assert rng.pulses == 2 and rng.driver.pending() == 1
    rng.driver.acknowledge()
    rng.frame.poll()
    assert rng.pulses == 2 and rng.driver.pending() == 0


def test_a_notification_during_service_is_not_lost(rng):
    serve = rng.device.serve

    def serve_and_offer(*arguments):
        rng.device.serve = serve
        done = serve(*arguments)
        rng.driver.offer(0, [(rng.data, 8, True)])  # after the device has looked at the ring
        return done

    rng.device.serve = serve_and_offer
    rng.driver.offer(0, [(rng.data, 8, True)])
    rng.frame.poll()
    assert rng.frame.poll()
    assert len(rng.driver.used(0)) == 2


def test_more_requests_than_one_turn_are_all_served(rng):
    for _ in range(8):
        rng.driver.offer(0, [(rng.data, 8, True)])
    rng.frame.poll()
    while rng.frame.poll():
        pass
    assert len(rng.driver.used(0)) == 8


def test_an_aborted_access_makes_the_device_need_a_reset_until_it_is_reset(rng):
    rng.driver.offer(0, [(BAD, 8, True)])
    rng.frame.poll()
    assert rng.driver.get(0x70) == 0x4F and rng.driver.pending() == 2
    assert "SLVERR" in rng.frame.problem and f"{BAD:#x}" in rng.frame.problem
    rng.driver.set_up()
    assert rng.frame.problem is None
    rng.driver.offer(0, [(rng.data, 8, True)])
    rng.frame.poll()
    assert rng.driver.used(0) == [(0, 8)]


def test_a_ring_without_an_end_makes_the_device_need_a_reset(rng):
    ring = rng.driver.ring(0)
    rng.driver.offer(0, [(rng.data, 8, True)], notify=False)
    rng.memory.poke(ring, struct.pack("<QIHH", rng.data, 8, 3, 0))  # its own successor
    rng.driver.put(0x50, 0)
    rng.frame.poll()
    assert "without an end" in rng.frame.problem


def test_a_queue_that_a_rebound_driver_sets_up_starts_anew(rng):
    rng.driver.offer(0, [(rng.data, 8, True)])
    rng.frame.poll()
    rng.driver.used(0)
    rng.driver.set_up()
    rng.driver.offer(0, [(rng.data, 16, True)])
    rng.frame.poll()
    assert rng.driver.used(0) == [(0, 16)]


def test_a_driver_that_is_rebound_between_two_looks_gets_its_interrupts(rng):
    rng.driver.offer(0, [(rng.data, 8, True)])
    rng.frame.poll()                     # its interrupt is never acknowledged
    served, rng.frame.poll = rng.frame.poll, lambda: False
    rng.driver.set_up()
    rng.frame.poll = served
    rng.driver.offer(0, [(rng.data, 16, True)])
    rng.frame.poll()
    assert rng.driver.used(0) == [(0, 16)] and rng.pulses == 2


def request(blk, kind, sector, size):
    blk.memory.poke(blk.data, struct.pack("<IIQ", kind, 0, sector))
    blk.driver.offer(0, [(blk.data, 16, False), (blk.data + 0x1000, size, kind in (0, 8)),
                         (blk.data + 0x200, 1, True)])
    blk.memory.poke(blk.data + 0x200, b"\xFF")
    blk.frame.poll()
    (_, written), = blk.driver.used(0)
    return blk.memory.peek(blk.data + 0x200, 1)[0], written


def test_the_disk_is_read_and_written(blk):
    first = blk.device.md5
    assert request(blk, 0, 3, 1024) == (0, 1025)
    assert blk.memory.peek(blk.data + 0x1000, 1024) == bytes(range(256)) * 4
    blk.memory.poke(blk.data + 0x1000, b"new!" * 128)
    assert request(blk, 1, 31, 512) == (0, 1)
    assert blk.device.data[-512:] == b"new!" * 128 and len(blk.device.data) == 32 * 512
    assert blk.device.md5 == hashlib.md5(blk.device.data).hexdigest() != first
    assert (blk.device.reads, blk.device.writes) == (1024, 512)


def test_requests_beyond_the_end_and_unknown_ones_are_refused(blk):
    before = blk.device.md5
    assert request(blk, 0, 31, 1024) == (1, 1)
    assert request(blk, 1, 32, 512) == (1, 1)
    assert request(blk, 77, 0, 512) == (2, 1)
    assert blk.device.md5 == before


def test_the_disk_has_a_name(blk):
    assert request(blk, 8, 0, 20)[0] == 0
    assert blk.memory.peek(blk.data + 0x1000, 20).rstrip(b"\0") == b"open-smmu-disk"


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


OWN_MAC, OWN_IP = bytes.fromhex("020000000001"), bytes((10, 0, 0, 2))


def send(net, packet):
    """Send a frame; what is received thereafter, or None."""
    net.driver.offer(0, [(net.data + 0x2000, 1526, True)])
    net.memory.poke(net.data, bytes(12) + packet)
    net.driver.offer(1, [(net.data, 12, False), (net.data + 12, len(packet), False)])
    net.frame.poll()
    assert len(net.driver.used(1)) == 1
    received = net.driver.used(0)
    return net.memory.peek(net.data + 0x2000 + 12, received[0][1] - 12) if received else None


def arp(wanted):
    return (b"\xFF" * 6 + OWN_MAC + b"\x08\x06" + bytes.fromhex("0001080006040001")
            + OWN_MAC + OWN_IP + bytes(6) + wanted)


def ping(to):
    body = b"\x08\0\0\0\x12\x34\0\1" + b"payload!"
    body = body[:2] + (0xFFFF - checksum(body)).to_bytes(2, "big") + body[4:]
    header = bytes.fromhex("4500") + (20 + len(body)).to_bytes(2, "big") \
        + bytes.fromhex("0001000040010000") + OWN_IP + to
    return bytes(6) + OWN_MAC + b"\x08\0" + header + body


def test_the_other_end_answers_arp_and_ping(net):
    reply = send(net, arp(bytes((10, 0, 0, 1))))
    assert reply[:6] == OWN_MAC and reply[20:22] == b"\0\2"
    assert reply[28:32] == bytes((10, 0, 0, 1)) and reply[32:42] == OWN_MAC + OWN_IP
    peer = reply[6:12]
    reply = send(net, ping(bytes((10, 0, 0, 1))))
    assert reply[:12] == OWN_MAC + peer
    assert reply[26:34] == bytes((10, 0, 0, 1)) + OWN_IP
    assert checksum(reply[14:34]) == checksum(reply[34:]) == 0xFFFF
    assert reply[34:36] == b"\0\0" and reply[38:] == b"\x12\x34\0\1payload!"
    assert (net.device.sent, net.device.received, net.device.echoes) == (2, 2, 1)


@pytest.mark.parametrize("packet", [
    arp(bytes((10, 0, 0, 9))), ping(bytes((10, 0, 0, 9))), b"short", bytes(60)])
def test_nobody_answers_for_others(net, packet):
    assert send(net, packet) is None


def test_both_queues_are_told_apart(net):
    net.driver.select(0)
    assert net.driver.get(0x44) == 1
    net.driver.select(1)
    assert net.driver.get(0x44) == 1
    net.driver.select(2)
    assert net.driver.get(0x44) == 0


def test_long_and_crooked_accesses_become_legal_bursts(rng):
    port = DevicePort(rng.perform, 7)
    rng.transactions.clear()
    data = bytes(range(251)) * 40
    port.write(rng.data + 0xFFD, data)
    assert rng.memory.peek(rng.data + 0xFFD, len(data)) == data
    assert port.read(rng.data + 0xFFD, len(data)) == data
    for each in rng.transactions:
        assert each.length <= 256 << each.size and each.addr % (1 << each.size) == 0
        assert each.addr // 4096 == (each.addr + each.length - 1) // 4096
    with pytest.raises(DMAError, match="read of 8 bytes at 0x10"):
        port.read(BAD, 8)


def test_the_rogue_does_what_it_is_told(rng, layout):
    rogue = Rogue(rng.memory, layout.rogue, rng.perform)
    place = layout.rogue - rng.memory.base
    assert not rogue.poll()
    struct.pack_into("<IIQ", rng.memory.ram, place, 2, 0x33, rng.data)
    rng.memory.poke(rng.data, b"\xFF" * 8)
    rng.transactions.clear()
    assert rogue.poll()
    assert struct.unpack_from("<IIQII", rng.memory.ram, place) == (0, 0x33, rng.data, 0, 1)
    assert rng.memory.peek(rng.data, 8) == bytes(8)
    struct.pack_into("<IIQ", rng.memory.ram, place, 1, 0x33, BAD)
    rogue.poll()
    assert struct.unpack_from("<II", rng.memory.ram, place + 0x10) == (2, 2)
    assert [(each.sid, each.addr, each.write) for each in rng.transactions] == [
        (0x33, rng.data, True), (0x33, BAD, False)]
    assert [each["response"] for each in rogue.accesses] == ["OKAY", "SLVERR"]
