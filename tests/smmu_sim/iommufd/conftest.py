"""A host with an iommufd, devices behind its SMMU that are bound to it, and a guest's stage 1."""

from types import SimpleNamespace

import pytest
from smmu.params import Params

from smmu_sim.backend import ModelBackend
from smmu_sim.driver import (
    ContextDescriptorTable, Master, MemoryWindow, PageAllocator, SMMUv3Driver, entries)
from smmu_sim.iommu import IOMMU, Device
from smmu_sim.iommufd import IOMMUFD, Process, VFIODeviceFile
from smmu_sim.iommufd.uapi import HWPT_ARM_SMMUV3, LAYOUTS, NUMBERS
from smmu_sim.iommufd.vfio_uapi import ATTACH_PT, BIND_IOMMUFD, DETACH_PT
from smmu_sim.iommufd.vfio_uapi import NUMBERS as VFIO
from smmu_sim.irq import GICv2mDomain, ITSDomain
from smmu_sim.linux_error import LinuxError
from smmu_sim.machine import Machine
from smmu_sim.memory import Memory
from smmu_sim.pagetable import PageTable
from smmu_sim.prot import Prot

GUEST_VA, GPA, PAGE = 0x7F00_0000_0000, 0x4000_0000, 0x1000
SCRATCH, SCRATCH_BYTES = 0x1000_0000, 0x1_0000   # where the tests keep arrays for ioctls
CD_GPA, ASID, VSID = 0x4000_1000, 0x21, 0x10
FIXED, RWF = 1, 7      # flags of MAP; all of them
MSI_WINDOW = 0x0800_0000
NEST_PARENT = 1


class CDAllocator:
    """Gives the one block of a guest's CD."""

    def alloc(self, size):
        return CD_GPA


class BoundDevice:
    """A device: as a PCI function, in the core, and as an open VFIO file."""

    def __init__(self, world, name, function, device, irq_domain):
        self.world, self.name, self.function, self.device = world, name, function, device
        self.irq_domain, self.vectors, self.id = irq_domain, [], None
        self.file = VFIODeviceFile(device, world.process)

    @property
    def sid(self):
        return self.function.sid

    @property
    def idev(self):
        return self.file.idev

    def bind(self, fd=None):
        data = BIND_IOMMUFD.pack(iommufd=self.world.iommufd.fd if fd is None else fd)
        self.file.ioctl(VFIO["VFIO_DEVICE_BIND_IOMMUFD"], data)
        self.id = BIND_IOMMUFD.unpack(data).out_devid
        return self

    def attach(self, pt_id, pasid=None):
        data = ATTACH_PT.pack(pt_id=pt_id, flags=int(pasid is not None), pasid=pasid or 0)
        self.file.ioctl(VFIO["VFIO_DEVICE_ATTACH_IOMMUFD_PT"], data)
        return ATTACH_PT.unpack(data).pt_id

    def detach(self, pasid=None):
        data = DETACH_PT.pack(flags=int(pasid is not None), pasid=pasid or 0)
        self.file.ioctl(VFIO["VFIO_DEVICE_DETACH_IOMMUFD_PT"], data)

    def request_irqs(self, count=1, irq_domain=None):
        """Allocate vectors and write their messages into the device's table."""
        domain = irq_domain or self.irq_domain
        descs = domain.alloc(self.device, self.sid, count)
        for desc in descs:
            self.function.set_message(len(self.vectors), desc.message)
            self.vectors.append(desc)
        return descs

    def fire(self, vector=0):
        """Raise an interrupt; return whether it arrived."""
        self.function.trigger(vector)
        return self.vectors[vector].hwirq in self.irq_domain.controller.take_pending()


