"""The bytes of the user API: sizes, offsets, numbers."""

import pytest
from smmu_sim.iommufd import uapi, vfio_uapi
from smmu_sim.iommufd.layout import Layout

# ioctl: (number, size, bytes that an old user passes)
EXPECTED = {
    "IOMMU_DESTROY": (0x3B80, 8, 8), "IOMMU_IOAS_ALLOC": (0x3B81, 12, 12),
    "IOMMU_IOAS_ALLOW_IOVAS": (0x3B82, 24, 24), "IOMMU_IOAS_COPY": (0x3B83, 40, 40),
    "IOMMU_IOAS_IOVA_RANGES": (0x3B84, 32, 32), "IOMMU_IOAS_MAP": (0x3B85, 40, 40),
    "IOMMU_IOAS_UNMAP": (0x3B86, 24, 24), "IOMMU_OPTION": (0x3B87, 24, 24),
    "IOMMU_VFIO_IOAS": (0x3B88, 12, 12), "IOMMU_HWPT_ALLOC": (0x3B89, 48, 24),
    "IOMMU_GET_HW_INFO": (0x3B8A, 40, 32), "IOMMU_HWPT_SET_DIRTY_TRACKING": (0x3B8B, 16, 16),
    "IOMMU_HWPT_GET_DIRTY_BITMAP": (0x3B8C, 48, 48), "IOMMU_HWPT_INVALIDATE": (0x3B8D, 32, 32),
    "IOMMU_FAULT_QUEUE_ALLOC": (0x3B8E, 16, 16), "IOMMU_IOAS_MAP_FILE": (0x3B8F, 40, 40),
    "IOMMU_VIOMMU_ALLOC": (0x3B90, 40, 24), "IOMMU_VDEVICE_ALLOC": (0x3B91, 24, 24),
    "IOMMU_IOAS_CHANGE_PROCESS": (0x3B92, 8, 8), "IOMMU_VEVENTQ_ALLOC": (0x3B93, 32, 28),
    "IOMMU_HW_QUEUE_ALLOC": (0x3B94, 40, 40),
}
# struct: the offset and the width of fields that a mistake would move
OFFSETS = {
    "IOMMU_IOAS_MAP": "flags 4 4, ioas_id 8 4, user_va 16 8, length 24 8, iova 32 8",
    "IOMMU_IOAS_MAP_FILE": "fd 12 4, start 16 8, length 24 8, iova 32 8",
    "IOMMU_IOAS_COPY": "dst_ioas_id 8 4, src_ioas_id 12 4, length 16 8, dst_iova 24 8,"
                       " src_iova 32 8",
    "IOMMU_IOAS_UNMAP": "ioas_id 4 4, iova 8 8, length 16 8",
    "IOMMU_IOAS_IOVA_RANGES": "num_iovas 8 4, allowed_iovas 16 8, out_iova_alignment 24 8",
    "IOMMU_IOAS_ALLOW_IOVAS": "num_iovas 8 4, allowed_iovas 16 8",
    "IOMMU_OPTION": "option_id 4 4, op 8 2, reserved 10 2, object_id 12 4, val64 16 8",
    "IOMMU_VFIO_IOAS": "ioas_id 4 4, op 8 2, reserved 10 2",
    "IOMMU_HWPT_ALLOC": "dev_id 8 4, pt_id 12 4, out_hwpt_id 16 4, data_type 24 4, data_len 28 4,"
                        " data_uptr 32 8, fault_id 40 4",
    "IOMMU_GET_HW_INFO": "dev_id 8 4, data_len 12 4, data_uptr 16 8, data_type 24 4,"
                         " out_max_pasid_log2 28 1, out_capabilities 32 8",
    "IOMMU_HWPT_INVALIDATE": "hwpt_id 4 4, data_uptr 8 8, data_type 16 4, entry_len 20 4,"
                             " entry_num 24 4",
    "IOMMU_FAULT_QUEUE_ALLOC": "out_fault_id 8 4, out_fault_fd 12 4",
    "IOMMU_VIOMMU_ALLOC": "type 8 4, dev_id 12 4, hwpt_id 16 4, out_viommu_id 20 4, data_len 24 4,"
                          " data_uptr 32 8",
    "IOMMU_VDEVICE_ALLOC": "viommu_id 4 4, dev_id 8 4, out_vdevice_id 12 4, virt_id 16 8",
    "IOMMU_VEVENTQ_ALLOC": "viommu_id 8 4, type 12 4, veventq_depth 16 4, out_veventq_id 20 4,"
                           " out_veventq_fd 24 4, reserved 28 4",
    "IOMMU_HW_QUEUE_ALLOC": "viommu_id 8 4, type 12 4, index 16 4, out_hw_queue_id 20 4,"
                            " nesting_parent_iova 24 8, length 32 8",
}
OTHERS = {
    "IOVA_RANGE": (16, "start 0 8, last 8 8"), "HWPT_ARM_SMMUV3": (16, "ste 0 8"),
    "HW_INFO_ARM_SMMUV3": (40, "idr 8 4, iidr 32 4, aidr 36 4"),
    "VIOMMU_ARM_SMMUV3_INVALIDATE": (16, "cmd 0 8"),
    "HWPT_PGFAULT": (40, "flags 0 4, dev_id 4 4, pasid 8 4, grpid 12 4, perm 16 4, addr 24 8,"
                         " length 32 4, cookie 36 4"),
    "HWPT_PAGE_RESPONSE": (8, "cookie 0 4, code 4 4"), "VEVENT_HEADER": (8, "sequence 4 4"),
    "VEVENT_ARM_SMMUV3": (32, "evt 0 8"),
}
VFIO = {"BIND_IOMMUFD": (24, 16, "iommufd 8 4, out_devid 12 4, token_uuid_ptr 16 8"),
        "ATTACH_PT": (16, 12, "pt_id 8 4, pasid 12 4"), "DETACH_PT": (12, 8, "pasid 8 4")}


