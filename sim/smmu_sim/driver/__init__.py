"""The SMMUv3 driver: what an operating system does with the registers, queues and tables."""

from smmu_sim.driver.cache_invalidation import Cache, CacheInvalidation, Given, Granularity
from smmu_sim.driver.command_queue import CommandQueue
from smmu_sim.driver.context_descriptors import ContextDescriptorTable
from smmu_sim.driver.domains import (
    BlockedDomain, Domain, IdentityDomain, NestedDomain, NestingDomain, PasidTableConfig,
    Stage1Domain, Stage2Domain, TableConfig)
from smmu_sim.driver.errors import (
    CommandError, DriverError, ProbeError, QueueFull, TimedOut)
from smmu_sim.driver.event_queue import Event, EventQueue
from smmu_sim.driver.event_router import PageRequest
from smmu_sim.driver.fault_records import FaultReason, FaultRecord, fault_record
from smmu_sim.driver.masters import Master
from smmu_sim.driver.memory import MemoryWindow, PageAllocator
from smmu_sim.driver.smmu import MSI, SMMUv3Driver
from smmu_sim.driver.stream_table import StreamTable
from smmu_sim.pagetable import PageTable

__all__ = [
    "MSI", "BlockedDomain", "Cache", "CacheInvalidation", "CommandError", "CommandQueue",
    "ContextDescriptorTable", "Domain", "DriverError", "Event", "EventQueue", "FaultReason",
    "FaultRecord", "Given", "Granularity", "IdentityDomain", "Master", "MemoryWindow",
    "NestedDomain", "NestingDomain", "PageAllocator", "PageRequest", "PageTable",
    "PasidTableConfig", "ProbeError", "QueueFull", "SMMUv3Driver", "Stage1Domain", "Stage2Domain",
    "StreamTable", "TableConfig", "TimedOut", "fault_record"]
