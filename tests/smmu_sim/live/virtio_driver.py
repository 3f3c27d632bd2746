"""What a guest's virtio driver does, as far as a device notices."""

import struct

__all__ = ["Driver"]

_ENTRIES = 8
_STATUS, _NOTIFY, _ACK, _PENDING = 0x70, 0x50, 0x64, 0x60


class Driver:
    """One driver of one :class:`VirtioFrame`; its rings lie at ``base`` plus 64 KB a queue."""

    def __init__(self, frame, memory, base):
        self.frame, self.memory, self.base = frame, memory, base
        self.start = frame.place.base - memory.base
        self.available, self.seen, self.free = {}, {}, {}

    def put(self, offset, value):
        struct.pack_into("<I", self.memory.ram, self.start + offset, value)

    def get(self, offset):
        return struct.unpack_from("<I", self.memory.ram, self.start + offset)[0]

    def set_up(self, queues=1):
        """Reset, negotiate, make queues ready, DRIVER_OK; the frame is served in between.

        A driver of Linux writes QueueReady = 0 when it goes.
        """
        self.put(0x44, 0)
        for status in (0, 1, 3, 0xB):
            self.put(_STATUS, status)
            self.frame.poll()
        for queue in range(queues):
            self.select(queue)
            assert self.get(0x44) == 0, "QueueReady of a queue that is not set up"
            assert self.get(0x34) >= _ENTRIES
            self.put(0x38, _ENTRIES)
            for offset, part in ((0x80, 0), (0x90, 0x1000), (0xA0, 0x2000)):
                struct.pack_into("<Q", self.memory.ram, self.start + offset, self.ring(queue, part))
            self.put(0x44, 1)
            self.available[queue] = self.seen[queue] = self.free[queue] = 0
            self.memory.poke(self.ring(queue), bytes(0x3000))
        self.put(_STATUS, 0xF)
        self.frame.poll()

    def select(self, queue):
        """Write QueueSel; a guest of a device with several queues is stopped at it."""
        self.put(0x30, queue)
        if self.frame.device.queues > 1:
            self.frame.selected()

    def ring(self, queue, part=0):
        return self.base + queue * 0x1_0000 + part

    def offer(self, queue, buffers, notify=True):
        """Make a chain of (address, size, device writes) available."""
        head = first = self.free[queue]
        for number, (addr, size, device_writes) in enumerate(buffers):
            more = number < len(buffers) - 1
            self.memory.poke(self.ring(queue) + 16 * head, struct.pack(
                "<QIHH", addr, size, more | device_writes << 1, (head + 1) % _ENTRIES))
            head = (head + 1) % _ENTRIES
        self.free[queue] = head
        index = self.available[queue]
        self.memory.poke(self.ring(queue, 0x1000) + 4 + 2 * (index % _ENTRIES),
                         struct.pack("<H", first))
        self.available[queue] = index + 1
        self.memory.poke(self.ring(queue, 0x1000) + 2, struct.pack("<H", index + 1))
        if notify:
            self.put(_NOTIFY, queue)

    def used(self, queue):
        """(head, bytes written) of the chains that came back since the last call."""
        index, = struct.unpack("<H", self.memory.peek(self.ring(queue, 0x2000) + 2, 2))
        found = []
        while self.seen[queue] != index:
            found.append(struct.unpack("<II", self.memory.peek(
                self.ring(queue, 0x2000) + 4 + 8 * (self.seen[queue] % _ENTRIES), 8)))
            self.seen[queue] += 1
        return found

    def pending(self):
        """InterruptStatus."""
        return self.get(_PENDING)

    def acknowledge(self):
        self.put(_ACK, self.pending())
