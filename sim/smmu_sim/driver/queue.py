"""A queue in memory between software and the SMMU."""

__all__ = ["Queue"]


class Queue:
    """Indexes of a circular queue of ``2**log2size`` entries in memory.

    An index has a wrap bit above it (IHI 0070: 3.5.1): equal indexes with equal wrap bits mean
    empty, with different ones full. ``prod`` and ``cons`` are software's copies of the registers.
    """

    def __init__(self, memory, allocator, log2size, entry_size):
        self.memory, self.log2size, self.entry_size = memory, log2size, entry_size
        self.bytes = entry_size << log2size
        self.base = allocator.alloc(self.bytes)
        self.prod = self.cons = 0

    @property
    def entries(self):
        return 1 << self.log2size

    def index(self, pointer):
        """The number of the entry that a pointer means, without its wrap bit."""
        return pointer & self.entries - 1

    def advance(self, pointer, count=1):
        """Return the pointer ``count`` entries further on."""
        return (pointer + count) & 2 * self.entries - 1

    def distance(self, start, end):
        """The number of entries from ``start`` up to ``end``."""
        return (end - start) & 2 * self.entries - 1

    @property
    def used(self):
        return self.distance(self.cons, self.prod)

    @property
    def space(self):
        return self.entries - self.used

    def addr(self, pointer):
        """The address of the entry that a pointer means."""
        return self.base + self.index(pointer) * self.entry_size

    def read(self, pointer):
        """Return the entry as an integer."""
        return int.from_bytes(self.memory.read(self.addr(pointer), self.entry_size), "little")

    def write(self, pointer, entry):
        """Write an entry."""
        self.memory.write(self.addr(pointer), entry.to_bytes(self.entry_size, "little"))
