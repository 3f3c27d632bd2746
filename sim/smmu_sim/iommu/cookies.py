"""What a domain knows about doorbells: the cookies of domains that are not the DMA API's."""

from typing import NamedTuple

from smmu_sim.iommu.reserved import MSI_PROT
from smmu_sim.linux_error import LinuxError

__all__ = ["IOMMUFDCookie", "MSICookie", "MSIPage"]


class MSIPage(NamedTuple):
    """A page with a doorbell, and where devices see it; both page addresses.

    ``size`` is how much of a doorbell's address is its offset in the page.
    """

    phys: int
    iova: int
    size: int


class MSICookie:
    """Doorbell pages of an UNMANAGED domain, one after the other from ``base`` (DMA_MSI).

    ``page_size`` is the kernel's.
    """

    def __init__(self, base, page_size):
        self.next, self.page_size, self.pages = base, page_size, []

    def page(self, domain, device, doorbell):
        """Return the :class:`MSIPage` of a doorbell; it is mapped if need be.

        ENOMEM: it cannot be mapped; nothing is used up then.
        """
        phys = doorbell & -self.page_size
        for page in self.pages:
            if page.phys == phys:
                return page
        page = MSIPage(phys, self.next, self.page_size)
        try:
            domain.map(page.iova, phys, self.page_size, MSI_PROT)
        except LinuxError as error:
            raise LinuxError("ENOMEM", f"doorbell {phys:#x} at {page.iova:#x}: {error}") from error
        self.next += self.page_size
        self.pages.append(page)
        return page

    def put(self, domain):
        """The domain goes away, and its mappings with it."""
        self.pages.clear()


class IOMMUFDCookie:
    """The owner of the domain maps doorbells by itself (IOMMUFD).

    Parameters
    ----------
    sw_msi
        ``sw_msi(desc, doorbell)`` makes the doorbell reachable and calls
        :func:`smmu_sim.iommu.msi.set_msi_iova`, or leaves the message as it is. Its errors go to
        whoever allocates the interrupt.
    """

    def __init__(self, sw_msi):
        self.sw_msi = sw_msi

    def put(self, domain):
        """Nothing is kept here."""
