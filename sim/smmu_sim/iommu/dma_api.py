"""The DMA API of drivers, over the default domain of their device (dma-iommu)."""

from enum import IntEnum

from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.iommu.domain import DomainType
from smmu_sim.linux_error import LinuxError
from smmu_sim.pagetable import PageTableError
from smmu_sim.prot import Prot

__all__ = ["DMAOps", "Direction"]


class Direction(IntEnum):
    """Linux's ``enum dma_data_direction``."""

    BIDIRECTIONAL = 0
    TO_DEVICE = 1
    FROM_DEVICE = 2


class DMAOps:
    """Make memory accessible for one device. Linux 7.0: iommu_dma_map_phys and its relatives.

    ENOMEM stands for DMA_MAPPING_ERROR as well: no IOVA, or no memory for tables. With an IDENTITY
    default domain addresses are physical.
    """

    def __init__(self, device):
        self.device = device

    @property
    def domain(self):
        """The default domain of the device's group, which may change."""
        return self.device.group.default_domain

    @property
    def cookie(self):
        """The :class:`DMACookie` of the domain; None if it does not translate."""
        return self.domain.cookie

    # --- one range -------------------------------------------------------------------------------

    def map_page(self, phys, size, direction=Direction.BIDIRECTIONAL):
        """Map a range; return its IOVA, which has the offset in a page that ``phys`` has.

        EINVAL: nothing to map. ENOMEM: see the class.
        """
        if size <= 0:
            raise LinuxError("EINVAL", f"size is {size}")
        if self.domain.type is DomainType.IDENTITY:
            self._check_mask(phys, size)
            return phys
        offset = phys & self.cookie.granule - 1
        iova = self._map([(phys - offset, self._whole(size + offset))], direction)
        return iova + offset

    def unmap_page(self, iova, size):
        """Undo :meth:`map_page`. EINVAL: nothing was mapped so."""
        if self.domain.type is DomainType.IDENTITY:
            return
        offset = iova & self.cookie.granule - 1
        self._unmap(iova - offset, self._whole(size + offset))

    # --- lists -----------------------------------------------------------------------------------

    def map_sg(self, pieces, direction=Direction.BIDIRECTIONAL):
        """Map ``[(physical, size)]`` side by side; return ``[(iova, size)]``, neighbours joined.

        Errors as of :meth:`map_page`; nothing is mapped then. Linux 7.0: iommu_dma_map_sg.
        """
        pieces = list(pieces)
        if not pieces or any(size <= 0 for _, size in pieces):
            raise LinuxError("EINVAL", "an empty list, or an empty piece")
        if self.domain.type is DomainType.IDENTITY:
            for phys, size in pieces:
                self._check_mask(phys, size)
            return pieces
        mask = self.cookie.granule - 1
        ranges = [(phys & ~mask, self._whole(size + (phys & mask))) for phys, size in pieces]
        at = self._map(ranges, direction)
        segments = []
        for (phys, size), (_, covered) in zip(pieces, ranges, strict=True):
            iova = at + (phys & mask)
            if segments and sum(segments[-1]) == iova:
                segments[-1] = (segments[-1][0], segments[-1][1] + size)
            else:
                segments.append((iova, size))
            at += covered
        return segments

    def unmap_sg(self, segments):
        """Undo :meth:`map_sg`, given what it returned."""
        if self.domain.type is DomainType.IDENTITY:
            return
        mask = self.cookie.granule - 1
        first, last = segments[0][0] & ~mask, sum(segments[-1])
        self._unmap(first, self._whole(last - first))

    # --- memory ----------------------------------------------------------------------------------

    def alloc_coherent(self, size):
        """Allocate memory that processor and device share; return ``(physical, iova)``.

        ENOMEM: no memory, or as of :meth:`map_page`. Linux 7.0: iommu_dma_alloc.
        """
        allocator = self.device.driver.allocator
        try:
            phys = allocator.alloc(size)
        except OutOfMemory as error:
            raise LinuxError("ENOMEM", str(error)) from error
        try:
            return phys, self.map_page(phys, size)
        except LinuxError:
            allocator.free(phys, size)
            raise

    def free_coherent(self, phys, iova, size):
        """Undo :meth:`alloc_coherent`. The device cannot reach the memory any more."""
        self.unmap_page(iova, size)
        self.flush()  # lazily unmapped memory must not get a new owner
        self.device.driver.allocator.free(phys, size)

    def flush(self):
        """End the laziness now: what was unmapped cannot be accessed, and IOVAs are free."""
        if self.cookie is not None and self.cookie.flush_queue is not None:
            self.cookie.flush_queue.flush()

    # --- inside ----------------------------------------------------------------------------------

    def _whole(self, size):
        return -(-size // self.cookie.granule) * self.cookie.granule

    def _check_mask(self, phys, size):
        if phys + size - 1 > self.device.dma_mask:
            raise LinuxError("ENOMEM", f"{phys:#x} + {size:#x} is beyond the DMA mask "
                                       f"{self.device.dma_mask:#x}")

    def _prot(self, direction):
        direction = Direction(direction)
        return Prot(read=direction != Direction.FROM_DEVICE,
                    write=direction != Direction.TO_DEVICE, execute=True,
                    memory="wb" if self.device.cache_coherent else "nc")

    def _map(self, ranges, direction):
        """Map physical ranges of whole pages side by side; return the IOVA."""
        prot, total = self._prot(direction), sum(size for _, size in ranges)
        try:
            iova = self.cookie.alloc(self.device, total)
        except LinuxError as error:
            raise LinuxError("ENOMEM", str(error)) from error
        at = iova
        try:
            for phys, size in ranges:
                self.domain.map(at, phys, size, prot)
                at += size
        except LinuxError as error:
            if at > iova:
                self.domain.unmap(iova, at - iova)
            self.cookie.iovas.free(iova)
            raise LinuxError("ENOMEM", str(error)) from error
        return iova

    def _unmap(self, iova, size):
        if not self.cookie.iovas.holds(iova, size):
            raise LinuxError("EINVAL", f"{iova:#x} + {size:#x} was not mapped for a device")
        queue = self.cookie.flush_queue
        if queue is None:
            self.domain.unmap(iova, size)
            self.cookie.iovas.free(iova)
            return
        table = self.domain.hw.table
        try:
            removed = table.unmap(iova, size)
        except PageTableError as error:
            raise LinuxError("EINVAL", str(error)) from error
        if removed.tables:  # a walk must not go on through memory that is given back
            self.domain.hw.invalidate(iova, size, leaf=False)
            table.release(removed)
        queue.add(iova)
