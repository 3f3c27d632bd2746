"""A monitor's devices and memory through VFIO containers (generations G1 and G2)."""

import struct

from smmu_sim.process import Process
from smmu_sim.vfio import (
    IOCTL, OFFSET_SHIFT, Container, ExtensionID, RegionIndex, VFIODevice, VFIOGroup)
from smmu_sim.vfio.device_interrupts import IRQ_SET
from smmu_sim.vmm.interface import Interface
from smmu_sim.vmm.msi_vectors import MSIVectors
from smmu_sim.vmm.vfio_stage1 import VFIOStage1

__all__ = ["VFIOInterface"]

_TRAP_BYTES = 4096
_COMMAND = 0x04  # offset of PCI's command register


class VFIOInterface(Interface):
    """How a :class:`VM` speaks to VFIO; one for each VM.

    Parameters
    ----------
    host
        :class:`Host`.
    generation
        "v3" (G1), "V8", "V10" or "V15" (G2).

    These interfaces have no call like GET_HW_INFO: a monitor of theirs knew the host's SMMU.
    """

    msi_ways = ("bind",)

    def __init__(self, host, generation="V15"):
        super().__init__(host, Process(host.machine.memory, "monitor"))
        self.generation, self.hardware = generation, host.hardware
        self._files, self._fds = {}, []

    def open(self, vm):
        """See :class:`Interface`; the owner is a :class:`VFIOStage1`."""
        ram, trap, _ = self._map(vm.memory)
        owner = VFIOStage1(vm.memory, trap_ipa=vm.trap_ipa)
        owner.map(vm.memory.base, ram, vm.memory.size)
        owner.map(vm.trap_ipa, trap, _TRAP_BYTES, writable=False)
        for assigned in vm.devices:
            container, file = self._open(assigned)
            owner.add_device(assigned.vsid, container, file)
            self._files[assigned] = file
            self._vectors[assigned] = MSIVectors(
                self.process, len(assigned.vectors), _set_irqs(file))
        return owner

    def _open(self, assigned):
        """Open a device in a container of its own; return both files."""
        device, iommu = self.host.devices[assigned.function], self.host.iommu
        container = Container(iommu, self.process, self.generation)
        group = VFIOGroup(iommu, device.group, self.process, [VFIODevice(
            device, assigned.function, self.process,
            irq_domain=self.host.irq_domain(assigned.function))])
        container_fd, group_fd = self.process.open(container), self.process.open(group)
        self._fds = [group_fd, container_fd, *self._fds]
        group.ioctl(IOCTL.GROUP_SET_CONTAINER, container_fd)
        container.ioctl(IOCTL.SET_IOMMU, ExtensionID.TYPE1_NESTING)
        device_fd = group.ioctl(IOCTL.GROUP_GET_DEVICE_FD, device.name.encode())
        self._fds.insert(0, device_fd)
        return container, self.process.file(device_fd)

    def close(self):
        """See :class:`Interface`."""
        for fd in self._fds:
            self.process.close(fd)
        self._fds, self._files = [], {}
        super().close()

    def write_command(self, device, value):
        """See :class:`Interface`."""
        self._files[device].write((RegionIndex.CONFIG << OFFSET_SHIFT) + _COMMAND,
                                  value.to_bytes(2, "little"))


def _set_irqs(file):
    """Return the function that performs SET_IRQS on a device file."""
    def call(flags, index, start, fds):
        argsz = IRQ_SET.size + 4 * len(fds)
        argument = IRQ_SET.pack(argsz=argsz, flags=flags, index=index, start=start,
                                count=len(fds)) + struct.pack(f"<{len(fds)}i", *fds)
        file.ioctl(IOCTL.DEVICE_SET_IRQS, bytearray(argument))

    return call
