"""A host with devices behind its SMMU, a user process with guest memory, and a guest's stage 1."""

from smmu.formats.commands import COMMANDS, Opcode
from smmu.formats.core import unpack
from smmu.formats.stream_table import STE
from smmu.params import Params

from smmu_sim.backend import ModelBackend
from smmu_sim.driver import (
    ContextDescriptorTable, Master, MemoryWindow, PageAllocator, SMMUv3Driver, entries)
from smmu_sim.iommu import IOMMU, Device
from smmu_sim.irq import ITSDomain
from smmu_sim.machine import Machine
from smmu_sim.memory import Memory
from smmu_sim.pagetable import PageTable
from smmu_sim.process import Process
from smmu_sim.prot import Prot
from smmu_sim.vfio import (
    IOCTL, OFFSET_SHIFT, Container, EventFD, IRQIndex, SetIRQs, VFIODevice, VFIOGroup)
from smmu_sim.vfio.container import MAP_DMA, UNMAP_DMA
from smmu_sim.vfio.device_interrupts import IRQ_SET

GUEST_VA, GUEST_GPA = 0x7F00_0000_0000, 0x4000_0000
CD_GPA, ASID = 0x4000_1000, 0x21
COMMAND, BUS_MASTER = 7 << OFFSET_SHIFT | 4, 6
FAULTS = 9 << OFFSET_SHIFT

__all__ = ["Guest", "World", "head"]


def head(argsz, flags=0):
    """Return the first 8 bytes of an ioctl's structure."""
    return argsz.to_bytes(4, "little") + flags.to_bytes(4, "little")


class Guest:
    """Stage 1 of a guest in its own memory: one CD at CD_GPA."""

    def __init__(self, machine, **cd):
        window = MemoryWindow(machine.memory, GUEST_GPA, *machine.guest_ram())
        tables = PageAllocator(window, GUEST_GPA + 0x10_0000, 0x100_0000)
        self.memory = window
        self.stage1 = PageTable(window, tables, stage=1, ia_bits=48, oa_bits=48)
        cds = ContextDescriptorTable(window, _At(window, CD_GPA), 0)
        cds.write(entries.cd(self.stage1, asid=ASID, **cd), 0, lambda ssid, leaf: None)


class _At:
    """An allocator for one block at a fixed address."""

    def __init__(self, memory, addr):
        self.memory, self.addr = memory, addr

    def alloc(self, size):
        return self.addr


