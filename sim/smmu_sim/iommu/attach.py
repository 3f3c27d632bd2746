"""Which domain the devices of a group use: attach, replace, detach, DMA ownership."""

from smmu_sim.iommu.domain import DomainType
from smmu_sim.iommu.group import Attachment
from smmu_sim.linux_error import LinuxError

__all__ = ["attach_device", "attach_group", "attach_group_handle", "attach_handle",
           "claim_device_dma_owner", "claim_dma_owner", "detach_device", "detach_group",
           "detach_group_handle", "group_of", "release_device_dma_owner", "release_dma_owner",
           "replace_group_handle", "reset_done", "reset_prepare", "set_device_domain",
           "set_group_domain", "unuse_default_domain", "use_default_domain"]

_RID = 0  # the key of the RID among a group's PASIDs


def group_of(device):
    """Return the group of a device. ENODEV: it has none."""
    if device.group is None:
        raise LinuxError("ENODEV", f"{device.name} was not added to the IOMMU core")
    return device.group


# --- the switch itself ---------------------------------------------------------------------------

def set_device_domain(device, domain):
    """Attach one device; on an error it keeps what it had. Linux 7.0: __iommu_device_set_domain.

    EINVAL: it would block a device that firmware wants mapped one to one. ENODEV: an address
    space of a process, which only a PASID can have. What the driver refuses is passed on: EINVAL
    for a domain of another SMMU, or where a rule of nesting domains forbids it, for example.
    """
    if domain.type is DomainType.SVA:
        raise LinuxError("ENODEV", "an SVA domain cannot be attached without a PASID")
    if device.require_direct and domain.type is DomainType.BLOCKED:
        raise LinuxError("EINVAL", f"firmware wants memory of {device.name} mapped one to one")
    device.driver.attach(device.master, domain.hw)
    domain.finalised = True


def set_group_domain(group, domain):
    """Attach all devices of a group, or none. Linux 7.0: __iommu_group_set_domain.

    EBUSY: its device is being reset. Else as of :func:`set_device_domain`; the devices that had
    been switched before the error have the old domain again.
    """
    old = group.domain
    if old is domain:
        return
    if group.resetting:
        raise LinuxError("EBUSY", f"a device of group {group.number} is being reset")
    switched = []
    try:
        for device in group.devices:
            set_device_domain(device, domain)
            switched.append(device)
    except LinuxError:
        for device in reversed(switched):
            device.driver.attach(device.master, old.hw)
        raise
    if old is not None:
        old.groups.remove(group)
    domain.groups.append(group)
    group.domain = domain


def _set_core_domain(group):
    """What nobody has attached a domain to uses: nothing, for an owner, else the DMA API's."""
    set_group_domain(group, group.blocking_domain if group.owner is not None
                     else group.default_domain)


# --- whole groups --------------------------------------------------------------------------------

def _attach(domain, group):
    if group.domain not in (None, group.default_domain, group.blocking_domain):
        raise LinuxError("EBUSY", f"group {group.number} is attached to another domain")
    set_group_domain(group, domain)


def attach_group(domain, group):
    """Attach a domain to all devices of a group. Linux 7.0: iommu_attach_group.

    EBUSY: the group has a domain that is neither its default nor the blocking one, or is being
    reset. Else as of :func:`set_device_domain`.
    """
    _attach(domain, group)


def detach_group(domain, group):
    """Give a group back its default domain, or the blocking one if it has an owner.

    Linux 7.0: iommu_detach_group.
    """
    _set_core_domain(group)


def attach_device(domain, device):
    """Attach a domain to a device that is alone in its group. Linux 7.0: iommu_attach_device.

    ENODEV: the device has no group. EINVAL: its group has other devices. EPERM: aux domains are
    attached to it, or enabled and this could be one (Linux 5.2, VT-d). Else as of
    :func:`attach_group`.
    """
    group = group_of(device)
    if len(group.devices) != 1:
        raise LinuxError("EINVAL", f"group {group.number} has {len(group.devices)} devices")
    if device.aux or device.aux is not None and domain.type is DomainType.UNMANAGED:
        raise LinuxError("EPERM", f"aux domains are enabled on {device.name}")
    _attach(domain, group)


def detach_device(domain, device):
    """Undo :func:`attach_device`. Does nothing if that is not what is attached.

    Linux 7.0: iommu_detach_device.
    """
    group = device.group
    if group is not None and group.domain is domain and len(group.devices) == 1:
        _set_core_domain(group)


# --- with a handle, for iommufd ------------------------------------------------------------------

def attach_group_handle(domain, group, handle):
    """Attach a domain to a group and keep its owner's handle. Linux 7.0: iommu_attach_group_handle.

    EINVAL: no handle. EBUSY: attached with a handle already. Else as of :func:`attach_group`.
    """
    if handle is None:
        raise LinuxError("EINVAL", "a handle is needed")
    if _RID in group.pasids:
        raise LinuxError("EBUSY", f"group {group.number} is attached with a handle")
    _attach(domain, group)
    group.pasids[_RID] = Attachment(domain, handle)


