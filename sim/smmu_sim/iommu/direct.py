"""Memory that firmware wants mapped one to one, in default domains."""

from smmu_sim.iommu.reserved import ResvType
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot

__all__ = ["map_direct_regions", "require_direct", "unmap_direct_regions"]

_DIRECT = (ResvType.DIRECT, ResvType.DIRECT_RELAXABLE)


def require_direct(device):
    """Whether a device may never lose its one to one mappings."""
    return any(region.type is ResvType.DIRECT for region in device.resv_regions)


def map_direct_regions(domain, device):
    """Map the regions of a device, in whole pages; what is mapped so already stays.

    Domains that are not the DMA API's have no such mappings. An RMR becomes one of these regions;
    its accesses may always read and write. Returns the new mappings as ``[(address, bytes)]``.
    Errors as of :meth:`Domain.map`; nothing new is mapped then.
    Linux 7.0: iommu_create_device_direct_mappings.
    """
    mapped = []
    try:
        for start, end, prot in _missing(domain, device):
            domain.map(start, start, end - start, prot)
            mapped.append((start, end - start))
    except LinuxError:
        unmap_direct_regions(domain, mapped)
        raise
    return mapped


def unmap_direct_regions(domain, mapped):
    """Undo :func:`map_direct_regions`, given what it returned."""
    for start, size in mapped:
        domain.unmap(start, size)


def _missing(domain, device):
    """Yield (first address, end, protection) of what is not mapped one to one yet."""
    if not domain.type.is_dma:
        return
    page = min(domain.page_sizes)
    for region in device.resv_regions:
        if region.type not in _DIRECT:
            continue
        start, end = region.start & -page, -(-(region.last + 1) // page) * page
        missing = None  # start of a run that is not mapped
        for addr in [*range(start, end, page), None]:
            free = addr is not None and domain.iova_to_phys(addr) != addr
            if free and missing is None:
                missing = addr
            elif not free and missing is not None:
                stop = end if addr is None else addr
                yield missing, stop, region.prot or Prot()
                missing = None
