"""Attach a device, or one of its PASIDs, to a HWPT; replace; detach (iommufd/device.c)."""

from smmu_sim.iommufd import reserved_regions
from smmu_sim.iommufd.constants import NO_PASID
from smmu_sim.iommufd.group import AttachHandle, Attachment
from smmu_sim.iommufd.hwpt import HWPT
from smmu_sim.iommufd.hwpt_alloc import make_paging
from smmu_sim.iommufd.ioas import IOAS
from smmu_sim.linux_error import LinuxError

__all__ = ["attach", "detach", "replace"]


def attach(idev, pt_id, pasid=NO_PASID):
    """Attach a device to an IOAS or a HWPT, and return the id of the HWPT.

    ENOENT: no such object. EINVAL: neither IOAS nor HWPT; the group is attached to another HWPT;
    a HWPT without the PASID flag and PASIDs meet; a fault queue and a virtual function with page
    requests. EBUSY: attached already. EADDRINUSE, EINVAL: reserved regions. And what the IOMMU
    core and the driver refuse. Linux 7.0: iommufd_device_attach.
    """
    return _change(idev, pt_id, pasid, _attach_hwpt)


def replace(idev, pt_id, pasid=NO_PASID):
    """Attach another HWPT to the whole group instead of the present one; return its id.

    EINVAL: nothing is attached. Else as of :func:`attach`; the old one goes on to translate then.
    Linux 7.0: iommufd_device_replace.
    """
    return _change(idev, pt_id, pasid, _replace_hwpt)


def detach(idev, pasid=NO_PASID):
    """Detach a device; with the last one of its group DMA is blocked. Not attached: nothing.

    Linux 7.0: iommufd_device_detach.
    """
    hwpt = idev.hwpt(pasid)
    if hwpt is None:
        return
    attachment = idev.igroup.attachments[pasid]
    attachment.devices.remove(idev)
    if not attachment.devices:
        del idev.igroup.attachments[pasid]
        iommu, group = idev.iommufd.iommu, idev.igroup.group
        if pasid == NO_PASID:
            handle = iommu.attach_handle(group)
            iommu.detach_group_handle(hwpt.domain, group)
        else:
            handle = iommu.attach_handle(group, pasid)
            iommu.detach_device_pasid(hwpt.domain, idev.device, pasid)
        _drop_faults(hwpt, handle)
    if pasid == NO_PASID:
        hwpt.paging.ioas.space.release(idev)
    _put(hwpt)


def _change(idev, pt_id, pasid, change):
    target = idev.iommufd.objects.get(pt_id)
    if isinstance(target, HWPT):
        change(idev, target, pasid)
        return target.id
    if isinstance(target, IOAS):
        return _change_auto(idev, target, pasid, change)
    raise LinuxError("EINVAL", f"object {pt_id} is a {type(target).__name__}")


def _change_auto(idev, ioas, pasid, change):
    """Use an automatic HWPT of an IOAS that suits the device, or make one."""
    for hwpt in [hwpt for hwpt in ioas.hwpts if hwpt.auto]:
        try:
            change(idev, hwpt, pasid)
            return hwpt.id
        except LinuxError as error:
            if error.name != "EINVAL":
                raise
    iommufd = idev.iommufd
    with iommufd.objects.creating(
            lambda: make_paging(iommufd, ioas, idev, 0, auto=True)) as hwpt:
        change(idev, hwpt, pasid)
    return hwpt.id


def _put(hwpt):
    """Drop a device's reference; an automatic HWPT goes with its last device."""
    hwpt.users -= 1
    if hwpt.auto and not hwpt.users:
        hwpt.iommufd.objects.remove(hwpt)


def _drop_faults(hwpt, handle):
    if hwpt.fault is not None:
        hwpt.fault.answer_all(handle)


# --- attach --------------------------------------------------------------------------------------

