"""The IOVAs of one IOAS: what is mapped, reserved, allowed, and how a free one is found."""

from dataclasses import dataclass
from typing import NamedTuple

from smmu_sim.iommufd.constants import MAX, PAGE_SIZE
from smmu_sim.linux_error import LinuxError

__all__ = ["Area", "IOVASpace", "Reserved"]

_HUGE_PAGE = 2 << 20


@dataclass(eq=False)
class Area:
    """One mapping: ``length`` bytes at ``iova`` are those from ``offset`` on in ``pages``."""

    iova: int
    length: int
    pages: object     # Pages
    offset: int
    readable: bool
    writable: bool
    locks: int = 0    # hardware queues that read it: it must stay

    @property
    def last(self):
        return self.iova + self.length - 1


class Reserved(NamedTuple):
    """IOVAs that cannot be mapped, and who asked for that."""

    start: int
    last: int
    owner: object


def _meets(item, start, last):
    """Whether an area or range has addresses of ``start`` … ``last``."""
    first = item.iova if isinstance(item, Area) else item[0]
    end = item.last if isinstance(item, Area) else item[1]
    return first <= last and start <= end


class IOVASpace:
    """Addresses 0 … 2**64 - 1. All ranges are inclusive. Nothing here touches page tables.

    Attributes
    ----------
    areas
        In the order of their IOVAs.
    reserved
        :class:`Reserved`; they may overlap.
    allowed
        (start, last) that automatic IOVAs are taken from; empty: no restriction.
    alignment
        Of IOVA, length and offset of each area; a power of two.
    """

    def __init__(self):
        self.areas, self.reserved, self.allowed = [], [], []
        self.alignment = 1

    # --- areas -----------------------------------------------------------------------------------

    def areas_in(self, start, last):
        """Return the areas that meet a range, in order."""
        return [area for area in self.areas if _meets(area, start, last)]

    def insert(self, area):
        """Add an area whose place was checked."""
        self.areas.append(area)
        self.areas.sort(key=lambda a: a.iova)

    def check_fixed(self, iova, length):
        """Refuse an IOVA that a user chose.

        EINVAL: misaligned, or reserved. EOVERFLOW: it wraps. EEXIST: something is mapped there.
        """
        if iova % self.alignment:
            raise LinuxError("EINVAL", f"iova {iova:#x} is not a multiple of {self.alignment:#x}")
        last = iova + length - 1
        if last > MAX:
            raise LinuxError("EOVERFLOW", f"iova {iova:#x} + {length:#x} wraps")
        for start, end, _ in self.reserved:
            if _meets((start, end), iova, last):
                raise LinuxError("EINVAL", f"iova {iova:#x} + {length:#x} meets the reserved "
                                           f"range {start:#x}–{end:#x}")
        found = self.areas_in(iova, last)
        if found:
            raise LinuxError("EEXIST", f"{found[0].iova:#x} + {found[0].length:#x} is mapped")

    def covering(self, iova, length):
        """Return the areas that hold a whole range. EINVAL empty, EOVERFLOW, ENOENT a gap."""
        if not length:
            raise LinuxError("EINVAL", "length is 0")
        last = iova + length - 1
        if last > MAX:
            raise LinuxError("EOVERFLOW", f"iova {iova:#x} + {length:#x} wraps")
        found, at = self.areas_in(iova, last), iova
        for area in found:
            if area.iova > at:
                break
            at = area.last + 1
        if at <= last:
            raise LinuxError("ENOENT", f"nothing is mapped at {at:#x}")
        return found

    # --- automatic IOVAs -------------------------------------------------------------------------

    def find_free(self, length, address):
        """Return a free IOVA for ``length`` bytes of user memory at ``address``.

        It is aligned so that large leaves fit. EOVERFLOW: the length is 0 or at least 2**63.
        EINVAL: the IOAS needs a larger alignment than the address has. ENOSPC: no room.
        """
        if not 0 < length < 1 << 63:
            raise LinuxError("EOVERFLOW", f"length {length:#x} is 0 or too large")
        alignment = min(1 << (length - 1).bit_length(), address & -address or 1 << 63, _HUGE_PAGE)
        if alignment < self.alignment:
            raise LinuxError("EINVAL", f"user address {address:#x} and length {length:#x} allow "
                                       f"an alignment of {alignment:#x}, not {self.alignment:#x}")
        for start, last in self.allowed or [(PAGE_SIZE, MAX - PAGE_SIZE)]:
            for first, end in self._holes(max(start, PAGE_SIZE), last):
                iova = -(-first // alignment) * alignment | address % PAGE_SIZE
                if iova + length - 1 <= end:
                    return iova
        raise LinuxError("ENOSPC", f"no room for {length:#x} bytes aligned to {alignment:#x}")

    def _holes(self, start, last):
        """Return the ranges in start … last that are neither mapped nor reserved."""
        taken = [(area.iova, area.last) for area in self.areas]
        return _gaps(taken + [item[:2] for item in self.reserved], start, last)

    # --- reserved and allowed --------------------------------------------------------------------

    def reserve(self, start, last, owner):
        """Reserve a range. EADDRINUSE: something is mapped or allowed there."""
        found = self.areas_in(start, last)
        if found:
            raise LinuxError("EADDRINUSE", f"{found[0].iova:#x} is mapped, in the reserved range "
                                           f"{start:#x}–{last:#x}")
        for allowed in self.allowed:
            if _meets(allowed, start, last):
                raise LinuxError("EADDRINUSE", f"{allowed[0]:#x}–{allowed[1]:#x} is allowed, and "
                                               f"{start:#x}–{last:#x} has to be reserved")
        self.reserved.append(Reserved(start, last, owner))

    def release(self, owner):
        """Drop what an owner had reserved."""
        self.reserved = [item for item in self.reserved if item.owner is not owner]

    def usable(self):
        """Return (start, last) of all that is not reserved."""
        return _gaps([item[:2] for item in self.reserved], 0, MAX)

    def set_allowed(self, ranges):
        """Replace the allowed ranges. EINVAL: one is empty or they overlap. EADDRINUSE: reserved.

        A range of one byte counts as empty.
        """
        ordered = sorted(ranges)
        for start, last in ordered:
            if start >= last:
                raise LinuxError("EINVAL", f"allowed range {start:#x}–{last:#x} is empty")
        for one, other in zip(ordered, ordered[1:]):
            if one[1] >= other[0]:
                raise LinuxError("EINVAL", f"allowed ranges overlap at {other[0]:#x}")
        for item in self.reserved:
            if any(_meets(item, *allowed) for allowed in ordered):
                raise LinuxError("EADDRINUSE", f"an allowed range meets the reserved range "
                                               f"{item.start:#x}–{item.last:#x}")
        self.allowed = ordered

    # --- alignment -------------------------------------------------------------------------------

    def check_alignment(self, alignment):
        """Refuse an alignment that areas do not have: EADDRINUSE."""
        for area in self.areas:
            if (area.iova | area.length | area.offset) % alignment:
                raise LinuxError("EADDRINUSE", f"the area at {area.iova:#x} is not aligned to "
                                               f"{alignment:#x}")


def _gaps(taken, start, last):
    """Return (start, last) of what no range of ``taken`` covers, in order."""
    gaps, at = [], start
    for first, end in sorted(taken):
        if first > last:
            break
        if first > at:
            gaps.append((at, first - 1))
        at = max(at, end + 1)
    if at <= last:
        gaps.append((at, last))
    return gaps