def places(text):
    return {name: (int(offset), int(width)) for name, offset, width in
            (item.split() for item in text.split(","))}


def check_places(layout, text):
    for name, place in places(text).items():
        assert tuple(layout.fields[name][:2]) == place, f"{layout.name}.{name}"


@pytest.mark.parametrize("name", EXPECTED)
def test_an_ioctl_has_its_number_and_sizes(name):
    number, size, min_size = EXPECTED[name]
    layout = uapi.LAYOUTS[name]
    assert uapi.NUMBERS[name] == number and uapi.IOCTLS[number] is layout
    assert (layout.size, layout.min_size) == (size, min_size)


def test_no_ioctl_is_missing_or_too_many():
    assert set(uapi.NUMBERS) == set(EXPECTED)


@pytest.mark.parametrize("name", OFFSETS)
def test_fields_of_an_ioctl_are_where_the_kernel_has_them(name):
    check_places(uapi.LAYOUTS[name], OFFSETS[name])


@pytest.mark.parametrize("name", OTHERS)
def test_structs_that_ioctls_point_to(name):
    layout, (size, text) = getattr(uapi, name), OTHERS[name]
    assert layout.size == size
    check_places(layout, text)


@pytest.mark.parametrize("name", VFIO)
def test_structs_of_vfio(name):
    layout, (size, min_size, text) = getattr(vfio_uapi, name), VFIO[name]
    assert (layout.size, layout.min_size) == (size, min_size)
    check_places(layout, text)


def test_numbers_of_vfio():
    assert [vfio_uapi.NUMBERS[f"VFIO_DEVICE_{name}"] for name in
            ("BIND_IOMMUFD", "ATTACH_IOMMUFD_PT", "DETACH_IOMMUFD_PT")] == [0x3B76, 0x3B77, 0x3B78]


@pytest.mark.parametrize("layout", [*uapi.LAYOUTS.values(), *(getattr(uapi, n) for n in OTHERS)],
                         ids=lambda layout: layout.name)
def test_fields_do_not_overlap_and_fill_the_struct(layout):
    at = 0
    for field in sorted(layout.fields.values()):
        assert field.offset in (at, -(-at // field.width) * field.width), layout.name
        at = field.end
    assert at <= layout.size < at + 8


def test_a_struct_goes_to_bytes_and_back():
    layout = Layout("x", 24, "size@0 fd@4:s4 words@8:4x2 wide@16:8")
    data = layout.pack(fd=-1, words=(1, 0xFFFF_FFFF), wide=1 << 63)
    assert data.hex() == "18000000ffffffff01000000ffffffff0000000000000080"
    record = layout.unpack(data)
    assert (record.size, record.fd, record.wide) == (24, -1, 1 << 63)
    assert record.words == (1, 0xFFFF_FFFF)


def test_what_a_user_does_not_pass_is_zero():
    layout = Layout("x", 12, "size@0 low@4 high@8")
    assert layout.unpack(b"\x08\0\0\0\5\0\0\0").high == 0


@pytest.mark.parametrize("values", [{"low": 1 << 32}, {"low": -1}, {"other": 1}, {"pair": (1,)}])
def test_a_value_that_does_not_fit_is_refused(values):
    with pytest.raises(ValueError):
        Layout("x", 16, "size@0 low@4 pair@8:4x2").pack(**values)
