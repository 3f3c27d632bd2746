"""Ioctls that an SMMUv3 without HTTU and without a command queue of its own refuses."""

from smmu_sim.iommufd.constants import MAX
from smmu_sim.iommufd.hwpt import HWPTPaging
from smmu_sim.iommufd.viommu import VIOMMU
from smmu_sim.linux_error import LinuxError

__all__ = ["get_dirty_bitmap", "hw_queue_alloc", "set_dirty_tracking"]

_ENABLE, _NO_CLEAR = 1, 1


def set_dirty_tracking(iommufd, command):
    """IOMMU_HWPT_SET_DIRTY_TRACKING. EOPNOTSUPP: always, last because no HWPT can do it.

    ENOENT: no such paging HWPT.
    """
    args = command.args
    if args.flags & ~_ENABLE or args.reserved:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}")
    _refuse(iommufd, args.hwpt_id)


def get_dirty_bitmap(iommufd, command):
    """IOMMU_HWPT_GET_DIRTY_BITMAP. As :func:`set_dirty_tracking`."""
    args = command.args
    if args.flags & ~_NO_CLEAR or args.reserved:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}")
    _refuse(iommufd, args.hwpt_id)


def _refuse(iommufd, hwpt_id):
    hwpt = iommufd.objects.get(hwpt_id, HWPTPaging)
    raise LinuxError("EOPNOTSUPP", f"HWPT {hwpt.id} was not made for tracking dirty pages")


def hw_queue_alloc(iommufd, command):
    """IOMMU_HW_QUEUE_ALLOC. EOPNOTSUPP: flags, type 0, or, last, an SMMUv3 has no such queues.

    EINVAL: length 0. EOVERFLOW: the range wraps. ENOENT: no such VIOMMU.
    """
    args = command.args
    if args.flags or not args.type:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}, type is {args.type}")
    if not args.length:
        raise LinuxError("EINVAL", "length is 0")
    if args.nesting_parent_iova + args.length - 1 > MAX:
        raise LinuxError("EOVERFLOW", f"{args.nesting_parent_iova:#x} + {args.length:#x} wraps")
    viommu = iommufd.objects.get(args.viommu_id, VIOMMU)
    raise LinuxError("EOPNOTSUPP", f"VIOMMU {viommu.id} has no hardware queues")
