"""IOMMU_HWPT_INVALIDATE: a guest's invalidations (iommufd/viommu.c)."""

from smmu_sim.iommufd.constants import InvalidateType
from smmu_sim.iommufd.hwpt import HWPTNested
from smmu_sim.iommufd.uapi import VIOMMU_ARM_SMMUV3_INVALIDATE
from smmu_sim.iommufd.viommu import VIOMMU
from smmu_sim.linux_error import LinuxError

__all__ = ["invalidate"]

_WORD = 64


def invalidate(iommufd, command):
    """Carry out raw commands of a guest's command queue; ``entry_num`` becomes the number done.

    EOPNOTSUPP: reserved, or a nested HWPT: SMMUv3 invalidates by the VIOMMU. EINVAL: entries
    without an address or a length, an object that is neither, a wrong type, entries shorter than a
    command; and, in mode "upstream" alone, none at all. ENOENT: no such object. E2BIG: an entry
    has more than a command in it. EFAULT: bad user memory. EIO: a command that a guest must not
    send, or a StreamID that it does not have. ETIMEDOUT: the command queue.
    """
    done = 0
    try:
        done = _invalidate(iommufd, command)
    except LinuxError as error:
        done = getattr(error, "done", 0)
        raise
    finally:
        command.respond(entry_num=done)


def _invalidate(iommufd, command):
    args = command.args
    if args.reserved:
        raise LinuxError("EOPNOTSUPP", f"reserved is {args.reserved:#x}")
    if args.entry_num and not (args.data_uptr and args.entry_len):
        raise LinuxError("EINVAL", f"data_uptr is {args.data_uptr:#x}, entry_len is "
                                   f"{args.entry_len}")
    target = iommufd.objects.get(args.hwpt_id)
    if isinstance(target, HWPTNested):
        raise LinuxError("EOPNOTSUPP", "an SMMUv3 invalidates by the VIOMMU alone")
    if not isinstance(target, VIOMMU):
        raise LinuxError("EINVAL", f"object {args.hwpt_id} is a {type(target).__name__}")
    if args.data_type != InvalidateType.VIOMMU_ARM_SMMUV3:
        raise LinuxError("EINVAL", f"data_type is {args.data_type}")
    if not args.entry_num:
        if iommufd.invalidate_mode == "upstream":
            raise LinuxError("EINVAL", "entry_num is 0")
        return 0
    commands = _read(iommufd, command)
    return target.driver.viommu_invalidate(target.parent.domain.hw, commands, target.sid_of,
                                           mode=iommufd.invalidate_mode)


def _read(iommufd, command):
    """Return the commands as raw 128-bit numbers."""
    args, size = command.args, VIOMMU_ARM_SMMUV3_INVALIDATE.size
    if args.entry_len < size:
        raise LinuxError("EINVAL", f"entry_len is {args.entry_len}, less than {size}")
    iommufd.allocations.request("commands")
    found = []
    for n in range(args.entry_num):
        data = command.process.copy_from_user(args.data_uptr + n * args.entry_len, args.entry_len)
        if any(data[size:]):
            raise LinuxError("E2BIG", f"entry {n} has more than {size} bytes")
        low, high = VIOMMU_ARM_SMMUV3_INVALIDATE.unpack(data[:size]).cmd
        found.append(low | high << _WORD)
    return found
