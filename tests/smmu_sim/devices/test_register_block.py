"""Registers of a device."""

import pytest

from smmu_sim.devices.register_block import DeviceRegister, RegisterBlock


@pytest.fixture
def block():
    written = []
    made = RegisterBlock({"A": DeviceRegister(0), "B": DeviceRegister(4, writable=False),
                          "C": DeviceRegister(8, 64)}, written.append)
    made.written = written
    return made


def test_writes_reach_registers_by_word(block):
    block.write(0, (0x5_0000_0007).to_bytes(8, "little"))
    assert block["A"] == 7 and block["B"] == 0 and block.written == ["A"]
    block.write(12, b"\1\0\0\0")
    block.write(8, b"\2\0\0\0")
    assert block["C"] == 0x1_0000_0002
    block.write(8, bytes(8))
    assert block.written == ["A", "C", "C", "C"]


def test_reads_of_any_size(block):
    block["A"], block["B"], block["C"] = 0x44332211, 0x88776655, 1 << 40
    assert block.read(0, 8) == bytes.fromhex("1122334455667788")
    assert block.read(3, 3) == bytes.fromhex("445566")
    assert block.read(8, 12) == bytes(5) + b"\1" + bytes(6)


@pytest.mark.parametrize("offset, data", [(0, b"\1"), (2, bytes(4)), (4, bytes(8)), (16, bytes(4))])
def test_other_writes_are_ignored(block, offset, data):
    block["A"] = 5
    block.write(offset, data)
    assert block["A"] == 5 and not block.written
