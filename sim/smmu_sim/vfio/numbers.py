"""Numbers of the VFIO interface that are the same in each generation."""

from enum import IntEnum, IntFlag

__all__ = ["ExtensionID", "IOCTL", "IRQFlag", "IRQIndex", "OFFSET_SHIFT", "PAGE", "RegionFlag",
           "RegionIndex", "SetIRQs", "ioctl_number"]

PAGE = 4096
OFFSET_SHIFT = 40  # file offset of a region: index << 40
_TYPE, _BASE = ord(";"), 100


def ioctl_number(n):
    """Return the number of ioctl VFIO_BASE + ``n``: type ``;``, no size and no direction."""
    return _TYPE << 8 | _BASE + n


class IOCTL(IntEnum):
    """Ioctls that never moved. Those for nesting are of the generation."""

    GET_API_VERSION = ioctl_number(0)
    CHECK_EXTENSION = ioctl_number(1)
    SET_IOMMU = ioctl_number(2)
    GROUP_GET_STATUS = ioctl_number(3)
    GROUP_SET_CONTAINER = ioctl_number(4)
    GROUP_UNSET_CONTAINER = ioctl_number(5)
    GROUP_GET_DEVICE_FD = ioctl_number(6)
    DEVICE_GET_INFO = ioctl_number(7)
    DEVICE_GET_REGION_INFO = ioctl_number(8)
    DEVICE_GET_IRQ_INFO = ioctl_number(9)
    DEVICE_SET_IRQS = ioctl_number(10)
    DEVICE_RESET = ioctl_number(11)
    IOMMU_GET_INFO = ioctl_number(12)
    IOMMU_MAP_DMA = ioctl_number(13)
    IOMMU_UNMAP_DMA = ioctl_number(14)


class ExtensionID(IntEnum):
    """Types of IOMMU, and what CHECK_EXTENSION is asked for."""

    TYPE1 = 1
    TYPE1V2 = 3
    DMA_CC = 4
    TYPE1_NESTING = 6


class RegionFlag(IntFlag):
    """Flags of VFIO_DEVICE_GET_REGION_INFO."""

    READ = 1
    WRITE = 2
    MMAP = 4
    CAPS = 8


class RegionIndex(IntEnum):
    """Regions of a PCI function: BARs from 0, and these. Others follow from COUNT on."""

    BAR0 = 0
    BAR5 = 5
    ROM = 6
    CONFIG = 7
    VGA = 8
    COUNT = 9


class IRQIndex(IntEnum):
    """Interrupts of a PCI function. Others follow from COUNT on."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4
    COUNT = 5


class IRQFlag(IntFlag):
    """Flags of VFIO_DEVICE_GET_IRQ_INFO."""

    EVENTFD = 1
    MASKABLE = 2
    AUTOMASKED = 4
    NORESIZE = 8
    CAPS = 16


class SetIRQs(IntFlag):
    """Flags of VFIO_DEVICE_SET_IRQS: one DATA with one ACTION."""

    DATA_NONE = 1
    DATA_BOOL = 2
    DATA_EVENTFD = 4
    ACTION_MASK = 8
    ACTION_UNMASK = 16
    ACTION_TRIGGER = 32
