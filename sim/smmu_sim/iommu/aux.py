"""Aux domains: the PASID domains of Linux 5.2, and what becomes of the device's MSIs.

An MSI has no PASID, so the primary domain of the device must map the doorbell. Two solutions for a
driver that brings a primary domain of its own were proposed; :class:`AuxPrimary` has both.
"""

from smmu_sim.iommu.attach import attach_device, detach_device, group_of
from smmu_sim.iommu.domain import Domain, DomainType
from smmu_sim.iommu.group import Attachment
from smmu_sim.iommu.reserved import ResvType
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import DEFAULT

__all__ = ["AuxDomains", "AuxPrimary"]


class AuxDomains:
    """Linux 5.2 to 5.17: IOMMU_DEV_FEAT_AUX, iommu_aux_attach_device and its relatives."""

    def __init__(self, iommu):
        self._iommu = iommu
        self._pasids = {}  # {domain: PASID}

    def enable(self, device):
        """Let a device use aux domains. ENODEV: it has no group, or no PASIDs."""
        group_of(device)
        if not device.max_pasids:
            raise LinuxError("ENODEV", f"{device.name} has no PASIDs")
        if device.aux is None:
            device.aux = []

    def disable(self, device):
        """Undo :meth:`enable`. EBUSY: aux domains are attached."""
        if device.aux:
            raise LinuxError("EBUSY", f"{device.name} has {len(device.aux)} aux domains")
        device.aux = None

    def enabled(self, device):
        """Whether the device may use aux domains."""
        return device.aux is not None

    def attach(self, domain, device):
        """Attach a domain beside the primary one; it gets a PASID, its own for all devices.

        ENODEV: no group. EPERM: the feature is off, or the domain is not UNMANAGED. EBUSY: it is
        attached to the device, or its PASID is in use there. ENOSPC: no PASID is left. Else what
        the driver refuses.
        """
        group = group_of(device)
        if device.aux is None or domain.type is not DomainType.UNMANAGED:
            raise LinuxError("EPERM", f"{domain} is no aux domain for {device.name}")
        if domain in device.aux:
            raise LinuxError("EBUSY", f"the aux domain is attached to {device.name}")
        fresh = domain not in self._pasids
        pasid = self._iommu.pasids.alloc(device.max_pasids) if fresh else self._pasids[domain]
        try:
            if pasid >= device.max_pasids:
                raise LinuxError("EINVAL", f"{device.name} cannot send PASID {pasid}")
            if pasid in group.pasids and not _used(domain, group):
                raise LinuxError("EBUSY", f"PASID {pasid} of {device.name} is in use")
            device.driver.attach_pasid(device.master, pasid, domain.hw)
        except LinuxError:
            if fresh:
                self._iommu.pasids.free(pasid)
            raise
        self._pasids[domain] = pasid
        device.aux.append(domain)
        group.pasids[pasid] = Attachment(domain)
        domain.finalised = True
        domain.pasid_users += 1

    def detach(self, domain, device):
        """Undo :meth:`attach`; with the last device the PASID is free. Not attached: nothing."""
        if not device.aux or domain not in device.aux:
            return
        pasid = self._pasids[domain]
        device.driver.detach_pasid(device.master, pasid)
        device.aux.remove(domain)
        if not _used(domain, device.group):
            del device.group.pasids[pasid]
        domain.pasid_users -= 1
        if not domain.pasid_users:
            del self._pasids[domain]
            self._iommu.pasids.free(pasid)

    def pasid(self, domain, device):
        """Return the PASID that a device must send for an aux domain. EINVAL: not attached."""
        if not device.aux or domain not in device.aux:
            raise LinuxError("EINVAL", f"the aux domain is not attached to {device.name}")
        return self._pasids[domain]


def _used(domain, group):
    """Whether a domain is an aux domain of some device of a group."""
    return any(domain in (device.aux or ()) for device in group.devices)


class AuxPrimary:
    """The primary domain of a driver that uses aux domains or PASIDs.

    Parameters
    ----------
    solution
        ``"shared"``: it has the page table of the default domain, so the device is in both, and a
        doorbell is mapped in both whenever it is mapped. ``"ordered"``: it has a table of its own;
        the driver must call :meth:`attach`, then :meth:`map_msi`, and then request interrupts.

    Attributes
    ----------
    domain
        The :class:`Domain`; ``None`` while not attached.
    """

    def __init__(self, iommu, device, solution):
        if solution not in ("shared", "ordered"):
            raise ValueError(f"solution is {solution!r}; it is 'shared' or 'ordered'")
        self._iommu, self.device, self.solution = iommu, device, solution
        self.domain = None

    def attach(self):
        """Attach the primary domain.

        EINVAL: "shared", and the default domain has no table. Else as of :func:`attach_device`.
        """
        if self.solution == "shared":
            default = group_of(self.device).default_domain
            if not default.type.is_dma:
                raise LinuxError("EINVAL", f"a default domain of type {default.type.value} has no "
                                           "table to share")
            domain = Domain(DomainType.UNMANAGED, default.hw)
            domain.cookie = default.cookie
        else:
            domain = self._iommu.alloc_domain(self.device, DomainType.UNMANAGED)
        try:
            attach_device(domain, self.device)
        except LinuxError:
            if self.solution == "ordered":
                self._iommu.free_domain(domain)
            raise
        self.domain = domain

    def map_msi(self):
        """Let interrupts that are requested from now on find their doorbells in the domain.

        "shared": there is nothing to do. "ordered": as of :meth:`IOMMU.get_msi_cookie`, in the
        device's window for doorbells; a device without one needs no mapping.
        """
        if self.solution == "ordered":
            window = next((region for region in self.device.resv_regions
                           if region.type is ResvType.SW_MSI), None)
            if window is not None:
                self._iommu.get_msi_cookie(self.domain, window.start)

    def map(self, iova, phys, size, prot=DEFAULT):
        """Map memory for the device. EEXIST: the addresses are in use, by the DMA API as well."""
        if self.solution == "shared":
            self.domain.cookie.iovas.take(iova, size)
        try:
            self.domain.map(iova, phys, size, prot)
        except LinuxError:
            if self.solution == "shared":
                self.domain.cookie.iovas.free(iova)
            raise

    def unmap(self, iova, size):
        """Undo :meth:`map`; return the bytes that were mapped."""
        done = self.domain.unmap(iova, size)
        if self.solution == "shared":
            self.domain.cookie.iovas.free(iova)
        return done

    def detach(self):
        """Give the device back to its default domain."""
        detach_device(self.domain, self.device)
        if self.solution == "ordered":
            self._iommu.free_domain(self.domain)
        self.domain = None
