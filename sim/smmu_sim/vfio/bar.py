"""BARs of a passed-through function: the device's, but for the MSI-X table."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.mapped_area import MappedArea
from smmu_sim.vfio.numbers import PAGE

__all__ = ["BAR"]

_ONES = b"\xff"


class BAR:
    """A BAR, perhaps with the MSI-X table in it.

    User space reads ones in the table and its writes there are dropped: the physical table is the
    host's, which programs it when SET_IRQS is called. All else is the device's, and pages without
    the table can be mapped.

    Parameters
    ----------
    size
        Bytes.
    read, write
        ``read(offset, count)`` and ``write(offset, data)`` of the device.
    table
        Offsets of the MSI-X table, a ``range``; empty if it is elsewhere.
    """

    def __init__(self, size, read, write, table=range(0)):
        self.size, self._read, self._write, self.table = size, read, write, table
        # Whole pages that have no byte of the table; of two parts the larger is offered.
        before = table.start & -PAGE
        after = -(-table.stop // PAGE) * PAGE
        self.mappable = max((0, before), (after, max(size - after, 0)), key=lambda area: area[1])
        if not self.mappable[1]:
            self.mappable = None

    def read(self, position, count):
        """Return bytes, fewer at the end. EINVAL: beyond the BAR."""
        self._check(position)
        data = bytearray()
        for at, inside, length in self._parts(position, min(count, self.size - position)):
            data += _ONES * length if inside else self._read(at, length)
        return bytes(data)

    def write(self, position, data):
        """Write bytes to the device; return how many were taken. EINVAL: beyond the BAR."""
        self._check(position)
        count = min(len(data), self.size - position)
        for at, inside, length in self._parts(position, count):
            if not inside:
                self._write(at, bytes(data[at - position : at - position + length]))
        return count

    def mmap(self, offset, size, writable=False):
        """Map whole pages without the MSI-X table. EINVAL: others."""
        end = offset + size
        if (offset < 0 or size <= 0 or (offset | size) % PAGE or end > self.size
                or offset < self.table.stop and self.table.start < end):
            raise LinuxError("EINVAL", f"{offset:#x} + {size:#x} is not in whole pages of the BAR "
                                       "without the MSI-X table")
        return MappedArea(size, lambda at, count: self._read(offset + at, count),
                          (lambda at, data: self._write(offset + at, data)) if writable else None)

    def _check(self, position):
        if position < 0 or position >= self.size:
            raise LinuxError("EINVAL", f"{position:#x} is beyond the BAR of {self.size:#x}")

    def _parts(self, position, count):
        """Yield (offset, whether it is in the table, bytes)."""
        cuts = sorted({position, position + count, *(
            edge for edge in (self.table.start, self.table.stop)
            if position < edge < position + count)})
        for start, stop in zip(cuts, cuts[1:], strict=False):
            yield start, start in self.table, stop - start
