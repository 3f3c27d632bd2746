"""Reserved regions of a device: an IOAS that it is attached to keeps clear of them (2.5)."""

from smmu_sim.iommu.reserved import ResvType
from smmu_sim.iommufd.constants import MAX
from smmu_sim.linux_error import LinuxError

__all__ = ["enforce"]


def enforce(iommufd, ioas, idev, *, choose_window=True):
    """Reserve the regions of a device in an IOAS, in the device's name.

    With ``choose_window`` the window for its doorbells is chosen as well: the user's, where the
    options say so, else the driver's; replacing a HWPT leaves it as it is.

    EADDRINUSE: something is mapped or allowed there. EINVAL: the device has both doorbells that
    are translated and some that are not, or two windows. Then nothing is reserved.
    Linux 7.0: iopt_table_enforce_dev_resv_regions.
    """
    regions = [region for region in iommufd.iommu.get_resv_regions(idev.device)
               if region.type != ResvType.DIRECT_RELAXABLE]
    windows = [region for region in regions if region.type == ResvType.SW_MSI]
    has_hw_msi = any(region.type == ResvType.MSI for region in regions)
    space = ioas.space
    try:
        for region in regions:
            start, length = region.start, region.length
            if region.type == ResvType.SW_MSI and idev.has_window:
                start, length = idev.option_start, idev.option_size
            iommufd.allocations.request("a reserved range")
            space.reserve(start, start + length - 1, idev)
        if windows and has_hw_msi or len(windows) > 1:
            raise LinuxError("EINVAL", f"{idev.device.name} has {len(windows)} SW_MSI regions"
                                       f"{' and a MSI region' if has_hw_msi else ''}")
    except LinuxError:
        space.release(idev)
        raise
    if choose_window:
        _choose_window(iommufd, idev, windows)


def _choose_window(iommufd, idev, windows):
    """Where the doorbells go from now on; the choice of an earlier device of the group holds."""
    holder = idev.msi_window
    if idev.has_window:
        holder.sw_msi_start = idev.option_start
    elif iommufd.sw_msi_size and iommufd.sw_msi_start != MAX:
        holder.sw_msi_start = iommufd.sw_msi_start
    elif holder.sw_msi_start == MAX and windows:
        holder.sw_msi_start = windows[0].start
