"""The register frame: the guest's writes reach the backend, the backend's values the guest."""

import struct

import pytest

from smmu.formats.core import pack, plain
from smmu.formats.registers import (
    BY_NAME, CMDQ_BASE, CR0, EVENTQ_BASE, GBPA, IRQ_CTRL, OPTIONAL, PAGE1, REGISTERS,
)
from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.live.frame import RegisterFrame

OFFSET = {name: register.offset for name, register in BY_NAME.items()}
SYNC = 0x46


class Guest:
    """The frame as the guest sees it."""

    def __init__(self, memory, layout):
        self.backend = ModelBackend(Params(), memory)
        self.backend.reset()
        self.memory, self.base = memory, layout.smmu - memory.base
        self.writes, self.meanwhile = [], None
        self.frame = RegisterFrame(self.backend, memory, layout.smmu, self._before,
                                   lambda offset, value: self.writes.append((offset, value)))

    def _before(self, offset, value):
        if self.meanwhile:
            self.meanwhile()

    def write(self, name, value):
        size = BY_NAME[name].width // 8
        place = self.base + OFFSET[name]
        self.memory.ram[place:place + size] = value.to_bytes(size, "little")

    def read(self, name):
        return struct.unpack_from("<I", self.memory.ram, self.base + OFFSET[name])[0]

    def enable_queues(self, queue):
        self.write("CMDQ_BASE", pack(CMDQ_BASE, {"ADDR": queue >> 5, "LOG2SIZE": 4}))
        self.write("EVENTQ_BASE", pack(EVENTQ_BASE, {"ADDR": queue + 0x1000 >> 5, "LOG2SIZE": 4}))
        self.write("CR0", pack(CR0, {"CMDQEN": 1, "EVENTQEN": 1}))


@pytest.fixture
def guest(memory, layout):
    return Guest(memory, layout)


def test_every_register_has_the_backends_value_from_the_start(guest):
    for register in REGISTERS + OPTIONAL:
        if register.offset < 2 * PAGE1:
            assert guest.read(register.name) == guest.backend.read32(register.offset), register.name
    assert guest.read("IDR0") and guest.read("IDR5") and guest.read("AIDR")


def test_nothing_happens_while_the_guest_writes_nothing(guest):
    assert not any(guest.frame.poll() for _ in range(2000))
    assert guest.writes == []


def test_cr0_is_acknowledged_by_the_backend(guest, layout):
    guest.enable_queues(layout.ram_base)
    assert guest.read("CR0ACK") == 0
    assert guest.frame.poll()
    assert guest.read("CR0ACK") == guest.backend.read32(OFFSET["CR0ACK"]) \
        == pack(CR0, {"CMDQEN": 1, "EVENTQEN": 1})


def test_configuration_reaches_the_backend_before_what_it_configures(guest, layout):
    guest.enable_queues(layout.ram_base)  # CMDQ_BASE can't be written once CMDQEN is 1
    guest.frame.poll()
    base = guest.backend.read64(OFFSET["CMDQ_BASE"])
    assert plain(CMDQ_BASE).ADDR(base) << 5 == layout.ram_base
    assert guest.writes[-1][0] == OFFSET["CR0"]


def test_commands_are_consumed_and_cmdq_cons_follows(guest, layout, memory):
    guest.enable_queues(layout.ram_base)
    guest.frame.poll()
    for slot in range(3):
        memory.poke(layout.ram_base + 16 * slot, SYNC.to_bytes(16, "little"))
    guest.write("CMDQ_PROD", 3)
    assert guest.read("CMDQ_CONS") == 0
    guest.frame.poll()
    assert guest.read("CMDQ_CONS") == 3
    assert not guest.frame.poll()


def test_what_the_backend_does_not_store_disappears_from_the_frame(guest):
    idr0 = guest.read("IDR0")
    guest.write("IDR0", 0)
    guest.write("CR0", 0xFFFF_FFE0)  # reserved bits
    guest.frame.poll()
    assert guest.read("IDR0") == idr0
    assert guest.read("CR0") == guest.backend.read32(OFFSET["CR0"]) != 0xFFFF_FFE0


def test_gbpa_update_ends(guest):
    guest.write("GBPA", pack(GBPA, {"Update": 1, "ABORT": 1}))
    guest.frame.poll()
    assert guest.read("GBPA") == pack(GBPA, {"ABORT": 1})


def test_a_word_that_the_guest_writes_meanwhile_is_not_lost(guest):
    def meanwhile():
        guest.meanwhile = None
        guest.write("CR0", pack(CR0, {"SMMUEN": 1}))
        guest.write("GBPA", pack(GBPA, {"Update": 1, "ABORT": 1}))

    guest.meanwhile = meanwhile
    guest.write("IRQ_CTRL", pack(IRQ_CTRL, {"EVENTQ_IRQEN": 1}))
    guest.frame.poll()
    assert guest.read("CR0") == pack(CR0, {"SMMUEN": 1})
    assert guest.read("CR0ACK") == 0
    guest.frame.poll()
    assert guest.read("CR0ACK") == pack(CR0, {"SMMUEN": 1})
    assert guest.read("GBPA") == pack(GBPA, {"ABORT": 1})


def test_the_same_register_written_again_meanwhile_is_written_twice(guest):
    def meanwhile():
        guest.meanwhile = None
        guest.write("EVENTQ_CONS", 2)

    guest.meanwhile = meanwhile
    guest.write("EVENTQ_CONS", 1)
    guest.frame.poll()
    guest.frame.poll()
    assert guest.writes == [(OFFSET["EVENTQ_CONS"], 1), (OFFSET["EVENTQ_CONS"], 2)]
    assert guest.read("EVENTQ_CONS") == guest.backend.read32(OFFSET["EVENTQ_CONS"]) == 2


def test_a_value_that_the_backend_corrects_does_not_cover_the_guests_next_write(guest):
    def meanwhile():
        guest.meanwhile = None
        guest.write("EVENTQ_CONS", 2)

    guest.meanwhile = meanwhile
    guest.write("EVENTQ_CONS", 1 | 1 << 25)  # a reserved bit, which the backend does not store
    guest.frame.poll()
    assert guest.read("EVENTQ_CONS") == 2
    guest.frame.poll()
    assert guest.backend.read32(OFFSET["EVENTQ_CONS"]) == guest.read("EVENTQ_CONS") == 2


def test_writes_far_from_the_usual_places_are_noticed_after_a_while(guest):
    guest.write("CIDR0", 0x55)
    for _ in range(1000):
        guest.frame.poll()
    assert guest.read("CIDR0") == 0x0D
