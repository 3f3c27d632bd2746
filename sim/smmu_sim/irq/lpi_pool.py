"""Numbers of LPIs, which all ITSs of a machine share."""

from smmu_sim.linux_error import LinuxError

__all__ = ["FIRST_LPI", "LPIPool"]

FIRST_LPI = 8192


class LPIPool:
    """Hand out ranges of LPIs, the lowest that fit (Linux 7.0: ``alloc_lpi_range``).

    Parameters
    ----------
    bits
        INTID bits of the redistributors; LPIs are 8192 to ``2 ** bits - 1``.
    """

    def __init__(self, bits=16):
        self._free = [(FIRST_LPI, (1 << bits) - FIRST_LPI)]  # (first, count), sorted

    def alloc(self, count):
        """Return the first of ``count`` consecutive LPIs. Raises ENOSPC."""
        for n, (first, available) in enumerate(self._free):
            if available >= count:
                rest = [(first + count, available - count)] if available > count else []
                self._free[n:n + 1] = rest
                return first
        raise LinuxError("ENOSPC", f"no {count} consecutive LPIs are free")

    def free(self, first, count):
        """Give back a range."""
        ranges = sorted([*self._free, (first, count)])
        merged = ranges[:1]
        for start, size in ranges[1:]:
            last, length = merged[-1]
            if last + length > start:
                raise ValueError(f"LPI {start} was free already")
            if last + length == start:
                merged[-1] = (last, length + size)
            else:
                merged.append((start, size))
        self._free = merged
