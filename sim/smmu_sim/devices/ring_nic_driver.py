"""Software of a NIC with rings."""

from smmu_sim.devices.nic_queue import DESCRIPTOR, DONE, INTERRUPT, NICError
from smmu_sim.devices.pci_function import PCIFunction
from smmu_sim.devices.ring_nic import ENABLE, RESET, queue_registers
from smmu_sim.devices.traffic import Frame

__all__ = ["RingNICDriver"]


class _Ring:
    """One ring and a buffer for each of its descriptors."""

    def __init__(self, dma_alloc, size, buffer_bytes):
        self.size, self.buffer_bytes = size, buffer_bytes
        self.ring = dma_alloc(size * DESCRIPTOR.size)
        self.buffers = [dma_alloc(buffer_bytes) for _ in range(size)]
        self.reset()

    def reset(self):
        self.tail = self.next = 0

    def slot(self, index):
        return self.ring[0] + DESCRIPTOR.size * index

    def after(self, index):
        return (index + 1) % self.size


class RingNICDriver:
    """Send and receive frames with a :class:`RingNIC`.

    Parameters
    ----------
    function, memory, dma_alloc
        As for :class:`DMAEngineDriver`.
    queues
        Pairs of queues to use. Both of pair n use MSI-X vector n.
    size
        Descriptors in each ring; one of them always stays free.
    buffer_bytes
        Size of each buffer.
    """

    def __init__(self, function, memory, dma_alloc, *, queues=1, size=64, buffer_bytes=2048):
        self.function, self.memory, self.queues = function, memory, queues
        self._registers = queue_registers(queues)
        self.tx = [_Ring(dma_alloc, size, buffer_bytes) for _ in range(queues)]
        self.rx = [_Ring(dma_alloc, size, buffer_bytes) for _ in range(queues)]
        self.start()

    def start(self):
        """Reset the NIC, give it the rings, and all receive buffers."""
        self._write(0, 4, RESET)
        for name, rings in (("TX", self.tx), ("RX", self.rx)):
            for number, ring in enumerate(rings):
                ring.reset()
                self._set(f"{name}{number}_BASE", ring.ring[1])
                self._set(f"{name}{number}_SIZE", ring.size)
                self._set(f"{name}{number}_VECTOR", number)
        self._write(0, 4, ENABLE)
        for number, ring in enumerate(self.rx):
            for _ in range(ring.size - 1):
                self._give(ring)
            self._set(f"RX{number}_TAIL", ring.tail)

    def _write(self, offset, size, value):
        self.function.bar_write(PCIFunction.REGISTER_BAR, offset, value.to_bytes(size, "little"))

    def _set(self, name, value):
        register = self._registers[name]
        self._write(register.offset, register.width // 8, value)

    def _get(self, name):
        register = self._registers[name]
        return int.from_bytes(self.function.bar_read(
            PCIFunction.REGISTER_BAR, register.offset, register.width // 8), "little")

    def _give(self, ring):
        """Give one empty receive buffer to the NIC."""
        self.memory.write(ring.slot(ring.tail), DESCRIPTOR.pack(
            ring.buffers[ring.tail][1], ring.buffer_bytes, 0))
        ring.tail = ring.after(ring.tail)

    def errors(self):
        """Return ``{"TX0": (NICError, address)}`` of the queues that stopped."""
        names = [f"{name}{number}" for name in ("TX", "RX") for number in range(self.queues)]
        return {name: (NICError(self._get(f"{name}_STATUS")), self._get(f"{name}_ERROR_ADDR"))
                for name in names if self._get(f"{name}_STATUS")}

    def send(self, frames, queue=0):
        """Queue frames and ring the doorbell; the last one asks for an interrupt.

        Raises ValueError if the ring has no room, or a buffer is too small.
        """
        ring = self.tx[queue]
        self._reclaim(ring)
        free = (ring.next - ring.tail - 1) % ring.size
        if len(frames) > free or any(len(frame.data) > ring.buffer_bytes for frame in frames):
            raise ValueError(f"{len(frames)} frames; there is room for {free} of up to "
                             f"{ring.buffer_bytes} bytes")
        for n, frame in enumerate(frames, 1):
            addr, iova = ring.buffers[ring.tail]
            self.memory.write(addr, frame.data)
            self.memory.write(ring.slot(ring.tail), DESCRIPTOR.pack(
                iova, len(frame.data), INTERRUPT if n == len(frames) else 0))
            ring.tail = ring.after(ring.tail)
        self._set(f"TX{queue}_TAIL", ring.tail)

    def _reclaim(self, ring):
        while ring.next != ring.tail and self._descriptor(ring)[2] & DONE:
            ring.next = ring.after(ring.next)

    def _descriptor(self, ring):
        return DESCRIPTOR.unpack(self.memory.read(ring.slot(ring.next), DESCRIPTOR.size))

    def poll(self, queue=None):
        """Return the frames that arrived, of one queue or of all, and give the buffers back."""
        frames = []
        for number in range(self.queues) if queue is None else (queue,):
            ring, before = self.rx[number], len(frames)
            while ring.next != ring.tail:
                _, length, flags = self._descriptor(ring)
                if not flags & DONE:
                    break
                frames.append(Frame(self.memory.read(ring.buffers[ring.next][0], length)))
                ring.next = ring.after(ring.next)
                self._give(ring)
            if len(frames) > before:
                self._set(f"RX{number}_TAIL", ring.tail)
        return frames
