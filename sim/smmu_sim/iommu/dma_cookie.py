"""What the DMA API keeps for a domain: its IOVAs, its doorbells, its flush queue."""

from smmu_sim.iommu.cookies import MSIPage
from smmu_sim.iommu.flush_queue import FlushQueue
from smmu_sim.iommu.iova import IOVASpace
from smmu_sim.iommu.reserved import MSI_PROT, ResvType
from smmu_sim.linux_error import LinuxError

__all__ = ["DMACookie"]

_LOW = (1 << 32) - 1


class DMACookie:
    """IOVAs and doorbells of a default domain (DMA_IOVA).

    Attributes
    ----------
    iovas
        :class:`IOVASpace`.
    pages
        The :class:`MSIPage` in use.
    flush_queue
        :class:`FlushQueue` of a DMA_FQ domain, ``None`` else.
    """

    def __init__(self, domain, *, low_first=True):
        self.granule = min(domain.page_sizes)
        self.iovas = IOVASpace(self.granule, *domain.aperture)
        self.pages, self._untranslated = [], []
        self._low_first = low_first
        self.flush_queue = None

    def use_flush_queue(self, domain):
        """Free IOVAs after a common invalidation from now on."""
        self.flush_queue = FlushQueue(domain, self.iovas)

    def reserve(self, device):
        """Keep the reserved regions of a device free, but for windows that are for doorbells."""
        for region in device.resv_regions:
            if region.type is not ResvType.SW_MSI:
                self.iovas.reserve(region.start, region.last)
            if region.type is ResvType.MSI:
                self._untranslated.append(region)

    def alloc(self, device, size):
        """Return an IOVA range for a device. Linux 7.0: iommu_dma_alloc_iova.

        PCI devices get addresses below 4 GiB, until there are none left once. ENOSPC: no range is
        free that the device can reach.
        """
        if self._low_first and device.is_pci and device.dma_mask > _LOW:
            try:
                return self.iovas.alloc(size, _LOW)
            except LinuxError:
                self._low_first = False
        try:
            return self.iovas.alloc(size, device.dma_mask)
        except LinuxError:
            if self.flush_queue is None:
                raise
            self.flush_queue.flush()
        return self.iovas.alloc(size, device.dma_mask)

    def page(self, domain, device, doorbell):
        """Return the :class:`MSIPage` of a doorbell; it is mapped if need be.

        One in a region that is not translated has its physical address. ENOMEM: it cannot be
        mapped.
        """
        phys = doorbell & -self.granule
        if any(region.start <= phys <= region.last for region in self._untranslated):
            return MSIPage(phys, phys, self.granule)
        for page in self.pages:
            if page.phys == phys:
                return page
        try:
            iova = self.alloc(device, self.granule)
        except LinuxError as error:
            raise LinuxError("ENOMEM", f"doorbell {phys:#x}: {error}") from error
        try:
            domain.map(iova, phys, self.granule, MSI_PROT)
        except LinuxError as error:
            self.iovas.free(iova)
            raise LinuxError("ENOMEM", f"doorbell {phys:#x} at {iova:#x}: {error}") from error
        self.pages.append(MSIPage(phys, iova, self.granule))
        return self.pages[-1]

    def put(self, domain):
        """The domain goes away: nothing stays in the flush queue."""
        if self.flush_queue is not None:
            self.flush_queue.flush()
        self.pages.clear()
