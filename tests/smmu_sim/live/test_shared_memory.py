"""The guest's memory in a file."""

import pytest

from smmu_sim.live.layout import GICV2M_SETSPI
from smmu_sim.memory import BusAbort


def test_what_is_written_is_in_the_file_and_the_other_way_round(memory, layout):
    memory.write32(layout.ram_base + 0x1000, 0x12345678)
    assert memory.ram[0x1000:0x1004] == bytes.fromhex("78563412")
    memory.ram[0x2000:0x2004] = b"\1\2\3\4"
    assert memory.read32(layout.ram_base + 0x2000) == 0x04030201


def test_strobes_keep_other_bytes(memory, layout):
    memory.write(layout.ram_base, b"abcd")
    memory.write(layout.ram_base, b"WXYZ", strobes=0b0101)
    assert memory.read(layout.ram_base, 4) == b"WbYd"


def test_accesses_to_the_frames_and_outside_abort(memory, layout):
    for addr in (layout.hole, layout.smmu + 0x20, layout.ram_base - 8, GICV2M_SETSPI + 4,
                 layout.ram_base + layout.ram_bytes):
        with pytest.raises(BusAbort):
            memory.read(addr, 4)
        with pytest.raises(BusAbort):
            memory.write(addr, bytes(4))


def test_a_message_to_the_gicv2m_waits_to_be_forwarded(memory):
    memory.write(GICV2M_SETSPI, (80).to_bytes(4, "little"))
    memory.write(GICV2M_SETSPI, (81).to_bytes(4, "little"), device_id=0x20)
    assert memory.messages == [(GICV2M_SETSPI, 80, None), (GICV2M_SETSPI, 81, 0x20)]


def test_observers_see_writes(memory, layout):
    seen = []
    memory.observe(range(layout.ram_base, layout.ram_base + 8), lambda *call: seen.append(call))
    memory.write32(layout.ram_base + 4, 7)
    assert seen == [(layout.ram_base + 4, b"\7\0\0\0", None)]


def test_the_guests_memory_cannot_be_cleared(memory):
    with pytest.raises(ValueError, match="cannot be cleared"):
        memory.clear()
