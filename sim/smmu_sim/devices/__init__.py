"""Devices behind the SMMU: their registers, their DMA, their MSIs, and software that drives them.

A device is a :class:`BusMaster`; a :class:`PCIFunction` has configuration space and MSI-X as well.
:class:`DMAEngine` and :class:`RingNIC` are what can be behind a function's BAR 0; their drivers
(:class:`DMAEngineDriver`, :class:`RingNICDriver`) run in a host or in a guest.
"""

from smmu_sim.devices.bus_master import BusMaster
from smmu_sim.devices.dma_engine import DMAEngine
from smmu_sim.devices.dma_engine_driver import DMAEngineDriver
from smmu_sim.devices.pci_function import PCIFunction
from smmu_sim.devices.ring_nic import RingNIC
from smmu_sim.devices.ring_nic_driver import RingNICDriver
from smmu_sim.devices.traffic import Frame, TrafficGenerator

__all__ = ["BusMaster", "DMAEngine", "DMAEngineDriver", "Frame", "PCIFunction", "RingNIC",
           "RingNICDriver", "TrafficGenerator"]
