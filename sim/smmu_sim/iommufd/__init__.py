"""Linux's iommufd for SMMUv3: /dev/iommu, the files of VFIO devices, and user processes."""

from smmu_sim.iommufd.iommufd import IOMMUFD
from smmu_sim.iommufd.pages import MemoryFile
from smmu_sim.iommufd.process import Process, User
from smmu_sim.iommufd.vfio_device import VFIODeviceFile

__all__ = ["IOMMUFD", "MemoryFile", "Process", "User", "VFIODeviceFile"]
