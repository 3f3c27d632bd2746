"""Stage 2 domains: a VMID and a page table, which STEs point to."""

from smmu.formats.commands import Opcode
from smmu.formats.stream_table import EATS

from smmu_sim.driver import commands, entries, invalidation
from smmu_sim.driver.paging_domain import PagingDomain
from smmu_sim.linux_error import LinuxError

__all__ = ["Stage2Domain"]


class Stage2Domain(PagingDomain):
    """Stage 2 translation of whole devices.

    Parameters
    ----------
    driver
        The :class:`SMMUv3Driver`.
    nest_parent
        Nested domains can stand on it. Memory types are then forced (STE.S2FWB) where the SMMU
        can, and each invalidation also removes stage 1 entries, which combine both.
    granule
        :class:`Granule`; by default the smallest that the SMMU has.
    ia_bits
        IPA size; by default the output address size.
    vmid
        Use this VMID; by default the lowest free one.

    Raises :exc:`LinuxError`: EOPNOTSUPP if the SMMU has no stage 2, or for a parent not both
    stages; EINVAL for the geometry, ENOSPC if there is no VMID left, ENOMEM.
    """

    kind, stage = "stage2", 2

    def __init__(self, driver, *, nest_parent=False, granule=None, ia_bits=None, vmid=None):
        features = driver.features
        if not features.S2P:
            raise LinuxError("EOPNOTSUPP", "IDR0.S2P is 0: this SMMU has no stage 2")
        if nest_parent and not features.nested:
            raise LinuxError("EOPNOTSUPP", "IDR0.S1P is 0: nothing can be nested")
        self.nest_parent = nest_parent
        self.vmid = driver.vmids.alloc(vmid)
        try:
            super().__init__(driver, self.new_table(
                driver, stage=2, granule=granule, ia_bits=ia_bits,
                fwb=nest_parent and features.FWB))
        except LinuxError:
            driver.vmids.free(self.vmid)
            raise

    @property
    def below_stage1(self):
        """A guest's stage 1 may lie over this: TLBs and ATCs may hold results of both stages."""
        return self.nest_parent

    @property
    def atc_whole(self):
        return self.below_stage1

    def ste(self, master, ats):
        return entries.stage2_ste(self.table, vmid=self.vmid, **self.ste_options(master, ats))

    @staticmethod
    def ste_options(master, ats):
        """Return the fields of the STE that depend on the master."""
        return {"EATS": EATS.FULL if ats else EATS.OFF, "S2S": int(master.stall_enabled)}

    def free(self):
        super().free()
        self.driver.vmids.free(self.vmid)

    # --- invalidation ----------------------------------------------------------------------------

    def tag_commands(self):
        return invalidation.all_of_vmid(self.vmid)

    def range_commands(self, iova, size, leaf, leaf_size):
        granule, ril = self.table.granule, self.driver.features.RIL
        if not size or invalidation.too_many(size, granule, ril):
            return [self.tag_commands()]
        batches = [invalidation.stage2_range(
            iova, size, granule=granule, ril=ril, vmid=self.vmid, leaf=leaf, leaf_size=leaf_size,
            nested=False)]
        if self.below_stage1:
            batches.append([commands.tlbi(Opcode.CMD_TLBI_NH_ALL, VMID=self.vmid)])
        return batches

    def __repr__(self):
        return f"{type(self).__name__}(VMID {self.vmid})"
