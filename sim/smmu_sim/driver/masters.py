"""Devices as the SMMU sees them, and the tree that finds one by its StreamID."""

from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.linux_error import LinuxError

__all__ = ["Master", "MasterTree"]


class Master:
    """One device behind the SMMU (Linux 7.0: ``struct arm_smmu_master``).

    Parameters
    ----------
    name
        For messages.
    sids
        Its StreamIDs; one that occurs twice counts once (bridges alias requester IDs).
    ssid_bits
        Width of the SubstreamIDs that it can send. 0: none. The SMMU may limit it further.
    ats
        It has an address translation cache. Used only if the SMMU has ATS.
    can_stall
        Its transactions may stall (device property ``dma-can-stall``).
    canwbs
        Its writes can be made cacheable and coherent.
    pci
        It is a PCI function.
    hw_msi, msi_domain
        For the guest MSI bindings of 2019 to 2021: its MSIs bypass the SMMU; the interrupt
        controller that they go to. An IOMMU core's :class:`Device` sets both.

    Attributes
    ----------
    driver
        The driver that it was added to, or None.
    domain
        What transactions without a SubstreamID use.
    pasids
        ``{SubstreamID: domain}``.
    vsid
        The virtual StreamID that it had when a nested domain was attached, or None.
    ats_enabled
        Translation requests are answered.
    cd_table
        Its CD table, or None as long as none was needed.
    """

    def __init__(self, name, sids, *, ssid_bits=0, ats=False, can_stall=False, canwbs=True,
                 pci=True, hw_msi=False, msi_domain=None):
        self.name, self.sids = name, tuple(dict.fromkeys(sids))
        self.ssid_bits, self.ats, self.can_stall = ssid_bits, ats, can_stall
        self.canwbs, self.pci = canwbs, pci
        self.hw_msi, self.msi_domain = hw_msi, msi_domain
        self.driver = self.domain = self.vsid = self.cd_table = None
        self.pasids, self.ats_enabled = {}, False

    @property
    def stall_enabled(self):
        """Faults of stage 1 stall."""
        features = self.driver.features
        return features.stall_forced or features.stall_possible and self.can_stall

    def __repr__(self):
        return f"Master({self.name}: {', '.join(f'{sid:#x}' for sid in self.sids)})"


class MasterTree:
    """Which StreamID belongs to which master (Linux 7.0: ``arm_smmu_insert_master``)."""

    def __init__(self, sid_bits):
        self._sid_bits, self._by_sid = sid_bits, {}

    def __iter__(self):
        return iter(dict.fromkeys(self._by_sid.values()))

    def find(self, sid):
        """Return the master of a StreamID, or None."""
        return self._by_sid.get(sid)

    def insert(self, master, ensure):
        """Enter a master; ``ensure(sid)`` makes the level 2 table of each of its STEs.

        Raises :exc:`LinuxError`: EINVAL if it has no StreamID or was added before, ERANGE for one
        outside of the stream table, ENODEV for one of another master, ENOMEM.
        """
        if not master.sids:
            raise LinuxError("EINVAL", f"{master.name} has no StreamID")
        if master.driver is not None:
            raise LinuxError("EINVAL", f"{master.name} was added already")
        for sid in master.sids:
            if sid < 0 or sid >> self._sid_bits:
                raise LinuxError("ERANGE", f"StreamID {sid:#x} of {master.name} is outside of the "
                                           f"stream table of {self._sid_bits} bits")
            if sid in self._by_sid:
                raise LinuxError("ENODEV", f"StreamID {sid:#x} of {master.name} belongs to "
                                           f"{self._by_sid[sid].name}")
        try:
            for sid in master.sids:
                ensure(sid)
        except OutOfMemory as error:
            raise LinuxError("ENOMEM", str(error)) from error
        self._by_sid |= dict.fromkeys(master.sids, master)

    def remove(self, master):
        """Take a master out."""
        for sid in master.sids:
            del self._by_sid[sid]
