"""IOMMU_HWPT_ALLOC (iommufd/hw_pagetable.c), and HWPTs that attaching to an IOAS makes."""

from smmu_sim.iommu.domain import Domain, DomainType
from smmu_sim.iommufd.constants import DataType, HWPTFlag
from smmu_sim.iommufd.device import IOMMUFDDevice
from smmu_sim.iommufd.fault_queue import FaultQueue
from smmu_sim.iommufd.hwpt import HWPTNested, HWPTPaging
from smmu_sim.iommufd.ioas import IOAS
from smmu_sim.iommufd.uapi import HWPT_ARM_SMMUV3
from smmu_sim.iommufd.viommu import VIOMMU
from smmu_sim.linux_error import LinuxError

__all__ = ["alloc", "make_paging"]

_PAGING_FLAGS = (HWPTFlag.NEST_PARENT | HWPTFlag.DIRTY_TRACKING | HWPTFlag.FAULT_ID_VALID
                 | HWPTFlag.PASID)
_NESTED_FLAGS = HWPTFlag.FAULT_ID_VALID | HWPTFlag.PASID
_STAGE1_FLAGS = (HWPTFlag.DIRTY_TRACKING, HWPTFlag.PASID,
                 HWPTFlag.DIRTY_TRACKING | HWPTFlag.PASID)


def alloc(iommufd, command):
    """IOMMU_HWPT_ALLOC: make a HWPT from an IOAS or a VIOMMU."""
    args = command.args
    if args.reserved:
        raise LinuxError("EOPNOTSUPP", f"reserved is {args.reserved:#x}")
    if (args.data_type == DataType.NONE) != (not args.data_len):
        raise LinuxError("EINVAL", f"data_type is {args.data_type}, data_len is {args.data_len}")
    idev = iommufd.objects.get(args.dev_id, IOMMUFDDevice)
    try:
        source = iommufd.objects.get(args.pt_id)
    except LinuxError as error:
        raise LinuxError("EINVAL", f"pt_id: {error.reason}") from error
    with iommufd.objects.creating(lambda: _make(iommufd, command, idev, source)) as hwpt:
        if args.flags & HWPTFlag.FAULT_ID_VALID:
            hwpt.set_fault(iommufd.objects.get(args.fault_id, FaultQueue))
        command.respond(out_hwpt_id=hwpt.id)


def _make(iommufd, command, idev, source):
    args = command.args
    if isinstance(source, IOAS):
        return make_paging(iommufd, source, idev, args.flags, data_type=args.data_type)
    if isinstance(source, HWPTPaging):
        # A nested HWPT of a paging one: SMMUv3 has no such operation (Linux 7.0).
        raise LinuxError("EOPNOTSUPP", "an SMMUv3 makes nested HWPTs from a VIOMMU alone")
    if isinstance(source, VIOMMU):
        return _make_nested(command, idev, source)
    raise LinuxError("EINVAL", f"pt_id {args.pt_id} is a {type(source).__name__}")


# --- from an IOAS --------------------------------------------------------------------------------

def make_paging(iommufd, ioas, idev, flags, *, data_type=DataType.NONE, auto=False):
    """Return a paging HWPT with everything mapped that the IOAS has.

    EOPNOTSUPP: flags, or a mixture of them, that the SMMU cannot do; or user data. And errors of
    :meth:`IOAS.add_domain`. Linux 7.0: iommufd_hwpt_paging_alloc,
    arm_smmu_domain_alloc_paging_flags.
    """
    _check_paging(idev, flags, data_type)
    iommufd.allocations.request("a HWPT")
    options = {"nest_parent": True} if flags & HWPTFlag.NEST_PARENT else {}
    if flags & HWPTFlag.PASID:
        options["stage"] = 1
    domain = iommufd.iommu.alloc_domain(idev.device, DomainType.UNMANAGED, **options)
    hwpt = HWPTPaging(iommufd, ioas, domain, flags, auto=auto)
    try:
        if idev.device.master.canwbs:
            domain.hw.enforce_cache_coherency()
        hwpt.fill()
    except LinuxError:
        hwpt.destroy()
        raise
    return hwpt


def _check_paging(idev, flags, data_type):
    features = idev.device.driver.features
    wanted = flags & ~HWPTFlag.FAULT_ID_VALID
    if flags & ~_PAGING_FLAGS or data_type != DataType.NONE:
        raise LinuxError("EOPNOTSUPP", f"flags is {flags:#x}, data_type is {data_type}")
    if flags & HWPTFlag.FAULT_ID_VALID and flags & HWPTFlag.NEST_PARENT:
        raise LinuxError("EOPNOTSUPP", "a nest parent has no page faults")
    if flags & HWPTFlag.DIRTY_TRACKING:
        raise LinuxError("EOPNOTSUPP", "the SMMU does not track dirty pages: IDR0.HTTU is "
                                       f"{features.HTTU}")
    if wanted not in (0, HWPTFlag.NEST_PARENT, *_STAGE1_FLAGS):
        raise LinuxError("EOPNOTSUPP", f"flags {flags:#x} do not go together")
    if wanted == HWPTFlag.NEST_PARENT and not features.nested:
        raise LinuxError("EOPNOTSUPP", "the SMMU has not both stages")
    if wanted in _STAGE1_FLAGS and not features.S1P:
        raise LinuxError("EOPNOTSUPP", "the SMMU has no stage 1")


# --- from a VIOMMU -------------------------------------------------------------------------------

def _make_nested(command, idev, viommu):
    """Return a HWPT of a guest's STE.

    EINVAL: the device is behind another SMMU, or data of another type or length. EOPNOTSUPP:
    flags. EFAULT: the data. EIO: an STE that a guest must not have.
    Linux 7.0: iommufd_viommu_alloc_hwpt_nested, arm_vsmmu_alloc_domain_nested.
    """
    args = command.args
    if idev.device.driver is not viommu.driver:
        raise LinuxError("EINVAL", "the device is behind another SMMU than the VIOMMU")
    if args.flags & ~_NESTED_FLAGS or not args.data_len:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}, data_len is {args.data_len}")
    if args.flags & ~HWPTFlag.FAULT_ID_VALID:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}: no PASIDs of the host's")
    if args.data_type != DataType.ARM_SMMUV3 or args.data_len != HWPT_ARM_SMMUV3.size:
        raise LinuxError("EINVAL", f"data_type is {args.data_type}, data_len is {args.data_len}")
    data = command.process.copy_from_user(args.data_uptr, args.data_len)
    viommu.iommufd.allocations.request("a nested HWPT")
    hw = viommu.nested_domain(HWPT_ARM_SMMUV3.unpack(data).ste)
    domain = Domain(DomainType.NESTED, hw, parent=viommu.parent.domain)
    return HWPTNested(viommu, domain, args.flags)