class World:
    """The host."""

    def __init__(self, *, params=None, stall=False, memlock=None, capabilities=(), **options):
        self.backend = ModelBackend(params or Params(), Memory(), stall=stall)
        self.machine = Machine(self.backend)
        self.memory = self.backend.memory
        self.driver = self.new_driver(self.backend)
        self.iommu = IOMMU()
        self.irqs = [ITSDomain(its, self.iommu) for its in self.machine.its]
        self.gicv2m = GICv2mDomain(self.machine.gicv2m, self.iommu)
        self.process = self.new_process(memlock=memlock, capabilities=capabilities)
        self.iommufd = IOMMUFD(self.iommu, self.process, **options)
        self.devices = {}

    def new_driver(self, backend):
        backend.reset()
        driver = SMMUv3Driver(backend, self.machine.allocator)
        driver.reset()
        return driver

    def new_process(self, guest=0, **options):
        process = Process(self.memory, allocator=self.machine.allocator, **options)
        base, size = self.machine.guest_ram(guest)
        process.mmap(GUEST_VA, base, size)
        process.map_anonymous(SCRATCH, SCRATCH_BYTES)
        return process

    def second_smmu(self):
        """Return (backend, driver) of a further SMMU on the same memory."""
        return (backend := ModelBackend(Params(), self.memory)), self.new_driver(backend)

    def add(self, sid=0x42, *, its=0, bind=True, group=None, smmu=None, master=(), **options):
        """Add a device, alone in its group unless one is given, and bind it."""
        backend, driver = smmu or (self.backend, self.driver)
        name = f"device {sid:#x}"
        function = self.machine.new_function(sid, name)
        function.backend = backend
        if options.get("max_pasids"):
            master = {"ssid_bits": 8, **dict(master)}
        device = Device(name, Master(name, [sid], **dict(master)), driver, **options)
        self.iommu.add_device(device, group)
        bound = BoundDevice(self, name, function, device, self.irqs[its])
        self.devices[sid] = bound
        return bound.bind() if bind else bound

    # --- ioctls ----------------------------------------------------------------------------------

    def call(self, ioctl, process=None, **fields):
        """Carry out an ioctl by name; return the struct as it is afterwards."""
        layout = LAYOUTS[ioctl]
        data = layout.pack(**fields)
        self.last = data
        self.iommufd.ioctl(NUMBERS[ioctl], data, process)
        return layout.unpack(data)

    def ioas(self):
        return self.call("IOMMU_IOAS_ALLOC").out_ioas_id

    def destroy(self, number):
        self.call("IOMMU_DESTROY", id=number)

    def map(self, ioas, iova, length=PAGE, va=GUEST_VA, flags=RWF):
        return self.call("IOMMU_IOAS_MAP", ioas_id=ioas, iova=iova or 0, length=length, user_va=va,
                         flags=flags if iova is not None else flags & ~FIXED).iova

    def unmap(self, ioas, iova, length):
        return self.call("IOMMU_IOAS_UNMAP", ioas_id=ioas, iova=iova, length=length).length

    def copy(self, source, src_iova, target, dst_iova, length=PAGE, flags=RWF):
        return self.call("IOMMU_IOAS_COPY", src_ioas_id=source, src_iova=src_iova, length=length,
                         dst_ioas_id=target, dst_iova=dst_iova or 0,
                         flags=flags if dst_iova is not None else flags & ~FIXED).dst_iova

    def allow(self, ioas, ranges):
        data = b"".join(start.to_bytes(8, "little") + last.to_bytes(8, "little")
                        for start, last in ranges)
        self.process.write(SCRATCH, data)
        self.call("IOMMU_IOAS_ALLOW_IOVAS", ioas_id=ioas, num_iovas=len(ranges),
                  allowed_iovas=SCRATCH)

    def ranges(self, ioas, room=64):
        """Return ([(start, last)], alignment)."""
        result = self.call("IOMMU_IOAS_IOVA_RANGES", ioas_id=ioas, num_iovas=room,
                           allowed_iovas=SCRATCH)
        return self.stored_ranges(result.num_iovas), result.out_iova_alignment

    def stored_ranges(self, count):
        words = [int.from_bytes(self.process.read(SCRATCH + 8 * n, 8), "little")
                 for n in range(2 * count)]
        return list(zip(words[::2], words[1::2]))

    def option(self, option_id, op, val64=0, object_id=0):
        return self.call("IOMMU_OPTION", option_id=option_id, op=op, val64=val64,
                         object_id=object_id).val64

    def hwpt(self, device, pt_id, flags=0, fault_id=0):
        return self.call("IOMMU_HWPT_ALLOC", dev_id=device.id, pt_id=pt_id, flags=flags,
                         fault_id=fault_id).out_hwpt_id

    def nested(self, device, viommu, ste=None, **fields):
        """Make a nested HWPT; by default of stage 1 with the CD at CD_GPA."""
        self.process.write(SCRATCH, HWPT_ARM_SMMUV3.pack(ste=ste or vste()))
        return self.call("IOMMU_HWPT_ALLOC", **{
            "dev_id": device.id, "pt_id": viommu, "data_type": 2, "data_len": 16,
            "data_uptr": SCRATCH, **fields}).out_hwpt_id

    def viommu(self, device, parent, type=1):
        return self.call("IOMMU_VIOMMU_ALLOC", dev_id=device.id, hwpt_id=parent,
                         type=type).out_viommu_id

    def vdevice(self, device, viommu, vsid=VSID):
        return self.call("IOMMU_VDEVICE_ALLOC", viommu_id=viommu, dev_id=device.id,
                         virt_id=vsid).out_vdevice_id

    def veventq(self, viommu, depth=8, type=1):
        """Return (id, file)."""
        result = self.call("IOMMU_VEVENTQ_ALLOC", viommu_id=viommu, veventq_depth=depth, type=type)
        return result.out_veventq_id, self.process.file(result.out_veventq_fd)

    def fault_queue(self):
        """Return (id, file)."""
        result = self.call("IOMMU_FAULT_QUEUE_ALLOC")
        return result.out_fault_id, self.process.file(result.out_fault_fd)

    def invalidate(self, viommu, commands, **fields):
        """Pass raw commands; return the number done."""
        self.process.write(SCRATCH, b"".join(c.to_bytes(16, "little") for c in commands))
        return self.call("IOMMU_HWPT_INVALIDATE", **{
            "hwpt_id": viommu, "data_uptr": SCRATCH, "data_type": 1, "entry_len": 16,
            "entry_num": len(commands), **fields}).entry_num

    def entry_num(self):
        """The number done of an invalidation that was refused."""
        return LAYOUTS["IOMMU_HWPT_INVALIDATE"].unpack(self.last).entry_num

    # --- nesting ---------------------------------------------------------------------------------

    def nest(self, device, guest=0, *, vsid=VSID, ste=None, queue=None, **fields):
        """Guest memory, parent, VIOMMU, VDEVICE, nested HWPT: all set up and attached."""
        nest = SimpleNamespace()
        nest.ioas = self.ioas()
        self.map(nest.ioas, GPA, self.machine.guest_ram(guest)[1])
        nest.parent = self.hwpt(device, nest.ioas, NEST_PARENT)
        device.attach(nest.parent)
        nest.viommu = self.viommu(device, nest.parent)
        nest.vdevice = self.vdevice(device, nest.viommu, vsid)
        if queue:
            nest.queue_id, nest.queue = self.veventq(nest.viommu, queue)
        nest.hwpt = self.nested(device, nest.viommu, ste, **fields)
        device.attach(nest.hwpt)
        return nest

    def guest(self, guest=0, **cd):
        return Guest(self.machine, guest, **cd)

    def object(self, number):
        return self.iommufd.objects.get(number)

    def physical(self, device, iova, pasid=None):
        """Return where a read of a device arrives, or None."""
        return device.function.read(iova, 4, pasid=pasid).pa

    def used(self):
        """Everything that could leak."""
        return (self.machine.allocator.used, set(self.driver.asids.used),
                set(self.driver.vmids.used), len(self.iommufd.objects), dict(self.process.pinned),
                self.process.locked_pages, self.process.user.locked_pages)


