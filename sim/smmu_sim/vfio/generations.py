"""What differs between the versions of the nested VFIO interface. They are never mixed."""

from dataclasses import dataclass

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.layouts import Layout
from smmu_sim.vfio.numbers import ioctl_number

__all__ = ["GENERATIONS", "Generation", "find_generation"]

_SMMUV3 = {"smmuv3_version": (24, "I"), "s1fmt": (28, "B"), "s1dss": (29, "B")}
_PASID_TABLE_V3 = Layout(
    "iommu_pasid_table_config", 24, version=(0, "I"), format=(4, "I"), base_ptr=(8, "Q"),
    pasid_bits=(16, "B"), bypass=(17, "B"), abort=(18, "B"), s1fmt=(19, "B"), s1dss=(20, "B"))
_PASID_TABLE_V4 = Layout(
    "iommu_pasid_table_config", 32, version=(0, "I"), format=(4, "I"), base_ptr=(8, "Q"),
    pasid_bits=(16, "B"), config=(17, "B"), **_SMMUV3)
_PASID_TABLE_V14 = Layout(
    "iommu_pasid_table_config", 32, argsz=(0, "I"), version=(4, "I"), base_ptr=(8, "Q"),
    format=(16, "I"), pasid_bits=(20, "B"), config=(21, "B"), **_SMMUV3)

_INVALIDATE_V3 = Layout(
    "iommu_cache_invalidate_info", 56, version=(0, "I"), type=(4, "I"), granularity=(8, "I"),
    flags=(12, "I"), size=(16, "B"), nr_pages=(24, "Q"), pasid=(32, "I"), arch_id=(40, "Q"),
    addr=(48, "Q"))


def _invalidate(size, head, granu):
    # pasid_info and addr_info are a union; their first three fields lie alike.
    return Layout(
        "iommu_cache_invalidate_info", size, **head, flags=(granu, "I"), archid=(granu + 4, "I"),
        pasid=(granu + 8, "Q"), addr=(granu + 16, "Q"), granule_size=(granu + 24, "Q"),
        nb_granules=(granu + 32, "Q"))


_INVALIDATE_V4 = _invalidate(
    48, {"version": (0, "I"), "cache": (4, "B"), "granularity": (5, "B"), "padding": (6, "2s")}, 8)
_INVALIDATE_V11 = _invalidate(
    56, {"argsz": (0, "I"), "version": (4, "I"), "cache": (8, "B"), "granularity": (9, "B"),
         "padding": (10, "6s")}, 16)

_BIND_V3 = Layout("vfio_iommu_type1_bind_guest_msi", 32, argsz=(0, "I"), flags=(4, "I"),
                  iova=(8, "Q"), gpa=(16, "Q"), size=(24, "I"))
_BIND_V4 = Layout("vfio_iommu_type1_set_msi_binding", 32, argsz=(0, "I"), flags=(4, "I"),
                  iova=(8, "Q"), gpa=(16, "Q"), size=(24, "Q"))


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One version of the interface: layouts and numbers, none of which Linux ever merged.

    ``numbers`` names the ioctls that exist: SET_PASID_TABLE or ATTACH/DETACH_PASID_TABLE,
    CACHE_INVALIDATE, BIND_MSI with UNBIND_MSI or SET_MSI_BINDING.
    """

    name: str
    core: str                # what driver and IOMMU core call it
    record: str              # whose fault records it has, by the same names
    numbers: dict
    pasid_table: Layout
    invalidate: Layout
    binding: Layout
    argsz: bool              # the IOMMU structures begin with their own size
    msi_per_device: bool     # a binding belongs to one device
    fault_entry: int         # bytes of a record
    fault_regions: int       # 1, or 2: producer and consumer
    responses: bool          # there is a region for page responses
    nested_region_type: int  # VFIO_REGION_TYPE_NESTED
    ext_irqs: bool           # the fault interrupt is found by a capability; otherwise index 5
    iova_ranges: bool        # GET_INFO tells where mappings may lie, and MAP_DMA checks it


def _numbers(**offsets):
    return {name: ioctl_number(n) for name, n in offsets.items()}


_V8 = {"pasid_table": _PASID_TABLE_V4, "invalidate": _INVALIDATE_V4, "binding": _BIND_V4,
       "argsz": False, "msi_per_device": False, "responses": False, "nested_region_type": 2}

GENERATIONS = {generation.name: generation for generation in (
    Generation(
        name="v3", core="G1", record="G1",
        pasid_table=_PASID_TABLE_V3, invalidate=_INVALIDATE_V3, binding=_BIND_V3,
        numbers=_numbers(SET_PASID_TABLE=22, CACHE_INVALIDATE=23, BIND_MSI=24),
        argsz=False, msi_per_device=True, responses=False, nested_region_type=2,
        fault_entry=48, fault_regions=1, ext_irqs=False, iova_ranges=False),
    Generation(
        name="V8", core="V8", record="V8", numbers=_numbers(
            ATTACH_PASID_TABLE=22, DETACH_PASID_TABLE=23, CACHE_INVALIDATE=24, BIND_MSI=25,
            UNBIND_MSI=26),
        fault_entry=48, fault_regions=2, ext_irqs=False, iova_ranges=False, **_V8),
    Generation(
        # What is below the interface did not change between V8 and V10.
        name="V10", core="V8", record="V15",
        numbers=_numbers(SET_PASID_TABLE=22, CACHE_INVALIDATE=23, SET_MSI_BINDING=24),
        fault_entry=64, fault_regions=1, ext_irqs=True, iova_ranges=True, **_V8),
    Generation(
        name="V15", core="V15", record="V15",
        pasid_table=_PASID_TABLE_V14, invalidate=_INVALIDATE_V11, binding=_BIND_V4,
        numbers=_numbers(SET_PASID_TABLE=18, CACHE_INVALIDATE=19, SET_MSI_BINDING=20),
        argsz=True, msi_per_device=False, responses=True, nested_region_type=4,
        fault_entry=64, fault_regions=1, ext_irqs=True, iova_ranges=True),
)}
_ALSO = {"G1": "v3", "G2": "V15"}


def find_generation(name):
    """Return the :class:`Generation` of a name: v3 (G1), V8, V10, V15 (G2). EINVAL: no such."""
    generation = GENERATIONS.get(_ALSO.get(name, name))
    if generation is None:
        raise LinuxError("EINVAL", f"generation {name!r}; there are {', '.join(GENERATIONS)}")
    return generation
