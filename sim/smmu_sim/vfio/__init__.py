"""VFIO with nesting, as Linux patches of 2019 to 2021 had it: containers, groups, devices.

Ioctls take packed bytes with the kernel's layout. Which version of the interface a container has is
its ``generation``: "v3" (G1), "V8", "V10" or "V15" (G2).
"""

from smmu_sim.vfio.container import Container
from smmu_sim.vfio.device import VFIODevice
from smmu_sim.vfio.eventfd import EventFD
from smmu_sim.vfio.generations import GENERATIONS, Generation, find_generation
from smmu_sim.vfio.group import VFIOGroup
from smmu_sim.vfio.layouts import Layout
from smmu_sim.vfio.mapped_area import MappedArea
from smmu_sim.vfio.numbers import (
    IOCTL, OFFSET_SHIFT, ExtensionID, IRQFlag, IRQIndex, RegionFlag, RegionIndex, SetIRQs)

__all__ = ["GENERATIONS", "IOCTL", "OFFSET_SHIFT", "Container", "EventFD", "ExtensionID",
           "Generation", "IRQFlag", "IRQIndex", "Layout", "MappedArea", "RegionFlag", "RegionIndex",
           "SetIRQs", "VFIODevice", "VFIOGroup", "find_generation"]
