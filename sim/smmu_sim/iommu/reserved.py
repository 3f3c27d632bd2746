"""Reserved regions: input addresses of a device that are not free to be mapped."""

from enum import IntEnum
from typing import NamedTuple

from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot

__all__ = ["MSI_PROT", "SW_MSI_WINDOW", "ReservedRegion", "ResvType", "device_regions",
           "merge_regions", "regions_text"]


class ResvType(IntEnum):
    """Why a region is reserved; numbers and order of Linux's ``enum iommu_resv_type``."""

    DIRECT = 0             # must be mapped one to one while the device has a default domain
    DIRECT_RELAXABLE = 1   # the same, but may be given up when the device changes hands
    RESERVED = 2           # never to be mapped
    MSI = 3                # doorbells that are not translated
    SW_MSI = 4             # where software maps doorbells

    @property
    def label(self):
        """What sysfs calls it: a SW_MSI window is called "msi" too."""
        return {ResvType.DIRECT: "direct", ResvType.DIRECT_RELAXABLE: "direct-relaxable",
                ResvType.RESERVED: "reserved"}.get(self, "msi")


class ReservedRegion(NamedTuple):
    """``length`` bytes from ``start``. ``prot`` matters to regions that get mapped."""

    start: int
    length: int
    type: ResvType
    prot: Prot | None = None

    @property
    def last(self):
        """The last address in it."""
        return self.start + self.length - 1


# What dma-iommu lets a doorbell do: it is written, never read, never executed.
MSI_PROT = Prot(read=False, write=True, execute=False, memory="device")
SW_MSI_WINDOW = ReservedRegion(0x0800_0000, 0x10_0000, ResvType.SW_MSI, MSI_PROT)


def device_regions(declared):
    """Return the regions of a device, given those that firmware or its bus declare.

    The SMMU driver adds its SW_MSI window, unless doorbells are known to be untranslated, or the
    declaration has a window of its own. EINVAL: an empty region, or one beyond 64 bits.
    """
    regions = [ReservedRegion(*region) for region in declared]
    for region in regions:
        if region.length <= 0 or region.start < 0 or region.last >> 64:
            raise LinuxError("EINVAL", f"reserved region {region.start:#x} + {region.length:#x} "
                                       "is empty or beyond 64 bits")
    if not {ResvType.MSI, ResvType.SW_MSI} & {region.type for region in regions}:
        regions.append(SW_MSI_WINDOW)
    return regions


def merge_regions(regions):
    """Return the regions sorted; those of one type that overlap or touch become one.

    Linux 7.0: iommu_insert_resv_region.
    """
    merged = []
    for region in sorted(regions, key=lambda r: (r.start, r.type)):
        index = next((n for n in reversed(range(len(merged)))
                      if merged[n].type == region.type), None)
        if index is None or region.start > merged[index].last + 1:
            merged.append(region)
        else:
            last = max(merged[index].last, region.last)
            merged[index] = merged[index]._replace(length=last - merged[index].start + 1)
    return merged


def regions_text(regions):
    """Return the text of sysfs ``reserved_regions``: a line for each merged region."""
    return "".join(f"{region.start:#018x} {region.last:#018x} {region.type.label}\n"
                   for region in merge_regions(regions))
