"""What a guest sees of a device: its registers, but an MSI-X table of the monitor's."""

from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.devices import DMAEngine, PCIFunction
from smmu_sim.machine import Machine
from smmu_sim.memory import Memory
from smmu_sim.vmm.assigned_device import AssignedDevice

TABLE, PBA = PCIFunction.TABLE_OFFSET, PCIFunction.PBA_OFFSET


class Trapped:
    """A function with a DMA engine in a VM; what reached the monitor is in ``seen``."""

    def __init__(self):
        backend = ModelBackend(Params(), Memory())
        backend.reset()
        self.function = Machine(backend).new_function(0x42)
        self.engine = DMAEngine(self.function)
        self.seen = []
        self.device = AssignedDevice(
            self.function, 0x10, lambda device, index: self.seen.append(index),
            lambda device, value: self.seen.append(value))


def test_registers_are_the_devices_own():
    trapped = Trapped()
    bar = PCIFunction.REGISTER_BAR
    trapped.device.bar_write(bar, 0, b"\1\0\0\0")
    assert trapped.device.bar_read(bar, 0, 4) == trapped.function.bar_read(bar, 0, 4) != bytes(4)
    assert trapped.seen == []


def test_writes_to_the_table_reach_the_monitor_alone():
    trapped = Trapped()
    bar, entry = PCIFunction.MSIX_BAR, TABLE + 3 * 16
    before = trapped.function.bar_read(bar, entry, 16)
    trapped.device.bar_write(bar, entry, (0xFFFF_0040).to_bytes(8, "little"))
    trapped.device.bar_write(bar, entry + 8, (5).to_bytes(8, "little"))  # data 5, not masked
    assert trapped.seen == [3, 3]
    assert trapped.function.bar_read(bar, entry, 16) == before
    vector = trapped.device.vectors[3]
    assert (vector.addr, vector.data, vector.masked) == (0xFFFF_0040, 5, False)
    assert trapped.device.bar_read(bar, entry, 8) == (0xFFFF_0040).to_bytes(8, "little")


def test_the_pending_bits_are_the_devices_own():
    trapped = Trapped()
    bar = PCIFunction.MSIX_BAR
    trapped.device.bar_write(bar, PBA, b"\xff" * 8)
    assert trapped.seen == []
    trapped.function.config.set_msix(True)
    trapped.function.trigger(2)  # masked
    assert trapped.device.bar_read(bar, PBA, 8) == (4).to_bytes(8, "little")


def test_the_command_register_is_trapped():
    trapped = Trapped()
    trapped.device.set_master()
    trapped.device.set_master(False)
    assert trapped.seen == [6, 2]
