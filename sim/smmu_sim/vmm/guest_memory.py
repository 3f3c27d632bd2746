"""The guest's physical address space: RAM, and the registers of its interrupt controller."""

from smmu_sim.driver import MemoryWindow
from smmu_sim.memory import BusAbort, Memory

__all__ = ["GuestMemory"]


class GuestMemory(MemoryWindow):
    """Intermediate physical addresses as the guest's processors, and its virtual SMMU, see them.

    Parameters
    ----------
    memory
        The host's memory.
    base, target, size
        The RAM: where the guest sees it, where it lies in ``memory``, how large it is.
    mmio
        ``(base, size)`` of each range of emulated registers. They are a memory of their own,
        ``self.mmio``, which interrupt controllers observe.

    Accesses elsewhere raise :exc:`BusAbort`, as does what the host's memory answers so.
    """

    def __init__(self, memory, base, target, size, mmio=()):
        super().__init__(memory, base, target, size)
        self.mmio = Memory(windows=list(mmio))

    def is_ram(self, addr, size=1):
        """Whether all of a range is RAM."""
        return self.base <= addr and addr + size <= self.base + self.size

    def _find(self, addr, size, kind):
        """Return the memory that answers, and the address there."""
        if self.is_ram(addr, size):
            return self.memory, addr - self.base + self.target
        if any(start <= addr and addr + size <= stop for start, stop in self.mmio.windows):
            return self.mmio, addr
        raise BusAbort(addr, kind)

    def to_target(self, addr, size=1):
        """Return the address in the host's memory. Raises :exc:`BusAbort` outside of the RAM."""
        if not self.is_ram(addr, size):
            raise BusAbort(addr, "read")
        return addr - self.base + self.target

    def read(self, addr, size):
        memory, target = self._find(addr, size, "read")
        return memory.read(target, size)

    def write(self, addr, data, strobes=None, device_id=None):
        """Store ``data``. ``device_id`` is what a virtual interrupt controller sees of the writer.

        In RAM it is a write of the host's software.
        """
        memory, target = self._find(addr, len(data), "write")
        memory.write(target, data, strobes, device_id if memory is self.mmio else None)

    # What an interrupt controller needs of its bus.

    def observe(self, where, call, kind="write"):
        """Let ``call(addr, data, device_id)`` see accesses to emulated registers."""
        return self.mmio.observe(where, call, kind)

    def peek(self, addr, size):
        """Read emulated registers without a bus access."""
        return self.mmio.peek(addr, size)

    def poke(self, addr, data):
        """Change emulated registers without a bus access."""
        self.mmio.poke(addr, data)

    def read32(self, addr):
        return int.from_bytes(self.read(addr, 4), "little")

    def write32(self, addr, value):
        self.write(addr, value.to_bytes(4, "little"))

    def read64(self, addr):
        return int.from_bytes(self.read(addr, 8), "little")

    def write64(self, addr, value):
        self.write(addr, value.to_bytes(8, "little"))
