"""The machine of the scenarios, with the host's kernel on it."""

from smmu_sim.driver import Master, SMMUv3Driver
from smmu_sim.iommu import IOMMU, Device
from smmu_sim.irq import GICv2mDomain, ITSDomain
from smmu_sim.machine import Machine

__all__ = ["Host"]

FIRST_VMID = 7  # of the common numbers: that of the first guest


class Host:
    """A machine under one kernel: SMMU in service, IOMMU core, interrupt domains.

    Everything up to there is told in one line.

    Parameters
    ----------
    world
        The :class:`World`.
    guests
        Areas of memory for guests.
    iommu, driver
        Options of :class:`IOMMU` and of :class:`SMMUv3Driver`.

    Attributes
    ----------
    machine, driver, iommu
        :class:`Machine`, :class:`SMMUv3Driver`, :class:`IOMMU`.
    irqs
        An :class:`ITSDomain` for each ITS.
    gicv2m
        The :class:`GICv2mDomain`.
    """

    def __init__(self, world, *, guests=2, iommu=None, driver=None):
        self.world = world
        self.machine = Machine(world.backend, guests=guests)
        self.driver = SMMUv3Driver(world.backend, self.machine.allocator, **(driver or {}))
        with world.quietly("the host's driver resets the SMMU (see the scenario smmu-reset)"):
            self.driver.probe()
            # Six other guests have been there first, so that the first of ours has VMID 7.
            for vmid in range(1, FIRST_VMID):
                self.driver.vmids.alloc(vmid)
            self.driver.reset()
        self.iommu = IOMMU(**(iommu or {}))
        self.irqs = [ITSDomain(its, self.iommu) for its in self.machine.its]
        self.gicv2m = GICv2mDomain(self.machine.gicv2m, self.iommu)
        for its in self.machine.its:
            its.listen(lambda arrival, its=its: self._arrived(its, arrival))
        world.commands(), world.writes()

    def _arrived(self, its, arrival):
        what = f"LPI {arrival.lpi} is pending" if arrival.lpi else f"ignored, {arrival.why}"
        who = "nobody" if arrival.device_id is None else f"DeviceID {arrival.device_id:#x}"
        self.world.backend.tell("interrupt", f"{its.name}: EventID {arrival.event_id} of {who}: "
                                             f"{what}")

    def add(self, sid=0x42, name=None, *, its=0, vectors=64, ssid_bits=0, can_stall=False,
            resv_regions=(), isolated_msi=True):
        """Plug in a device and probe it; return (its function, the core's :class:`Device`)."""
        name = name or f"device {sid:#x}"
        function = self.machine.new_function(sid, name, vectors=vectors)
        irqs = self.irqs[its]
        device = Device(
            name, Master(name, [sid], ssid_bits=ssid_bits, can_stall=can_stall, pci=not can_stall),
            self.driver, resv_regions=resv_regions, msi_domain=irqs, rid=sid & 0xFFFF,
            isolated_msi=isolated_msi, max_pasids=1 << ssid_bits if ssid_bits else 0)
        with self.world.quietly(f"{name} is probed: its own group, a default domain for DMA"):
            self.iommu.add_device(device)
        self.world.commands(), self.world.writes()
        return function, device

    def alloc_irqs(self, device, count, *, its=0, room=1):
        """Allocate vectors of a device at an ITS; return their descriptors.

        ``room`` is for how many there shall be space, if it is the device's first time.
        """
        return self.irqs[its].alloc(device, device.master.sids[0], count, minimum=room)

    def program(self, function, desc):
        """Put a vector's message into the MSI-X table of its function."""
        function.set_message(desc.index, desc.message)
        self.world.note(f"{function.name} gets the message {desc.message.addr:#x} / "
                        f"{desc.message.data} in vector {desc.index}")

    def events(self):
        """Let the SMMU finish, and return the events that nobody took."""
        self.world.backend.idle()
        return self.driver.service()

    def ste(self, device):
        """Return the STE of a device's StreamID."""
        return self.driver.stream_table.read(device.master.sids[0])
