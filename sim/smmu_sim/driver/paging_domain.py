"""Domains with page tables: map, unmap, and the invalidation that goes with it."""

from smmu.formats.core import plain
from smmu.formats.descriptors import Descriptor

from smmu_sim.driver import commands
from smmu_sim.driver.domain import Domain
from smmu_sim.driver.errors import DriverError, OutOfMemory
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import DEFAULT, PageTableError

__all__ = ["PagingDomain"]

_VALID = plain(Descriptor).Valid


class PagingDomain(Domain):
    """A domain with a page table of its own.

    Attributes
    ----------
    table
        The :class:`PageTable`.
    page_sizes
        Sizes of leaves, bytes, smallest first.
    aperture
        First and last input address.
    finalised
        It was attached to a device once.
    """

    paging = True
    stage = 0
    atc_whole = False  # ATCs forget everything when any of it changes

    def __init__(self, driver, table):
        super().__init__(driver)
        self.table, self._owns_table = table, True
        self._holders, self.finalised = {}, False
        self.page_sizes = tuple(sorted(table.leaf_size(level) for level in table.leaf_levels()))
        self.aperture = (0, (1 << table.ia_bits) - 1)

    @staticmethod
    def new_table(driver, **options):
        """Return a page table, with the errors of Linux: ENOMEM, EINVAL."""
        options = {name: value for name, value in options.items() if value is not None}
        try:
            return driver.page_table(**options)
        except OutOfMemory as error:
            raise LinuxError("ENOMEM", str(error)) from error
        except (DriverError, PageTableError) as error:
            raise LinuxError("EINVAL", str(error)) from error

    # --- users -----------------------------------------------------------------------------------

    def join(self, master, ssid):
        super().join(master, ssid)
        self.finalised = True
        self.hold(master, ssid, self)

    def leave(self, master, ssid):
        super().leave(master, ssid)
        self.release(master, ssid, self)

    def hold(self, master, ssid, via):
        """Note that a user's transactions may leave entries with this domain's tag in the TLB.

        ``via`` is the domain that it is attached to: this one, or a nested one over it.
        """
        self._holders[master, ssid, via] = True

    def release(self, master, ssid, via):
        """Undo :meth:`hold`. With the last one the tag becomes clean."""
        del self._holders[master, ssid, via]
        if not self._holders:
            self.driver.issue(self.tag_commands())

    @property
    def in_use(self):
        """Whether the TLB may hold entries of this domain."""
        return bool(self._holders)

    def free(self):
        """Give back tables and tag. Raises EBUSY while something is attached."""
        if self._holders:
            raise LinuxError("EBUSY", f"{self!r} is attached to " + ", ".join(
                dict.fromkeys(master.name for master, _, _ in self._holders)))
        super().free()
        if self._owns_table:
            self.table.free()

    # --- mapping ---------------------------------------------------------------------------------

    def map(self, iova, pa, size, prot=DEFAULT):
        """Map a range.

        Raises :exc:`LinuxError`: EINVAL for a range that is empty, not in pages, or outside of the
        aperture or of the output addresses; EEXIST if something there is mapped; ENOMEM. Nothing
        is mapped then.
        """
        try:
            self.table.map(iova, pa, size, prot)
        except OutOfMemory as error:
            self.unmap(iova, size)
            raise LinuxError("ENOMEM", str(error)) from error
        except PageTableError as error:
            name = "EEXIST" if self._occupied(iova, size) else "EINVAL"
            raise LinuxError(name, str(error)) from error

    def _occupied(self, iova, size):
        """Whether the range is a legal one, and something in it is mapped."""
        first, last = self.aperture
        if size <= 0 or iova < first or iova + size - 1 > last:
            return False
        at = iova
        while at < iova + size:
            *_, (level, _, raw) = self.table.path(at)
            if _VALID(raw):
                return True
            at = (at | self.table.leaf_size(level) - 1) + 1
        return False

    def unmap(self, iova, size):
        """Unmap a range, invalidate it, wait, and then free empty tables; return the bytes.

        Holes are skipped. Raises :exc:`LinuxError` EINVAL for a range that is not in pages,
        outside of the aperture, or would cut a block.
        """
        try:
            removed = self.table.unmap(iova, size)
        except PageTableError as error:
            raise LinuxError("EINVAL", str(error)) from error
        if removed.size:
            leaf_size = next(iter(removed.leaves)) if len(removed.leaves) == 1 else None
            self.invalidate(iova, size, leaf=not removed.tables, leaf_size=leaf_size)
            self.table.release(removed)
        return removed.size

    def iova_to_phys(self, iova):
        """Return the output address of an input address, or None if it is not mapped."""
        first, last = self.aperture
        return self.table.iova_to_phys(iova) if first <= iova <= last else None

    # --- invalidation ----------------------------------------------------------------------------

    def invalidate(self, iova, size, *, leaf=True, leaf_size=None):
        """Make TLBs and ATCs forget a range of input addresses; wait for it.

        ``leaf``: no table pointer changed. ``leaf_size``: that of all leaves in the range, if they
        are the same. Size 0, or all that there is, means everything. With no device attached
        there is nothing to forget. Linux 7.0: ``arm_smmu_domain_inv_range``.
        """
        if not self._holders:
            return
        if size > self.aperture[1]:
            size = 0
        for batch in self.range_commands(iova, size, leaf, leaf_size):
            self.driver.issue(batch)
        self._invalidate_atcs(iova, size)

    def invalidate_all(self):
        """Make TLBs and ATCs forget the whole domain; wait for it."""
        if self._holders:
            self.driver.issue(self.tag_commands())
            self._invalidate_atcs(0, 0)

    def _invalidate_atcs(self, iova, size):
        batch = []
        for master, ssid, via in self._holders:
            if master.ats_enabled:
                # What a nested device caches are not addresses of this domain.
                whole = self.atc_whole or via is not self
                batch += commands.atc_inv(master.sids, ssid, *(0, 0) if whole else (iova, size))
        if batch:
            self.driver.issue(batch)

    def tag_commands(self):
        """Return the commands that remove everything with this domain's tag."""
        raise NotImplementedError

    def range_commands(self, iova, size, leaf, leaf_size):
        """Return the batches, each with a CMD_SYNC after it, that remove a range."""
        raise NotImplementedError
