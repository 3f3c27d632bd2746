"""An ITS with a driver over a bare memory, and a stand-in for the IOMMU core."""

import pytest

from smmu_sim.driver.memory import PageAllocator
from smmu_sim.irq import ITS, ITSDriver
from smmu_sim.linux_error import LinuxError
from smmu_sim.memory import Memory

BASE, RAM = 0x2020_0000, 0x4000_0000


class Doorbells:
    """Maps every doorbell page at an IOVA of its own; refuses after ``room`` calls."""

    def __init__(self, room=1000):
        self.room, self.prepared = room, []

    def prepare_msi(self, desc, addr):
        if len(self.prepared) >= self.room:
            raise LinuxError("ENOMEM", "no room for another mapping")
        self.prepared.append((desc.device, addr))
        desc.iommu_msi_iova, desc.iommu_msi_shift = 0x8000, 12

    def compose_msi(self, desc, addr):
        return desc.iommu_msi_iova << desc.iommu_msi_shift | addr & 0xFFF


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def its(memory):
    return ITS(memory, BASE)


@pytest.fixture
def allocator(memory):
    return PageAllocator(memory, RAM, 1 << 22)


@pytest.fixture
def driver(its, allocator):
    return ITSDriver(its, allocator, cpus=2)


@pytest.fixture
def doorbells():
    return Doorbells()
