"""What stands behind mapped areas: pages of a process or of a file, pinned while they are used."""

from smmu_sim.iommufd import accounting
from smmu_sim.iommufd.constants import MAX, PAGE_SIZE
from smmu_sim.linux_error import LinuxError

__all__ = ["MemoryFile", "Pages"]


class MemoryFile:
    """A file whose contents are pages of memory, as of memfd_create.

    Parameters
    ----------
    frames
        Physical addresses of its pages, in order.
    """

    def __init__(self, frames):
        self.frames = tuple(frames)

    @property
    def size(self):
        """Bytes."""
        return len(self.frames) * PAGE_SIZE

    def runs(self, start, size):
        """Return [(physical address, bytes)] of whole pages; contiguous parts are one."""
        found = []
        for frame in self.frames[start // PAGE_SIZE:(start + size) // PAGE_SIZE]:
            if found and sum(found[-1]) == frame:
                found[-1] = (found[-1][0], found[-1][1] + PAGE_SIZE)
            else:
                found.append((frame, PAGE_SIZE))
        return found


class Pages:
    """A range of user memory or of a file. Areas, also of several IOASes, share it.

    Parameters
    ----------
    process
        Whose memory it is, and who pays for what is pinned.
    start, length
        Where it begins, in the address space or in the file, and how long it is, in bytes. Errors:
        EINVAL if it is empty, EOVERFLOW if it wraps.
    writable
        Devices may write.
    mode
        :class:`AccountMode`.
    file
        :class:`MemoryFile`; None: user memory.

    Attributes
    ----------
    offset
        Of the first byte in its page.
    memory
        [(physical address, bytes)] of the whole pages; None while nothing has them pinned.
    """

    def __init__(self, process, start, length, writable, mode, *, file=None):
        if not length:
            raise LinuxError("EINVAL", "length is 0")
        if start + length - 1 > MAX:
            raise LinuxError("EOVERFLOW", f"{start:#x} + {length:#x} wraps")
        if file is not None and start + length > file.size:
            raise LinuxError("EINVAL", f"{start:#x} + {length:#x} is beyond the end of the file, "
                                       f"{file.size:#x}")
        self.process, self.writable, self.mode, self.file = process, writable, mode, file
        self.offset = start % PAGE_SIZE
        self.start = start - self.offset
        self.count = -(-(self.offset + length) // PAGE_SIZE)
        self.memory = None
        self._users = 0

    def pin(self):
        """Hold the pages for one more user.

        EFAULT: bad user memory. ENOMEM: RLIMIT_MEMLOCK. Only the first user can see these.
        """
        if not self._users:
            accounting.charge(self.process, self.mode, self.count)
            try:
                self.memory = self._find()
            except LinuxError:
                accounting.uncharge(self.process, self.mode, self.count)
                raise
        self._users += 1

    def _find(self):
        size = self.count * PAGE_SIZE
        if self.file is not None:
            return self.file.runs(self.start, size)
        return self.process.pin(self.start, size, write=self.writable)

    def unpin(self):
        """Undo one :meth:`pin`."""
        self._users -= 1
        if not self._users:
            if self.file is None:
                self.process.unpin(self.memory)
            self.memory = None
            accounting.uncharge(self.process, self.mode, self.count)

    def change_process(self, process):
        """Let another process pay from now on. ENOMEM: it may not."""
        if self._users:
            accounting.move(self.process, process, self.mode, self.count)
        self.process = process

    def runs(self, offset, length):
        """Yield (offset, physical address, bytes) of contiguous pieces of a pinned range."""
        at = -offset   # where a piece of memory begins, from the start of the range
        for physical, size in self.memory:
            first, end = max(at, 0), min(at + size, length)
            if first < end:
                yield first, physical + first - at, end - first
            at += size
