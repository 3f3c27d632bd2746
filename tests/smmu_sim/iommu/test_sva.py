"""Processes whose page tables devices use: bind, changes, exit."""

import pytest

from smmu.formats.commands import Opcode
from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.iommu import SVA, AddressSpace, DomainType
from smmu_sim.machine import Machine

A, B = Machine.DEVICE_A, Machine.DEVICE_B
VA, HERE, THERE = 0x7F00_0000_0000, 0x6000_0000, 0x6001_0000


@pytest.fixture
def space(host):
    made = AddressSpace(host.memory, host.machine.allocator)
    made.mmap(VA, HERE, 0x3000)
    made.mmap(VA + 0x3000, THERE, 0x1000, writable=False)
    return made


def test_a_device_uses_the_addresses_of_the_process(host, space):
    device = host.device()
    handle = SVA(host.iommu).bind(device, space)
    assert handle.pasid == 1
    host.memory.write(HERE + 0x2FF8, b"from CPU")
    host.memory.write(THERE, b"read only")
    assert host.read(device, VA + 0x2FF8, 1) == b"from CPU"
    assert host.read(device, VA + 0x3000, 1) == b"read onl"
    assert host.write(device, VA, 1, b"from dev") == HERE and space.read(VA, 8) == b"from dev"
    assert host.write(device, VA + 0x3000, 1) is None and host.events() == ["F_PERMISSION"]
    assert host.write(device, VA) is None and host.events() == ["F_TRANSLATION"]


def test_what_the_process_unmaps_the_device_loses_at_once(host, space):
    device = host.device()
    SVA(host.iommu).bind(device, space)
    assert host.write(device, VA, 1) == HERE
    host.driver.take_commands()
    space.munmap(VA, 0x3000)
    commands = host.driver.take_commands()
    assert [command & 0xFF for command in commands] == [Opcode.CMD_TLBI_NH_VA, Opcode.CMD_SYNC]
    assert commands[0] >> 48 & 0xFFFF == space.domains[0].hw.asid
    assert host.write(device, VA, 1) is None
    space.mmap(VA, THERE, 0x1000)
    assert host.write(device, VA, 1) == THERE


def test_devices_share_pasid_and_domain(host, space):
    sva, first, second = SVA(host.iommu), host.device(A), host.device(B)
    handles = [sva.bind(device, space) for device in (first, second)]
    assert handles[0].domain is handles[1].domain and handles[1].pasid == 1
    sva.unbind(handles[0])
    assert host.write(first, VA, 1) is None and host.write(second, VA, 1) == HERE
    sva.unbind(handles[1])
    assert space.domains == [] and host.write(second, VA, 1) is None


def test_a_second_bind_counts(host, space):
    sva, device = SVA(host.iommu), host.device()
    handle = sva.bind(device, space)
    assert sva.bind(device, space) is handle and handle.users == 2
    sva.unbind(handle)
    assert host.write(device, VA, 1) == HERE
    sva.unbind(handle)
    assert host.write(device, VA, 1) is None
    assert sva.bind(device, space).pasid == 1  # a process keeps its PASID


def test_processes_are_kept_apart(host, space):
    sva, device = SVA(host.iommu), host.device()
    other = AddressSpace(host.memory, host.machine.allocator, "other")
    other.mmap(VA, THERE, 0x1000)
    assert [sva.bind(device, each).pasid for each in (space, other)] == [1, 2]
    assert (host.write(device, VA, 1), host.write(device, VA, 2)) == (HERE, THERE)


def test_after_exit_accesses_abort_silently_until_the_unbind(host, space):
    sva, device = SVA(host.iommu), host.device()
    handle = sva.bind(device, space)
    host.write(device, VA, 1)
    used = host.machine.allocator.used
    space.exit()
    assert host.write(device, VA, 1) is None and host.events() == []
    assert space.mappings == () and 1 in host.iommu.pasids
    sva.unbind(handle)
    assert 1 not in host.iommu.pasids and space.pasid is None
    assert host.machine.allocator.used < used
    assert host.write(device, VA, 1) is None and host.events() == ["C_BAD_CD"]


