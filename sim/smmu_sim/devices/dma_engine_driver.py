"""Software of a DMA engine."""

from typing import NamedTuple

from smmu_sim.devices.dma_engine import (
    COMPLETION, DESCRIPTOR, DMAEngine, DMAError, ENABLE, INTERRUPT, PASID_VALID, RESET)
from smmu_sim.devices.pci_function import PCIFunction

__all__ = ["Completion", "DMAEngineDriver"]


class Completion(NamedTuple):
    """How a job ended."""

    cookie: int
    status: DMAError
    copied: int  # bytes


class DMAEngineDriver:
    """Give jobs to a :class:`DMAEngine` and collect how they ended.

    Parameters
    ----------
    function
        Has ``bar_read`` and ``bar_write``: the :class:`PCIFunction`, or what a VMM shows of it.
    memory
        Memory as this software sees it: ``read(addr, size)``, ``write(addr, data)``.
    dma_alloc
        ``dma_alloc(size)`` returns (address for this software, address for the device) of zeroed
        memory, as ``dma_alloc_coherent`` does.
    size
        Descriptors in the ring; one of them always stays free.
    vector
        MSI-X vector of completions and errors.
    """

    def __init__(self, function, memory, dma_alloc, *, size=64, vector=0):
        self.function, self.memory, self.size, self.vector = function, memory, size, vector
        self._ring = dma_alloc(size * DESCRIPTOR.size)
        self._records = dma_alloc(size * COMPLETION.size)
        self.start()

    def start(self):
        """Reset the engine and give it the rings."""
        self._tail = self._next = 0
        self._set("CONTROL", RESET)
        self.memory.write(self._records[0], bytes(self.size * COMPLETION.size))
        self._set("RING_BASE", self._ring[1])
        self._set("RING_SIZE", self.size)
        self._set("COMPLETION_BASE", self._records[1])
        self._set("VECTOR", self.vector)
        self._set("CONTROL", ENABLE)

    def _set(self, name, value):
        register = DMAEngine.REGISTERS[name]
        self.function.bar_write(PCIFunction.REGISTER_BAR, register.offset,
                                value.to_bytes(register.width // 8, "little"))

    def _get(self, name):
        register = DMAEngine.REGISTERS[name]
        return int.from_bytes(self.function.bar_read(
            PCIFunction.REGISTER_BAR, register.offset, register.width // 8), "little")

    @property
    def error(self):
        """(:class:`DMAError`, address) of what stopped the engine; NONE while it runs."""
        return DMAError(self._get("STATUS")), self._get("ERROR_ADDR")

    def submit(self, jobs, *, pasid=None, interrupt=True):
        """Queue ``[(source, destination, length, cookie)]`` and ring the doorbell.

        Addresses are the device's. Raises ValueError if the ring has no room.
        """
        free = (self._next - self._tail - 1) % self.size
        if len(jobs) > free:
            raise ValueError(f"{len(jobs)} jobs; the ring has room for {free}")
        flags = INTERRUPT * interrupt | PASID_VALID * (pasid is not None)
        for source, destination, length, cookie in jobs:
            self.memory.write(self._ring[0] + DESCRIPTOR.size * self._tail, DESCRIPTOR.pack(
                source, destination, length, flags, pasid or 0, cookie))
            self._tail = (self._tail + 1) % self.size
        self._set("TAIL", self._tail)

    def poll(self):
        """Return the :class:`Completion` of each job that ended since the last call."""
        ended = []
        while self._next != self._tail:
            place = self._records[0] + COMPLETION.size * self._next
            cookie, status, copied, number = COMPLETION.unpack(
                self.memory.read(place, COMPLETION.size))
            if not number:
                break
            self.memory.write(place, bytes(COMPLETION.size))
            ended.append(Completion(cookie, DMAError(status), copied))
            self._next = (self._next + 1) % self.size
        return ended
