"""A guest's kernel: the driver, the IOMMU core and an interrupt domain on virtual hardware."""

from smmu_sim.driver import Master, PageAllocator, SMMUv3Driver
from smmu_sim.driver.smmu import MSI
from smmu_sim.iommu import IOMMU, Device, ReservedRegion, ResvType
from smmu_sim.irq import ITSDomain
from smmu_sim.prot import Prot

__all__ = ["Guest"]

_EVENTQ, _GERROR = 0, 1


class Guest:
    """The kernel in a VM. It is made of the same classes as the host's.

    The first half of the guest's RAM is the kernel's (queues, tables, interrupt tables), the
    second half is for buffers.

    Parameters
    ----------
    vm
        The :class:`VM`: what its firmware describes and its hardware does.
    name
        For messages.
    smmu_msis
        The virtual SMMU's own interrupts are MSIs; otherwise wires, which :meth:`service` looks at.
    driver_options
        For :class:`SMMUv3Driver`.

    Attributes
    ----------
    driver, iommu, irqs
        :class:`SMMUv3Driver` on the virtual SMMU, the guest's :class:`IOMMU`, its
        :class:`ITSDomain` for devices.
    devices
        ``{AssignedDevice: Device of the guest's IOMMU core}``.
    events
        Event records that the driver has taken, oldest first.
    """

    def __init__(self, vm, *, name=None, smmu_msis=True, **driver_options):
        self.vm, self.memory, self.name = vm, vm.memory, name or f"{vm.name}'s guest"
        half = vm.memory.size // 2
        self.allocator = PageAllocator(vm.memory, vm.memory.base, half)
        self.buffers = PageAllocator(vm.memory, vm.memory.base + half, half)
        self.iommu = IOMMU()
        self.irqs = ITSDomain(vm.its, self.iommu, self.allocator)
        self.devices, self.events = {}, []
        self._smmu_irqs = ITSDomain(vm.its, None)
        self._smmu_msis = self._make_smmu_msis() if smmu_msis else {}
        self.driver = SMMUv3Driver(vm.smmu, self.allocator, msis=self._smmu_msis,
                                   **driver_options)

    def _make_smmu_msis(self):
        """Two vectors for the SMMU; its messages are not translated."""
        vectors = self._smmu_irqs.alloc(None, self.vm.smmu_device_id, 2)
        for vector in vectors:
            self._smmu_irqs.request_irq(vector, lambda _: self._smmu_interrupt())
        return {"eventq": MSI(*vectors[_EVENTQ].message), "gerror": MSI(*vectors[_GERROR].message)}

    def _smmu_interrupt(self):
        self.events += self.driver.service()

    def boot(self):
        """Probe and reset the SMMU, then take over the devices that firmware describes."""
        self.driver.probe()
        self.driver.reset()
        for assigned in self.vm.devices:
            self.devices[assigned] = self._add(assigned)

    def _add(self, assigned):
        regions = [ReservedRegion(start, size, ResvType.DIRECT, Prot(memory="device"))
                   for start, size in self.vm.rmrs]
        device = Device(
            f"{self.name}/{assigned.name}",
            Master(assigned.name, [assigned.vsid], ssid_bits=assigned.ssid_bits,
                   can_stall=assigned.can_stall, pci=not assigned.can_stall),
            self.driver, resv_regions=regions, msi_domain=self.irqs, rid=assigned.vsid & 0xFFFF)
        self.iommu.add_device(device)
        assigned.set_master()
        return device

    # --- what drivers of devices use -------------------------------------------------------------

    def dma(self, assigned):
        """Return the DMA API of a device."""
        return self.iommu.dma(self.devices[assigned])

    def alloc(self, size):
        """Return the guest physical address of a new buffer, zeroed, aligned to its size."""
        return self.buffers.alloc(size)

    def request_irqs(self, assigned, count, handler):
        """Allocate vectors at the guest's ITS, and put their messages into the MSI-X table.

        ``handler(assigned, vector)`` is called by :meth:`service`. Returns the descriptors.
        """
        descs = self.irqs.alloc(self.devices[assigned], assigned.vsid, count)
        for desc in descs:
            self.irqs.request_irq(desc, lambda each: handler(assigned, each.index))
            assigned.write_vector(desc.index, *desc.message, masked=False)
        return descs

    def free_irqs(self, assigned, descs):
        """Mask and give back vectors."""
        for desc in descs:
            assigned.write_vector(desc.index, 0, 0, masked=True)
        self.irqs.free(descs)

    def service(self):
        """Do what a processor of the guest does when it is interrupted; return the new events."""
        known = len(self.events)
        if self._smmu_msis:
            self._smmu_irqs.service()
        else:
            self._smmu_interrupt()
        self.irqs.service()
        return self.events[known:]
