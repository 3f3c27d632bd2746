"""Configuration space, MSI-X as bytes and as vectors, masking, reset."""

import pytest

from smmu_sim.backend import Resp
from smmu_sim.devices import PCIFunction
from smmu_sim.irq import MSIMessage

DOORBELL = 0x2021_0040
MSIX, TABLE_BAR, PBA = 0x80, 4, 0x8000


@pytest.fixture
def ready(function):
    for n in range(4):
        function.set_message(n, MSIMessage(DOORBELL, 0x10 + n))
    return function


def sent(function):
    """The data of the messages since the last call."""
    found = [int.from_bytes(t.data, "little") for t in function.backend.transactions]
    function.backend.transactions.clear()
    return found


def config(function, offset, size):
    return int.from_bytes(function.config_read(offset, size), "little")


# Identity and configuration space

def test_bus_device_function_come_from_the_stream_id(function, backend):
    assert function.rid == 0x42 and function.bdf == "00:08.2"
    other = PCIFunction(backend, 0x1_0005, name="B", rid=0x1234)
    assert other.bdf == "12:06.4" and other.sid == 0x1_0005
    with pytest.raises(ValueError, match="16 bits"):
        PCIFunction(backend, 1, name="C", rid=1 << 16)


def test_the_capability_list_leads_to_msix(function):
    assert config(function, 6, 2) & 0x10
    pointer, found = config(function, 0x34, 1), []
    while pointer:
        found.append(config(function, pointer, 1))
        pointer = config(function, pointer + 1, 1)
    assert found == [0x10, 0x11]
    assert config(function, MSIX + 2, 2) == 3    # table size less 1; off
    assert config(function, MSIX + 4, 4) == TABLE_BAR
    assert config(function, MSIX + 8, 4) == PBA | TABLE_BAR


def test_bars_tell_their_size(function):
    for bar in (0, 4):
        function.config_write(0x10 + 4 * bar, b"\xff" * 8)
        value = config(function, 0x10 + 4 * bar, 8)
        assert value & 0xF == 4 and -(value & ~0xF) & (1 << 64) - 1 == function.bars[bar]
    assert config(function, 0x18, 4) == 0


def test_read_only_bits_stay(function):
    before = config(function, 0, 4)
    function.config_write(0, bytes(4))
    function.config_write(MSIX, b"\xff" * 4)
    assert config(function, 0, 4) == before
    assert config(function, MSIX, 4) == 0xC003_0011


@pytest.mark.parametrize("access", [
    lambda f: f.config_read(4095, 2), lambda f: f.config_write(-1, b"\0"),
    lambda f: f.bar_read(2, 0, 4), lambda f: f.bar_read(4, 0x1_0000, 4),
    lambda f: f.bar_write(0, 0xFFFE, bytes(4))])
def test_accesses_outside_are_refused(function, access):
    with pytest.raises(ValueError):
        access(function)


# Vectors

def test_trigger_sends_the_message(ready):
    sent(ready)
    result = ready.trigger(2)
    assert result.ok and result.pa == DOORBELL and sent(ready) == [0x12]
    assert ready.backend.memory.peek(DOORBELL, 4) == b"\x12\0\0\0"


def test_an_msi_that_faults_says_so(ready):
    ready.backend.memory.abort_at(DOORBELL)
    assert ready.trigger(0).resp == Resp.SLVERR


def test_after_reset_every_vector_is_masked_and_msix_is_off(function):
    assert all(vector.masked for vector in function.vectors) and not function.msix.enabled
    function.vectors[0].masked = False
    assert function.trigger(0) is None and not function.vectors[0].pending


def test_a_masked_vector_is_pending_and_sent_once_when_unmasked(ready):
    ready.vectors[1].masked = True
    assert ready.trigger(1) is None and ready.trigger(1) is None
    assert ready.vectors[1].pending and not ready.vectors[0].pending
    assert ready.bar_read(TABLE_BAR, PBA, 8) == b"\2" + bytes(7)
    sent(ready)
    ready.vectors[1].masked = False
    assert sent(ready) == [0x11] and not ready.vectors[1].pending
    assert ready.bar_read(TABLE_BAR, PBA, 8) == bytes(8)


def test_the_message_of_unmasking_is_the_one_then_in_the_table(ready):
    ready.vectors[1].masked = True
    ready.trigger(1)
    ready.vectors[1].message = MSIMessage(DOORBELL + 0x1000, 0x99)
    sent(ready)
    ready.bar_write(TABLE_BAR, 16 + 12, bytes(4))
    assert sent(ready) == [0x99] and ready.backend.memory.peek(DOORBELL + 0x1000, 1) == b"\x99"


def test_function_mask_holds_all_vectors_back(ready):
    ready.config.set_msix(True, function_masked=True)
    ready.vectors[3].masked = True
    assert ready.trigger(0) is ready.trigger(3) is None
    sent(ready)
    ready.config_write(MSIX + 2, b"\x00\x80")
    assert sent(ready) == [0x10] and ready.vectors[3].pending


