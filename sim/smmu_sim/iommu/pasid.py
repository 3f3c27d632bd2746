"""PASIDs: domains beside that of the RID, and the numbers themselves."""

from smmu_sim.iommu.attach import group_of
from smmu_sim.iommu.domain import DomainType
from smmu_sim.iommu.group import Attachment
from smmu_sim.linux_error import LinuxError

__all__ = ["NO_PASID", "PASIDAllocator", "attach_device_pasid", "detach_device_pasid",
           "replace_device_pasid"]

NO_PASID = 0
_WITH_PASIDS = (DomainType.DMA, DomainType.DMA_FQ, DomainType.UNMANAGED, DomainType.SVA)


class PASIDAllocator:
    """The PASIDs of a kernel: each number has one user. Linux 7.0: iommu_alloc_global_pasid."""

    def __init__(self):
        self._used = set()

    def alloc(self, max_pasids):
        """Return the smallest free PASID from 1 up to ``max_pasids`` - 1. ENOSPC: none is free."""
        for pasid in range(1, max_pasids):
            if pasid not in self._used:
                self._used.add(pasid)
                return pasid
        raise LinuxError("ENOSPC", f"no PASID below {max_pasids} is free")

    def free(self, pasid):
        """Give one back."""
        self._used.remove(pasid)

    def __contains__(self, pasid):
        return pasid in self._used


def _check(domain, device, pasid):
    group = group_of(device)
    if domain.type not in _WITH_PASIDS:
        raise LinuxError("EOPNOTSUPP", f"a domain of type {domain.type.value} takes no PASID")
    if domain.driver is not device.driver:
        raise LinuxError("EINVAL", f"the domain belongs to another SMMU than {device.name}")
    if pasid == NO_PASID:
        raise LinuxError("EINVAL", "PASID 0 is the RID's")
    if group.resetting:
        raise LinuxError("EBUSY", f"a device of group {group.number} is being reset")
    if any(pasid >= other.max_pasids for other in group.devices
           if other.max_pasids or other is device):
        raise LinuxError("EINVAL", f"PASID {pasid} is too large for a device of the group")
    return group


def _set(group, domain, pasid, old):
    """Switch all devices that have PASIDs, or none."""
    done = []
    try:
        for device in group.devices:
            if device.max_pasids:
                device.driver.attach_pasid(device.master, pasid, domain.hw)
                done.append(device)
    except LinuxError:
        for device in reversed(done):
            if old is None:
                device.driver.detach_pasid(device.master, pasid)
            else:
                device.driver.attach_pasid(device.master, pasid, old.hw)
        raise
    domain.finalised = True
    domain.pasid_users += 1
    if old is not None:
        old.pasid_users -= 1


def attach_device_pasid(domain, device, pasid, handle=None):
    """Attach a domain to one PASID of a device's group. Linux 7.0: iommu_attach_device_pasid.

    ENODEV: no group. EOPNOTSUPP: domains of this type have no PASIDs. EINVAL: the domain is
    another SMMU's, the PASID is 0, or a device cannot send it. EBUSY: the PASID is in use, or the
    group is being reset. Else what the driver refuses; no device is attached then.
    """
    group = _check(domain, device, pasid)
    if pasid in group.pasids:
        raise LinuxError("EBUSY", f"PASID {pasid} of group {group.number} is in use")
    _set(group, domain, pasid, None)
    group.pasids[pasid] = Attachment(domain, handle)


def replace_device_pasid(domain, device, pasid, handle):
    """Put another domain in place of a PASID's. Linux 7.0: iommu_replace_device_pasid.

    EINVAL: no handle, or the PASID has no domain. Else as of :func:`attach_device_pasid`; on an
    error the old domain goes on to translate.
    """
    group = _check(domain, device, pasid)
    if handle is None:
        raise LinuxError("EINVAL", "a handle is needed")
    attachment = group.pasids.get(pasid)
    if attachment is None:
        raise LinuxError("EINVAL", f"PASID {pasid} of group {group.number} has no domain")
    if attachment.domain is not domain:
        _set(group, domain, pasid, attachment.domain)
    group.pasids[pasid] = Attachment(domain, handle)


def detach_device_pasid(domain, device, pasid):
    """Undo :func:`attach_device_pasid`; the PASID is blocked. Not attached: nothing happens.

    Linux 7.0: iommu_detach_device_pasid.
    """
    group = group_of(device)
    attachment = group.pasids.get(pasid)
    if pasid == NO_PASID or attachment is None or attachment.domain is not domain:
        return
    for other in group.devices:
        if other.max_pasids:
            other.driver.detach_pasid(other.master, pasid)
    del group.pasids[pasid]
    domain.pasid_users -= 1