def _attach_hwpt(idev, hwpt, pasid):
    igroup = idev.igroup
    attachment = igroup.attachments.get(pasid)
    first = attachment is None
    if not first and idev in attachment.devices:
        raise LinuxError("EBUSY", f"PASID {pasid} of {idev.device.name} is attached")
    if not first and attachment.hwpt is not hwpt:
        raise LinuxError("EINVAL", f"the group is attached to HWPT {attachment.hwpt.id}")
    _check_hwpt(idev, hwpt, pasid)
    space, window = hwpt.paging.ioas.space, idev.msi_window
    before = window.sw_msi_start
    try:
        if pasid == NO_PASID:
            _reserve(idev, hwpt, first)
        if first:
            _attach_group(idev, hwpt, pasid)
            attachment = igroup.attachments[pasid] = Attachment(hwpt)
    except LinuxError:
        if pasid == NO_PASID:
            space.release(idev)
            window.sw_msi_start = before
        raise
    attachment.devices.append(idev)
    hwpt.users += 1


def _reserve(idev, hwpt, first):
    """Reserve the device's regions, and give the HWPT the doorbells that the group uses."""
    iommufd = idev.iommufd
    reserved_regions.enforce(iommufd, hwpt.paging.ioas, idev)
    if first:
        iommufd.sw_msi.install_required(hwpt.paging, idev.igroup)


def _attach_group(idev, hwpt, pasid):
    iommufd, igroup = idev.iommufd, idev.igroup
    iommufd.allocations.request("an attach handle")
    handle = AttachHandle(idev, hwpt)
    if pasid == NO_PASID:
        iommufd.iommu.attach_group_handle(hwpt.domain, igroup.group, handle)
    else:
        iommufd.iommu.attach_device_pasid(hwpt.domain, idev.device, pasid, handle)


def _check_hwpt(idev, hwpt, pasid):
    """What iommufd itself asks of a HWPT for a device."""
    others = [key for key in idev.igroup.attachments if key != pasid]
    if not hwpt.pasid_compatible:
        if pasid != NO_PASID:
            raise LinuxError("EINVAL", f"HWPT {hwpt.id} has not the PASID flag")
        if others:
            raise LinuxError("EINVAL", f"PASIDs are attached, and HWPT {hwpt.id} has not the "
                                       "PASID flag")
    rid = idev.igroup.attachments.get(NO_PASID)
    if pasid != NO_PASID and rid is not None and not rid.hwpt.pasid_compatible:
        raise LinuxError("EINVAL", f"HWPT {rid.hwpt.id} of the RID has not the PASID flag")
    if hwpt.fault is not None and idev.device.is_vf and idev.device.pri:
        raise LinuxError("EINVAL", f"{idev.device.name} shares page requests with others")


# --- replace -------------------------------------------------------------------------------------

def _replace_hwpt(idev, hwpt, pasid):
    iommufd, igroup = idev.iommufd, idev.igroup
    old = idev.hwpt(pasid)
    if old is None:
        raise LinuxError("EINVAL", f"PASID {pasid} of {idev.device.name} is not attached")
    if hwpt is old:
        return
    _check_hwpt(idev, hwpt, pasid)
    attachment = igroup.attachments[pasid]
    ioas, old_ioas = hwpt.paging.ioas, old.paging.ioas
    moves = pasid == NO_PASID and ioas is not old_ioas
    try:
        if moves:
            for member in attachment.devices:
                reserved_regions.enforce(iommufd, ioas, member, choose_window=False)
        if pasid == NO_PASID:
            iommufd.sw_msi.install_required(hwpt.paging, igroup)
        old_handle = iommufd.iommu.attach_handle(igroup.group, pasid)
        _replace_group(idev, hwpt, pasid)
    except LinuxError:
        if moves:
            for member in attachment.devices:
                ioas.space.release(member)
        raise
    _drop_faults(old, old_handle)
    if moves:
        for member in attachment.devices:
            old_ioas.space.release(member)
    attachment.hwpt = hwpt
    for _ in attachment.devices:
        hwpt.users += 1
        _put(old)


def _replace_group(idev, hwpt, pasid):
    iommufd = idev.iommufd
    iommufd.allocations.request("an attach handle")
    handle = AttachHandle(idev, hwpt)
    if pasid == NO_PASID:
        iommufd.iommu.replace_group_handle(idev.igroup.group, hwpt.domain, handle)
    else:
        iommufd.iommu.replace_device_pasid(hwpt.domain, idev.device, pasid, handle)
