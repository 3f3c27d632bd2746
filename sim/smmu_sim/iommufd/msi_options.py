"""IOMMU_OPTION_SW_MSI_START and SIZE: where a user wants doorbells (patches of 2025).

Linux 7.0 has neither. The "seed" form is that of the first posting, for the whole iommufd, with
its flaws; the "strict" form is that of the last one, for each device.
"""

from smmu_sim.iommu.reserved import ResvType
from smmu_sim.iommufd.constants import MAX, Option, OptionOp
from smmu_sim.iommufd.device import IOMMUFDDevice
from smmu_sim.linux_error import LinuxError

__all__ = ["seed_option", "strict_option"]

_MIB = 1 << 20


def seed_option(iommufd, args):
    """Carry out the seed's form, and return val64. EOPNOTSUPP: an object id, or an unknown op.

    Nothing else is checked: START and SIZE are stored as they are.
    """
    if args.object_id:
        raise LinuxError("EOPNOTSUPP", f"object_id is {args.object_id}; the option is global")
    name = "sw_msi_start" if args.option_id == Option.SW_MSI_START else "sw_msi_size"
    if args.op == OptionOp.GET:
        return getattr(iommufd, name)
    if args.op != OptionOp.SET:
        raise LinuxError("EOPNOTSUPP", f"op is {args.op}")
    setattr(iommufd, name, args.val64)
    return args.val64


def strict_option(iommufd, args):
    """Carry out the strict form, and return val64. SIZE is in MiB; 0 means the driver's window.

    ENOENT: not a device. EBUSY: it is attached. EOPNOTSUPP: an unknown op. EINVAL: START is not a
    multiple of 1 MiB, or SIZE is too large. EOVERFLOW: the window wraps; so it does if SIZE is set
    before START. EADDRINUSE: the window meets a region where nothing may be mapped.
    """
    idev = iommufd.objects.get(args.object_id, IOMMUFDDevice)
    if idev.is_attached():
        raise LinuxError("EBUSY", f"device {args.object_id} is attached")
    if args.op not in (OptionOp.SET, OptionOp.GET):
        raise LinuxError("EOPNOTSUPP", f"op is {args.op}")
    is_start = args.option_id == Option.SW_MSI_START
    if args.op == OptionOp.GET:
        return idev.option_start if is_start else idev.option_size // _MIB
    if is_start:
        _set_start(iommufd, idev, args.val64)
    else:
        _set_size(iommufd, idev, args.val64)
    return args.val64


def _set_start(iommufd, idev, start):
    if start % _MIB:
        raise LinuxError("EINVAL", f"SW_MSI_START {start:#x} is not a multiple of 1 MiB")
    _check_window(iommufd, idev, start, idev.option_size)
    idev.option_start = start


def _set_size(iommufd, idev, size):
    if size > MAX // _MIB:
        raise LinuxError("EINVAL", f"SW_MSI_SIZE {size:#x} MiB is too large")
    if size:
        _check_window(iommufd, idev, idev.option_start, size * _MIB)
    idev.option_size = size * _MIB


def _check_window(iommufd, idev, start, size):
    last = start + max(size, _MIB) - 1
    if last > MAX:
        raise LinuxError("EOVERFLOW", f"the window {start:#x} + {size:#x} wraps")
    for region in iommufd.iommu.get_resv_regions(idev.device):
        if region.type in (ResvType.SW_MSI, ResvType.DIRECT_RELAXABLE):
            continue
        if region.start <= last and start <= region.start + region.length - 1:
            raise LinuxError("EADDRINUSE", f"the window {start:#x}–{last:#x} meets the reserved "
                                           f"region {region.start:#x} + {region.length:#x}")
