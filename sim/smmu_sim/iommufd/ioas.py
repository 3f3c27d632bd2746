"""IOAS: one I/O address space, mapped into every HWPT that was made from it."""

from smmu_sim.iommufd.constants import MAX, PAGE_SIZE
from smmu_sim.iommufd.iova_space import Area, IOVASpace
from smmu_sim.iommufd.objects import IOMMUFDObject
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot

__all__ = ["IOAS", "Piece"]


class Piece:
    """A part of :class:`Pages`: what MAP makes one of, and COPY finds in the source."""

    def __init__(self, pages, offset, length):
        self.pages, self.offset, self.length = pages, offset, length


class IOAS(IOMMUFDObject):
    """An I/O address space.

    Each mapping stands in :attr:`space` once, and in the page tables of every domain.

    Attributes
    ----------
    space
        The :class:`IOVASpace`.
    domains
        The domains that it is mapped into.
    hwpts
        The paging HWPTs, in the order of their making.
    huge_pages
        Leaves may be larger than a page.
    """

    def __init__(self, allocations):
        super().__init__()
        allocations.request("an IOAS")
        self._allocations = allocations
        self.space, self.domains, self.hwpts = IOVASpace(), [], []
        self.huge_pages = True

    def destroy(self):
        self._remove(self.space.areas)

    # --- map -------------------------------------------------------------------------------------

    def map(self, pieces, *, readable, writable, iova=None):
        """Map pieces behind each other, at ``iova`` or where there is room; return the IOVA.

        Errors of :meth:`IOVASpace.check_fixed` or :meth:`IOVASpace.find_free`; EINVAL: length or
        offset not aligned; EPERM: the pages were given for reading; EFAULT, ENOMEM: pinning them;
        and what the page tables refuse. Nothing is mapped then. Linux 7.0: iopt_map_pages.
        """
        length = sum(piece.length for piece in pieces)
        if iova is None:
            first = pieces[0]
            iova = self.space.find_free(length, first.pages.start + first.offset)
        else:
            self.space.check_fixed(iova, length)
        areas = []
        for piece in pieces:
            self._allocations.request("an area")
            if (piece.length | piece.offset) % self.space.alignment:
                raise LinuxError("EINVAL", f"length {piece.length:#x} or offset {piece.offset:#x} "
                                           f"is not a multiple of {self.space.alignment:#x}")
            if writable and not piece.pages.writable:
                raise LinuxError("EPERM", "the pages are read-only")
            areas.append(Area(iova, piece.length, piece.pages, piece.offset, readable, writable))
            iova += piece.length
        self._fill(areas, self.domains)
        for area in areas:
            self.space.insert(area)
        return areas[0].iova

    def _fill(self, areas, domains):
        """Map areas into domains, all or nothing."""
        done = []
        try:
            for domain in domains:
                for area in areas:
                    self._map_area(area, domain)
                    done.append((area, domain))
        except LinuxError:
            for area, domain in done:
                self._unmap_area(area, domain)
            raise

    def _map_area(self, area, domain):
        prot = Prot(read=area.readable, write=area.writable, execute=True)
        self._allocations.request("a batch of pages")
        area.pages.pin()
        mapped = 0
        try:
            for offset, pa, size in area.pages.runs(area.offset, area.length):
                for part in range(0, size, size if self.huge_pages else PAGE_SIZE):
                    step = size if self.huge_pages else PAGE_SIZE
                    domain.map(area.iova + offset + part, pa + part, step, prot)
                    mapped = offset + part + step
        except LinuxError:
            if mapped:
                domain.unmap(area.iova, mapped)
            area.pages.unpin()
            raise

    @staticmethod
    def _unmap_area(area, domain):
        domain.unmap(area.iova, area.length)
        area.pages.unpin()

    def pieces(self, iova, length):
        """Return what is mapped in a range, for COPY. Errors of :meth:`IOVASpace.covering`."""
        found = []
        for area in self.space.covering(iova, length):
            start = max(iova, area.iova)
            last = min(iova + length - 1, area.last)
            found.append(Piece(area.pages, area.offset + start - area.iova, last - start + 1))
        return found

    # --- unmap -----------------------------------------------------------------------------------

    def unmap(self, iova, length):
        """Unmap whole areas, and return their bytes.

        EINVAL: length 0. EOVERFLOW: the range wraps. ENOENT: nothing is mapped there, or the range
        cuts an area. EBUSY: an area has to stay. Nothing is unmapped then.
        Linux 7.0: iopt_unmap_iova, which had unmapped the areas before the one that it met.
        """
        if not length:
            raise LinuxError("EINVAL", "length is 0")
        last = iova + length - 1
        if last > MAX:
            raise LinuxError("EOVERFLOW", f"iova {iova:#x} + {length:#x} wraps")
        found = self.space.areas_in(iova, last)
        if not found:
            raise LinuxError("ENOENT", f"nothing is mapped in {iova:#x} + {length:#x}")
        for area in found:
            if area.iova < iova or area.last > last:
                raise LinuxError("ENOENT", f"{iova:#x} + {length:#x} cuts the area {area.iova:#x} "
                                           f"+ {area.length:#x}")
        return self._remove(found)

    def unmap_all(self):
        """Unmap everything, and return the bytes; 0 if there is nothing. EBUSY as `unmap`."""
        return self._remove(self.space.areas)

    def _remove(self, areas):
        for area in areas:
            if area.locks:
                raise LinuxError("EBUSY", f"the area at {area.iova:#x} is in use")
        for area in areas:
            for domain in self.domains:
                self._unmap_area(area, domain)
        removed = set(areas)
        self.space.areas = [area for area in self.space.areas if area not in removed]
        return sum(area.length for area in removed)

    def cut(self, iova):
        """Let no area reach across ``iova``: one that does becomes two.

        Leaves must be of one page, else unmapping one of the two would cut a leaf. EINVAL: not
        aligned.
        """
        for area in self.space.areas_in(iova, iova):
            left = iova - area.iova
            if left % self.space.alignment:
                raise LinuxError("EINVAL", f"{iova:#x} is not a multiple of "
                                           f"{self.space.alignment:#x}")
            if left:
                rest = Area(iova, area.length - left, area.pages, area.offset + left,
                            area.readable, area.writable)
                area.length = left
                for _ in self.domains:
                    rest.pages.pin()
                self.space.insert(rest)

    # --- domains ---------------------------------------------------------------------------------

    def add_domain(self, domain):
        """Map all areas into one more domain.

        EADDRINUSE: an area, or an allowed range, lies outside of what it can map, or an area has
        not the alignment of its pages. EFAULT, ENOMEM: pinning. Linux 7.0: iopt_table_add_domain.
        """
        first, last = domain.aperture
        space = self.space
        try:
            if first:
                space.reserve(0, first - 1, domain)
            if last < MAX:
                space.reserve(last + 1, MAX, domain)
            alignment = max(self.space.alignment, min(domain.page_sizes))
            space.check_alignment(alignment)
            self._fill(space.areas, [domain])
        except LinuxError:
            space.release(domain)
            raise
        space.alignment = alignment
        self.domains.append(domain)

    def remove_domain(self, domain):
        """Unmap all areas from a domain, and forget it."""
        self.domains.remove(domain)
        for area in self.space.areas:
            self._unmap_area(area, domain)
        self.space.release(domain)
        self._align()

    def _align(self):
        sizes = [min(domain.page_sizes) for domain in self.domains]
        self.space.alignment = max([1 if self.huge_pages else PAGE_SIZE, *sizes])

    def set_huge_pages(self, enabled):
        """Let leaves be larger than a page, or not.

        Not: EINVAL if something is in page tables, EADDRINUSE if areas are not in whole pages.
        Linux 7.0: iopt_disable_large_pages.
        """
        if self.huge_pages and not enabled:
            if self.domains and self.space.areas:
                raise LinuxError("EINVAL", "page tables have mappings, perhaps with large leaves")
            self.space.check_alignment(PAGE_SIZE)
        self.huge_pages = enabled
        self._align()
