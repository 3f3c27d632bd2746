"""The ITS: its registers, its doorbell, and its commands as bytes in memory."""

import pytest

from smmu_sim.irq import ITS
from smmu_sim.memory import Memory

BASE, QUEUE, DEVICES, COLLECTIONS, ITT = 0x2020_0000, 0x10_0000, 0x20_0000, 0x30_0000, 0x40_0000
CTLR, TYPER, CBASER, CWRITER, CREADR, BASER0, BASER1 = 0, 8, 0x80, 0x88, 0x90, 0x100, 0x108
VALID = 1 << 63
DEVICE, EVENT, LPI = 0x42, 5, 8197


class System:
    """An ITS that is programmed word by word, with the encodings of IHI 0069."""

    def __init__(self, **options):
        self.memory = Memory()
        self.its = ITS(self.memory, BASE, **options)
        self.write64(BASER0, VALID | DEVICES | 0x7F)           # 128 pages of 4 KiB
        self.write64(BASER1, VALID | COLLECTIONS)
        self.write64(CBASER, VALID | QUEUE | 0xF)              # 64 KiB
        self.memory.write32(BASE + CTLR, 1)
        self.offset = 0

    def write64(self, offset, value):
        self.memory.write64(BASE + offset, value)

    def read64(self, offset):
        return self.memory.read64(BASE + offset)

    def command(self, *words):
        for n, word in enumerate([*words, 0, 0, 0][:4]):
            self.memory.write64(QUEUE + self.offset + 8 * n, word)
        self.offset = (self.offset + 32) % 0x1_0000
        self.write64(CWRITER, self.offset)
        assert self.read64(CREADR) == self.offset

    def mapd(self, device=DEVICE, size=4, itt=ITT, valid=VALID):
        self.command(0x08 | device << 32, size, itt | valid)

    def mapc(self, icid=1, target=3, valid=VALID):
        self.command(0x09, 0, icid | target << 16 | valid)

    def mapti(self, device=DEVICE, event=EVENT, lpi=LPI, icid=1):
        self.command(0x0A | device << 32, event | lpi << 32, icid)

    def ready(self):
        self.mapd()
        self.mapc()
        self.mapti()
        return self

    def msi(self, data=EVENT, device_id=DEVICE, addr=BASE + 0x1_0040, size=4):
        self.memory.write(addr, data.to_bytes(size, "little"), None, device_id)


@pytest.fixture
def system():
    return System().ready()


# The doorbell

def test_a_mapped_message_makes_its_lpi_pending(system):
    system.msi()
    assert system.its.translater == 0x2021_0040
    assert system.its.pending == [LPI] and system.its.redistributor(LPI) == 3
    assert system.its.counts == {"delivered": 1}
    assert system.its.arrivals[-1] == (DEVICE, EVENT, LPI, "delivered")


def test_pending_is_one_bit_until_taken(system):
    system.msi()
    system.msi()
    assert system.its.take_pending() == [LPI] and system.its.pending == []
    system.msi()
    assert system.its.take_pending({1}) == [] and system.its.take_pending({LPI}) == [LPI]


@pytest.mark.parametrize("options, why", [
    ({"device_id": 0x43}, "unknown DeviceID"), ({"device_id": 1 << 16}, "unknown DeviceID"),
    ({"data": 4}, "unmapped EventID"), ({"data": 31}, "unmapped EventID"),
    ({"data": 32}, "EventID out of range"), ({"data": 0xFFFF_FFFF}, "EventID out of range"),
    ({"size": 8}, "not 32 bits"), ({"size": 1}, "not 32 bits"), ({"size": 64}, "not 32 bits"),
    ({"addr": BASE + 0x1_0042}, "not 32 bits"), ({"addr": BASE + 0x1_003E}, "not 32 bits"),
    ({"device_id": None}, "no DeviceID")])
def test_other_messages_are_counted_and_ignored(system, options, why):
    system.msi(**options)
    assert system.its.pending == [] and system.its.counts == {why: 1}
    assert system.its.arrivals[-1].why == why and system.its.arrivals[-1].lpi is None


def test_16_bits_count_too(system):
    system.msi(size=2)
    assert system.its.pending == [LPI]


def test_writes_elsewhere_in_the_translation_page_do_nothing(system):
    system.msi(addr=BASE + 0x1_0044)
    system.msi(addr=BASE + 0x1_0000)
    assert not system.its.counts


def test_own_device_id_is_that_of_writes_without_one():
    system = System(own_device_id=DEVICE).ready()
    system.msi(device_id=None)
    assert system.its.pending == [LPI]


def test_an_event_of_an_unmapped_collection_is_ignored(system):
    system.mapc(valid=0)
    system.msi()
    assert system.its.counts == {"unmapped collection": 1}


def test_a_disabled_its_ignores_messages(system):
    system.memory.write32(BASE + CTLR, 0)
    system.msi()
    assert system.its.counts == {"disabled": 1}


def test_a_bus_error_on_a_table_is_counted(system):
    system.memory.abort_at(ITT + 8 * EVENT, "read")
    system.msi()
    assert system.its.counts == {"bus abort": 1} and system.its.pending == []


