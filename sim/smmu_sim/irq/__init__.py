"""Interrupt controllers that take MSIs, and what software does to get one.

Controllers (:class:`ITS`, :class:`GICv2m`, :class:`MBI`) are registers in memory; an MSI is a write
that reaches their doorbell. Domains (:class:`ITSDomain`, :class:`GICv2mDomain`, :class:`MBIDomain`)
are the kernel's side: they allocate vectors, let the IOMMU core map the doorbell, and compose the
message.
"""

from smmu_sim.irq.gicv2m import GICv2m
from smmu_sim.irq.gicv2m_domain import GICv2mDomain, MBIDomain
from smmu_sim.irq.its import ITS
from smmu_sim.irq.its_domain import ITSDomain
from smmu_sim.irq.its_driver import ITSDriver
from smmu_sim.irq.lpi_pool import LPIPool
from smmu_sim.irq.mbi import MBI
from smmu_sim.irq.msi import MSIDescriptor, MSIMessage

__all__ = ["GICv2m", "GICv2mDomain", "ITS", "ITSDomain", "ITSDriver", "LPIPool", "MBI", "MBIDomain",
           "MSIDescriptor", "MSIMessage"]
