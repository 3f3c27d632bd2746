"""A user process with devices in a VFIO container: packed ioctls, as a monitor performs them."""

import struct
from typing import NamedTuple

from smmu_sim.machine import Machine
from smmu_sim.process import Process
from smmu_sim.vfio import (
    IOCTL, OFFSET_SHIFT, Container, EventFD, ExtensionID, IRQIndex, RegionIndex, SetIRQs,
    VFIODevice, VFIOGroup)
from smmu_sim.vfio.container import MAP_DMA

__all__ = ["ABORT", "BYPASS", "FaultRing", "TRANSLATE", "VFIOUser"]

_READ_WRITE = 3
_SET_IRQS = struct.Struct("<5I")
_MEMORY, _BUS_MASTER = 2, 4
_COMMAND = 4                  # offset in configuration space
_VA = 0x7F00_0000_0000        # where the process has the guest's RAM
_SET, _UNSET = 1, 2
TRANSLATE, BYPASS, ABORT = 1, 2, 3


class FaultRing(NamedTuple):
    """The header of a fault region of V9 and later."""

    tail: int
    entry_size: int
    nb_entries: int
    offset: int
    head: int


class VFIOUser:
    """One process and its container for nesting.

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

    # --- the guest's stage 1 ---------------------------------------------------------------------

    def _call(self, name, flags, body):
        argument = struct.pack("<II", 8 + len(body), flags) + body
        return self.container.ioctl(self.generation.numbers[name], bytearray(argument))

    def set_pasid_table(self, config=TRANSLATE, base=0, pasid_bits=0):
        """SET_PASID_TABLE, or ATTACH_PASID_TABLE of the generations that have that."""
        layout = self.generation.pasid_table
        values = {"version": 1, "format": 1, "base_ptr": base, "pasid_bits": pasid_bits}
        if self.generation.name == "v3":
            values |= {"bypass": int(config == BYPASS), "abort": int(config == ABORT)}
        else:
            values |= {"config": config, "smmuv3_version": 1}
        if self.generation.argsz:
            values["argsz"] = layout.size
        if "ATTACH_PASID_TABLE" in self.generation.numbers:
            return self._call("ATTACH_PASID_TABLE", 0, layout.pack(**values))
        flags = 0 if self.generation.name == "v3" else _SET
        return self._call("SET_PASID_TABLE", flags, layout.pack(**values))

    def unset_pasid_table(self):
        """SET_PASID_TABLE with UNSET, or DETACH_PASID_TABLE."""
        if "DETACH_PASID_TABLE" in self.generation.numbers:
            return self.container.ioctl(self.generation.numbers["DETACH_PASID_TABLE"])
        return self._call("SET_PASID_TABLE", _UNSET, bytes(self.generation.pasid_table.size))

    def invalidate(self, **values):
        """CACHE_INVALIDATE with these fields of the structure."""
        layout = self.generation.invalidate
        values = {"version": 1, **values}
        if self.generation.argsz:
            values["argsz"] = layout.size
        return self._call("CACHE_INVALIDATE", 0, layout.pack(**values))

    def bind_msi(self, iova, gpa, size=0x1000):
        """BIND_MSI, or SET_MSI_BINDING with BIND."""
        return self._binding("BIND_MSI", _SET, iova=iova, gpa=gpa, size=size)

    def unbind_msi(self, iova):
        """UNBIND_MSI, or SET_MSI_BINDING with UNBIND."""
        return self._binding("UNBIND_MSI", _UNSET, iova=iova)

    def _binding(self, name, flags, **values):
        layout = self.generation.binding
        if "SET_MSI_BINDING" in self.generation.numbers:
            name = "SET_MSI_BINDING"
        else:
            flags = 0
        return self.container.ioctl(self.generation.numbers[name], bytearray(layout.pack(
            argsz=layout.size, flags=flags, **values)))

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
