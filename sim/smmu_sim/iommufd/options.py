"""IOMMU_OPTION (Linux 7.0; patches of January and October 2025)."""

from smmu_sim.iommufd.accounting import AccountMode
from smmu_sim.iommufd.constants import Option, OptionOp
from smmu_sim.iommufd.ioas import IOAS
from smmu_sim.iommufd.msi_options import seed_option, strict_option
from smmu_sim.linux_error import LinuxError

__all__ = ["MODES", "option"]

MODES = {"none": None, "seed": seed_option, "strict": strict_option}


def option(iommufd, command):
    """Get or set an option. EOPNOTSUPP: reserved, an unknown option or op. Else as each says."""
    args = command.args
    if args.reserved:
        raise LinuxError("EOPNOTSUPP", f"reserved is {args.reserved:#x}")
    sw_msi = MODES[iommufd.sw_msi_options]
    if args.option_id == Option.RLIMIT_MODE:
        value = _rlimit_mode(iommufd, command)
    elif args.option_id == Option.HUGE_PAGES:
        value = _huge_pages(iommufd, args)
    elif sw_msi and args.option_id in (Option.SW_MSI_START, Option.SW_MSI_SIZE):
        value = sw_msi(iommufd, args)
    else:
        raise LinuxError("EOPNOTSUPP", f"option_id is {args.option_id}")
    command.respond(val64=value)


def _rlimit_mode(iommufd, command):
    """Who pays for pinned pages: 0 the user, 1 the process.

    EOPNOTSUPP: an object id, or an unknown op. SET: EPERM without CAP_SYS_RESOURCE, EBUSY if there
    is any object, EINVAL for another value.
    """
    args = command.args
    if args.object_id:
        raise LinuxError("EOPNOTSUPP", f"object_id is {args.object_id}; the option is global")
    if args.op == OptionOp.GET:
        return int(iommufd.account_mode is AccountMode.PROCESS)
    _check_set(args)
    if "CAP_SYS_RESOURCE" not in command.process.capabilities:
        raise LinuxError("EPERM", "CAP_SYS_RESOURCE is needed")
    if len(iommufd.objects):
        raise LinuxError("EBUSY", f"there are {len(iommufd.objects)} objects")
    if args.val64 not in (0, 1):
        raise LinuxError("EINVAL", f"val64 is {args.val64}")
    iommufd.account_mode = AccountMode.PROCESS if args.val64 else AccountMode.USER
    return args.val64


def _huge_pages(iommufd, args):
    """Whether leaves may be larger than a page: 1 or 0.

    ENOENT: not an IOAS. EOPNOTSUPP: an unknown op. SET: EINVAL for another value, EADDRINUSE if
    areas are not in whole pages.
    """
    ioas = iommufd.objects.get(args.object_id, IOAS)
    if args.op == OptionOp.GET:
        return int(ioas.huge_pages)
    _check_set(args)
    if args.val64 not in (0, 1):
        raise LinuxError("EINVAL", f"val64 is {args.val64}")
    ioas.set_huge_pages(bool(args.val64))
    return args.val64


def _check_set(args):
    if args.op != OptionOp.SET:
        raise LinuxError("EOPNOTSUPP", f"op is {args.op}")
