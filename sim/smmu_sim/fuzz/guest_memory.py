"""Memory as stage 1 sees it: plain, or through a stage 2."""

__all__ = ["Allocator", "GuestAllocator", "GuestMemory"]


class Allocator:
    """Hand out zeroed, naturally aligned blocks of a region, spread at random.

    Parameters
    ----------
    rng : random.Random
    base, size : int
        The region, bytes.
    """

    def __init__(self, rng, base, size):
        self.rng, self.base, self.size = rng, base, size
        self.used = []

    def alloc(self, size):
        """Return the address of ``size`` bytes (rounded up to a power of two), aligned to them."""
        size = max(64, 1 << (size - 1).bit_length())
        for _ in range(1000):
            address = (self.base + self.rng.randrange(self.size - size)) & -size
            if address >= self.base and all(
                    address + size <= start or end <= address for start, end in self.used):
                self.used.append((address, address + size))
                return address
        raise MemoryError(f"no room for {size:#x} bytes at {self.base:#x}")

    def free(self, address, size):
        """Do nothing: a scenario is too short to need its memory back."""


class GuestMemory:
    """Descriptor accesses by IPA. ``stage2`` is a :class:`PageTable` that maps all of them."""

    def __init__(self, memory, stage2):
        self.memory, self.stage2 = memory, stage2

    def place(self, ipa):
        """Return the physical address behind ``ipa``."""
        return self.stage2.iova_to_phys(ipa)

    def read64(self, ipa):
        return self.memory.read64(self.place(ipa))

    def write64(self, ipa, value):
        self.memory.write64(self.place(ipa), value)


class GuestAllocator:
    """Hand out IPAs that stage 2 maps to scattered physical pages.

    Parameters
    ----------
    ipas, pages : Allocator
        Of IPAs, of physical memory.
    stage2 : PageTable
    prot : callable
        Makes the :class:`Prot` of one mapping.
    """

    def __init__(self, ipas, pages, stage2, prot):
        self.ipas, self.pages, self.stage2, self.prot = ipas, pages, stage2, prot

    def alloc(self, size):
        page = self.stage2.page_size
        size = max(size, page)
        ipa = self.ipas.alloc(size)
        # Each page apart, so that a table may be scattered; unless a block lies there already.
        for offset in range(0, size, page):
            if not self.stage2.lookup(ipa + offset):
                self.stage2.map(
                    ipa + offset, self.pages.alloc(page), page, self.prot(), levels=[3])
        return ipa

    def free(self, address, size):
        """Do nothing, like :class:`Allocator`."""
