"""Physical memory for the driver: an allocator, and memory as a guest sees it."""

from smmu_sim.driver.errors import DriverError, OutOfMemory

__all__ = ["MemoryWindow", "PageAllocator"]

_PAGE = 4096


class PageAllocator:
    """A buddy allocator. Blocks are powers of two of at least 4 KiB, aligned to their size, zeroed.

    Parameters
    ----------
    memory
        Has ``write(addr, data)``.
    base, size
        The range it hands out, in whole 4 KiB pages.
    """

    def __init__(self, memory, base, size):
        if size <= 0 or (base | size) % _PAGE:
            raise DriverError(f"the range {base:#x} + {size:#x} is empty or not in 4 KiB pages")
        self.memory, self.base, self.size = memory, base, size
        self._free, self._used = {}, {}
        while size:
            block = min(base & -base or 1 << 63, 1 << size.bit_length() - 1)
            self._free.setdefault(block, set()).add(base)
            base, size = base + block, size - block

    @staticmethod
    def _block(size):
        return max(_PAGE, 1 << (size - 1).bit_length())

    def alloc(self, size):
        """Return the address of a zeroed block of at least ``size`` bytes."""
        if size <= 0:
            raise DriverError(f"cannot allocate {size} bytes")
        block = self._block(size)
        found = min((b for b, blocks in self._free.items() if b >= block and blocks), default=None)
        if found is None:
            raise OutOfMemory(f"no block of {block:#x} bytes in {self.base:#x} + {self.size:#x}")
        addr = min(self._free[found])
        self._free[found].remove(addr)
        while found > block:
            found //= 2
            self._free.setdefault(found, set()).add(addr + found)
        self._used[addr] = block
        self.memory.write(addr, bytes(block))
        return addr

    def free(self, addr, size):
        """Give back a block. ``size`` is what it was asked for."""
        block = self._block(size)
        if self._used.get(addr) != block:
            raise DriverError(f"{addr:#x} + {size:#x} was not allocated")
        del self._used[addr]
        while (buddy := addr ^ block) in self._free.get(block, ()):
            self._free[block].remove(buddy)
            addr, block = min(addr, buddy), 2 * block
        self._free.setdefault(block, set()).add(addr)

    @property
    def used(self):
        """Bytes handed out."""
        return sum(self._used.values())


class MemoryWindow:
    """Memory at other addresses: how a guest sees a part of the host's memory.

    Parameters
    ----------
    memory
        The memory behind it.
    base, size
        Where the window lies for its user.
    target
        Where it lies in ``memory``.
    """

    def __init__(self, memory, base, target, size):
        self.memory, self.base, self.target, self.size = memory, base, target, size

    def to_target(self, addr, size=1):
        """Return the address in ``memory``. Raises :exc:`DriverError` outside of the window."""
        if not self.base <= addr <= addr + size <= self.base + self.size:
            raise DriverError(f"{addr:#x} + {size:#x} is outside of {self.base:#x} + "
                              f"{self.size:#x}")
        return addr - self.base + self.target

    def read(self, addr, size):
        return self.memory.read(self.to_target(addr, size), size)

    def write(self, addr, data):
        self.memory.write(self.to_target(addr, len(data)), data)

    def read32(self, addr):
        return self.memory.read32(self.to_target(addr, 4))

    def write32(self, addr, value):
        self.memory.write32(self.to_target(addr, 4), value)

    def read64(self, addr):
        return self.memory.read64(self.to_target(addr, 8))

    def write64(self, addr, value):
        self.memory.write64(self.to_target(addr, 8), value)
