"""What mmap of a region returns: a window that user space reads and writes without a call."""

from smmu_sim.linux_error import LinuxError

__all__ = ["MappedArea"]


class MappedArea:
    """A part of a region in a process's address space.

    Parameters
    ----------
    size
        Bytes.
    read
        ``read(offset, count)``.
    write
        ``write(offset, data)``; None: the area is read-only.
    """

    def __init__(self, size, read, write=None):
        self.size = size
        self._read, self._write = read, write

    def read(self, offset, count):
        """Return bytes. EFAULT: none, or outside of the area."""
        self._check(offset, count)
        return bytes(self._read(offset, count))

    def write(self, offset, data):
        """Store bytes. EFAULT: none, outside of the area, or it is read-only."""
        self._check(offset, len(data))
        if self._write is None:
            raise LinuxError("EFAULT", "the area is mapped read-only")
        self._write(offset, bytes(data))

    def _check(self, offset, count):
        if offset < 0 or count <= 0 or offset + count > self.size:
            raise LinuxError("EFAULT", f"{offset:#x} + {count:#x} is not in {self.size:#x} bytes")
