"""The bridge with the model behind it, and a guest that is only a program on the same memory."""

import json
import struct

import pytest
from smmu.formats.core import pack
from smmu.formats.registers import (
    BY_NAME, CMDQ_BASE, CR0, EVENTQ_BASE, EVENTQ_IRQ_CFG0, IRQ_CTRL, STRTAB_BASE, STRTAB_BASE_CFG,
)
from smmu.formats.stream_table import STE, STEConfig
from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.live.bridge import Bridge
from smmu_sim.live.layout import GICV2M_SETSPI, SPI_EVENTQ, Layout
from smmu_sim.memory import Memory

from tests.smmu_sim.live.fake_qemu import FakeQEMU
from tests.smmu_sim.live.virtio_driver import Driver

BYPASSED, UNKNOWN = 0x20, 0x21


def monitor(text):
    if json.loads(text)["execute"] == "qom-list":
        return '{"return": [{"name": "device[0]", "type": "child<arm_gic>"}]}\n'
    return '{"return": {}}\n'


class Guest:
    """A bridge whose guest is what a test writes into memory."""

    def __init__(self, folder):
        self.layout = Layout(256)
        with open(folder / "ram", "wb") as file:
            file.truncate(self.layout.ram_bytes)
        self.qmp = FakeQEMU(folder / "qmp", monitor, '{"QMP": {}}\n')
        self.qtest = FakeQEMU(folder / "qtest", lambda text: "OK\n" * text.count("\n"))
        self.reports = []
        self.bridge = Bridge(ModelBackend(Params(), Memory()), self.reports.append, folder,
                             self.layout, bytearray(1 << 16), None)
        self.memory, self.base = self.bridge.memory, self.layout.ram_base

    def close(self):
        self.qmp.close()
        self.qtest.close()
        self.memory.close()

    def write(self, name, value):
        register = BY_NAME[name]
        place = self.layout.smmu - self.base + register.offset
        self.memory.ram[place:place + register.width // 8] = value.to_bytes(
            register.width // 8, "little")

    def read(self, name):
        place = self.layout.smmu - self.base + BY_NAME[name].offset
        return struct.unpack_from("<I", self.memory.ram, place)[0]

    def turn(self, kind=None):
        """One turn of the bridge."""
        while self.bridge.frame.poll():
            self.bridge._deliver_interrupts()
        self.bridge.rogue.poll()
        self.bridge.wires.settle()
        if kind:
            self.bridge.devices[kind].poll()

    def switch_on(self, msi):
        """As a driver does: a stream table with one stream in bypass, queues, interrupts."""
        table, queue = self.base, self.base + 0x10_0000
        self.memory.poke(table + 64 * BYPASSED, pack(
            STE, {"V": 1, "Config": STEConfig.BYPASS}).to_bytes(64, "little"))
        self.write("STRTAB_BASE", pack(STRTAB_BASE, {"ADDR": table >> 6}))
        self.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 8}))
        self.write("CMDQ_BASE", pack(CMDQ_BASE, {"ADDR": queue >> 5, "LOG2SIZE": 8}))
        self.write("EVENTQ_BASE", pack(
            EVENTQ_BASE, {"ADDR": queue + 0x1_0000 >> 5, "LOG2SIZE": 7}))
        if msi:
            self.write("EVENTQ_IRQ_CFG0", pack(EVENTQ_IRQ_CFG0, {"ADDR": GICV2M_SETSPI >> 2}))
            self.write("EVENTQ_IRQ_CFG1", 0x51)
        self.turn()
        self.write("IRQ_CTRL", pack(IRQ_CTRL, {"EVENTQ_IRQEN": 1}))
        self.write("CR0", pack(CR0, {"SMMUEN": 1, "CMDQEN": 1, "EVENTQEN": 1}))
        self.turn()

    def go_astray(self):
        place = self.layout.rogue - self.base
        struct.pack_into("<IIQ", self.memory.ram, place, 1, UNKNOWN, self.base)
        self.turn()


@pytest.fixture
def guest(tmp_path):
    guest = Guest(tmp_path)
    yield guest
    guest.close()


def test_a_fault_is_in_the_queue_and_its_index_in_the_frame_before_the_interrupt(guest):
    guest.switch_on(msi=False)
    assert guest.read("CR0ACK") == guest.read("CR0")
    seen = []
    pulse = guest.bridge.wires.pulse
    guest.bridge.wires.pulse = lambda spi: (seen.append((spi, guest.read("EVENTQ_PROD"))),
                                            pulse(spi))
    guest.go_astray()
    assert seen == [(SPI_EVENTQ, 1)]
    record = guest.memory.peek(guest.base + 0x11_0000, 32)
    assert record[0] == 0x04 and record[4:8] == UNKNOWN.to_bytes(4, "little")  # C_BAD_STE
    assert "unnamed-gpio-in 200 1\n" in "".join(guest.qtest.received)


def test_messages_are_forwarded_to_the_guests_interrupt_controller(guest):
    guest.switch_on(msi=True)
    guest.go_astray()
    assert f"writel {GICV2M_SETSPI:#x} 0x51\n" in "".join(guest.qtest.received)
    assert guest.bridge.statistics.messages == {"SMMU": 1}


def test_a_device_works_through_the_smmu_and_stops_when_it_aborts(guest):
    guest.switch_on(msi=False)
    frame = guest.bridge.devices["rng"]
    driver = Driver(frame, guest.memory, guest.base + 0x20_0000)
    driver.set_up()
    driver.offer(0, [(guest.base + 0x40_0000, 64, True)])
    guest.turn("rng")
    assert driver.used(0) == [(0, 64)] and frame.place.sid == BYPASSED
    guest.memory.poke(guest.base + 64 * BYPASSED, bytes(64))  # STE.V = 0
    guest.memory.poke(guest.base + 0x10_0000, (3 | BYPASSED << 32).to_bytes(8, "little")
                      + b"\1" + bytes(7) + (0x46).to_bytes(16, "little"))
    guest.write("CMDQ_PROD", 2)
    guest.turn()
    driver.offer(0, [(guest.base + 0x40_0000, 64, True)])
    guest.turn("rng")
    assert driver.used(0) == [] and "SLVERR" in frame.problem
    assert guest.read("EVENTQ_PROD") == 1
    statistics = guest.bridge.statistics
    assert statistics.commands == {"CMD_CFGI_STE": 1, "CMD_SYNC": 1} and statistics.aborted == 1


def test_what_devices_ask_for_after_the_smmu_was_switched_off_is_counted_apart(guest):
    guest.switch_on(msi=False)
    guest.write("GBPA", 1 << 31 | 1 << 20)  # Update, ABORT
    guest.turn()
    guest.write("CR0", 0)
    guest.turn()
    guest.go_astray()
    statistics = guest.bridge.statistics
    assert (statistics.aborted, statistics.aborted_after_shutdown) == (0, 1)


def test_the_loop_ends_with_the_guest_and_tells_everything(guest):
    guest.switch_on(msi=False)
    guest.qmp.send('{"event": "SHUTDOWN", "data": {"reason": "guest-shutdown"}}\n')
    assert guest.bridge.run(20) == "guest-shutdown"
    result = guest.bridge.finish()
    json.dumps(result)
    assert result["devices"]["blk"]["md5_first"] == result["devices"]["blk"]["md5_last"]
    assert result["counters"]["transactions"] == result["transactions"] == 0


def test_the_loop_ends_when_the_time_is_over(guest):
    assert guest.bridge.run(0.3) == "timeout"
    guest.bridge.finish()
    assert guest.reports[0]["commands"] == 0 and guest.reports[0]["clocks"] is None
