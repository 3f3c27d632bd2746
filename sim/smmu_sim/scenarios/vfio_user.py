"""A user process with devices in a VFIO container: packed ioctls, as a monitor performs them."""

import struct
from typing import NamedTuple

from smmu_sim.machine import Machine
from smmu_sim.process import Process
from smmu_sim.vfio import (
    IOCTL, OFFSET_SHIFT, Container, EventFD, ExtensionID, IRQIndex, RegionIndex, SetIRQs,
    VFIODevice, VFIOGroup)
from smmu_sim.vfio.container import MAP_DMA
from smmu_sim.vfio.nested_calls import ABORT, BYPASS, TRANSLATE, NestedCalls

__all__ = ["ABORT", "BYPASS", "FaultRing", "TRANSLATE", "VFIOUser"]

_READ_WRITE = 3
_SET_IRQS = struct.Struct("<5I")
_MEMORY, _BUS_MASTER = 2, 4
_COMMAND = 4                  # offset in configuration space
_VA = 0x7F00_0000_0000        # where the process has the guest's RAM


class FaultRing(NamedTuple):
    """The header of a fault region of V9 and later."""

    tail: int
    entry_size: int
    nb_entries: int
    offset: int
    head: int


class VFIOUser(NestedCalls):
    """One process and its container for nesting; the calls for a guest's stage 1 are inherited.

    Parameters
    ----------
    host
        The scenario's :class:`Host`.
    generation
        Version of the interface: "v3", "V8", "V10", "V15".
    type
        :class:`ExtensionID`.

    Attributes
    ----------
    process, container
        :class:`Process`, :class:`Container`.
    files
        ``{Device: VFIODevice}`` of the opened devices.
    """

    def __init__(self, host, generation="V15", type=ExtensionID.TYPE1_NESTING):
        self.host, self.type = host, type
        self.process = Process(host.world.memory, "monitor")
        self.container = Container(host.iommu, self.process, generation)
        super().__init__(self.container)
        self.generation = self.container.generation
        self._fd, self.files, self._groups = self.process.open(self.container), {}, []

    def open(self, function, device, *, irqs=None):
        """Put a device's group into the container, and open the device; return its file."""
        file = VFIODevice(device, function, self.process, irq_domain=irqs)
        group = VFIOGroup(self.host.iommu, device.group, self.process, [file])
        group.ioctl(IOCTL.GROUP_SET_CONTAINER, self._fd)
        if self.container.type is None:
            self.container.ioctl(IOCTL.SET_IOMMU, self.type)
        group.ioctl(IOCTL.GROUP_GET_DEVICE_FD, device.name)
        file.write((RegionIndex.CONFIG << OFFSET_SHIFT) + _COMMAND,
                   (_MEMORY | _BUS_MASTER).to_bytes(2, "little"))
        self.files[device] = file
        self._groups.append(group)
        return file

    def map_ram(self, ram, iova=Machine.GUEST_RAM_IPA):
        """Map a guest's RAM: VFIO_IOMMU_MAP_DMA."""
        base, size = ram
        self.process.mmap(_VA, base, size)
        self.container.ioctl(IOCTL.IOMMU_MAP_DMA, bytearray(MAP_DMA.pack(
            argsz=MAP_DMA.size, flags=_READ_WRITE, vaddr=_VA, iova=iova, size=size)))

    def domain(self, device):
        """Return the IOMMU core's domain of a device."""
        return self.host.iommu.domain_of(device)

    # --- faults ----------------------------------------------------------------------------------

    def _fault_region(self, position=0):
        return (RegionIndex.COUNT << OFFSET_SHIFT) + position  # the first that is not PCI's

    def fault_ring(self, device):
        """Return the :class:`FaultRing` header that a device's fault region has now."""
        return FaultRing(*struct.unpack("<5I", self.files[device].read(self._fault_region(), 20)))

    def fault_records(self, device, first, count):
        """Return records of the ring, as bytes."""
        ring = self.fault_ring(device)
        data = self.files[device].read(
            self._fault_region(ring.offset + first * ring.entry_size), count * ring.entry_size)
        return [data[at:at + ring.entry_size] for at in range(0, len(data), ring.entry_size)]

    def set_fault_tail(self, device, tail):
        """Tell the kernel how far the ring was read."""
        return self.files[device].write(self._fault_region(), tail.to_bytes(4, "little"))

    def on_faults(self, device):
        """Return an eventfd that is signalled for each fault."""
        eventfd = EventFD()
        self.set_irqs(device, IRQIndex.COUNT, [eventfd])
        return eventfd

    # --- interrupts ------------------------------------------------------------------------------

    def set_irqs(self, device, index, eventfds, start=0):
        """DEVICE_SET_IRQS: signal these eventfds."""
        fds = [self.process.open(eventfd) for eventfd in eventfds]
        data = struct.pack(f"<{len(fds)}i", *fds)
        head = _SET_IRQS.pack(_SET_IRQS.size + len(data), SetIRQs.DATA_EVENTFD
                              | SetIRQs.ACTION_TRIGGER, index, start, len(fds))
        return self.files[device].ioctl(IOCTL.DEVICE_SET_IRQS, bytearray(head + data))

    def enable_msix(self, device, count):
        """Enable the first ``count`` MSI-X vectors; return their eventfds."""
        eventfds = [EventFD() for _ in range(count)]
        self.set_irqs(device, IRQIndex.MSIX, eventfds)
        return eventfds
