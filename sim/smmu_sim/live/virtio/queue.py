"""A split virtqueue, seen from the device (Virtio 1.2, 2.7)."""

import struct
from typing import NamedTuple


__all__ = ["Buffer", "Chain", "QueueError", "Virtqueue", "gather", "scatter"]

_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_DESCRIPTOR = struct.Struct("<QIHH")
_USED_ELEMENT = struct.Struct("<II")
_INDEX = struct.Struct("<H")


class QueueError(Exception):
    """A ring that no driver should have made."""


class Buffer(NamedTuple):
    """One buffer of a chain; the device writes it, or reads it."""

    addr: int
    size: int
    device_writes: bool


class Chain(NamedTuple):
    """A chain of buffers, and the number of its first descriptor."""

    head: int
    buffers: list

    @property
    def readable(self):
        """The buffers that the device reads."""
        return [buffer for buffer in self.buffers if not buffer.device_writes]

    @property
    def writable(self):
        """The buffers that the device writes."""
        return [buffer for buffer in self.buffers if buffer.device_writes]


class Virtqueue:
    """One queue: where its three parts are, and how far the device has come."""

    def __init__(self, port, size, descriptors, available, used):
        if not size or size & size - 1:
            raise QueueError(f"a queue of {size} entries: expected a power of two")
        self._port, self.size = port, size
        self._descriptors, self._available, self._used = descriptors, available, used
        self._next_available = self._next_used = 0

    def take(self, limit=None):
        """Yield the chains that the driver has made available, at most ``limit``."""
        index, = _INDEX.unpack(self._port.read(self._available + 2, 2))
        taken = 0
        while self._next_available != index and taken != limit:
            slot = self._next_available % self.size
            head, = _INDEX.unpack(self._port.read(self._available + 4 + 2 * slot, 2))
            self._next_available = self._next_available + 1 & 0xFFFF
            taken += 1
            yield Chain(head, self._chain(head))

    def _chain(self, number):
        buffers = []
        while len(buffers) < self.size:
            if number >= self.size:
                raise QueueError(f"descriptor {number} of a queue of {self.size}")
            addr, size, flags, following = _DESCRIPTOR.unpack(
                self._port.read(self._descriptors + _DESCRIPTOR.size * number, _DESCRIPTOR.size))
            if flags & _INDIRECT:
                raise QueueError("an indirect descriptor, which was not offered")
            buffers.append(Buffer(addr, size, bool(flags & _WRITE)))
            if not flags & _NEXT:
                return buffers
            number = following
        raise QueueError(f"a chain without an end, of more than {self.size} descriptors")

    def give_back(self, chain, written):
        """Return a chain to the driver: the device has written so many bytes into it."""
        slot = self._next_used % self.size
        self._port.write(self._used + 4 + _USED_ELEMENT.size * slot,
                         _USED_ELEMENT.pack(chain.head, written))
        self._next_used = self._next_used + 1 & 0xFFFF
        self._port.write(self._used + 2, _INDEX.pack(self._next_used))


def gather(port, buffers):
    """Return the bytes of buffers, one after the other."""
    return b"".join(port.read(buffer.addr, buffer.size) for buffer in buffers)


def scatter(port, buffers, data):
    """Write data over buffers, one after the other; how many bytes there was room for."""
    place = 0
    for buffer in buffers:
        piece = data[place:place + buffer.size]
        if piece:
            port.write(buffer.addr, piece)
        place += len(piece)
    return place
