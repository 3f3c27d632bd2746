"""A network interface with rings of descriptors, as drivers of real ones know them."""

from collections import Counter

from smmu_sim.devices.nic_queue import INTERRUPT, NICError, NICQueue
from smmu_sim.devices.register_block import DeviceRegister, RegisterBlock
from smmu_sim.devices.traffic import Frame

__all__ = ["ENABLE", "RESET", "RingNIC", "queue_registers"]

ENABLE, RESET = 1 << 0, 1 << 1  # CONTROL
_QUEUES_AT, _QUEUE_BYTES, _DIRECTION_BYTES = 0x100, 0x80, 0x40
_MAX_QUEUES = 64
_LARGEST_FRAME = 9216


def queue_registers(queues):
    """Return ``{name: DeviceRegister}`` of all queues: ``"TX0_TAIL"`` and so on."""
    found = {}
    for queue in range(queues):
        for direction, name in enumerate(("TX", "RX")):
            base = _QUEUES_AT + _QUEUE_BYTES * queue + _DIRECTION_BYTES * direction
            prefix = f"{name}{queue}_"
            found[prefix + "BASE"] = DeviceRegister(base, 64)
            found[prefix + "SIZE"] = DeviceRegister(base + 0x08)
            found[prefix + "TAIL"] = DeviceRegister(base + 0x0C)
            found[prefix + "HEAD"] = DeviceRegister(base + 0x10, writable=False)
            found[prefix + "STATUS"] = DeviceRegister(base + 0x14, writable=False)
            found[prefix + "VECTOR"] = DeviceRegister(base + 0x18)
            found[prefix + "ERROR_ADDR"] = DeviceRegister(base + 0x20, 64, writable=False)
    return found


class RingNIC:
    """Behind BAR 0 of ``function``: transmit and receive queues.

    Each queue is a ring of descriptors (buffer address, bytes, flags). Software writes them, then
    TAIL, the doorbell. Transmitted frames go to ``on_transmit``; :meth:`receive` brings frames in,
    each to the queue of its flow. The NIC writes the frame, then the descriptor with its length
    and DONE, then sends the queue's MSI: once for all frames of a burst in reception, and after
    descriptors that ask for it in transmission. Everything goes through the SMMU, without PASID.

    An error response stops the queue, not the others: STATUS holds the reason (NICError),
    ERROR_ADDR the address, and the MSI is sent. RESET starts all queues anew.

    Parameters
    ----------
    function
        The :class:`PCIFunction`.
    queues
        Pairs of queues.
    on_transmit
        ``on_transmit(frame)``.

    Attributes
    ----------
    counts
        ``Counter``: "transmitted", "received", "dropped" (no descriptor), "too large" (for the
        buffer).
    """

    def __init__(self, function, *, queues=1, on_transmit=lambda frame: None):
        if not 1 <= queues <= _MAX_QUEUES:
            raise ValueError(f"{queues} queues: expected 1 to {_MAX_QUEUES}")
        self.function, self.on_transmit, self.counts = function, on_transmit, Counter()
        self.registers = RegisterBlock(
            {"CONTROL": DeviceRegister(0), "QUEUES": DeviceRegister(4, writable=False),
             **queue_registers(queues)}, self._written)
        self.tx = [NICQueue(self, f"TX{n}_") for n in range(queues)]
        self.rx = [NICQueue(self, f"RX{n}_") for n in range(queues)]
        self.reset()
        function.registers = self

    # What the function asks for

    def read(self, offset, size):
        return self.registers.read(offset, size)

    def write(self, offset, data):
        self.registers.write(offset, data)

    def reset(self):
        """Forget all rings and errors, as after power-up. Counts go on."""
        self.registers.reset()
        self.registers["QUEUES"] = len(self.tx)

    def _written(self, name):
        if name == "CONTROL" and self.registers["CONTROL"] & RESET:
            self.reset()
        elif name == "CONTROL":
            for queue in self.tx:
                self._transmit(queue)
        elif name.startswith("TX") and name.endswith("TAIL"):
            self._transmit(self.tx[int(name[2:].partition("_")[0])])

    @property
    def enabled(self):
        return bool(self.registers["CONTROL"] & ENABLE)

    # Transmit

    def _transmit(self, queue):
        """Send what software queued."""
        while self.enabled and queue.available:
            descriptors = queue.fetch(queue.available)
            if not descriptors:
                return
            if any(not 0 < length <= _LARGEST_FRAME for _, length, _ in descriptors):
                queue.fail(NICError.BAD_DESCRIPTOR, queue["BASE"])
                return
            results = self.function.read_all([(addr, length) for addr, length, _ in descriptors])
            good = next((n for n, result in enumerate(results) if not result.ok), len(results))
            for result in results[:good]:
                self.counts["transmitted"] += 1
                self.on_transmit(Frame(result.data))
            if not queue.complete([length for _, length, _ in descriptors[:good]]):
                return
            if any(flags & INTERRUPT for _, _, flags in descriptors[:good]):
                queue.notify()
            if good < len(descriptors):
                queue.fail(NICError.BUFFER, descriptors[good][0])

    # Receive

    def receive(self, frames):
        """Bring a burst of frames in; return how many reached a buffer."""
        by_queue, arrived = {}, 0
        for frame in frames:
            by_queue.setdefault(frame.flow % len(self.rx), []).append(frame)
        for number, burst in sorted(by_queue.items()):
            arrived += self._receive(self.rx[number], burst)
        return arrived

    def _receive(self, queue, frames):
        """Store the frames of one queue and notify once."""
        left, arrived = list(frames), 0
        while left and self.enabled and queue.available:
            descriptors = queue.fetch(len(left))
            if not descriptors:
                break
            placed = []
            while left and len(placed) < len(descriptors):
                frame = left.pop(0)
                if len(frame.data) > descriptors[len(placed)][1]:
                    self.counts["too large"] += 1
                else:
                    placed.append((descriptors[len(placed)][0], frame.data))
            arrived += self._store(queue, placed)
        self.counts["dropped"] += len(left)
        self.counts["received"] += arrived
        if arrived and not queue["STATUS"]:
            queue.notify()
        return arrived

    def _store(self, queue, placed):
        """Write frames to buffers, then the descriptors; return how many were stored."""
        results = self.function.write_all(placed) if placed else []
        good = next((n for n, result in enumerate(results) if not result.ok), len(results))
        if not queue.complete([len(data) for _, data in placed[:good]]):
            good = 0  # software never learns of them
        elif good < len(placed):
            queue.fail(NICError.BUFFER, placed[good][0])
        self.counts["dropped"] += len(placed) - good
        return good
