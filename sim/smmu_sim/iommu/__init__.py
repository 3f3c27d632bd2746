"""The IOMMU core: devices, groups, domains, doorbells and PASIDs, as Linux has them."""

from smmu_sim.iommu.aux import AuxDomains, AuxPrimary
from smmu_sim.iommu.cookies import IOMMUFDCookie, MSICookie, MSIPage
from smmu_sim.iommu.core import IOMMU
from smmu_sim.iommu.device import Device
from smmu_sim.iommu.dma_api import Direction, DMAOps
from smmu_sim.iommu.domain import Domain, DomainType
from smmu_sim.iommu.faults import FaultRegistry
from smmu_sim.iommu.fault_records import Fault, FaultType, PageResponse
from smmu_sim.iommu.gpasid import GuestPASIDs
from smmu_sim.iommu.gpasid_data import GuestPASIDBinding, VTDFlag
from smmu_sim.iommu.gpasid_smmuv3 import SMMUv3Engine
from smmu_sim.iommu.gpasid_vtd import VTDEngine
from smmu_sim.iommu.group import Attachment, Group
from smmu_sim.iommu.guest_msi import GuestMSIBinding, NestedMSICookie
from smmu_sim.iommu.msi import set_msi_iova
from smmu_sim.iommu.reserved import MSI_PROT, SW_MSI_WINDOW, ReservedRegion, ResvType
from smmu_sim.iommu.sva import SVA, AddressSpace

__all__ = ["MSI_PROT", "SVA", "SW_MSI_WINDOW", "AddressSpace", "Attachment", "AuxDomains",
           "AuxPrimary", "DMAOps", "Device", "Direction", "Domain", "DomainType", "Fault",
           "FaultRegistry", "FaultType", "Group", "GuestMSIBinding", "GuestPASIDBinding",
           "GuestPASIDs", "IOMMU", "IOMMUFDCookie", "MSICookie", "MSIPage", "NestedMSICookie",
           "PageResponse", "ReservedRegion", "ResvType", "SMMUv3Engine", "VTDEngine", "VTDFlag",
           "set_msi_iova"]
