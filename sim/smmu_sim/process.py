"""A user process: which physical memory lies behind its virtual addresses, and its open files."""

from bisect import bisect_right
from typing import NamedTuple

from smmu_sim.linux_error import LinuxError

__all__ = ["Mapping", "Process"]

_PAGE = 4096


class Mapping(NamedTuple):
    """One mapped range of a process. All in bytes."""

    va: int
    size: int
    physical: int
    writable: bool


class Process:
    """The address space that VFIO and iommufd resolve user pointers in, and the open files.

    Parameters
    ----------
    memory
        Host physical memory: ``read(addr, size)``, ``write(addr, data)``.
    name
        What the process is called in messages.
    """

    def __init__(self, memory, name="process"):
        self.memory, self.name = memory, name
        self._mappings = []  # sorted by address, disjoint
        self._files = {}     # by file descriptor

    @property
    def mappings(self):
        """All :class:`Mapping` in order of their addresses."""
        return tuple(self._mappings)

    def mmap(self, va, physical, size, writable=True):
        """Map ``size`` bytes at ``va`` to contiguous physical memory; return ``va``.

        All in whole 4 KiB pages. EINVAL: not so, or empty. EEXIST: part of it is mapped already.
        """
        if size <= 0 or (va | physical | size) % _PAGE or va < 0 or physical < 0:
            raise LinuxError("EINVAL", f"va {va:#x}, physical {physical:#x}, size {size:#x}: "
                                       f"not whole pages of {_PAGE:#x}")
        for other in self._mappings:
            if va < other.va + other.size and other.va < va + size:
                raise LinuxError("EEXIST", f"{va:#x} + {size:#x} overlaps {other.va:#x} + "
                                           f"{other.size:#x}")
        self._mappings.insert(self._index(va) + 1, Mapping(va, size, physical, bool(writable)))
        return va

    def munmap(self, va, size):
        """Take a range away that was mapped by one or more whole :meth:`mmap`.

        EINVAL: it cuts a mapping, or nothing lies there.
        """
        inside = [m for m in self._mappings if va < m.va + m.size and m.va < va + size]
        if not inside or any(m.va < va or m.va + m.size > va + size for m in inside):
            raise LinuxError("EINVAL", f"{va:#x} + {size:#x} is not made of whole mappings")
        self._mappings = [m for m in self._mappings if m not in inside]

    def pages(self, va, size, write=False):
        """Return ``[(physical, bytes)]`` of a range in order; physically contiguous parts are one.

        This is what pinning the range yields: the answer stays true for as long as the physical
        memory is there, whatever is unmapped later. EFAULT: part of it is not mapped, or not
        writable although ``write`` is asked for.
        """
        found = []
        at, end = va, va + size
        while at < end:
            mapping = self._find(at)
            if mapping is None:
                raise LinuxError("EFAULT", f"{self.name}: {at:#x} is not mapped")
            if write and not mapping.writable:
                raise LinuxError("EFAULT", f"{self.name}: {at:#x} is not writable")
            physical = mapping.physical + at - mapping.va
            count = min(end, mapping.va + mapping.size) - at
            if found and sum(found[-1]) == physical:
                found[-1] = (found[-1][0], found[-1][1] + count)
            else:
                found.append((physical, count))
            at += count
        return found

    def read(self, va, size):
        """Return ``size`` bytes of the process's memory (copy_from_user). EFAULT as of pages."""
        return b"".join(self.memory.read(physical, count)
                        for physical, count in self.pages(va, size))

    def write(self, va, data):
        """Store bytes in the process's memory (copy_to_user).

        EFAULT as of :meth:`pages`; then nothing was stored.
        """
        done = 0
        for physical, count in self.pages(va, len(data), write=True):
            self.memory.write(physical, bytes(data[done : done + count]))
            done += count

    # --- open files ------------------------------------------------------------------------------

    def open(self, file):
        """Install an open file, any object; return the lowest free file descriptor from 3 up."""
        fd = next(n for n in range(3, 4 + len(self._files)) if n not in self._files)
        self._files[fd] = file
        return fd

    def file(self, fd):
        """Return the open file of a descriptor. EBADF: there is none."""
        if fd not in self._files:
            raise LinuxError("EBADF", f"{self.name}: file descriptor {fd} is not open")
        return self._files[fd]

    def close(self, fd):
        """Close a descriptor; the last one of a file calls its ``release()``, if it has one.

        EBADF: it is not open.
        """
        file = self.file(fd)
        del self._files[fd]
        if not any(other is file for other in self._files.values()):
            getattr(file, "release", lambda: None)()

    # --- inner -----------------------------------------------------------------------------------

    def _index(self, va):
        return bisect_right(self._mappings, va, key=lambda mapping: mapping.va) - 1

    def _find(self, va):
        index = self._index(va)
        if index < 0:
            return None
        mapping = self._mappings[index]
        return mapping if va < mapping.va + mapping.size else None
