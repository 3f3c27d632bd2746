"""The SMMUv3 driver: what an operating system does with the registers, queues and tables."""

from smmu_sim.driver.command_queue import CommandQueue
from smmu_sim.driver.context_descriptors import ContextDescriptorTable
from smmu_sim.driver.errors import (
    CommandError, DriverError, ProbeError, QueueFull, TimedOut)
from smmu_sim.driver.event_queue import Event, EventQueue
from smmu_sim.driver.memory import MemoryWindow, PageAllocator
from smmu_sim.driver.smmu import SMMUv3Driver
from smmu_sim.driver.stream_table import StreamTable
from smmu_sim.pagetable import PageTable

__all__ = ["CommandError", "CommandQueue", "ContextDescriptorTable", "DriverError", "Event",
           "EventQueue", "MemoryWindow", "PageAllocator", "PageTable", "ProbeError", "QueueFull",
           "SMMUv3Driver", "StreamTable", "TimedOut"]