def replace_group_handle(group, domain, handle):
    """Attach another domain in place of the present one. Linux 7.0: iommu_replace_group_handle.

    EINVAL: no domain or no handle. Else as of :func:`set_group_domain`; on an error the old domain
    goes on to translate.
    """
    if domain is None or handle is None:
        raise LinuxError("EINVAL", "a domain and a handle are needed")
    set_group_domain(group, domain)
    group.pasids[_RID] = Attachment(domain, handle)


def detach_group_handle(domain, group):
    """Undo :func:`attach_group_handle`. Linux 7.0: iommu_detach_group_handle."""
    _set_core_domain(group)
    group.pasids.pop(_RID, None)


def attach_handle(group, pasid=_RID, type=None):
    """Return the handle of an attachment. Linux 7.0: iommu_attach_handle_get.

    ENOENT: nothing is attached with a handle. EBUSY: the domain is not of ``type``.
    """
    attachment = group.pasids.get(pasid)
    if attachment is None or attachment.handle is None:
        raise LinuxError("ENOENT", f"PASID {pasid} of group {group.number} has no handle")
    if type is not None and attachment.domain.type is not type:
        raise LinuxError("EBUSY", f"PASID {pasid} has a domain of type "
                                  f"{attachment.domain.type.value}")
    return attachment.handle


# --- who may attach ------------------------------------------------------------------------------

def _take(group, owner):
    if group.domain is not group.default_domain or group.pasids:
        raise LinuxError("EBUSY", f"group {group.number} is in use")
    set_group_domain(group, group.blocking_domain)
    group.owner, group.owner_count = owner, 1


def claim_dma_owner(group, owner):
    """Take a group for one owner; until it attaches a domain, DMA is blocked.

    Linux 7.0: iommu_group_claim_dma_owner. EINVAL: no owner; or DMA must not be blocked (see
    :func:`set_device_domain`). EPERM: it has an owner, or kernel drivers use it. EBUSY: it has a
    domain besides its default one, or PASIDs.
    """
    if owner is None:
        raise LinuxError("EINVAL", "an owner is needed")
    if group.owner_count:
        raise LinuxError("EPERM", f"group {group.number} has an owner")
    _take(group, owner)


def release_dma_owner(group):
    """Undo :func:`claim_dma_owner`. Does nothing while a PASID is attached, or without an owner."""
    if group.owner is None or group.pasids:
        return
    group.owner, group.owner_count = None, 0
    set_group_domain(group, group.default_domain)


def claim_device_dma_owner(device, owner):
    """Take a device, and its group with it; the same owner may take all devices of the group.

    Linux 7.0: iommu_device_claim_dma_owner. ENODEV: no group. Else as of :func:`claim_dma_owner`.
    """
    if owner is None:
        raise LinuxError("EINVAL", "an owner is needed")
    group = group_of(device)
    if not group.owner_count:
        _take(group, owner)
    elif group.owner is owner:
        group.owner_count += 1
    else:
        raise LinuxError("EPERM", f"group {group.number} has another owner")


def release_device_dma_owner(device):
    """Undo one :func:`claim_device_dma_owner`."""
    group = group_of(device)
    if group.owner_count > 1:
        group.owner_count -= 1
    else:
        release_dma_owner(group)


def use_default_domain(device):
    """A kernel driver binds to the device. Linux 7.0: iommu_device_use_default_domain.

    EBUSY: the group has an owner, another domain, or PASIDs.
    """
    group = device.group
    if group is None:
        return
    if group.owner_count and (group.domain is not group.default_domain or group.owner is not None
                              or group.pasids):
        raise LinuxError("EBUSY", f"group {group.number} is not for kernel drivers now")
    group.owner_count += 1


def unuse_default_domain(device):
    """Undo :func:`use_default_domain`."""
    if device.group is not None and device.group.owner_count:
        device.group.owner_count -= 1


# --- resets --------------------------------------------------------------------------------------

def reset_prepare(device):
    """Block a device and its PASIDs while it is reset; until the end nothing can be attached.

    EBUSY: it is being reset. EINVAL: its group has other devices. ENODEV: no group. Linux 7.0:
    pci_dev_reset_iommu_prepare.
    """
    group = group_of(device)
    if group.resetting:
        raise LinuxError("EBUSY", f"{device.name} is being reset")
    if len(group.devices) != 1:
        raise LinuxError("EINVAL", f"group {group.number} has {len(group.devices)} devices")
    group.resetting = True
    for pasid in group.pasids:
        if pasid != _RID:
            device.driver.detach_pasid(device.master, pasid)
    device.driver.attach(device.master, device.driver.blocked)


def reset_done(device):
    """Attach again what was attached before :func:`reset_prepare`. Linux 7.0:
    pci_dev_reset_iommu_done.
    """
    group = group_of(device)
    if not group.resetting:
        return
    group.resetting = False
    device.driver.attach(device.master, group.domain.hw)
    for pasid, attachment in group.pasids.items():
        if pasid != _RID:
            device.driver.attach_pasid(device.master, pasid, attachment.domain.hw)
