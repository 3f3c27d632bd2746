"""Stage 2 with a guest's stage 1 over it, as the Linux series of 2019 to 2021 had it."""

from enum import IntEnum
from typing import NamedTuple

from smmu.formats.descriptors import SH
from smmu.formats.stream_table import STE

from smmu_sim.driver import commands, entries
from smmu_sim.driver.entry_writer import write_entry_through_invalid
from smmu_sim.driver.generations import check_generation
from smmu_sim.driver.stage2_domain import Stage2Domain
from smmu_sim.fields import address
from smmu_sim.linux_error import LinuxError

__all__ = ["NestingDomain", "PasidTableConfig", "TableConfig"]

_FORMAT_SMMUV3 = 1
_WB_RA = 1


class TableConfig(IntEnum):
    """What the guest's stage 1 does (``IOMMU_PASID_CONFIG_*``)."""

    TRANSLATE = 1
    BYPASS = 2
    ABORT = 3


class PasidTableConfig(NamedTuple):
    """``iommu_pasid_table_config`` without its layout, which differs by generation."""

    base_ptr: int = 0           # IPA of the CD, or of the CD table
    pasid_bits: int = 0
    config: int = TableConfig.TRANSLATE
    s1fmt: int = 0
    s1dss: int = 0
    version: int = 1
    format: int = _FORMAT_SMMUV3
    smmuv3_version: int = 1


class _GuestTable(NamedTuple):
    """Stands for the CD table of a guest: what the STE says of it."""

    fields: dict

    def ste_fields(self):
        return self.fields


class NestingDomain(Stage2Domain):
    """Stage 2 of the host; a guest may put its CD table over it (VFIO's nesting domain).

    Parameters
    ----------
    driver
        The :class:`SMMUv3Driver`.
    generation
        ``"G1"`` (RFC v3), ``"V8"``, ``"V15"`` or ``"V16"``; ``"G2"`` is V15.
    options
        As of :class:`Stage2Domain`.

    Raises :exc:`LinuxError` EINVAL unless the SMMU has both stages.

    Attributes
    ----------
    config
        The :class:`PasidTableConfig` of a stage 1 that translates, or None.
    abort
        The guest wants its transactions to abort.
    """

    def __init__(self, driver, *, generation="V15", **options):
        if not driver.features.nested:
            raise LinuxError("EINVAL", "this SMMU does not implement two stages")
        super().__init__(driver, **options)
        self.generation = check_generation(generation)
        self.config, self.abort = None, False

    @property
    def below_stage1(self):
        return True

    def check(self, master):
        """Attach rules: no MSIs that bypass the SMMU, and a single doorbell."""
        if self.generation != "G1" and master.hw_msi:
            raise LinuxError("EINVAL", f"the MSIs of {master.name} bypass the SMMU")
        if self.generation in ("V8", "V15") and master.msi_domain is not None:
            for other in self.masters:
                if other.msi_domain not in (None, master.msi_domain):
                    raise LinuxError("EINVAL", f"{master.name} and {other.name} have different "
                                               "MSI doorbells")

    def attach_pasid_table(self, config):
        """Turn the guest's stage 1 on, off, or let it abort; rewrite the STEs of all masters.

        Raises :exc:`LinuxError` EINVAL: another format or version, no device was ever attached,
        unknown config; from V8 on also stage 1 on already, or more than one CD.
        """
        if config.format != _FORMAT_SMMUV3:
            raise LinuxError("EINVAL", f"format is {config.format}; it is {_FORMAT_SMMUV3}")
        for name in ("version", "smmuv3_version"):
            if getattr(config, name) != 1:
                raise LinuxError("EINVAL", f"{name} is {getattr(config, name)}; it is 1")
        if not self.finalised:
            raise LinuxError("EINVAL", "no device was attached to the domain yet")
        if config.config not in set(TableConfig):
            raise LinuxError("EINVAL", f"config is {config.config}; it is 1, 2 or 3")
        if config.config == TableConfig.TRANSLATE:
            self._check_translate(config)
            self._set(config, abort=False)
        else:
            self._set(None, abort=config.config == TableConfig.ABORT)

    def _check_translate(self, config):
        if self.generation == "G1":
            return
        if self.config is not None:
            raise LinuxError("EINVAL", "the guest's stage 1 is on already")
        if config.pasid_bits:
            raise LinuxError("EINVAL", f"pasid_bits is {config.pasid_bits}; a single CD is "
                                       "supported")

    def detach_pasid_table(self):
        """Turn the guest's stage 1 off. V8 leaves an abort behind, later ones stage 2 alone.

        Raises :exc:`LinuxError` ENODEV in RFC v3, which has no such call.
        """
        if self.generation == "G1":
            raise LinuxError("ENODEV", "RFC v3 can't take a table away")
        self._set(None, abort=self.generation == "V8")

    def _set(self, config, abort):
        """Rewrite the STEs; if the new one can't be written as asked, nothing has changed."""
        before, self.config, self.abort = (self.config, self.abort), config, abort
        try:
            stes = {master: self.ste(master, master.ats_enabled) for master in self.masters}
        except ValueError as error:
            self.config, self.abort = before
            raise LinuxError("EINVAL", str(error)) from error
        for master, ste in stes.items():
            for sid in master.sids:
                self._write_ste(sid, ste)

    def _write_ste(self, sid, ste):
        """Write an STE the way of these series: through V = 0 if it is in use."""
        driver = self.driver
        addr = driver.ensure_ste(sid)
        if write_entry_through_invalid(driver.memory, addr, ste,
                                       sync=lambda: driver.issue([commands.cfgi_ste(sid)])):
            driver.issue([commands.prefetch_config(sid)], sync=False)

    def ste(self, master, ats):
        if self.abort:
            return entries.ABORT
        if self.config is None:
            return super().ste(master, ats)
        several = self.config.pasid_bits
        table = _GuestTable({
            "S1ContextPtr": address(STE, "S1ContextPtr", self.config.base_ptr), "S1CDMax": several,
            "S1Fmt": self.config.s1fmt if several else 0,
            "S1DSS": self.config.s1dss if several else 0, "S1CIR": _WB_RA,
            "S1COR": _WB_RA, "S1CSH": SH.ISH})
        return entries.nested_ste(table, self.table, vmid=self.vmid, MEV=0,
                                  **self.ste_options(master, ats))
