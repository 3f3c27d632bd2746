"""The guest's memory, mapped from QEMU's file, as the memory behind the SMMU and its devices."""

import mmap

from smmu_sim.live.layout import GICV2M_SETSPI
from smmu_sim.memory import Memory

__all__ = ["SharedMemory"]


class SharedMemory(Memory):
    """A :class:`smmu_sim.memory.Memory` over the file that holds the guest's RAM.

    What is written here the guest sees at once, and the other way round. Beside RAM there is one
    register: MSI_SETSPI_NS of the GICv2m. Writes of messages to it are kept in ``messages`` as
    (address, data, DeviceID or None for the SMMU itself) until somebody forwards them to QEMU.

    Attributes
    ----------
    ram
        The mapping; offset 0 is ``base``.
    """

    def __init__(self, path, layout):
        super().__init__(layout.windows)
        with open(path, "r+b") as file:
            self.ram = mmap.mmap(file.fileno(), layout.ram_bytes)
        self.base, self.bytes = layout.ram_base, layout.ram_bytes
        self.messages = []
        self.observe(range(GICV2M_SETSPI, GICV2M_SETSPI + 4), self._message)

    def close(self):
        """Give the mapping back."""
        self.ram.close()

    def clear(self):
        raise ValueError("the guest's memory is the guest's: it cannot be cleared")

    def peek(self, addr, size):
        offset = addr - self.base
        if 0 <= offset and offset + size <= self.bytes:
            return self.ram[offset:offset + size]
        return bytes(size)

    def poke(self, addr, data):
        offset = addr - self.base
        if 0 <= offset and offset + len(data) <= self.bytes:
            self.ram[offset:offset + len(data)] = bytes(data)

    def _message(self, addr, data, device_id):
        self.messages.append((addr, int.from_bytes(data, "little"), device_id))
