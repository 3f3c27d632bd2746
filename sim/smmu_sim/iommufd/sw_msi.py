"""Doorbell pages of interrupts in the page tables of user space (iommufd/driver.c)."""

from typing import NamedTuple

from smmu_sim.iommu.attach import attach_handle
from smmu_sim.iommu.msi import set_msi_iova
from smmu_sim.iommufd.constants import MAX, PAGE_SIZE
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot

__all__ = ["LIMIT", "SWMSI", "SWMSIPage"]

LIMIT = 64   # pages of one iommufd: they are counted in bitmaps of 64 bits
_PROT = Prot(memory="device")


class SWMSIPage(NamedTuple):
    """One doorbell page in one window. It keeps its place until the iommufd is closed."""

    start: int      # of the window
    doorbell: int   # physical page
    pgoff: int      # pages from the window's start
    id: int         # bit in the bitmaps

    @property
    def iova(self):
        return self.start + self.pgoff * PAGE_SIZE


class SWMSI:
    """The doorbell pages of one iommufd.

    Attributes
    ----------
    pages
        :class:`SWMSIPage` in the order of their ids.
    """

    def __init__(self, allocations):
        self._allocations = allocations
        self.pages = []

    def prepare(self, hwpt, desc, doorbell):
        """Make a doorbell reachable through ``hwpt``, and note its IOVA in the MSI descriptor.

        What IOMMU_COOKIE_IOMMUFD's domains do for ``prepare_msi``. Nothing happens if the device
        is not attached without a PASID, or its group's MSIs are not translated. EOVERFLOW: the
        65th page. ENOMEM, and what the page table refuses. Linux 7.0: iommufd_sw_msi.
        """
        try:
            idev = attach_handle(desc.device.group).idev
        except LinuxError:
            return
        start = idev.msi_window.sw_msi_start
        if start == MAX:
            return
        page = self._find(start, doorbell & -PAGE_SIZE)
        self.install(hwpt.paging, page)
        idev.igroup.required_sw_msi |= 1 << page.id
        set_msi_iova(desc, page.iova, PAGE_SIZE.bit_length() - 1)

    def _find(self, start, doorbell):
        pgoff = 0
        for page in self.pages:
            if page.start == start:
                if page.doorbell == doorbell:
                    return page
                pgoff = page.pgoff + 1
        if len(self.pages) == LIMIT:
            raise LinuxError("EOVERFLOW", f"{LIMIT} doorbell pages are in use")
        self._allocations.request("a doorbell page")
        page = SWMSIPage(start, doorbell, pgoff, len(self.pages))
        self.pages.append(page)
        return page

    def install(self, hwpt, page):
        """Map a page in a paging HWPT, once. Raises what the page table refuses."""
        if hwpt.present_sw_msi >> page.id & 1:
            return
        hwpt.domain.map(page.iova, page.doorbell, PAGE_SIZE, _PROT)
        hwpt.present_sw_msi |= 1 << page.id

    def install_required(self, hwpt, igroup):
        """Map all pages that a group uses already, before it is attached to a paging HWPT."""
        for page in self.pages:
            if igroup.required_sw_msi >> page.id & 1:
                self.install(hwpt, page)
