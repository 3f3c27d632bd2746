"""One physical machine: an SMMU with memory, interrupt controllers and devices."""

from smmu_sim.devices.pci_function import PCIFunction
from smmu_sim.driver.memory import PageAllocator
from smmu_sim.irq import ITS, MBI, GICv2m, ITSDriver, LPIPool

__all__ = ["Machine"]

_MIB = 1 << 20


class Machine:
    """The machine of the scenarios: memory map, ITSs, GICv2m, devices by StreamID.

    Everywhere else on its bus is nothing: accesses abort. One ITS serves each device; DeviceIDs
    are StreamIDs.

    Parameters
    ----------
    backend
        The SMMU, reset. Its memory gets the windows of this machine.
    guests
        How many areas of 512 MiB there are for guests.
    its_drivers
        Whether the host's kernel drives the ITSs; otherwise they are as after reset.
    smmu_device_id
        The DeviceID of the SMMU's own MSIs; None: an ITS ignores them.
    cpus
        Number of redistributors.

    Attributes
    ----------
    memory, allocator
        The memory, and what the host's kernel allocates of its RAM.
    its, gicv2m, distributor
        ``its`` is a list of two; the others an :class:`GICv2m` and an :class:`MBI`.
    functions
        ``{StreamID: device}``.
    """

    HOST_RAM = (0x4000_0000, 0x4000_0000)      # base, bytes
    GUEST_RAM = (0x8_8000_0000, 0x2000_0000)   # of the first guest, the others follow
    GUEST_RAM_IPA = 0x4000_0000                # where a guest sees it
    ITS_BASES = (0x2020_0000, 0x2030_0000)
    ITS_BYTES = 0x2_0000
    DISTRIBUTOR_BASE, DISTRIBUTOR_BYTES = 0x2000_0000, 0x1_0000
    GICV2M_BASE, GICV2M_BYTES = 0x2040_0000, 0x1_0000
    GICV2M_SPIS, MBI_SPIS = (64, 64), (128, 64)  # first, count
    GUEST_ITS_BASE = 0x0808_0000               # of a guest's virtual ITS, an IPA
    MSI_WINDOW = (0x0800_0000, _MIB)           # Linux's MSI_IOVA_BASE and MSI_IOVA_LENGTH
    DEVICE_A, DEVICE_B = 0x42, 0x43

    def __init__(self, backend, *, guests=2, its_drivers=True, smmu_device_id=None, cpus=1):
        self.backend, self.memory = backend, backend.memory
        self.guests, self.functions = guests, {}
        self.memory.limit_to(self._windows())
        self.allocator = PageAllocator(self.memory, *self.HOST_RAM)
        self.its = [ITS(self.memory, base, own_device_id=smmu_device_id, name=f"ITS{n}")
                    for n, base in enumerate(self.ITS_BASES)]
        self.gicv2m = GICv2m(self.memory, self.GICV2M_BASE, *self.GICV2M_SPIS)
        self.distributor = MBI(self.memory, self.DISTRIBUTOR_BASE, *self.MBI_SPIS)
        self.lpis = LPIPool()
        if its_drivers:
            for its in self.its:
                ITSDriver(its, self.allocator, lpis=self.lpis, cpus=cpus)

    def _windows(self):
        yield self.HOST_RAM
        yield self.GUEST_RAM[0], self.GUEST_RAM[1] * self.guests
        for base in self.ITS_BASES:
            yield base, self.ITS_BYTES
        yield self.DISTRIBUTOR_BASE, self.DISTRIBUTOR_BYTES
        yield self.GICV2M_BASE, self.GICV2M_BYTES

    def guest_ram(self, number=0):
        """Return (physical base, bytes) of what is there for guest ``number``."""
        if not 0 <= number < self.guests:
            raise ValueError(f"guest {number}: there is room for {self.guests}")
        base, size = self.GUEST_RAM
        return base + number * size, size

    # Devices

    def add(self, device):
        """Register a device by its StreamID, and return it."""
        if device.sid in self.functions:
            raise ValueError(f"StreamID {device.sid:#x} is that of {self.functions[device.sid]}")
        self.functions[device.sid] = device
        return device

    def new_function(self, sid, name=None, **options):
        """Add a :class:`PCIFunction` and return it."""
        return self.add(PCIFunction(self.backend, sid, name=name or f"device {sid:#x}", **options))

    def remove(self, device):
        """Take a device out of the machine."""
        if self.functions.get(device.sid) is not device:
            raise ValueError(f"{device} is not in this machine")
        del self.functions[device.sid]
