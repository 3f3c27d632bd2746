"""The user API of iommufd: structs by offsets, and ioctl numbers (Linux 7.0: linux/iommufd.h)."""

from smmu_sim.iommufd.layout import Layout

__all__ = ["HWPT_ARM_SMMUV3", "HWPT_PAGE_RESPONSE", "HWPT_PGFAULT", "HW_INFO_ARM_SMMUV3",
           "IOCTLS", "IOVA_RANGE", "LAYOUTS", "NUMBERS", "VEVENT_ARM_SMMUV3", "VEVENT_HEADER",
           "VIOMMU_ARM_SMMUV3_INVALIDATE"]

_TYPE = ord(";") << 8
_BASE = 0x80

# What each ioctl carries, in the order of the numbers from 0x80 on.
_COMMANDS = {
    "IOMMU_DESTROY": Layout("iommu_destroy", 8, "size@0 id@4", min_after="id"),
    "IOMMU_IOAS_ALLOC": Layout(
        "iommu_ioas_alloc", 12, "size@0 flags@4 out_ioas_id@8", min_after="out_ioas_id"),
    "IOMMU_IOAS_ALLOW_IOVAS": Layout(
        "iommu_ioas_allow_iovas", 24,
        "size@0 ioas_id@4 num_iovas@8 reserved@12 allowed_iovas@16:8", min_after="allowed_iovas"),
    "IOMMU_IOAS_COPY": Layout(
        "iommu_ioas_copy", 40,
        "size@0 flags@4 dst_ioas_id@8 src_ioas_id@12 length@16:8 dst_iova@24:8 src_iova@32:8",
        min_after="src_iova"),
    "IOMMU_IOAS_IOVA_RANGES": Layout(
        "iommu_ioas_iova_ranges", 32,
        "size@0 ioas_id@4 num_iovas@8 reserved@12 allowed_iovas@16:8 out_iova_alignment@24:8",
        min_after="out_iova_alignment"),
    "IOMMU_IOAS_MAP": Layout(
        "iommu_ioas_map", 40,
        "size@0 flags@4 ioas_id@8 reserved@12 user_va@16:8 length@24:8 iova@32:8",
        min_after="iova"),
    "IOMMU_IOAS_UNMAP": Layout(
        "iommu_ioas_unmap", 24, "size@0 ioas_id@4 iova@8:8 length@16:8", min_after="length"),
    "IOMMU_OPTION": Layout(
        "iommu_option", 24, "size@0 option_id@4 op@8:2 reserved@10:2 object_id@12 val64@16:8",
        min_after="val64"),
    "IOMMU_VFIO_IOAS": Layout(
        "iommu_vfio_ioas", 12, "size@0 ioas_id@4 op@8:2 reserved@10:2", min_after="reserved"),
    "IOMMU_HWPT_ALLOC": Layout(
        "iommu_hwpt_alloc", 48,
        "size@0 flags@4 dev_id@8 pt_id@12 out_hwpt_id@16 reserved@20 data_type@24 data_len@28 "
        "data_uptr@32:8 fault_id@40 reserved2@44", min_after="reserved"),
    "IOMMU_GET_HW_INFO": Layout(
        "iommu_hw_info", 40,
        "size@0 flags@4 dev_id@8 data_len@12 data_uptr@16:8 data_type@24 out_max_pasid_log2@28:1 "
        "reserved@29:1x3 out_capabilities@32:8", min_after="reserved"),
    "IOMMU_HWPT_SET_DIRTY_TRACKING": Layout(
        "iommu_hwpt_set_dirty_tracking", 16, "size@0 flags@4 hwpt_id@8 reserved@12",
        min_after="reserved"),
    "IOMMU_HWPT_GET_DIRTY_BITMAP": Layout(
        "iommu_hwpt_get_dirty_bitmap", 48,
        "size@0 hwpt_id@4 flags@8 reserved@12 iova@16:8 length@24:8 page_size@32:8 data@40:8",
        min_after="data"),
    "IOMMU_HWPT_INVALIDATE": Layout(
        "iommu_hwpt_invalidate", 32,
        "size@0 hwpt_id@4 data_uptr@8:8 data_type@16 entry_len@20 entry_num@24 reserved@28",
        min_after="reserved"),
    "IOMMU_FAULT_QUEUE_ALLOC": Layout(
        "iommu_fault_alloc", 16, "size@0 flags@4 out_fault_id@8 out_fault_fd@12",
        min_after="out_fault_fd"),
    "IOMMU_IOAS_MAP_FILE": Layout(
        "iommu_ioas_map_file", 40,
        "size@0 flags@4 ioas_id@8 fd@12:s4 start@16:8 length@24:8 iova@32:8", min_after="iova"),
    "IOMMU_VIOMMU_ALLOC": Layout(
        "iommu_viommu_alloc", 40,
        "size@0 flags@4 type@8 dev_id@12 hwpt_id@16 out_viommu_id@20 data_len@24 reserved@28 "
        "data_uptr@32:8", min_after="out_viommu_id"),
    "IOMMU_VDEVICE_ALLOC": Layout(
        "iommu_vdevice_alloc", 24,
        "size@0 viommu_id@4 dev_id@8 out_vdevice_id@12 virt_id@16:8", min_after="virt_id"),
    "IOMMU_IOAS_CHANGE_PROCESS": Layout(
        "iommu_ioas_change_process", 8, "size@0 reserved@4", min_after="reserved"),
    "IOMMU_VEVENTQ_ALLOC": Layout(
        "iommu_veventq_alloc", 32,
        "size@0 flags@4 viommu_id@8 type@12 veventq_depth@16 out_veventq_id@20 out_veventq_fd@24 "
        "reserved@28", min_after="out_veventq_fd"),
    "IOMMU_HW_QUEUE_ALLOC": Layout(
        "iommu_hw_queue_alloc", 40,
        "size@0 flags@4 viommu_id@8 type@12 index@16 out_hw_queue_id@20 "
        "nesting_parent_iova@24:8 length@32:8", min_after="length"),
}

# ``{name: number}`` as the argument of ioctl(): _IO(';', 0x80 + n).
NUMBERS = {name: _TYPE | _BASE + n for n, name in enumerate(_COMMANDS)}
# ``{number: Layout}``
IOCTLS = {NUMBERS[name]: layout for name, layout in _COMMANDS.items()}
# ``{name of the ioctl: Layout}``
LAYOUTS = dict(_COMMANDS)

IOVA_RANGE = Layout("iommu_iova_range", 16, "start@0:8 last@8:8")
HWPT_ARM_SMMUV3 = Layout("iommu_hwpt_arm_smmuv3", 16, "ste@0:8x2")
HW_INFO_ARM_SMMUV3 = Layout(
    "iommu_hw_info_arm_smmuv3", 40, "flags@0 reserved@4 idr@8:4x6 iidr@32 aidr@36")
VIOMMU_ARM_SMMUV3_INVALIDATE = Layout(
    "iommu_viommu_arm_smmuv3_invalidate", 16, "cmd@0:8x2")
HWPT_PGFAULT = Layout(
    "iommu_hwpt_pgfault", 40,
    "flags@0 dev_id@4 pasid@8 grpid@12 perm@16 reserved@20 addr@24:8 length@32 cookie@36")
HWPT_PAGE_RESPONSE = Layout("iommu_hwpt_page_response", 8, "cookie@0 code@4")
VEVENT_HEADER = Layout("iommufd_vevent_header", 8, "flags@0 sequence@4")
VEVENT_ARM_SMMUV3 = Layout("iommu_vevent_arm_smmuv3", 32, "evt@0:8x4")
