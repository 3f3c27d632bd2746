"""The fault region of V9 and later: a header page and a ring of records in one region."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.layouts import Layout
from smmu_sim.vfio.mapped_area import MappedArea
from smmu_sim.vfio.numbers import PAGE

__all__ = ["ENTRIES", "FaultRegion", "RingRegion"]

ENTRIES = 512
_HEADER = Layout("vfio_region_dma_fault", 20, user=(0, "I"), entry_size=(4, "I"),
                 nb_entries=(8, "I"), offset=(12, "I"), kernel=(16, "I"))


class RingRegion:
    """A ring between the kernel and user space: one page of header, then the entries.

    The header begins with the index that user space moves (tail of a ring of faults, head of a
    ring of responses); the last word is the kernel's. User space writes its index with
    :meth:`write` and may map the pages of the ring, never the header.

    Parameters
    ----------
    entry_size
        Bytes of one entry; there are :data:`ENTRIES`.
    """

    def __init__(self, entry_size):
        self.entry_size = entry_size
        ring = -(-entry_size * ENTRIES // PAGE) * PAGE
        self.size = PAGE + ring
        self.mappable = (PAGE, ring)  # what a sparse mmap capability says
        self._pages = bytearray(self.size)
        _HEADER.put(self._pages, 0, entry_size=entry_size, nb_entries=ENTRIES, offset=PAGE)

    @property
    def user_index(self):
        """The index that user space moves."""
        return _HEADER.unpack(self._pages)["user"]

    @property
    def kernel_index(self):
        """The index that the kernel moves."""
        return _HEADER.unpack(self._pages)["kernel"]

    def _move_kernel_index(self):
        _HEADER.put(self._pages, 0, kernel=(self.kernel_index + 1) % ENTRIES)

    def read(self, position, count):
        """Return bytes from ``position``, fewer at the end. EINVAL: beyond the region."""
        if position >= self.size:
            raise LinuxError("EINVAL", f"{position:#x} is beyond the region of {self.size:#x}")
        return bytes(self._pages[position : position + count])

    def write(self, position, data):
        """Store the user's index; return 4.

        EINVAL: not 4 bytes at 0, or an index beyond the ring.
        """
        if position or len(data) != 4:
            raise LinuxError("EINVAL", f"{len(data)} bytes at {position:#x}: only the 4 bytes at "
                                       "0 can be written")
        index = int.from_bytes(data, "little")
        if index >= ENTRIES:
            raise LinuxError("EINVAL", f"index {index}; the ring has {ENTRIES} entries")
        _HEADER.put(self._pages, 0, user=index)
        return 4

    def mmap(self, offset, size, writable=False):
        """Map whole pages of the ring. EINVAL: the header page, or beyond the region."""
        if offset < PAGE or offset + size > self.size or size <= 0 or (offset | size) % PAGE:
            raise LinuxError("EINVAL", f"{offset:#x} + {size:#x}: only whole pages of "
                                       f"{PAGE:#x}..{self.size:#x} can be mapped")
        return MappedArea(size, lambda at, count: self._peek(offset + at, count),
                          (lambda at, data: self._poke(offset + at, data)) if writable else None)

    def _peek(self, offset, count):
        return self._pages[offset : offset + count]

    def _poke(self, offset, data):
        self._pages[offset : offset + len(data)] = data

    def _entry(self, index):
        start = PAGE + index * self.entry_size
        return slice(start, start + self.entry_size)


class FaultRegion(RingRegion):
    """The ring of fault records: the kernel moves head, user space tail."""

    def produce(self, record):
        """Append a record. ENOSPC: no room; one entry always stays free."""
        head = self.kernel_index
        if not (self.user_index - head - 1) % ENTRIES:
            raise LinuxError("ENOSPC", f"the fault ring is full: tail {self.user_index}, "
                                       f"head {head}")
        self._pages[self._entry(head)] = record
        self._move_kernel_index()
