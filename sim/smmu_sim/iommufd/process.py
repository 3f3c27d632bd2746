"""A user process for iommufd: an address space whose pages can be pinned, limits, rights."""

from collections import Counter

from smmu_sim import process
from smmu_sim.linux_error import LinuxError
from smmu_sim.memory import BusAbort

__all__ = ["Process", "User"]


class User:
    """A user of the system. Pages that its processes have pinned are charged to it.

    Attributes
    ----------
    locked_pages
        What is charged now, in pages of 4 KiB.
    """

    def __init__(self):
        self.locked_pages = 0


class Process(process.Process):
    """An address space of 4 KiB pages, a table of open files, and what the process may do.

    Parameters
    ----------
    memory
        Physical memory: ``read(addr, size)``, ``write(addr, data)``.
    name
        What the process is called in messages.
    allocator
        Gives pages to :meth:`map_anonymous`; a :class:`PageAllocator`. None: it cannot be used.
    user
        The :class:`User` that it belongs to; None: one of its own.
    memlock
        RLIMIT_MEMLOCK in bytes; None: no limit.
    capabilities
        Of "CAP_SYS_RESOURCE", "CAP_IPC_LOCK".

    Attributes
    ----------
    locked_pages
        Pages charged to the process itself.
    pinned
        ``{(physical address, bytes): count}``: memory of this address space that devices may use.
    """

    def __init__(self, memory, name="process", *, allocator=None, user=None, memlock=None,
                 capabilities=()):
        super().__init__(memory, name)
        self.allocator, self.user, self.memlock = allocator, user or User(), memlock
        self.capabilities = frozenset(capabilities)
        self.locked_pages = 0
        self.pinned = Counter()

    def map_anonymous(self, va, size, writable=True):
        """Map ``size`` bytes of new, zeroed, contiguous memory; return its physical address."""
        physical = self.allocator.alloc(size)
        try:
            self.mmap(va, physical, size, writable)
        except LinuxError:
            self.allocator.free(physical, size)
            raise
        return physical

    def copy_from_user(self, va, size):
        """Return ``size`` bytes from ``va``. EFAULT: not all of it can be read."""
        try:
            return self.read(va, size)
        except BusAbort as abort:
            raise LinuxError("EFAULT", str(abort)) from abort

    def copy_to_user(self, va, data):
        """Store ``data`` at ``va``. EFAULT: not all of it can be written."""
        try:
            self.write(va, bytes(data))
        except BusAbort as abort:
            raise LinuxError("EFAULT", str(abort)) from abort

    def pin(self, va, size, *, write):
        """Return [(physical address, bytes)] of whole pages from ``va`` on, which now stay.

        EFAULT: not all mapped, not all writable where that is asked, or the process has ended.
        """
        found = self.pages(va, size, write)
        self.pinned.update(found)
        return found

    def unpin(self, found):
        """Undo one :meth:`pin`, given what it returned."""
        self.pinned.subtract(found)
        self.pinned = +self.pinned

    def fork(self):
        """Return a child with the same memory, user, limits, rights and open files."""
        child = Process(self.memory, self.name + "'", allocator=self.allocator, user=self.user,
                        memlock=self.memlock, capabilities=self.capabilities)
        child._mappings, child._files = list(self._mappings), dict(self._files)
        return child

    def exit(self):
        """End: the address space is gone. Its open files go on to live for whoever has them."""
        self._mappings.clear()
        self._files.clear()
