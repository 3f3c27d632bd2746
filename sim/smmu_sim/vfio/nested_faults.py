"""Faults of a guest's stage 1 on their way to user space: record, ring, eventfd."""

from smmu_sim.iommu.fault_records import FaultType, PageResponse, ResponseCode
from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.device_interrupts import TYPE_NESTED
from smmu_sim.vfio.device_regions import CAP_DMA_FAULT, CAP_DMA_FAULT_RESPONSE, Region
from smmu_sim.vfio.fault_queue_v8 import ConsumerRegion, FaultQueue, ProducerRegion
from smmu_sim.vfio.fault_ring import FaultRegion
from smmu_sim.vfio.numbers import RegionFlag
from smmu_sim.vfio.response_ring import ResponseRegion
from smmu_sim.vfio.single_interrupt import SingleInterrupt

__all__ = ["NestedFaults"]

_FAULT, _CONSUMER, _RESPONSE = 1, 2, 2  # subtypes of VFIO_REGION_TYPE_NESTED


class NestedFaults:
    """The fault regions and the fault interrupt of one open device.

    Parameters
    ----------
    container
        The container for nesting that the device is in.
    device
        The IOMMU core's device, whose fault handler this becomes.
    process
        Whose eventfd is signalled.

    Attributes
    ----------
    interrupt
        The :class:`SingleInterrupt` of DMA faults.
    lost
        Errors of records that the ring did not take, in order.
    refused
        Errors of page responses that were refused, in order.
    """

    def __init__(self, container, device, process):
        self.generation, self.device = container.generation, device
        self.registry = container.iommu.faults
        self.interrupt = SingleInterrupt(process)
        self.lost, self.refused = [], []
        self._queue = FaultQueue(self.generation.fault_entry) \
            if self.generation.fault_regions == 2 else FaultRegion(self.generation.fault_entry)
        self.registry.register(device, self.report)

    def add_to(self, regions, interrupts):
        """Make regions and interrupt visible, as the generation has them."""
        kind, read, write, mmap = (self.generation.nested_region_type, RegionFlag.READ,
                                   RegionFlag.WRITE, RegionFlag.MMAP)
        if self.generation.fault_regions == 2:
            regions.add(Region(ProducerRegion(self._queue), read | mmap, (kind, _FAULT),
                               CAP_DMA_FAULT))
            regions.add(Region(ConsumerRegion(self._queue), write, (kind, _CONSUMER)))
        else:
            regions.add(Region(self._queue, read | write | mmap, (kind, _FAULT), CAP_DMA_FAULT))
        if self.generation.responses:
            regions.add(Region(ResponseRegion(self._respond), read | write | mmap,
                               (kind, _RESPONSE), CAP_DMA_FAULT_RESPONSE))
        interrupts.add(self.interrupt, TYPE_NESTED if self.generation.ext_irqs else None)

    def report(self, fault):
        """Store a fault of the core and signal the eventfd.

        ENOSPC (V8: EINVAL): the ring is full, the record is lost. EINVAL: V8, and user space did
        not choose an ABI version. EOPNOTSUPP: a page request, and the generation has no responses.
        """
        try:
            if fault.type == FaultType.PAGE_REQ and not self.generation.responses:
                raise LinuxError("EOPNOTSUPP", f"{self.generation.name} cannot answer page "
                                               "requests")
            self._queue.produce(fault.to_bytes(self.generation.record))
        except LinuxError as error:
            self.lost.append(error)
            raise
        self.interrupt.signal()

    def _respond(self, entry):
        """Pass one response on; a bad one is dropped, as nobody is there to hear of it."""
        try:
            self.registry.respond(self.device, PageResponse.from_bytes(entry))
        except LinuxError as error:
            self.refused.append(error)

    def release(self):
        """Take the fault handler away; open page requests are answered: they fail."""
        self.interrupt.release()
        for fault in self.registry.pending(self.device):
            self.registry.respond(self.device, PageResponse(
                fault.grpid, ResponseCode.INVALID, fault.pasid))
        self.registry.unregister(self.device)