def test_two_devices_with_equal_data_stay_apart(system):
    system.mapd(0x43, itt=ITT + 0x1000)
    system.mapti(0x43, lpi=9000)
    system.msi(device_id=0x43)
    assert system.its.pending == [9000]


def test_listeners_hear_of_every_message(system):
    heard = []
    system.its.listen(heard.append)
    system.msi()
    system.msi(device_id=9)
    assert [each.lpi for each in heard] == [LPI, None]


def test_translater_reads_as_zero(system):
    system.msi()
    assert system.memory.read32(system.its.translater) == 0


# Registers

def test_typer_says_what_there_is():
    system = System(device_bits=10, event_bits=12)
    typer = system.read64(TYPER)
    assert typer & 1 and typer >> 13 & 0x1F == 9 and typer >> 8 & 0x1F == 11
    assert typer >> 4 & 0xF == 7                 # ITT entries of 8 bytes
    assert system.read64(BASER0) >> 56 & 7 == 1 and system.read64(BASER1) >> 56 & 7 == 4
    assert system.memory.read32(BASE + 0xFFE8) >> 4 == 3


def test_quiescent_is_the_opposite_of_enabled(system):
    assert system.memory.read32(BASE + CTLR) == 1
    system.memory.write32(BASE + CTLR, 0)
    assert system.memory.read32(BASE + CTLR) == 1 << 31


@pytest.mark.parametrize("offset", [CBASER, BASER0, BASER1])
def test_tables_and_queue_stay_while_enabled(system, offset):
    before = system.read64(offset)
    system.write64(offset, 0)
    assert system.read64(offset) == before
    system.msi()
    assert system.its.pending == [LPI]


def test_a_new_queue_starts_at_its_beginning(system):
    system.memory.write32(BASE + CTLR, 0)
    system.write64(CBASER, VALID | QUEUE)
    assert system.read64(CREADR) == 0


def test_an_unaligned_base_is_refused():
    with pytest.raises(ValueError, match="64 KiB"):
        ITS(Memory(), BASE + 0x1000)


def test_reset_forgets_registers_and_pending(system):
    system.msi()
    system.its.reset()
    assert system.its.pending == [] and system.read64(CBASER) == 0 and not system.its.enabled


# The command queue

def test_commands_wait_until_the_its_is_enabled():
    system = System()
    system.memory.write32(BASE + CTLR, 0)
    for n, words in enumerate([(0x08 | DEVICE << 32, 4, ITT | VALID), (0x09, 0, 1 | VALID)]):
        for k, word in enumerate(words):
            system.memory.write64(QUEUE + 32 * n + 8 * k, word)
    system.write64(CWRITER, 64)
    assert system.read64(CREADR) == 0
    system.memory.write32(BASE + CTLR, 1)
    assert system.read64(CREADR) == 64


def test_the_queue_wraps():
    system = System()
    system.offset = 0x1_0000 - 32
    system.memory.write32(BASE + CTLR, 0)
    system.write64(CBASER, VALID | QUEUE | 0xF)
    system.memory.write32(BASE + CTLR, 1)
    system.write64(CWRITER, system.offset)       # SYNC or nothing: opcode 0 is ignored
    assert system.read64(CREADR) == system.offset
    system.ready()
    assert system.offset == 64
    system.msi()
    assert system.its.pending == [LPI]


def test_a_write_index_beyond_the_queue_is_ignored(system):
    system.memory.write32(BASE + CTLR, 0)
    system.write64(CBASER, VALID | QUEUE)        # 4 KiB
    system.write64(CWRITER, 0x1000)
    assert system.read64(CWRITER) != 0x1000


def test_a_command_that_cannot_be_read_stalls_the_queue_until_retry(system):
    handle = system.memory.abort_at(QUEUE + system.offset, "read")
    before = system.offset
    system.write64(CWRITER, before + 32)
    assert system.read64(CREADR) == before | 1
    system.memory.remove(handle)
    system.write64(CWRITER, before + 32)
    assert system.read64(CREADR) == before | 1   # still
    system.write64(CWRITER, before + 32 | 1)
    assert system.read64(CREADR) == before + 32


def test_an_unknown_command_is_ignored_and_the_queue_goes_on(system):
    system.command(0x77)
    assert system.its.command_errors == ["opcode 0x77 is not a command"]
    system.mapti(event=6, lpi=8300)
    system.msi(6)
    assert system.its.pending == [8300]


# What the commands do

def test_mapd_with_v_0_unmaps_the_device(system):
    system.mapd(valid=0)
    system.msi()
    assert system.its.counts == {"unknown DeviceID": 1}


def test_mapd_size_is_the_number_of_event_id_bits_less_1(system):
    system.mapd(size=2)                          # 3 bits: 0 to 7
    for event, why in ((7, "unmapped EventID"), (8, "EventID out of range")):
        system.msi(event)
        assert system.its.arrivals[-1].why == why


