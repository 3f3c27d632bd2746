"""Domains: one translation that devices can be attached to."""

from enum import Enum

from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import DEFAULT

__all__ = ["Domain", "DomainType"]


class DomainType(Enum):
    """What a domain is for. The values are the texts of sysfs."""

    BLOCKED = "blocked"      # every access is aborted
    IDENTITY = "identity"    # nothing is translated
    DMA = "DMA"              # the DMA API's; invalidation at each unmap
    DMA_FQ = "DMA-FQ"        # the DMA API's; invalidation from a flush queue
    UNMANAGED = "unmanaged"  # mapped by its owner
    NESTED = "nested"        # stage 1 of a user over an UNMANAGED parent
    SVA = "sva"              # stage 1 of a process

    @property
    def is_dma(self):
        return self in (DomainType.DMA, DomainType.DMA_FQ)

    @property
    def is_paging(self):
        """The kernel maps into it."""
        return self.is_dma or self is DomainType.UNMANAGED


class Domain:
    """A translation, and what belongs to it in the kernel.

    Parameters
    ----------
    type
        :class:`DomainType`.
    hw
        The driver's domain.
    owner
        Whatever object made it, for that object's use.
    parent
        The UNMANAGED domain under a NESTED one.
    generation
        Which Linux's rules hold for a guest's stage 1 in a nesting domain: one of
        :data:`smmu_sim.driver.generations.GENERATIONS`. ``None``: the domain does not nest.

    Attributes
    ----------
    cookie
        What handles doorbells (and IOVAs) of it; see :mod:`smmu_sim.iommu.cookies`.
    fault_handler
        ``fault_handler(device, fault)`` takes page requests of devices that use the domain, and
        sees to an answer; a :class:`LinuxError` from it refuses one. ``None``: nobody does.
    """

    def __init__(self, type, hw, *, owner=None, parent=None, generation=None):
        self.type, self.hw = DomainType(type), hw
        self.owner, self.parent, self.generation = owner, parent, generation
        self.cookie = self.fault_handler = None
        self.finalised = False  # it was attached to a device once
        self.groups = []        # the groups whose devices' RIDs it translates
        self.pasid_users = 0    # (group, PASID) pairs that it translates

    @property
    def driver(self):
        return self.hw.driver

    @property
    def page_sizes(self):
        """Sizes of leaves in bytes, ascending. EINVAL: the kernel maps nothing into it."""
        self._paging()
        return tuple(sorted(self.hw.page_sizes))

    @property
    def aperture(self):
        """The first and the last address that can be mapped."""
        self._paging()
        return self.hw.aperture

    def _paging(self):
        if not self.type.is_paging:
            raise LinuxError("EINVAL", f"a domain of type {self.type.value} has no mappings")

    def map(self, iova, phys, size, prot=DEFAULT):
        """Map ``size`` bytes at ``iova`` to ``phys``.

        EINVAL: not of a mapping type, not whole pages, or outside of the aperture. EEXIST: part
        of it is mapped already. ENOMEM: no memory for tables. Linux 7.0: iommu_map.
        """
        self._paging()
        self.hw.map(iova, phys, size, prot)

    def unmap(self, iova, size):
        """Unmap a range, and return the bytes that were mapped; no stale translation is left.

        EINVAL: as of :meth:`map`.
        """
        self._paging()
        return self.hw.unmap(iova, size)

    def iova_to_phys(self, iova):
        """Return what ``iova`` translates to, or None. Linux 7.0: iommu_iova_to_phys.

        Of a NESTED domain the kernel does not know.
        """
        if self.type is DomainType.IDENTITY:
            return iova
        if self.type in (DomainType.BLOCKED, DomainType.NESTED):
            return None
        return self.hw.iova_to_phys(iova)

    @property
    def nesting(self):
        """Whether a guest's stage 1 can lie over it."""
        return self.generation is not None or bool(getattr(self.hw, "nest_parent", False))

    @property
    def doorbells(self):
        """The domain that doorbells are mapped in: itself, or the parent; None if in neither."""
        return next((d for d in (self, self.parent) if d is not None and d.cookie is not None),
                    None)

    @property
    def in_use(self):
        return bool(self.groups) or self.pasid_users > 0

    def __repr__(self):
        return f"Domain({self.type.value})"
