"""The user API of VFIO that belongs to iommufd: structs by offsets, numbers (linux/vfio.h)."""

from enum import IntEnum

from smmu_sim.iommufd.layout import Layout

__all__ = ["ATTACH_PT", "BIND_IOMMUFD", "CAP_DMA_AVAIL", "CAP_IOVA_RANGE", "DETACH_PT",
           "Extension", "INFO", "INFO_CAPS", "INFO_PGSIZES", "IOVA_RANGE", "MAP_DMA",
           "MapDMAFlag", "NUMBERS", "PT_PASID", "UNMAP_ALL", "UNMAP_DMA"]

_TYPE, _BASE = ord(";") << 8, 100
NUMBERS = {name: _TYPE | _BASE + n for name, n in {
    "VFIO_GET_API_VERSION": 0, "VFIO_CHECK_EXTENSION": 1, "VFIO_SET_IOMMU": 2,
    "VFIO_IOMMU_GET_INFO": 12, "VFIO_IOMMU_MAP_DMA": 13, "VFIO_IOMMU_UNMAP_DMA": 14,
    "VFIO_IOMMU_DIRTY_PAGES": 17, "VFIO_DEVICE_BIND_IOMMUFD": 18,
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT": 19, "VFIO_DEVICE_DETACH_IOMMUFD_PT": 20}.items()}

# --- of a device ---------------------------------------------------------------------------------

BIND_IOMMUFD = Layout(
    "vfio_device_bind_iommufd", 24,
    "argsz@0 flags@4 iommufd@8:s4 out_devid@12 token_uuid_ptr@16:8", min_after="out_devid")
ATTACH_PT = Layout(
    "vfio_device_attach_iommufd_pt", 16, "argsz@0 flags@4 pt_id@8 pasid@12", min_after="pt_id")
DETACH_PT = Layout(
    "vfio_device_detach_iommufd_pt", 12, "argsz@0 flags@4 pasid@8", min_after="flags")
PT_PASID = 1  # flag of both: ``pasid`` counts

# --- of a type 1 container -----------------------------------------------------------------------


class Extension(IntEnum):
    """Of CHECK_EXTENSION; the types of SET_IOMMU are among them."""

    TYPE1_IOMMU = 1
    DMA_CC_IOMMU = 4
    TYPE1V2_IOMMU = 3
    TYPE1_NESTING_IOMMU = 6
    NOIOMMU_IOMMU = 8
    UNMAP_ALL = 9
    UPDATE_VADDR = 10


class MapDMAFlag(IntEnum):
    READ = 1
    WRITE = 2
    VADDR = 4


UNMAP_ALL = 2  # flag of UNMAP_DMA
INFO_PGSIZES, INFO_CAPS = 1, 2

INFO = Layout("vfio_iommu_type1_info", 24, "argsz@0 flags@4 iova_pgsizes@8:8 cap_offset@16 pad@20",
              min_after="iova_pgsizes")
MAP_DMA = Layout("vfio_iommu_type1_dma_map", 32,
                 "argsz@0 flags@4 vaddr@8:8 iova@16:8 size@24:8")
UNMAP_DMA = Layout("vfio_iommu_type1_dma_unmap", 24, "argsz@0 flags@4 iova@8:8 size@16:8")
CAP_IOVA_RANGE = Layout("vfio_iommu_type1_info_cap_iova_range", 16,
                        "id@0:2 version@2:2 next@4 nr_iovas@8 reserved@12")
CAP_DMA_AVAIL = Layout("vfio_iommu_type1_info_dma_avail", 12,
                       "id@0:2 version@2:2 next@4 avail@8")
IOVA_RANGE = Layout("vfio_iova_range", 16, "start@0:8 end@8:8")