def test_tables_are_in_memory_where_software_put_them(system):
    system.memory.poke(ITT + 8 * 9, system.memory.peek(ITT + 8 * EVENT, 8))
    system.msi(9)
    assert system.its.pending == [LPI]


def test_mapi_maps_an_event_to_the_lpi_of_its_number():
    system = System(event_bits=16)
    system.mapd(size=15)
    system.mapc()
    system.command(0x0B | DEVICE << 32, 8200, 1)
    system.msi(8200)
    assert system.its.pending == [8200]


def test_movi_moves_the_event_and_what_is_pending(system):
    system.mapc(2, target=7)
    system.msi()
    system.command(0x01 | DEVICE << 32, EVENT, 2)
    assert system.its.redistributor(LPI) == 7
    system.its.take_pending()
    system.msi()
    assert system.its.redistributor(LPI) == 7


def test_movi_moves_no_other_lpi(system):
    system.mapc(2, target=7)
    system.mapti(event=6, lpi=8300)
    system.msi()
    system.msi(6)
    system.command(0x01 | DEVICE << 32, EVENT, 2)
    assert system.its.redistributor(8300) == 3


def test_movall_moves_what_is_pending_at_a_redistributor(system):
    system.msi()
    system.command(0x0E, 0, 3 << 16, 9 << 16)
    assert system.its.redistributor(LPI) == 9


def test_discard_unmaps_and_clears(system):
    system.msi()
    system.command(0x0F | DEVICE << 32, EVENT)
    assert system.its.pending == []
    system.msi()
    assert system.its.arrivals[-1].why == "unmapped EventID"


def test_int_and_clear(system):
    system.command(0x03 | DEVICE << 32, EVENT)
    assert system.its.pending == [LPI] and not system.its.counts
    system.command(0x04 | DEVICE << 32, EVENT)
    assert system.its.pending == []


@pytest.mark.parametrize("words", [
    (0x05, 0, 3 << 16), (0x0C | DEVICE << 32, EVENT), (0x0D, 0, 1)])
def test_sync_inv_and_invall_change_nothing(system, words):
    system.command(*words)
    assert system.its.command_errors == []
    system.msi()
    assert system.its.pending == [LPI]


@pytest.mark.parametrize("words, text", [
    ((0x08 | 0x1_0000 << 32, 4, ITT | VALID), "MAPD: the device table has no place"),
    ((0x08 | DEVICE << 32, 16, ITT | VALID), "MAPD: 17 bits of EventID"),
    ((0x09, 0, 0x200 | VALID), "MAPC: the collection table has no place"),
    ((0x0A | 0x43 << 32, EVENT | LPI << 32, 1), "MAPTI: DeviceID 0x43 is not mapped"),
    ((0x0A | DEVICE << 32, 32 | LPI << 32, 1), "MAPTI: EventID 32 is beyond the ITT"),
    ((0x0A | DEVICE << 32, EVENT | 8191 << 32, 1), "MAPTI: 8191 is not the number of an LPI"),
    ((0x0A | DEVICE << 32, EVENT | 65536 << 32, 1), "MAPTI: 65536 is not the number of an LPI"),
    ((0x0A | DEVICE << 32, EVENT | LPI << 32, 0x200), "MAPTI: the collection table"),
    ((0x0B | DEVICE << 32, EVENT, 1), "MAPI: 5 is not the number of an LPI"),
    ((0x01 | DEVICE << 32, 6, 1), "MOVI: EventID 6 is not mapped"),
    ((0x01 | DEVICE << 32, EVENT, 2), "MOVI: collection 2 is not mapped"),
    ((0x0F | DEVICE << 32, 6), "DISCARD: EventID 6 is not mapped"),
    ((0x03 | DEVICE << 32, 6), "INT: EventID 6 is not mapped"),
    ((0x04 | 9 << 32, EVENT), "CLEAR: DeviceID 0x9 is not mapped"),
    ((0x0C | DEVICE << 32, 40), "INV: EventID 40 is beyond the ITT")])
def test_commands_in_error_have_no_effect(system, words, text):
    system.command(*words)
    error, = system.its.command_errors
    assert error.startswith(text)
    system.msi()
    assert system.its.pending == [LPI] and system.its.redistributor(LPI) == 3


def test_the_device_table_ends_where_its_pages_do():
    system = System()
    system.memory.write32(BASE + CTLR, 0)
    system.write64(BASER0, VALID | DEVICES)      # 4 KiB: 512 devices
    system.memory.write32(BASE + CTLR, 1)
    system.mapd(511)
    assert system.its.command_errors == []
    system.mapd(512)
    assert len(system.its.command_errors) == 1


def test_device_ids_that_are_too_wide_have_no_place_in_a_larger_table():
    system = System(device_bits=6)
    system.mapd(63)
    assert system.its.command_errors == []
    system.mapd(64)
    assert len(system.its.command_errors) == 1


def test_without_a_device_table_nothing_can_be_mapped():
    system = System()
    system.memory.write32(BASE + CTLR, 0)
    system.write64(BASER0, 0)
    system.memory.write32(BASE + CTLR, 1)
    system.mapd()
    assert len(system.its.command_errors) == 1
