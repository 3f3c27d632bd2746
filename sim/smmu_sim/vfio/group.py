"""VFIO group: the file through which a user gets the devices of one IOMMU group."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.container import Container
from smmu_sim.vfio.layouts import Layout, copy_from_user, copy_to_user
from smmu_sim.vfio.numbers import IOCTL

__all__ = ["GROUP_STATUS", "VFIOGroup"]

GROUP_STATUS = Layout("vfio_group_status", 8, argsz=(0, "I"), flags=(4, "I"))
_VIABLE, _CONTAINER_SET = 1, 2


class VFIOGroup:
    """What /dev/vfio/<number> is to user space once it is open.

    Parameters
    ----------
    iommu
        The host's IOMMU core.
    group
        The IOMMU group.
    process
        Who has it open.
    devices
        :class:`VFIODevice` of the group, one for each device that user space may have.
    """

    def __init__(self, iommu, group, process, devices):
        self.iommu, self.group, self.process = iommu, group, process
        self.devices = {device.name: device for device in devices}
        self.container = None
        self._users = 0  # of the container: this file and each open device
        self._ioctls = {IOCTL.GROUP_GET_STATUS: self._get_status,
                        IOCTL.GROUP_SET_CONTAINER: self._set_container,
                        IOCTL.GROUP_UNSET_CONTAINER: self._unset_container,
                        IOCTL.GROUP_GET_DEVICE_FD: self._get_device_fd}

    @property
    def viable(self):
        """Whether nobody in the kernel uses DMA of a device of the group."""
        return self.container is not None or not self.group.owner_count

    def ioctl(self, number, argument=None):
        """Perform one ioctl. ENOTTY: unknown number."""
        if number not in self._ioctls:
            raise LinuxError("ENOTTY", f"ioctl {number:#x} is not one of a group")
        return self._ioctls[number](argument)

    def _get_status(self, argument):
        fields = GROUP_STATUS.unpack(copy_from_user(argument, 0, GROUP_STATUS.size))
        if fields["argsz"] < GROUP_STATUS.size:
            raise LinuxError("EINVAL", f"argsz {fields['argsz']}; at least {GROUP_STATUS.size}")
        flags = _VIABLE * self.viable | _CONTAINER_SET * (self.container is not None)
        copy_to_user(argument, GROUP_STATUS.pack(argsz=fields["argsz"], flags=flags))
        return 0

    def _set_container(self, fd):
        """EINVAL: it has one, or the file is none. EBADF. EBUSY: the kernel uses the group."""
        if self.container is not None:
            raise LinuxError("EINVAL", "the group is in a container")
        container = self.process.file(fd)
        if not isinstance(container, Container):
            raise LinuxError("EINVAL", f"file descriptor {fd} is no container")
        self.iommu.claim_dma_owner(self.group, container)
        try:
            container.add_group(self.group)
        except LinuxError:
            self.iommu.release_dma_owner(self.group)
            raise
        self.container, self._users = container, 1
        return 0

    def _unset_container(self, _argument):
        """EINVAL: it has none. EBUSY: a device of it is open."""
        if self.container is None:
            raise LinuxError("EINVAL", "the group is in no container")
        if self._users != 1:
            raise LinuxError("EBUSY", "a device of the group is open")
        self._put_container()
        return 0

    def _put_container(self):
        self._users -= 1
        if not self._users:
            self.container.remove_group(self.group)
            self.container = None
            self.iommu.release_dma_owner(self.group)

    def release(self):
        """What closing the last descriptor does: the container goes with the last device."""
        if self.container is not None:
            self._put_container()

    def _get_device_fd(self, name):
        """Open a device; return its descriptor.

        EINVAL: no container with an IOMMU type. ENODEV: no such device. EBUSY: it is open.
        """
        if self.container is None or self.container.type is None:
            raise LinuxError("EINVAL", "the group is in no container with an IOMMU type")
        name = name.decode() if isinstance(name, (bytes, bytearray)) else name
        device = self.devices.get(name.rstrip("\0"))
        if device is None:
            raise LinuxError("ENODEV", f"the group has no device {name!r}")
        device.open(self.container, self._put_container)
        self._users += 1
        return self.process.open(device)
