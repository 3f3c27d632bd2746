"""Allocation of IO virtual addresses."""

from bisect import bisect_left, insort

from smmu_sim.linux_error import LinuxError

__all__ = ["IOVASpace"]

_ROUNDED_PAGES = 32  # Linux keeps freed ranges up to here by powers of two


class IOVASpace:
    """The addresses of one DMA domain, handed out from the top.

    A range is aligned to its size, rounded up to a power of two; small ranges are rounded up
    themselves. Linux 7.0: alloc_iova_fast, alloc_iova.

    Parameters
    ----------
    granule
        Bytes of the smallest range.
    first, last
        What can be mapped. Page 0 is never handed out.
    """

    def __init__(self, granule, first, last):
        self.granule = granule
        self.first, self.last = max(first, granule), last
        self._taken = []     # (first, last), sorted; reserved ranges may overlap
        self._sizes = {}     # {iova: bytes} of what is handed out

    def reserve(self, first, last):
        """Never hand out any of these addresses. Part of it may be reserved already."""
        insort(self._taken, (first & -self.granule, last | self.granule - 1))

    def alloc(self, size, limit=(1 << 64) - 1):
        """Return the start of a free range, the highest that ends at ``limit`` or before it.

        ENOSPC: there is none.
        """
        pages = -(-size // self.granule)
        if pages < _ROUNDED_PAGES:
            pages = 1 << (pages - 1).bit_length()
        size, align = pages * self.granule, self.granule << (pages - 1).bit_length()
        top = min(limit, self.last) + 1  # what is free ends below
        for first, last in [*reversed(self._taken), (0, self.first - 1)]:
            start = (top - size) & -align
            if start > last and start + size <= top:
                return self._take(start, size)
            top = min(top, first)
        raise LinuxError("ENOSPC", f"no {size:#x} bytes of IOVA are free up to {limit:#x}")

    def take(self, start, size):
        """Hand out these very addresses, in whole granules. EEXIST: some of them are not free."""
        first, last = start & -self.granule, start + size - 1 | self.granule - 1
        if any(first <= taken and last >= start for start, taken in self._taken):
            raise LinuxError("EEXIST", f"IOVAs in {start:#x} + {size:#x} are in use")
        self._take(first, last + 1 - first)

    def holds(self, iova, size):
        """Whether a range that was handed out starts at ``iova`` and has ``size`` bytes at least.

        The range may be longer by the rounding of :meth:`alloc`.
        """
        return iova in self._sizes and size <= self._sizes[iova]

    def _take(self, start, size):
        insort(self._taken, (start, start + size - 1))
        self._sizes[start] = size
        return start

    def free(self, iova):
        """Give a range back. EINVAL: it was not handed out."""
        if iova not in self._sizes:
            raise LinuxError("EINVAL", f"no range was handed out at {iova:#x}")
        size = self._sizes.pop(iova)
        del self._taken[bisect_left(self._taken, (iova, iova + size - 1))]

    @property
    def used(self):
        """Bytes handed out."""
        return sum(self._sizes.values())
