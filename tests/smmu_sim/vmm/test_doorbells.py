"""Where a guest has its doorbell, read from its tables; and the vectors behind it."""

import pytest
from smmu.formats.descriptors import Granule
from smmu_sim.linux_error import LinuxError
from smmu_sim.process import Process
from smmu_sim.vfio import IRQIndex, SetIRQs
from smmu_sim.vmm.doorbells import Doorbell, find_doorbell
from smmu_sim.vmm.msi_vectors import MSIVectors

VSID = 0x10
GDB = 0x0809_0000


@pytest.mark.parametrize("granule, size", [(Granule.G4K, 0x1000), (Granule.G16K, 0x4000),
                                           (Granule.G64K, 0x1_0000)])
def test_the_page_of_a_doorbell(new_twins, granule, size):
    twins = new_twins(guests=1, msi="remap")
    guest, smmu = twins.guests[0], twins.vms[0].smmu
    core = next(iter(guest.devices.values()))
    domain = guest.iommu.alloc_domain(core, "unmanaged", granule=granule)
    guest.iommu.claim_dma_owner(core.group, twins)
    guest.iommu.attach_group(domain, core.group)
    domain.map(0xFFFF_0000, GDB, size)
    found = find_doorbell(smmu, VSID, 0xFFFF_0040)
    assert found == Doorbell(0xFFFF_0000, GDB, size)
    assert found.contains(0xFFFF_0040) and not found.contains(0xFFFF_0000 + size)
    assert find_doorbell(smmu, VSID, 0xFFFE_0040) is None
    assert find_doorbell(smmu, VSID, 1 << 50 | 0xFFFF_0040) is None


def test_the_doorbell_without_stage_1(new_twins):
    twins = new_twins(guests=1)
    guest, smmu = twins.guests[0], twins.vms[0].smmu
    master = next(iter(guest.devices.values())).master
    guest.driver.attach(master, guest.driver.identity)
    assert find_doorbell(smmu, VSID, GDB + 0x40) == Doorbell(GDB, GDB, 0x1000)
    guest.driver.attach(master, guest.driver.blocked)
    assert find_doorbell(smmu, VSID, GDB + 0x40) is None


class Interrupts:
    """Notes SET_IRQS; ``refuse`` makes it fail."""

    def __init__(self):
        self.calls, self.refuse = [], False

    def __call__(self, flags, index, start, fds):
        if self.refuse:
            raise LinuxError("ENOMEM", "as the test wants")
        assert index == IRQIndex.MSIX and flags & SetIRQs.ACTION_TRIGGER
        self.calls.append((bool(flags & SetIRQs.DATA_EVENTFD), start, fds))


def test_vectors_are_allocated_with_the_first_and_freed_with_the_last():
    process, interrupts = Process(None), Interrupts()
    vectors = MSIVectors(process, 3, interrupts)
    vectors.enable(1)
    vectors.enable(2)
    vectors.enable(2)
    assert interrupts.calls == [(True, 0, [-1, 3, -1]), (True, 2, [4])]
    process.file(4).signal()
    assert vectors.take() == [2] and vectors.take() == []
    vectors.disable(1)
    vectors.disable(1)
    vectors.disable_all()
    assert interrupts.calls[2:] == [(True, 1, [-1]), (False, 0, [])]
    with pytest.raises(LinuxError, match="EBADF"):
        process.file(4)


def test_a_vector_that_is_refused_is_off():
    process, interrupts = Process(None), Interrupts()
    vectors = MSIVectors(process, 2, interrupts)
    interrupts.refuse = True
    with pytest.raises(LinuxError, match="ENOMEM"):
        vectors.enable(0)
    interrupts.refuse = False
    vectors.enable(0)
    assert interrupts.calls == [(True, 0, [3, -1])]
