"""Registers in memory: sizes, halves, read-only bits."""

import pytest

from smmu_sim.irq.register_frame import Register, RegisterFrame
from smmu_sim.memory import Memory

BASE = 0x1_0000


@pytest.fixture
def frame():
    written = []
    made = RegisterFrame(Memory(), BASE, 0x1000, {
        0x00: Register(32, 0xFF, 0x55), 0x04: Register(32, 0, 0x1234),
        0x08: Register(64, (1 << 64) - 1), 0x10: Register(32, 0xF), 0x14: Register(32, 0xF)},
        lambda *args: written.append(args))
    made.written = written
    return made


def test_reset_values_are_what_is_read(frame):
    assert frame.memory.read32(BASE) == 0x55 and frame.memory.read32(BASE + 4) == 0x1234
    assert frame.memory.read64(BASE + 0x100) == 0


def test_only_writable_bits_change_and_others_read_as_before(frame):
    frame.memory.write32(BASE, 0xABCD)
    frame.memory.write32(BASE + 4, 0xFFFF_FFFF)
    assert frame[0] == 0xCD and frame.memory.read64(BASE) == 0x1234_0000_00CD
    assert frame.written[0] == (0, 0xCD, 0x55)


def test_64_bit_registers_take_halves_and_wholes(frame):
    frame.memory.write64(BASE + 8, 0x1111_2222_3333_4444)
    frame.memory.write32(BASE + 12, 0xAAAA_BBBB)
    assert frame[8] == 0xAAAA_BBBB_3333_4444 == frame.memory.read64(BASE + 8)


def test_64_bits_over_two_registers_write_both_low_first(frame):
    frame.memory.write64(BASE + 0x10, 0x5_0000_0003)
    assert [args[:2] for args in frame.written] == [(0x10, 3), (0x14, 5)]


@pytest.mark.parametrize("addr, data", [
    (BASE, b"\x01"), (BASE, b"\1\2"), (BASE + 2, bytes(4)), (BASE + 4, bytes(8)),
    (BASE, bytes(16)), (BASE - 2, bytes(4))])
def test_other_sizes_and_alignments_are_ignored(frame, addr, data):
    before = frame.memory.peek(BASE, 0x20)
    frame.memory.write(addr, data)
    assert frame.memory.peek(BASE, 0x20) == before and not frame.written


def test_what_is_no_register_reads_as_zero_after_a_write(frame):
    frame.memory.write32(BASE + 0x200, 7)
    assert frame.memory.read32(BASE + 0x200) == 0


def test_reset_brings_back_what_a_cleared_memory_lost(frame):
    frame.memory.clear()
    frame.reset()
    assert frame.memory.read32(BASE + 4) == 0x1234
