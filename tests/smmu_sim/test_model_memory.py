"""smmu_sim.memory: windows, faults, observers, page borders."""

import pytest

from smmu.params import Params
from smmu_sim.backend import Burst, ModelBackend, Transaction
from smmu_sim.memory import BusAbort, Memory


def test_reads_back_over_a_page_border():
    memory = Memory()
    memory.write(0xFFA, bytes(range(1, 13)))
    assert memory.read(0xFF8, 16) == b"\0\0" + bytes(range(1, 13)) + b"\0\0"
    assert memory.read64(0xFFA) == 0x0807060504030201


def test_strobes_keep_the_other_bytes():
    memory = Memory()
    memory.write64(0x100, 0x1111111111111111)
    memory.write(0x100, b"\xFF" * 8, strobes=0b10000101)
    assert memory.read64(0x100) == 0xFF11111111FF11FF


@pytest.mark.parametrize("addr, size, aborts", [
    (0x1000, 8, False), (0x1FF8, 8, False), (0xFFC, 8, True), (0x1FFC, 8, True), (0x2000, 1, True)])
def test_windows(addr, size, aborts):
    memory = Memory([(0x1000, 0x1000)])
    for access in (lambda: memory.read(addr, size), lambda: memory.write(addr, bytes(size))):
        if aborts:
            with pytest.raises(BusAbort):
                access()
        else:
            access()


def test_abort_at_hits_its_kind_and_range_only():
    memory = Memory()
    handle = memory.abort_at(range(0x100, 0x108), "read")
    memory.write(0x100, b"abc")
    memory.read(0xF8, 8)
    memory.read(0x108, 8)
    with pytest.raises(BusAbort) as error:
        memory.read(0x104, 32)
    assert (error.value.addr, error.value.kind) == (0x104, "read")
    assert memory.peek(0x100, 3) == b"abc"
    memory.remove(handle)
    assert memory.read(0x100, 3) == b"abc"
    with pytest.raises(ValueError):
        memory.abort_at(0, "execute")


def test_observers_of_reads():
    memory, seen = Memory(), []
    memory.observe(range(0x40, 0x48), lambda addr, data, _: seen.append((addr, len(data))), "read")
    memory.read(0x20, 0x20)
    memory.read32(0x44)
    memory.peek(0x40, 8)
    memory.write64(0x40, 1)
    assert seen == [(0x44, 4)]


def test_observers_see_bus_writes_but_not_pokes():
    memory, seen = Memory(), []
    handle = memory.observe(range(0x40, 0x44), lambda *what: seen.append(what))
    memory.write(0x40, b"word", device_id=7)
    memory.write(0x44, b"next")
    memory.poke(0x40, b"poke")
    assert seen == [(0x40, b"word", 7)]
    memory.remove(handle)
    memory.write(0x40, b"more")
    assert len(seen) == 1


@pytest.mark.parametrize("burst, addr, pieces", [
    (Burst.INCR, 0x1018, [(0, 0, 32)]),
    (Burst.FIXED, 0x1018, [(0, 0, 8), (8, 0, 8), (16, 0, 8), (24, 0, 8)]),
    (Burst.WRAP, 0x1018, [(0, 0, 8), (8, -24, 8), (16, -16, 8), (24, -8, 8)])])
def test_bursts(burst, addr, pieces):
    transaction = Transaction(sid=0, addr=addr, length=32, burst=burst)
    assert list(transaction.pieces()) == pieces


@pytest.mark.parametrize("addr, length, size", [
    (0, 64, 3), (4, 64, 2), (2, 4, 1), (0, 4, 2), (0, 1, 0), (8, 12, 2)])
def test_size_that_a_transaction_takes(addr, length, size):
    assert Transaction(sid=0, addr=addr, length=length).size == size


@pytest.mark.parametrize("burst, addr, image", [
    (Burst.INCR, 0x108, b"\0" * 8 + b"aa......" + b".....bbb"),
    (Burst.WRAP, 0x108, b".....bbb" + b"aa......"),
    (Burst.FIXED, 0x108, b"\0" * 8 + b"aa...bbb")])
def test_strobes_of_each_beat(burst, addr, image):
    backend = ModelBackend(Params(), Memory())
    backend.memory.poke(0x100 if burst == Burst.WRAP else 0x108,
                        b"." * (8 if burst == Burst.FIXED else 16))
    backend.dma(Transaction(sid=0, addr=addr, write=True, data=b"a" * 8 + b"b" * 8, burst=burst,
                            strobes=0b1110_0000_0000_0011))
    assert backend.memory.peek(0x100, len(image)) == image