class World:
    """The host. Generation, type and devices are up to the test."""

    def __init__(self, generation="V15", params=None, *, stall=False):
        self.backend = ModelBackend(params or Params(), Memory(), stall=stall)
        self.backend.reset()
        self.machine = Machine(self.backend)
        self.memory = self.backend.memory
        self.driver = self._driver(self.backend)
        self.iommu = IOMMU()
        self.irqs = [ITSDomain(its, self.iommu) for its in self.machine.its]
        self.process = Process(self.memory)
        base, size = self.machine.guest_ram()
        self.process.mmap(GUEST_VA, base, size)
        self.container = Container(self.iommu, self.process, generation)
        self.container_fd = self.process.open(self.container)
        self.guest = Guest(self.machine, S=int(stall))
        self.groups, self.devices = {}, {}

    def _driver(self, backend):
        driver = SMMUv3Driver(backend, self.machine.allocator)
        driver.probe()
        driver.reset()
        return driver

    def second_smmu(self, params=None):
        """Return (backend, driver) of a further SMMU on the same memory."""
        backend = ModelBackend(params or Params(), self.memory)
        backend.reset()
        return backend, self._driver(backend)

    def add(self, sid=0x42, *, its=0, smmu=None, **options):
        """Add a device alone in its group; return its VFIO device, not open yet."""
        backend, driver = smmu or (self.backend, self.driver)
        name = f"device {sid:#x}"
        function = self.machine.new_function(sid, name)
        function.backend = backend
        irq_domain = None if its is None else self.irqs[its]
        options.setdefault("msi_domain", irq_domain)
        device = Device(name, Master(name, [sid]), driver, **options)
        group = self.iommu.add_device(device)
        vfio = VFIODevice(device, function, self.process, irq_domain=irq_domain)
        self.groups[name] = VFIOGroup(self.iommu, group, self.process, [vfio])
        self.devices[name] = vfio
        return vfio

    def open(self, vfio):
        """Open a device whose group is in the container, with bus mastering on."""
        fd = self.groups[vfio.name].ioctl(IOCTL.GROUP_GET_DEVICE_FD, vfio.name)
        vfio.write(COMMAND, bytes([BUS_MASTER]))
        return fd

    def join(self, *vfios, type=6):
        """Put groups into the container, set its type, open the devices."""
        for vfio in vfios:
            self.groups[vfio.name].ioctl(IOCTL.GROUP_SET_CONTAINER, self.container_fd)
        if self.container.type is None:
            self.container.ioctl(IOCTL.SET_IOMMU, type)
        for vfio in vfios:
            self.open(vfio)

    def map_guest_ram(self):
        self.map(GUEST_GPA, GUEST_VA, self.machine.guest_ram()[1])

    def map(self, iova, vaddr, size, flags=3, **more):
        return self.container.ioctl(IOCTL.IOMMU_MAP_DMA, bytearray(MAP_DMA.pack(
            **{"argsz": 32, "flags": flags, "vaddr": vaddr, "iova": iova, "size": size, **more})))

    def unmap(self, iova, size, **more):
        argument = bytearray(UNMAP_DMA.pack(
            **{"argsz": 24, "iova": iova, "size": size, **more}))
        self.container.ioctl(IOCTL.IOMMU_UNMAP_DMA, argument)
        return UNMAP_DMA.unpack(argument)["size"]

    def nested(self, name):
        """Return the number of an ioctl of the generation."""
        return self.container.generation.numbers[name]

    # --- guest's stage 1 -------------------------------------------------------------------------

    def table(self, config="translate", flags=None, **fields):
        """Set the guest's table by the ioctl of the generation."""
        generation = self.container.generation
        layout = generation.pasid_table
        values = {"version": 1, "format": 1, "base_ptr": CD_GPA}
        if generation.name == "v3":
            values |= {"bypass": config == "bypass", "abort": config == "abort"}
        else:
            values |= {"config": {"translate": 1, "bypass": 2, "abort": 3}.get(config, config),
                       "smmuv3_version": 1}
        if generation.argsz:
            values["argsz"] = layout.size
        name = "ATTACH_PASID_TABLE" if generation.name == "V8" else "SET_PASID_TABLE"
        if flags is None:
            flags = 0 if generation.name in ("v3", "V8") else 1
        body = layout.pack(**{**values, **fields})
        head = (8 + len(body)).to_bytes(4, "little") + flags.to_bytes(4, "little")
        return self.container.ioctl(self.nested(name), bytearray(head + body))

    def raw(self, name, *parts):
        """Perform an ioctl of the generation with the bytes of ``parts``."""
        return self.container.ioctl(self.nested(name), bytearray(b"".join(parts)))

    def unset_table(self):
        if "DETACH_PASID_TABLE" in self.container.generation.numbers:
            return self.container.ioctl(self.nested("DETACH_PASID_TABLE"))
        head = (40).to_bytes(4, "little") + (2).to_bytes(4, "little")
        return self.container.ioctl(self.nested("SET_PASID_TABLE"), bytearray(head + bytes(32)))

    def bind(self, iova, gpa, size=0x1000, flags=None, **more):
        generation = self.container.generation
        name = "BIND_MSI" if "BIND_MSI" in generation.numbers else "SET_MSI_BINDING"
        if flags is None:
            flags = 1 if name == "SET_MSI_BINDING" else 0
        body = generation.binding.pack(**{
            "argsz": 32, "flags": flags, "iova": iova, "gpa": gpa, "size": size, **more})
        return self.container.ioctl(self.nested(name), bytearray(body))

    def unbind(self, iova):
        if "UNBIND_MSI" in self.container.generation.numbers:
            body = self.container.generation.binding.pack(argsz=16, iova=iova)[:16]
            return self.container.ioctl(self.nested("UNBIND_MSI"), bytearray(body))
        return self.bind(iova, 0, flags=2)

    def map_doorbell(self, iova, gpa):
        """The guest maps its doorbell in its own stage 1."""
        self.guest.stage1.map(iova, gpa, 0x1000, Prot(memory="device"))

    def invalidate(self, ioctl_flags=0, ioctl_argsz=None, **fields):
        """Invalidate by the ioctl of the generation; ``fields`` are those of the structure."""
        generation = self.container.generation
        layout = generation.invalidate
        values = {"version": 1}
        if generation.argsz:
            values["argsz"] = layout.size
        body = layout.pack(**{**values, **fields})
        argsz = 8 + len(body) if ioctl_argsz is None else ioctl_argsz
        head = argsz.to_bytes(4, "little") + ioctl_flags.to_bytes(4, "little")
        return self.container.ioctl(self.nested("CACHE_INVALIDATE"), bytearray(head + body))

    def by_asid(self):
        """Return the fields of a request for one ASID."""
        if self.container.generation.name == "v3":
            return {"type": 1, "granularity": 1, "arch_id": ASID}
        return {"cache": 1, "granularity": 1, "flags": 2, "archid": ASID}

    # --- interrupts ------------------------------------------------------------------------------

    def eventfds(self, count):
        """Return ([descriptor], [EventFD])."""
        made = [EventFD() for _ in range(count)]
        return [self.process.open(each) for each in made], made

    def set_irqs(self, vfio, fds, index=IRQIndex.MSIX, start=0):
        data = b"".join(fd.to_bytes(4, "little", signed=True) for fd in fds)
        return vfio.ioctl(IOCTL.DEVICE_SET_IRQS, bytearray(IRQ_SET.pack(
            argsz=20 + len(data), flags=SetIRQs.DATA_EVENTFD | SetIRQs.ACTION_TRIGGER,
            index=index, start=start, count=len(fds)) + data))

    def interrupts(self, vfio, count):
        """Enable vectors of a device; return their :class:`EventFD`."""
        fds, eventfds = self.eventfds(count)
        self.set_irqs(vfio, fds)
        return eventfds

    def service(self):
        for irq in self.irqs:
            irq.service()

    def fire(self, vfio, vector=0):
        """Let a device raise an interrupt; return how the write ended."""
        result = vfio.function.trigger(vector)
        self.service()
        return result

    # --- what the SMMU was told, and what it tells -----------------------------------------------

    def ste(self, sid=0x42, driver=None):
        """Return the fields of an STE."""
        return unpack(STE, (driver or self.driver).stream_table.read(sid))

    def commands(self, driver=None):
        """Return [(name, fields)] of the commands since the last call."""
        return [(Opcode(raw & 0xFF).name, unpack(COMMANDS[Opcode(raw & 0xFF)], raw))
                for raw in (driver or self.driver).take_commands()]

    def events(self):
        """Let the driver look at its queue; return [(event, stage)] of what the host logs."""
        self.driver.service()
        return [(event.type, event.stage) for event in self.driver.event_log]

    def records(self, vfio, count):
        """Return records from the fault ring of a device."""
        size = self.container.generation.fault_entry
        data = vfio.read(FAULTS + 4096, size * count)
        return [data[n * size : (n + 1) * size] for n in range(count)]

    @staticmethod
    def head(vfio):
        """Return the kernel's index of the fault ring."""
        return int.from_bytes(vfio.read(FAULTS + 16, 4), "little")
