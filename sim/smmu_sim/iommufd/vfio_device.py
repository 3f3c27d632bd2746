"""The character device of one VFIO device: bind to an iommufd, attach, detach."""

from smmu_sim.iommufd import attach
from smmu_sim.iommufd.constants import NO_PASID
from smmu_sim.iommufd.device import IOMMUFDDevice
from smmu_sim.iommufd.iommufd import IOMMUFD
from smmu_sim.iommufd.user_buffer import UserBuffer
from smmu_sim.iommufd.vfio_uapi import ATTACH_PT, BIND_IOMMUFD, DETACH_PT, NUMBERS, PT_PASID
from smmu_sim.linux_error import LinuxError

__all__ = ["VFIODeviceFile"]


class VFIODeviceFile:
    """An open /dev/vfio/devices/vfioN. It is opened in ``process``, as :attr:`fd`.

    Parameters
    ----------
    device
        The core's device.
    process
        The :class:`Process` that opens it.

    Attributes
    ----------
    idev
        The :class:`IOMMUFDDevice` while it is bound, else None.
    pasids
        The PASIDs that are attached.
    """

    def __init__(self, device, process):
        self.device, self.process = device, process
        self.idev, self.pasids, self._open = None, set(), True
        self.fd = process.open(self)

    def ioctl(self, number, argument, process=None):
        """Carry out VFIO_DEVICE_BIND_IOMMUFD, ATTACH_IOMMUFD_PT or DETACH_IOMMUFD_PT; return 0.

        ``argument`` is the struct as a bytearray, which gets the results, or its address.

        Raises :exc:`LinuxError`: EFAULT for the argument; EINVAL if ``argsz`` is too small, for
        flags, before bind, and for a second bind; ENOTTY for another number. BIND: EBADF, EBADFD
        if ``iommufd`` is not a file, not an iommufd; and as of :class:`IOMMUFDDevice`. ATTACH, of
        what is attached already, replaces: see :mod:`smmu_sim.iommufd.attach`.
        """
        if not self._open:
            raise LinuxError("EBADF", "the file is closed")
        process = process or self.process
        buffer = UserBuffer(argument, process)
        if number == NUMBERS["VFIO_DEVICE_BIND_IOMMUFD"]:
            self._bind(buffer, process)
        elif self.idev is None:
            raise LinuxError("EINVAL", f"{self.device.name} is not bound")
        elif number == NUMBERS["VFIO_DEVICE_ATTACH_IOMMUFD_PT"]:
            self._attach(buffer)
        elif number == NUMBERS["VFIO_DEVICE_DETACH_IOMMUFD_PT"]:
            self._detach(buffer)
        else:
            raise LinuxError("ENOTTY", f"ioctl {number:#x} is unknown")
        return 0

    def _bind(self, buffer, process):
        args = _read(BIND_IOMMUFD, buffer)
        # There is no token: these are not virtual functions of a VFIO-driven physical one.
        if args.flags or args.iommufd < 0:
            raise LinuxError("EINVAL", f"flags is {args.flags:#x}, iommufd is {args.iommufd}")
        if self.idev is not None:
            raise LinuxError("EINVAL", f"{self.device.name} is bound already")
        iommufd = process.file(args.iommufd)
        if not isinstance(iommufd, IOMMUFD):
            raise LinuxError("EBADFD", f"file descriptor {args.iommufd} is no iommufd")
        with iommufd.objects.creating(lambda: IOMMUFDDevice(iommufd, self.device)) as idev:
            buffer.write(idev.id.to_bytes(4, "little"), BIND_IOMMUFD.fields["out_devid"].offset)
        iommufd.hold()
        self.idev = idev

    def _attach(self, buffer):
        args = _read(ATTACH_PT, buffer)
        pasid = _pasid(ATTACH_PT, args)
        if pasid == NO_PASID:
            attached = self.idev.is_attached()
        else:
            attached = pasid in self.pasids
        hwpt_id = (attach.replace if attached else attach.attach)(self.idev, args.pt_id, pasid)
        if pasid != NO_PASID:
            self.pasids.add(pasid)
        try:
            buffer.write(hwpt_id.to_bytes(4, "little"), ATTACH_PT.fields["pt_id"].offset)
        except LinuxError:
            self._drop(pasid)
            raise

    def _detach(self, buffer):
        args = _read(DETACH_PT, buffer)
        self._drop(_pasid(DETACH_PT, args))

    def _drop(self, pasid):
        attach.detach(self.idev, pasid)
        self.pasids.discard(pasid)

    def close(self):
        """Detach, unbind and close. The second time nothing happens."""
        if not self._open:
            return
        self._open = False
        if self.idev is None:
            return
        for pasid in sorted(self.pasids, reverse=True):
            self._drop(pasid)
        self._drop(NO_PASID)
        iommufd, idev, self.idev = self.idev.iommufd, self.idev, None
        idev.unbind()
        iommufd.release_hold()

    # What a process calls when its last file descriptor is closed.
    release = close


def _read(layout, buffer):
    """Return the struct; what an old user did not pass is 0."""
    data = buffer.read(layout.min_size)
    argsz = int.from_bytes(data[:4], "little")
    if argsz < layout.min_size:
        raise LinuxError("EINVAL", f"{layout.name}: argsz is {argsz}, less than {layout.min_size}")
    return layout.unpack(buffer.read(min(argsz, layout.size)))


def _pasid(layout, args):
    """Return the PASID, 0 for none."""
    if args.flags & ~PT_PASID:
        raise LinuxError("EINVAL", f"{layout.name}: flags is {args.flags:#x}")
    if not args.flags & PT_PASID:
        return NO_PASID
    if args.argsz < layout.size:
        raise LinuxError("EINVAL", f"{layout.name}: argsz is {args.argsz}, and a PASID is passed")
    return args.pasid
