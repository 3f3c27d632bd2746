"""Flags and enumerations of the user API of iommufd (Linux 7.0: linux/iommufd.h)."""

from enum import IntEnum

__all__ = ["DataType", "HWCapability", "HWInfoFlag", "HWInfoType", "HWPTFlag", "InvalidateType",
           "MAX", "MapFlag", "NO_PASID", "Option", "OptionOp", "PAGE_SIZE", "PGFaultFlag",
           "PGFaultPerm", "PageResponse", "VEventFlag", "VEventQType", "VFIOIOASOp", "VIOMMUType"]

PAGE_SIZE = 4096          # the host's pages
MAX = (1 << 64) - 1       # ULONG_MAX, and PHYS_ADDR_MAX
NO_PASID = 0


class MapFlag(IntEnum):
    """Of IOAS_MAP, IOAS_MAP_FILE and IOAS_COPY."""

    FIXED_IOVA = 1
    WRITEABLE = 2
    READABLE = 4


class Option(IntEnum):
    """Ids of IOMMU_OPTION. The last two exist in the modes of SW_MSI options alone."""

    RLIMIT_MODE = 0
    HUGE_PAGES = 1
    SW_MSI_START = 2
    SW_MSI_SIZE = 3


class OptionOp(IntEnum):
    """What IOMMU_OPTION does."""

    SET = 0
    GET = 1


class VFIOIOASOp(IntEnum):
    """What IOMMU_VFIO_IOAS does."""

    GET = 0
    SET = 1
    CLEAR = 2


class HWPTFlag(IntEnum):
    """Of HWPT_ALLOC."""

    NEST_PARENT = 1
    DIRTY_TRACKING = 2
    FAULT_ID_VALID = 4
    PASID = 8


class DataType(IntEnum):
    """What a HWPT's user data is."""

    NONE = 0
    VTD_S1 = 1
    ARM_SMMUV3 = 2
    AMD_GUEST = 3


class HWInfoType(IntEnum):
    """Whose ID registers."""

    DEFAULT = 0
    INTEL_VTD = 1
    ARM_SMMUV3 = 2
    TEGRA241_CMDQV = 3
    AMD = 4


class HWInfoFlag(IntEnum):
    """Of GET_HW_INFO: ``data_type`` is an input."""

    INPUT_TYPE = 1


class HWCapability(IntEnum):
    """What GET_HW_INFO tells of the device."""

    DIRTY_TRACKING = 1
    PASID_EXEC = 2
    PASID_PRIV = 4
    ATS_NOT_SUPPORTED = 8


class InvalidateType(IntEnum):
    """What the entries of HWPT_INVALIDATE are."""

    VTD_S1 = 0
    VIOMMU_ARM_SMMUV3 = 1


class VIOMMUType(IntEnum):
    """What a VIOMMU is a slice of."""

    DEFAULT = 0
    ARM_SMMUV3 = 1
    TEGRA241_CMDQV = 2


class VEventQType(IntEnum):
    """What the events of a VEVENTQ are."""

    DEFAULT = 0
    ARM_SMMUV3 = 1
    TEGRA241_CMDQV = 2


class VEventFlag(IntEnum):
    """Of the header of an event."""

    LOST_EVENTS = 1


class PGFaultFlag(IntEnum):
    """Of a page fault."""

    PASID_VALID = 1
    LAST_PAGE = 2


class PGFaultPerm(IntEnum):
    """What the access wanted."""

    READ = 1
    WRITE = 2
    EXEC = 4
    PRIV = 8


class PageResponse(IntEnum):
    """The answer to a page fault."""

    SUCCESS = 0
    INVALID = 1