def test_a_write_of_other_fields_does_not_send(ready):
    ready.vectors[1].masked = True
    ready.trigger(1)
    sent(ready)
    ready.config_write(0x3C, b"\x05")
    ready.vectors[0].data = 7
    assert sent(ready) == [] and ready.vectors[1].pending


def test_the_table_as_bytes_and_as_vectors_is_the_same(function):
    entry = (0x1_2345_6000).to_bytes(8, "little") + (77).to_bytes(4, "little") + bytes(4)
    for n in range(0, 16, 4):
        function.bar_write(TABLE_BAR, 32 + n, entry[n:n + 4])
    vector = function.vectors[2]
    assert (vector.addr, vector.data, vector.masked) == (0x1_2345_6000, 77, False)
    vector.addr, vector.masked = 0x8_0000_0040, True
    assert function.bar_read(TABLE_BAR, 32, 8) == (0x8_0000_0040).to_bytes(8, "little")
    assert function.bar_read(TABLE_BAR, 44, 4) == b"\1\0\0\0"


def test_64_bit_writes_of_the_table(function):
    function.bar_write(TABLE_BAR, 8, (5).to_bytes(8, "little"))
    assert function.vectors[0].data == 5 and not function.vectors[0].masked


def test_low_address_bits_and_reserved_control_bits_are_zero(function):
    function.bar_write(TABLE_BAR, 0, b"\xff\xff\xff\xff")
    function.bar_write(TABLE_BAR, 12, b"\xfe\xff\xff\xff")
    assert function.bar_read(TABLE_BAR, 0, 16) == b"\xfc\xff\xff\xff" + bytes(12)


@pytest.mark.parametrize("offset, data", [
    (0, b"\1"), (2, bytes(4)), (4, bytes(8)), (0, bytes(16)), (64, b"\1\1\1\1"),
    (PBA, b"\xff" * 8)])
def test_other_writes_of_the_msix_bar_are_ignored(ready, offset, data):
    before = ready.bar_read(TABLE_BAR, 0, 0x1_0000)
    ready.bar_write(TABLE_BAR, offset, data)
    assert ready.bar_read(TABLE_BAR, 0, 0x1_0000) == before


@pytest.mark.parametrize("vectors", [0, 2049])
def test_tables_have_1_to_2048_vectors(backend, vectors):
    with pytest.raises(ValueError, match="2048"):
        PCIFunction(backend, 1, name="B", vectors=vectors)


def test_the_largest_table_and_its_pba_fit(backend):
    function = PCIFunction(backend, 1, name="B", vectors=2048)
    function.config.set_msix(True)
    function.trigger(2047)
    assert function.bar_read(TABLE_BAR, PBA + 248, 8) == bytes(7) + b"\x80"
    assert function.bar_read(TABLE_BAR, PBA - 4, 4) == b"\1\0\0\0"


# Bus mastering, PASID, reset

def test_without_bus_mastering_nothing_leaves(ready):
    sent(ready)
    ready.config_write(4, b"\2\0")
    assert ready.read(0x1000, 4).resp == ready.trigger(0).resp == Resp.DECERR
    assert sent(ready) == []


def test_without_memory_decoding_bars_read_as_ones(ready):
    ready.config_write(4, b"\4\0")
    assert ready.bar_read(TABLE_BAR, 0, 4) == b"\xff" * 4
    ready.bar_write(TABLE_BAR, 8, bytes(4))
    ready.config.enable()
    assert ready.vectors[0].data == 0x10


def test_pasids_need_the_capability_to_be_on(backend):
    function = PCIFunction(backend, 1, name="B", pasid_bits=8)
    assert config(function, 0x100, 4) == 0x1_001B and config(function, 0x104, 2) >> 8 == 8
    backend.memory.poke(0x1000, b"1234")
    assert function.read(0x1000, 4, pasid=3).resp == Resp.DECERR
    assert function.read(0x1000, 4).ok
    function.config.set_pasid(True)
    assert function.read(0x1000, 4, pasid=3).data == b"1234"


def test_function_level_reset(ready):
    class Registers:
        resets = 0

        def reset(self):
            self.resets += 1

    ready.registers = Registers()
    ready.vectors[1].masked = True
    ready.trigger(1)
    ready.config_write(0x48, b"\x00\x80")
    assert ready.registers.resets == 1 and not ready.msix.enabled
    assert all(v.masked and not v.pending and v.addr == 0 for v in ready.vectors)
    assert ready.read(0x1000, 4).resp == Resp.DECERR
    assert config(ready, 0x48, 4) == 0


def test_an_empty_register_bar_reads_as_zero(function):
    function.bar_write(0, 0x10, b"\1\1\1\1")
    assert function.bar_read(0, 0x10, 4) == bytes(4)
