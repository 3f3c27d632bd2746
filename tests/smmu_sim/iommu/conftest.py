"""A host for the tests of the IOMMU core: the machine on the model, its driver, devices."""

import pytest

from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.driver import (
    ContextDescriptorTable, Master, MemoryWindow, PageAllocator, PageTable, PasidTableConfig,
    SMMUv3Driver, entries)
from smmu_sim.iommu import IOMMU, Device, DomainType
from smmu_sim.irq import ITSDomain
from smmu_sim.linux_error import LinuxError
from smmu_sim.machine import Machine
from smmu_sim.memory import Memory
from smmu_sim.prot import Prot

SID_A, SID_B = Machine.DEVICE_A, Machine.DEVICE_B


class Host:
    """A machine with its kernel: driver, IOMMU core, ITS domains, and functions by device."""

    def __init__(self, *, backend=None, params=None, ram=None, **options):
        self.backend = backend or ModelBackend(params or Params(), Memory())
        self.machine = Machine(self.backend)
        self.memory = self.machine.memory
        if ram is not None:  # a second host over one memory: tables of its own
            self.machine.allocator = PageAllocator(self.memory, ram, 1 << 26)
        self.driver = SMMUv3Driver(self.backend, self.machine.allocator)
        self.driver.reset()
        self.iommu = IOMMU(**options)
        self.irqs = [ITSDomain(its, self.iommu) for its in self.machine.its]
        self.functions = {}

    def device(self, sid=SID_A, *, its=0, ssid_bits=8, add=True, group=None, can_stall=False,
               ats=False, **options):
        """Return a new device; it is added to the core unless ``add`` is False."""
        master = Master(f"device {sid:#x}", [sid], ssid_bits=ssid_bits, can_stall=can_stall,
                        ats=ats)
        options.setdefault("max_pasids", 1 << ssid_bits if ssid_bits else 0)
        options.setdefault("msi_domain", self.irqs[its])
        device = Device(master.name, master, self.driver, **options)
        self.functions[device] = self.machine.new_function(sid)
        if add:
            self.iommu.add_device(device, group)
        return device

    def irq(self, device, count=1, its=0):
        """Allocate interrupts of a device, as its driver's request_irq does."""
        return self.irqs[its].alloc(device, device.master.sids[0], count, minimum=8)

    def msi(self, device, desc, its=0):
        """Send a device's message; return whether its interrupt arrived."""
        self.functions[device].write_message(*desc.message)
        return self.irqs[its].controller.take_pending({desc.hwirq}) != []

    def write(self, device, iova, pasid=None, data=b"12345678"):
        """Let a device write; return where the data went, or None."""
        result = self.functions[device].write(iova, data, pasid)
        return result.pa if result.ok else None

    def read(self, device, iova, pasid=None, length=8):
        """Let a device read; return the data, or None."""
        result = self.functions[device].read(iova, length, pasid)
        return result.data if result.ok else None

    def events(self):
        """Return the names of events that nobody took since the last call."""
        return [event.name for event in self.driver.service()]


class NestingGuest:
    """A guest's stage 1 over a nesting domain: doorbells mapped, RAM behind it."""

    def __init__(self, host, device, generation, *, doorbells=((0xFFFF_0000, 0x0809_0000),),
                 cookie=True):
        self.host, self.device = host, device
        self.domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nesting=True,
                                              generation=generation)
        if cookie:
            host.iommu.get_msi_cookie(self.domain, 0x0800_0000)
        base, size = host.machine.guest_ram()
        ipa = host.machine.GUEST_RAM_IPA
        self.domain.map(ipa, base, size)
        window = MemoryWindow(host.memory, ipa, base, size)
        allocator = PageAllocator(window, ipa, 1 << 26)
        self.stage1 = PageTable(window, allocator, stage=1, ia_bits=48)
        for giova, gdb in doorbells:
            self.stage1.map(giova, gdb, 0x1000, Prot(memory="device"))
        self.cds = ContextDescriptorTable(window, allocator)
        self.cds.write(entries.cd(self.stage1, asid=0x21))
        host.iommu.attach_device(self.domain, device)

    def enable(self):
        self.domain.hw.attach_pasid_table(PasidTableConfig(base_ptr=self.cds.base))

    def bind(self, iova=0xFFFF_0000, gpa=0x0809_0000, size=0x1000, device=None):
        self.host.iommu.bind_guest_msi(self.domain, device or self.device, (iova, gpa, size))


@pytest.fixture
def make_guest():
    return NestingGuest


@pytest.fixture(params=["G1", "V8", "V15"])
def guest(request, host):
    return NestingGuest(host, host.device(), request.param)


@pytest.fixture
def make_host():
    return Host


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def fails():
    """``fails("EINVAL", call, *args)``: the call raises this error, which is returned."""
    def check(name, call, *args, **options):
        with pytest.raises(LinuxError) as caught:
            call(*args, **options)
        assert caught.value.name == name, caught.value
        return caught.value

    return check
