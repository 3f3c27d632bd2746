"""What user space mapped for DMA in a container: the rules of the version 2 of type 1."""

from typing import NamedTuple

from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot

__all__ = ["DMAMapping", "DMAMappings", "READ", "WRITE"]

READ, WRITE = 1, 2
_MOST_MAPPINGS = 65535
_ADDRESS_END = 1 << 64


class DMAMapping(NamedTuple):
    """One VFIO_IOMMU_MAP_DMA. ``pages`` are the pinned ``(physical, bytes)``."""

    iova: int
    vaddr: int
    size: int
    flags: int
    pages: tuple

    @property
    def prot(self):
        # VFIO never asks for NOEXEC.
        return Prot(read=bool(self.flags & READ), write=bool(self.flags & WRITE), execute=True)


class DMAMappings:
    """All mappings of one container, in each of its domains.

    Parameters
    ----------
    process
        Whose memory is mapped.
    domains
        Called; the IOMMU domains that hold the mappings now.
    page_size
        Called; the smallest page that all of them have.
    valid
        ``valid(iova, size)``: whether mappings may lie there.
    """

    def __init__(self, process, domains, page_size, valid):
        self._process, self._domains = process, domains
        self._page_size, self._valid = page_size, valid
        self._mappings = {}

    def __iter__(self):
        return iter(sorted(self._mappings.values()))

    def overlapping(self, iova, size):
        """Return the mappings that share an address with a range, in order."""
        return [m for m in self if m.iova < iova + size and iova < m.iova + m.size]

    def map(self, iova, vaddr, size, flags):
        """Pin and map memory of the process. Linux 5.12: vfio_dma_do_map; checks in this order.

        EINVAL: neither read nor write, empty, not whole pages, or wrapping. EEXIST: part of it is
        mapped. ENOSPC: 65535 mappings are there. EINVAL: outside of the valid ranges. EFAULT: the
        process has no such memory. What the domains say to a mapping is passed on.
        """
        if not flags & (READ | WRITE):
            raise LinuxError("EINVAL", "a mapping needs to be readable or writable")
        self._check(iova, size, vaddr)
        if vaddr + size > _ADDRESS_END:
            raise LinuxError("EINVAL", f"vaddr {vaddr:#x} + {size:#x} wraps")
        if self.overlapping(iova, size):
            raise LinuxError("EEXIST", f"part of {iova:#x} + {size:#x} is mapped")
        if len(self._mappings) >= _MOST_MAPPINGS:
            raise LinuxError("ENOSPC", f"{_MOST_MAPPINGS} mappings are there")
        if not self._valid(iova, size):
            raise LinuxError("EINVAL", f"{iova:#x} + {size:#x} is not in a valid range")
        pages = tuple(self._process.pages(vaddr, size, bool(flags & WRITE)))
        mapping = DMAMapping(iova, vaddr, size, flags, pages)
        done = []
        try:
            for domain in self._domains():
                self._map_into(domain, mapping)
                done.append(domain)
        except LinuxError:
            for domain in done:
                domain.unmap(iova, size)
            raise
        self._mappings[iova] = mapping

    def _check(self, iova, size, vaddr=0):
        page = self._page_size()
        if not size or (size | iova | vaddr) % page:
            raise LinuxError("EINVAL", f"iova {iova:#x}, vaddr {vaddr:#x}, size {size:#x}: not "
                                       f"whole pages of {page:#x}")
        if iova + size > _ADDRESS_END:
            raise LinuxError("EINVAL", f"iova {iova:#x} + {size:#x} wraps")

    @staticmethod
    def _map_into(domain, mapping):
        """Map all of it, or nothing."""
        at = mapping.iova
        try:
            for physical, count in mapping.pages:
                domain.map(at, physical, count, mapping.prot)
                at += count
        except LinuxError:
            if at > mapping.iova:
                domain.unmap(mapping.iova, at - mapping.iova)
            raise

    def unmap(self, iova, size):
        """Unmap whole mappings; return their bytes, 0 if there were none.

        EINVAL: empty, not whole pages, wrapping, or cutting a mapping (version 2).
        """
        self._check(iova, size)
        found = self.overlapping(iova, size)
        for mapping in found:
            if mapping.iova < iova or mapping.iova + mapping.size > iova + size:
                raise LinuxError("EINVAL", f"{iova:#x} + {size:#x} cuts the mapping of "
                                           f"{mapping.size:#x} at {mapping.iova:#x}")
        for mapping in found:
            for domain in self._domains():
                domain.unmap(mapping.iova, mapping.size)
            del self._mappings[mapping.iova]
        return sum(mapping.size for mapping in found)

    def replay(self, domain):
        """Map everything into a further domain, or nothing if that fails."""
        done = []
        try:
            for mapping in self:
                self._map_into(domain, mapping)
                done.append(mapping)
        except LinuxError:
            for mapping in done:
                domain.unmap(mapping.iova, mapping.size)
            raise

    def remove_from(self, domain):
        """Take everything out of a domain that is about to go."""
        for mapping in self:
            domain.unmap(mapping.iova, mapping.size)

    def clear(self):
        """Forget everything: the last domain is gone."""
        self._mappings.clear()
