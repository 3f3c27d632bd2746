"""The virtual machine monitor: virtual SMMUs, virtual machines and the guests in them."""

from smmu_sim.vmm.assigned_device import AssignedDevice
from smmu_sim.vmm.features import HardwareInfo, VirtualFeatures
from smmu_sim.vmm.guest import Guest
from smmu_sim.vmm.guest_memory import GuestMemory
from smmu_sim.vmm.host import Host
from smmu_sim.vmm.iommufd_interface import IOMMUFDInterface
from smmu_sim.vmm.iommufd_stage1 import IOMMUFDStage1
from smmu_sim.vmm.soak import CrossedOver, Soak
from smmu_sim.vmm.stage1 import VSTE, Kind, Stage1Owner
from smmu_sim.vmm.twins import Twins
from smmu_sim.vmm.vfio_interface import VFIOInterface
from smmu_sim.vmm.vfio_stage1 import VFIOStage1
from smmu_sim.vmm.virtual_smmu import VirtualSMMU
from smmu_sim.vmm.vm import VM

__all__ = ["VM", "VSTE", "AssignedDevice", "CrossedOver", "Guest", "GuestMemory", "HardwareInfo",
           "Host", "IOMMUFDInterface", "IOMMUFDStage1", "Kind", "Soak", "Stage1Owner", "Twins",
           "VFIOInterface", "VFIOStage1", "VirtualFeatures", "VirtualSMMU"]
