"""Doorbells in messages: what an interrupt controller asks the IOMMU core for.

An MSI is a write of the device without a PASID, so it goes through the domain of its RID.
"""

from smmu_sim.iommu.cookies import IOMMUFDCookie
from smmu_sim.iommu.domain import DomainType
from smmu_sim.linux_error import LinuxError

__all__ = ["BOGUS_ADDRESS", "MODES", "MSIMapper", "set_msi_iova"]

MODES = ("5.2", "5.3", "6.15")  # the Linux versions since which a way holds
BOGUS_ADDRESS = (1 << 64) - 1   # 5.2: what a message gets if its doorbell cannot be mapped


def set_msi_iova(desc, iova, shift):
    """Note in an MSI descriptor where its doorbell's page is: Linux 6.15's msi_desc fields.

    ``iova`` is the page's address, ``1 << shift`` its bytes. Both 0: the message keeps the
    physical address.
    """
    if iova & (1 << shift) - 1:
        raise LinuxError("EINVAL", f"{iova:#x} is not a page of {1 << shift:#x}")
    desc.iommu_msi_iova, desc.iommu_msi_shift = iova >> shift, shift


class MSIMapper:
    """Maps doorbells and puts their addresses in messages, as a Linux of one version does.

    Parameters
    ----------
    mode
        One of :data:`MODES`. "5.2": both when the message is composed. "5.3": the doorbell is
        mapped when interrupts are allocated, the domain is asked again at compose time. "6.15":
        the descriptor holds the result.
    """

    def __init__(self, mode):
        if mode not in MODES:
            raise ValueError(f"msi is {mode!r}; it is one of {MODES}")
        self.mode = mode

    def prepare(self, desc, doorbell):
        """Map the doorbell for the device of ``desc``. Linux: iommu_dma_prepare_msi.

        ENOMEM: it cannot be mapped. EOPNOTSUPP: since 6.15, the domain does not know how to; it
        has no cookie. What iommufd's cookie refuses is passed on.
        """
        if self.mode == "6.15":
            self._prepare(desc, doorbell)
        elif self.mode == "5.3":
            desc.iommu_cookie = None
            domain = _domain(desc)
            if domain is not None and domain.doorbells is not None:
                desc.iommu_cookie = self._page(domain, desc, doorbell)

    def _prepare(self, desc, doorbell):
        domain = _domain(desc)
        if domain is None or domain.type is DomainType.IDENTITY:
            return
        if isinstance(domain.cookie, IOMMUFDCookie):
            domain.cookie.sw_msi(desc, doorbell)
            return
        try:
            page = self._page(domain, desc, doorbell)
        except LinuxError:
            set_msi_iova(desc, 0, 0)
            raise
        set_msi_iova(desc, page.iova, page.size.bit_length() - 1)

    @staticmethod
    def _page(domain, desc, doorbell):
        target = domain.doorbells
        if target is None or isinstance(target.cookie, IOMMUFDCookie):
            raise LinuxError("EOPNOTSUPP", f"{domain} cannot map doorbells")
        return target.cookie.page(target, desc.device, doorbell)

    def compose(self, desc, doorbell):
        """Return the address for the message. Linux: iommu_dma_compose_msi_msg, msi_msg_set_addr.

        In mode "5.2" this maps the doorbell as well, and cannot fail: the address is
        :data:`BOGUS_ADDRESS` instead (Linux: iommu_dma_map_msi_msg).
        """
        if self.mode == "6.15":
            shift = desc.iommu_msi_shift
            if not shift:
                return doorbell
            return desc.iommu_msi_iova << shift | doorbell & (1 << shift) - 1
        domain = _domain(desc)
        if domain is None or domain.doorbells is None:
            return doorbell
        if self.mode == "5.3":
            page = getattr(desc, "iommu_cookie", None)
        else:
            try:
                page = self._page(domain, desc, doorbell)
            except LinuxError:
                return BOGUS_ADDRESS
        return doorbell if page is None else page.iova + (doorbell & page.size - 1)


def _domain(desc):
    group = desc.device.group
    return None if group is None else group.domain
