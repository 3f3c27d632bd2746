"""The two fault regions of V8: a producer region to read, a consumer region to write."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.layouts import Layout
from smmu_sim.vfio.mapped_area import MappedArea
from smmu_sim.vfio.numbers import PAGE

__all__ = ["ABI_VERSION", "ConsumerRegion", "FaultQueue", "ProducerRegion"]

ABI_VERSION = 1
# The series has 85 (one page), with arithmetic that only works for powers of two.
_ENTRIES = 512
_UNSET = 0xFFFF_FFFF
_PRODUCER = Layout("vfio_region_fault_prod", 20, version=(0, "I"), nb_entries=(4, "I"),
                   entry_size=(8, "I"), offset=(12, "I"), prod=(16, "I"))
_CONSUMER = Layout("vfio_region_fault_cons", 8, version=(0, "I"), cons=(4, "I"))


class FaultQueue:
    """What both regions share. No record is taken before user space chose the ABI version."""

    def __init__(self, entry_size):
        self.entry_size = entry_size
        self.pages = bytearray(PAGE + -(-entry_size * _ENTRIES // PAGE) * PAGE)
        self.cons = 0
        _PRODUCER.put(self.pages, 0, version=_UNSET, offset=PAGE)

    @property
    def version(self):
        """The ABI version, or None as long as user space did not choose one."""
        version = _PRODUCER.unpack(self.pages)["version"]
        return None if version == _UNSET else version

    @property
    def prod(self):
        return _PRODUCER.unpack(self.pages)["prod"]

    def choose(self, version):
        """Fix the ABI version; the header tells the sizes from now on."""
        _PRODUCER.put(self.pages, 0, version=version, nb_entries=_ENTRIES,
                      entry_size=self.entry_size)

    def produce(self, record):
        """Append a record. EINVAL: no ABI version yet, or the ring is full."""
        if self.version is None:
            raise LinuxError("EINVAL", "no ABI version was chosen")
        prod = self.prod
        if not (self.cons - prod - 1) % _ENTRIES:
            raise LinuxError("EINVAL", f"the fault ring is full: cons {self.cons}, prod {prod}")
        start = PAGE + prod * self.entry_size
        self.pages[start : start + self.entry_size] = record
        _PRODUCER.put(self.pages, 0, prod=(prod + 1) % _ENTRIES)


class ProducerRegion:
    """Header and ring; read-only, the pages after the first can be mapped."""

    def __init__(self, queue):
        self.queue, self.size = queue, len(queue.pages)
        self.mappable = (PAGE, self.size - PAGE)

    def read(self, position, count):
        """Return bytes. EINVAL: no ABI version yet, or beyond the region."""
        if self.queue.version is None:
            raise LinuxError("EINVAL", "no ABI version was written to the consumer region")
        if position >= self.size:
            raise LinuxError("EINVAL", f"{position:#x} is beyond the region of {self.size:#x}")
        return bytes(self.queue.pages[position : position + count])

    def write(self, position, data):
        """Store nothing; return 0."""
        return 0

    def mmap(self, offset, size, writable=False):
        """Map whole pages of the ring. EINVAL: the header, beyond the region, or to write."""
        if (offset < PAGE or offset + size > self.size or size <= 0 or (offset | size) % PAGE
                or writable):
            raise LinuxError("EINVAL", f"{offset:#x} + {size:#x}: only whole pages of "
                                       f"{PAGE:#x}..{self.size:#x} can be mapped, read-only")
        pages = self.queue.pages
        return MappedArea(size, lambda at, count: pages[offset + at : offset + at + count])


class ConsumerRegion:
    """8 bytes that user space writes: ABI version and consumer index."""

    size, mappable = _CONSUMER.size, None

    def __init__(self, queue):
        self.queue = queue
        self._bytes = bytearray(self.size)

    def read(self, position, count):
        """Return no bytes."""
        return b""

    def write(self, position, data):
        """Store version, index or both; return the bytes taken.

        EINVAL: beyond the region; a version other than 1, the only one; an index beyond the ring.
        """
        if position >= self.size:
            raise LinuxError("EINVAL", f"{position:#x} is beyond the region of {self.size:#x}")
        data = data[: self.size - position]
        new = bytearray(self._bytes)
        new[position : position + len(data)] = data
        fields = _CONSUMER.unpack(new)
        version, cons = fields["version"], fields["cons"]
        if version != ABI_VERSION:
            raise LinuxError("EINVAL", f"ABI version {version}; there is {ABI_VERSION} alone")
        if cons >= _ENTRIES:
            raise LinuxError("EINVAL", f"index {cons}; the ring has {_ENTRIES} entries")
        if self.queue.version is None:
            self.queue.choose(version)
        self._bytes, self.queue.cons = new, cons
        return len(data)

    def mmap(self, offset, size, writable=False):
        """Refuse. EINVAL."""
        raise LinuxError("EINVAL", "the consumer region cannot be mapped")
