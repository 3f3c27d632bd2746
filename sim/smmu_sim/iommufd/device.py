"""A device that is bound to an iommufd."""

from smmu_sim.iommufd.constants import MAX, NO_PASID
from smmu_sim.iommufd.group import IGroup
from smmu_sim.iommufd.objects import IOMMUFDObject
from smmu_sim.linux_error import LinuxError

__all__ = ["IOMMUFDDevice"]


class IOMMUFDDevice(IOMMUFDObject):
    """A device, from bind to unbind. Its DMA is blocked until something is attached.

    EINVAL: its DMA is not coherent. EPERM: its MSIs could be forged, and that was not allowed; or
    it has another owner. EBUSY: its group is in use otherwise. Linux 7.0: iommufd_device_bind.

    Attributes
    ----------
    device
        The core's device.
    igroup
        Its :class:`IGroup`.
    vdevice
        The :class:`VDevice` that stands for it, or None.
    option_start, option_size
        The strict form of the SW_MSI options, in bytes.
    """

    def __init__(self, iommufd, device):
        super().__init__()
        if not device.cache_coherent:
            raise LinuxError("EINVAL", f"DMA of {device.name} is not coherent")
        if not device.isolated_msi and not iommufd.allow_unsafe_interrupts:
            raise LinuxError("EPERM", f"MSIs of {device.name} are not isolated")
        iommufd.allocations.request("a device")
        iommufd.iommu.claim_device_dma_owner(device, iommufd)
        self.iommufd, self.device, self.vdevice = iommufd, device, None
        self.option_start, self.option_size = MAX, 0
        self.sw_msi_start = MAX
        self.igroup = iommufd.igroups.setdefault(device.group, IGroup(device.group))
        self.igroup.devices.append(self)
        self.users = 1   # the driver that bound it: user space cannot destroy it

    @property
    def has_window(self):
        """The user chose a window with the strict form of the options."""
        return bool(self.option_size) and self.option_start != MAX

    @property
    def msi_window(self):
        """Where ``sw_msi_start`` is kept: of the device in the strict form, else of its group."""
        return self if self.iommufd.sw_msi_options == "strict" else self.igroup

    def hwpt(self, pasid=NO_PASID):
        """Return the HWPT that it is attached to, or None."""
        attachment = self.igroup.attachments.get(pasid)
        if attachment is None or self not in attachment.devices:
            return None
        return attachment.hwpt

    def is_attached(self, pasid=NO_PASID):
        return self.hwpt(pasid) is not None

    def unbind(self):
        """Give the device back. Its VDEVICE goes first, and leaves a tombstone."""
        if self.vdevice is not None:
            self.iommufd.objects.remove(self.vdevice, tombstone=True)
        self.users -= 1
        self.iommufd.objects.remove(self)

    def destroy(self):
        self.igroup.devices.remove(self)
        if not self.igroup.devices:
            del self.iommufd.igroups[self.device.group]
        self.iommufd.iommu.release_device_dma_owner(self.device)