def test_exit_without_devices_frees_everything(host):
    used = host.machine.allocator.used
    space = AddressSpace(host.memory, host.machine.allocator)
    space.mmap(VA, HERE, 0x1000)
    space.exit()
    space.exit()
    assert host.machine.allocator.used == used


def test_a_process_that_has_gone(host, space, fails):
    space.exit()
    fails("ESRCH", SVA(host.iommu).bind, host.device(), space)
    fails("ESRCH", space.mmap, VA, HERE, 0x1000)


def test_errors_of_bind(host, space, fails):
    sva = SVA(host.iommu)
    fails("ENODEV", sva.bind, host.device(0x50, add=False), space)
    fails("ENOSPC", sva.bind, host.device(0x51, ssid_bits=0), space)
    assert space.pasid is None
    device = host.device()
    blocker = host.iommu.alloc_domain(device, DomainType.UNMANAGED)
    host.iommu.attach_device_pasid(blocker, device, 1, "handle")
    fails("EBUSY", sva.bind, device, space)
    host.iommu.detach_device_pasid(blocker, device, 1)
    host.iommu.attach_device_pasid(blocker, device, 1)
    fails("EBUSY", sva.bind, device, space)
    assert host.write(device, VA, 1) is None


def test_a_device_that_cannot_send_the_pasid(host, space, fails):
    sva, small = SVA(host.iommu), host.device(A, ssid_bits=1)
    other = AddressSpace(host.memory, host.machine.allocator)
    big = host.device(B)
    sva.bind(small, other)
    sva.bind(big, space)
    fails("EOVERFLOW", sva.bind, small, space)
    fails("ENOSPC", sva.bind, small, AddressSpace(host.memory, host.machine.allocator))


def test_a_refused_attach_keeps_nothing(host, space, fails):
    device = host.device()
    two = host.iommu.alloc_domain(device, DomainType.UNMANAGED, stage=2)
    host.iommu.attach_device(two, device)
    used = host.machine.allocator.used
    fails("EINVAL", SVA(host.iommu).bind, device, space)
    assert space.pasid is None and 1 not in host.iommu.pasids and space.domains == []
    assert host.machine.allocator.used == used


def test_each_smmu_has_a_domain_of_its_own(host, make_host, space):
    other = make_host(backend=ModelBackend(Params(), host.memory), ram=0x5000_0000)
    sva, first, second = SVA(host.iommu), host.device(), other.device()
    handles = [sva.bind(first, space), sva.bind(second, space)]
    assert len(space.domains) == 2
    assert host.write(first, VA, 1) == other.write(second, VA, 1) == HERE
    space.munmap(VA, 0x3000)
    assert host.write(first, VA, 1) is other.write(second, VA, 1) is None
    sva.unbind(handles[0])
    assert [domain.driver for domain in space.domains] == [other.driver]


def test_a_mapping_that_the_tables_refuse_is_not_there(host, space, fails, monkeypatch):
    fails("EINVAL", space.mmap, 1 << 48, HERE, 0x1000)
    fails("EFAULT", space.pages, 1 << 48, 8)
    used, alloc = host.machine.allocator.used, host.machine.allocator.alloc
    left = [1]

    def one_more(size):
        if not left:
            raise OutOfMemory("none")
        left.pop()
        return alloc(size)

    monkeypatch.setattr(host.machine.allocator, "alloc", one_more)
    fails("ENOMEM", space.mmap, 0x1000, HERE, 0x1000)
    monkeypatch.undo()
    fails("EFAULT", space.pages, 0x1000, 8)
    space.mmap(0x1000, HERE, 0x1000)
    space.munmap(0x1000, 0x1000)
    assert host.machine.allocator.used == used