class Guest:
    """Stage 1 of a guest in its own memory. The CDs are at CD_GPA; SSIDs have the same one.

    ``cd`` are fields of the CD.
    """

    def __init__(self, machine, number=0, *, ssid_bits=0, **cd):
        self.window = MemoryWindow(machine.memory, GPA, *machine.guest_ram(number))
        tables = PageAllocator(self.window, GPA + 0x10_0000, 0x100_0000)
        self.stage1 = PageTable(self.window, tables, stage=1, ia_bits=48, oa_bits=48)
        contexts = ContextDescriptorTable(self.window, CDAllocator(), ssid_bits)
        for ssid in range(1 << ssid_bits):
            contexts.write(entries.cd(self.stage1, asid=ASID, **cd), ssid)

    def map_window(self, start=MSI_WINDOW, size=0x10_0000):
        """What the guest does for an RMR: identity for the window of doorbells."""
        self.stage1.map(start, start, size, Prot(memory="device"))


def vste(config=5, pointer=CD_GPA, **bits):
    """Return the two words of a guest's STE."""
    return (1 | config << 1 | (pointer if config == 5 else 0) | bits.get("word0", 0),
            bits.get("word1", 0))


@pytest.fixture
def make():
    """Return :class:`World`."""
    return World


@pytest.fixture
def world():
    return World()


@pytest.fixture
def refused():
    """Return a function that checks that a call is refused with an errno."""
    def check(name, call, *arguments, **options):
        with pytest.raises(LinuxError) as caught:
            call(*arguments, **options)
        assert caught.value.name == name, f"{caught.value}, not {name}"
        return caught.value
    return check
