"""Stage 1 domains: an ASID and a page table, which CDs point to."""

from smmu.formats.stream_table import S1DSS

from smmu_sim.driver import entries, invalidation
from smmu_sim.driver.paging_domain import PagingDomain
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import DEFAULT

__all__ = ["Stage1Domain"]


class Stage1Domain(PagingDomain):
    """Stage 1 translation: for the RID of a device, or for one of its SubstreamIDs.

    Parameters
    ----------
    driver
        The :class:`SMMUv3Driver`.
    granule
        :class:`Granule`; by default the smallest that the SMMU has.
    ia_bits
        Input address size.
    page_table
        Use a process's table instead (SVA). :meth:`map` and :meth:`unmap` are then refused with
        EOPNOTSUPP: who changes the table calls :meth:`invalidate`.
    asid
        Use this ASID; by default the lowest free one.

    Raises :exc:`LinuxError`: EOPNOTSUPP if the SMMU has no stage 1, EINVAL for the geometry,
    EBUSY if there is no ASID left, ENOMEM.
    """

    kind, stage = "stage1", 1

    def __init__(self, driver, *, granule=None, ia_bits=48, page_table=None, asid=None):
        if not driver.features.S1P:
            raise LinuxError("EOPNOTSUPP", "IDR0.S1P is 0: this SMMU has no stage 1")
        self.asid = driver.asids.alloc(asid)
        try:
            super().__init__(driver, page_table or self.new_table(
                driver, stage=1, granule=granule, ia_bits=ia_bits))
        except LinuxError:
            driver.asids.free(self.asid)
            raise
        self._owns_table, self._quiet = page_table is None, False

    def cd(self, master):
        """Return the CD for a master."""
        if self._quiet:
            return entries.quiet_cd(asid=self.asid)
        return entries.cd(self.table, asid=self.asid, S=int(master.stall_enabled))

    def ste(self, master, ats):
        return self.driver.attachments.cd_table_ste(master, S1DSS.SSID0, ats)

    def map(self, iova, pa, size, prot=DEFAULT):
        self._check_own()
        super().map(iova, pa, size, prot)

    def unmap(self, iova, size):
        self._check_own()
        return super().unmap(iova, size)

    def _check_own(self):
        if not self._owns_table:
            raise LinuxError("EOPNOTSUPP", "the page table belongs to a process")

    # --- live changes ----------------------------------------------------------------------------

    def quiesce(self):
        """The process has gone: its table is not read any more, and accesses abort silently.

        Linux 7.0: ``arm_smmu_mm_release``. The domain stays attached.
        """
        self._quiet = True
        self._rewrite_cds()
        self.invalidate_all()

    def renumber(self, asid=None):
        """Take another ASID while devices use the domain; return it.

        One word of each CD changes, so no transaction is disturbed. The old ASID is clean when it
        is given back.
        """
        old, self.asid = self.asid, self.driver.asids.alloc(asid)
        self._rewrite_cds()
        if self.in_use:
            self.driver.issue(invalidation.all_of_asid(old, e2h=self.driver.e2h))
        self.driver.asids.free(old)
        return self.asid

    def _rewrite_cds(self):
        for master, ssid in self.users:
            self.driver.set_cd(master.cd_table, self.cd(master), ssid, sids=master.sids)

    def free(self):
        super().free()
        self.driver.asids.free(self.asid)

    # --- invalidation ----------------------------------------------------------------------------

    def tag_commands(self):
        return invalidation.all_of_asid(self.asid, e2h=self.driver.e2h)

    def range_commands(self, iova, size, leaf, leaf_size):
        if not size:
            return [self.tag_commands()]
        return [invalidation.stage1_range(
            iova, size, granule=self.table.granule, ril=self.driver.features.RIL, asid=self.asid,
            leaf=leaf, leaf_size=leaf_size, e2h=self.driver.e2h)]

    def __repr__(self):
        return f"Stage1Domain(ASID {self.asid})"
