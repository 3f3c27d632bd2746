"""IOMMU_GET_HW_INFO: the ID registers, raw (iommufd/viommu.c)."""

from smmu_sim.iommufd.constants import HWCapability, HWInfoFlag, HWInfoType
from smmu_sim.iommufd.device import IOMMUFDDevice
from smmu_sim.iommufd.uapi import HW_INFO_ARM_SMMUV3
from smmu_sim.linux_error import LinuxError

__all__ = ["get_hw_info"]

_IDRS = tuple(f"IDR{n}" for n in range(6))


def get_hw_info(iommufd, command):
    """Tell about the SMMU of a device. A short buffer gets a part, a long one zeros at its end.

    EOPNOTSUPP: flags, reserved, or a type that an SMMUv3 cannot tell of. ENOENT: no such device.
    EFAULT: the buffer.
    """
    args = command.args
    if args.flags & ~HWInfoFlag.INPUT_TYPE or any(args.reserved):
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}, reserved is {args.reserved}")
    wanted = args.data_type if args.flags & HWInfoFlag.INPUT_TYPE else HWInfoType.DEFAULT
    device = iommufd.objects.get(args.dev_id, IOMMUFDDevice).device
    if wanted not in (HWInfoType.DEFAULT, HWInfoType.ARM_SMMUV3):
        raise LinuxError("EOPNOTSUPP", f"data_type is {wanted}")
    iommufd.allocations.request("hardware information")
    registers = device.driver.id_registers()
    data = HW_INFO_ARM_SMMUV3.pack(idr=tuple(registers[name] for name in _IDRS),
                                   iidr=registers["IIDR"], aidr=registers["AIDR"])
    if args.data_len:
        command.process.copy_to_user(args.data_uptr,
                                     data[:args.data_len].ljust(args.data_len, b"\0"))
    command.respond(
        data_len=len(data), data_type=HWInfoType.ARM_SMMUV3,
        out_max_pasid_log2=max(device.max_pasids.bit_length() - 1, 0),
        out_capabilities=int(_capabilities(device)))


def _capabilities(device):
    if device.driver.features.ATS and device.master.ats:
        return 0
    return HWCapability.ATS_NOT_SUPPORTED
