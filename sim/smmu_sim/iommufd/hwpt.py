"""HWPTs: page tables of hardware, as objects."""

from smmu_sim.iommu.cookies import IOMMUFDCookie
from smmu_sim.iommufd.constants import HWPTFlag
from smmu_sim.iommufd.objects import IOMMUFDObject

__all__ = ["HWPT", "HWPTNested", "HWPTPaging"]


class HWPT(IOMMUFDObject):
    """What devices are attached to.

    Attributes
    ----------
    domain
        The :class:`smmu_sim.iommu.Domain`.
    pasid_compatible
        It was made with the PASID flag: PASIDs, and RIDs of devices with PASIDs, may have it.
    fault
        The :class:`FaultQueue` that has its page faults, or None.
    """

    def __init__(self, iommufd, domain, flags):
        super().__init__()
        self.iommufd, self.domain = iommufd, domain
        self.pasid_compatible = bool(flags & HWPTFlag.PASID)
        self.fault = None
        domain.owner = self
        domain.cookie = IOMMUFDCookie(
            lambda desc, doorbell: iommufd.sw_msi.prepare(self, desc, doorbell))

    @property
    def paging(self):
        """The paging HWPT that physical addresses come from: itself, or the nest parent."""
        raise NotImplementedError(type(self).__name__)

    def set_fault(self, fault):
        """Let page faults go to a queue."""
        self.fault = fault
        fault.users += 1
        self.domain.hw.iopf = True
        self.domain.fault_handler = fault.put

    def destroy(self):
        self.iommufd.iommu.free_domain(self.domain)
        if self.fault is not None:
            self.fault.users -= 1


class HWPTPaging(HWPT):
    """A page table that an IOAS is mapped into.

    Attributes
    ----------
    ioas
        The :class:`IOAS`.
    auto
        It was made by attaching to the IOAS, and goes with the last device.
    nest_parent
        VIOMMUs can be made of it.
    present_sw_msi
        Bit n: doorbell page n is mapped.
    """

    def __init__(self, iommufd, ioas, domain, flags, *, auto=False):
        super().__init__(iommufd, domain, flags)
        self.ioas, self.auto = ioas, auto
        self.nest_parent = bool(flags & HWPTFlag.NEST_PARENT)
        self.present_sw_msi = 0
        ioas.users += 1
        ioas.hwpts.append(self)

    @property
    def paging(self):
        return self

    def fill(self):
        """Map the IOAS into it. Errors of :meth:`IOAS.add_domain`."""
        self.ioas.add_domain(self.domain)

    def destroy(self):
        if self.domain in self.ioas.domains:
            self.ioas.remove_domain(self.domain)
        self.ioas.hwpts.remove(self)
        self.ioas.users -= 1
        super().destroy()


class HWPTNested(HWPT):
    """A guest's STE over a nest parent. ``viommu`` is the VIOMMU that it belongs to."""

    auto = False

    def __init__(self, viommu, domain, flags):
        super().__init__(viommu.iommufd, domain, flags)
        self.viommu = viommu
        viommu.users += 1

    @property
    def paging(self):
        return self.viommu.parent

    def destroy(self):
        super().destroy()
        self.viommu.users -= 1
