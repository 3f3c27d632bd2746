"""/dev/iommu: one open file, its ioctls, its objects."""

from smmu_sim.iommufd import (
    fault_queue, hw_info, hwpt_alloc, invalidate, ioas_ioctls, options, refused, veventq,
    vfio_compat, viommu)
from smmu_sim.iommufd.accounting import AccountMode
from smmu_sim.iommufd.allocations import Allocations
from smmu_sim.iommufd.constants import MAX
from smmu_sim.iommufd.objects import ObjectTable
from smmu_sim.iommufd.sw_msi import SWMSI
from smmu_sim.iommufd.uapi import IOCTLS, NUMBERS
from smmu_sim.iommufd.user_buffer import Command, UserBuffer
from smmu_sim.linux_error import LinuxError

__all__ = ["IOMMUFD"]


def _destroy(iommufd, command):
    """IOMMU_DESTROY. ENOENT: no such object. EBUSY: something uses it."""
    iommufd.objects.destroy(command.args.id)
    if iommufd.vfio_ioas is not None and iommufd.vfio_ioas.id == command.args.id:
        iommufd.vfio_ioas = None


_EXECUTE = {NUMBERS[name]: call for name, call in {
    "IOMMU_DESTROY": _destroy,
    "IOMMU_IOAS_ALLOC": ioas_ioctls.alloc,
    "IOMMU_IOAS_ALLOW_IOVAS": ioas_ioctls.allow_iovas,
    "IOMMU_IOAS_COPY": ioas_ioctls.copy,
    "IOMMU_IOAS_IOVA_RANGES": ioas_ioctls.iova_ranges,
    "IOMMU_IOAS_MAP": ioas_ioctls.map_user,
    "IOMMU_IOAS_UNMAP": ioas_ioctls.unmap,
    "IOMMU_OPTION": options.option,
    "IOMMU_VFIO_IOAS": vfio_compat.vfio_ioas,
    "IOMMU_HWPT_ALLOC": hwpt_alloc.alloc,
    "IOMMU_GET_HW_INFO": hw_info.get_hw_info,
    "IOMMU_HWPT_SET_DIRTY_TRACKING": refused.set_dirty_tracking,
    "IOMMU_HWPT_GET_DIRTY_BITMAP": refused.get_dirty_bitmap,
    "IOMMU_HWPT_INVALIDATE": invalidate.invalidate,
    "IOMMU_FAULT_QUEUE_ALLOC": fault_queue.alloc,
    "IOMMU_IOAS_MAP_FILE": ioas_ioctls.map_file,
    "IOMMU_VIOMMU_ALLOC": viommu.alloc_viommu,
    "IOMMU_VDEVICE_ALLOC": viommu.alloc_vdevice,
    "IOMMU_IOAS_CHANGE_PROCESS": ioas_ioctls.change_process,
    "IOMMU_VEVENTQ_ALLOC": veventq.alloc,
    "IOMMU_HW_QUEUE_ALLOC": refused.hw_queue_alloc,
}.items()}
_FIRST, _LAST = (bound(NUMBERS.values()) & 0xFF for bound in (min, max))


class IOMMUFD:
    """An open /dev/iommu, as Linux 7.0 has it.

    It is opened in ``process``; :attr:`fd` is its descriptor there.

    Parameters
    ----------
    iommu
        The IOMMU core of the kernel.
    process
        The :class:`Process` that opens it.
    sw_msi_options
        ``"none"``: Linux 7.0, which has no options for the window of doorbells; ``"seed"``: those
        of the first posting, for the whole file; ``"strict"``: those of the last, for each device.
    invalidate_mode
        What a bad command in a guest's batch does: see
        :func:`smmu_sim.driver.raw_invalidation.viommu_invalidate`. ``"strict"`` also takes an
        empty batch, as the documentation says and ``"upstream"`` does not.
    allow_unsafe_interrupts
        Bind devices whose MSIs are not isolated.

    Attributes
    ----------
    objects
        :class:`ObjectTable`.
    allocations
        :class:`Allocations`, for injected failures.
    igroups
        ``{group of the core: IGroup}`` of bound devices.
    sw_msi
        :class:`SWMSI`.
    """

    def __init__(self, iommu, process, *, sw_msi_options="none", invalidate_mode="upstream",
                 allow_unsafe_interrupts=False):
        if sw_msi_options not in options.MODES:
            raise ValueError(f"sw_msi_options is {sw_msi_options!r}; it is one of "
                             f"{', '.join(options.MODES)}")
        self.iommu, self.process = iommu, process
        self.sw_msi_options, self.invalidate_mode = sw_msi_options, invalidate_mode
        self.allow_unsafe_interrupts = allow_unsafe_interrupts
        self.allocations = Allocations()
        self.objects = ObjectTable(self.allocations)
        self.sw_msi = SWMSI(self.allocations)
        self.igroups, self.account_mode = {}, AccountMode.USER
        self.sw_msi_start, self.sw_msi_size = MAX, 0
        self.vfio_ioas = None       # what the ioctls of VFIO's type 1 act on
        self._holds, self._open = 1, True
        self.fd = process.open(self)

    # --- ioctl -----------------------------------------------------------------------------------

    def ioctl(self, number, argument, process=None):
        """Carry out an ioctl, and return 0 (the ones of VFIO may return more).

        Parameters
        ----------
        number
            The whole number: see :data:`smmu_sim.iommufd.uapi.NUMBERS`.
        argument
            The struct as a bytearray, which gets the results; or its address in the process.
        process
            Who calls; by default who opened the file.

        Raises :exc:`LinuxError`: ENOTTY for an unknown number, EFAULT, EINVAL, E2BIG for the
        struct as such; else what each ioctl says. Nothing has changed then, but
        for the counts that an ioctl reports even so.
        """
        process = process or self.process
        if not self._open:
            raise LinuxError("EBADF", "the file is closed")
        buffer = UserBuffer(argument, process)
        if not _FIRST <= number & 0xFF <= _LAST:
            return vfio_compat.ioctl(self, number, argument, buffer, process)
        buffer.read(4)
        execute = _EXECUTE.get(number)
        if execute is None:
            raise LinuxError("ENOTTY", f"ioctl {number:#x} is unknown")
        execute(self, Command(IOCTLS[number], buffer, process))
        return 0

    def respond_with_file(self, command, file, fd_field, **fields):
        """Open ``file`` in the caller's process and tell its number; all or nothing."""
        fd = command.process.open(file)
        try:
            command.respond(**{fd_field: fd}, **fields)
        except LinuxError:
            command.process.close(fd)
            raise

    # --- life-time -------------------------------------------------------------------------------

    def hold(self):
        """Somebody needs the objects although the file may be closed: a bound device, a queue."""
        self._holds += 1

    def release_hold(self):
        """Undo :meth:`hold`. With the last one everything is destroyed."""
        self._holds -= 1
        if not self._holds:
            self.objects.destroy_all()

    def close(self):
        """Close the file. Objects live on while devices are bound or queues are open."""
        if self._open:
            self._open = False
            self.release_hold()

    # What a process calls when its last file descriptor is closed.
    release = close
