"""Attaching devices and their SubstreamIDs to domains: who points where, and in which order."""

from smmu.formats.stream_table import EATS, S1DSS, STRW

from smmu_sim.driver import commands, entries
from smmu_sim.driver.errors import DriverError, OutOfMemory, TimedOut
from smmu_sim.driver.features import LINEAR_CD_BITS
from smmu_sim.linux_error import LinuxError

__all__ = ["Attachments"]

NO_PASID = 0
_RID_S1DSS = {"stage1": S1DSS.SSID0, "identity": S1DSS.BYPASS, "blocked": S1DSS.TERMINATE}


class Attachments:
    """The attach rules of one driver (Linux 7.0: ``arm_smmu_attach_dev`` and its companions).

    Each change goes in three steps. Prepare: check, allocate, and let invalidations of the new
    domain reach the device. Write: CD, then STE. Commit: ATC, and the old domain's tag if the
    device was its last user. Before the second step nothing is changed; if that step fails, STE
    and CD are put back.
    """

    def __init__(self, driver):
        self._driver = driver

    # --- RID -------------------------------------------------------------------------------------

    def attach(self, master, domain):
        """Attach what a device sends without a SubstreamID."""
        self._check(master, domain)
        if domain.kind in ("stage2", "nested") and master.pasids:
            raise LinuxError("EBUSY", f"{master.name} has PASIDs {sorted(master.pasids)} in use; "
                                      f"a {domain.kind} domain leaves no place for them")
        domain.check(master)
        vsid = domain.vsid(master) if domain.kind == "nested" else None
        if domain.kind == "stage1":
            self._ensure_cd(master, NO_PASID)
        old, ats = master.domain, self._ats(master, domain)

        def write():
            if domain.kind == "stage1":
                self._set_cd(master, NO_PASID, domain.cd(master))
            self._set_ste(master, self._ste(master, domain, ats))
            if domain.kind != "stage1":
                self._set_cd(master, NO_PASID, 0)

        def done():
            master.domain, master.vsid = domain, vsid

        self._change(master, NO_PASID, old, domain, write, done, ats)

    def _ste(self, master, domain, ats):
        """The STE for a domain of the RID; where SubstreamIDs are in use, one with a CD table."""
        if domain.kind != "stage1" and not master.pasids:
            return domain.ste(master, ats)
        return self.cd_table_ste(master, _RID_S1DSS[domain.kind], ats)

    def cd_table_ste(self, master, s1dss, ats):
        """Return the STE that points to a master's CD table."""
        driver = self._driver
        return entries.stage1_ste(
            master.cd_table, S1DSS=s1dss, EATS=EATS.FULL if ats else EATS.OFF,
            STRW=STRW.EL2 if driver.e2h else STRW.NS_EL1,
            S1STALLD=int(driver.features.stall_possible and not master.stall_enabled))

    # --- PASIDs ----------------------------------------------------------------------------------

    def attach_pasid(self, master, ssid, domain):
        """Attach what a device sends with a SubstreamID; one attached before is replaced."""
        if domain.kind == "blocked":
            self.detach_pasid(master, ssid)
            return
        self._check(master, domain)
        self._check_ssid(master, ssid)
        if domain.kind != "stage1":
            raise LinuxError("EINVAL", f"a {domain.kind} domain can't be attached to a PASID")
        if master.domain.kind not in _RID_S1DSS:
            raise LinuxError("EINVAL", f"the RID of {master.name} is attached to a "
                                       f"{master.domain.kind} domain, which leaves no CD table")
        self._ensure_cd(master, ssid)
        old, ats = master.pasids.get(ssid), self._ats(master, domain)

        def write():
            self._set_cd(master, ssid, domain.cd(master))
            self._set_ste(master, self.cd_table_ste(master, _RID_S1DSS[master.domain.kind], ats))

        self._change(master, ssid, old, domain, write,
                     lambda: master.pasids.update({ssid: domain}), ats)

    def detach_pasid(self, master, ssid):
        """Let a SubstreamID abort; one that is not attached is left alone."""
        self._check_known(master)
        self._check_ssid(master, ssid)
        old = master.pasids.get(ssid)
        if old is None:
            return
        downgrade = len(master.pasids) == 1 and master.domain.kind != "stage1"
        ats = master.ats_enabled and not downgrade

        def write():
            self._set_cd(master, ssid, 0)
            if downgrade:
                if master.ats_enabled:
                    self._driver.issue(commands.atc_inv(master.sids, ssid, 0, 0))
                self._set_ste(master, master.domain.ste(master, ats))

        self._change(master, ssid, old, None, write, lambda: master.pasids.pop(ssid), ats)

    # --- checks ----------------------------------------------------------------------------------

    def _check_known(self, master):
        if master.driver is not self._driver:
            raise LinuxError("ENODEV", f"{master.name} is not behind this SMMU")

    def _check(self, master, domain):
        self._check_known(master)
        if domain.driver is not self._driver:
            raise LinuxError("EINVAL", f"{domain!r} belongs to another SMMU")
        if domain.enforces_coherency and not master.canwbs:
            raise LinuxError("EINVAL", f"{master.name} can't write coherently, as {domain!r} "
                                       "demands")
        if domain.iopf and master.stall_enabled and len(master.sids) != 1:
            raise LinuxError("EOPNOTSUPP", f"{master.name} has {len(master.sids)} StreamIDs; page "
                                           "faults need a single one")

    @staticmethod
    def _check_ssid(master, ssid):
        if ssid <= NO_PASID or ssid >> master.ssid_bits:
            raise LinuxError("EINVAL", f"PASID {ssid:#x} is not one of {master.name}: it has "
                                       f"{master.ssid_bits} bits, and 0 means none")

    def _ats(self, master, domain):
        """Whether translation requests are to be answered from now on."""
        if not (self._driver.features.ATS and master.ats):
            return False
        if domain.kind == "nested":
            return domain.wants_ats
        return domain.paging or bool(master.pasids)

    # --- the three steps -------------------------------------------------------------------------

    def _ensure_cd(self, master, ssid):
        """Make the CD table, and the leaf table that holds a SubstreamID."""
        driver = self._driver
        try:
            if master.cd_table is None:
                master.cd_table = driver.context_table(master.ssid_bits)
            master.cd_table.ensure(ssid, lambda ssid, leaf: self._invalidate_cd(master, ssid, leaf))
        except OutOfMemory as error:
            raise LinuxError("ENOMEM", str(error)) from error

    def _change(self, master, ssid, old, new, write, done, ats):
        """Move one user from a domain to another: ``write()`` it, and if that worked, ``done()``.

        An error of the commands after that is raised, but the new domain is in place.
        """
        driver = self._driver
        if new is not None and new is not old:
            new.join(master, ssid)
        master.ats_enabled &= ats or new is None  # a device is told before its ATC goes off
        before = [driver.stream_table.read(sid) for sid in master.sids]
        cd = master.cd_table and master.cd_table.read(ssid)
        try:
            write()
        except DriverError as error:
            self._put_back(master, ssid, before, cd, commands_work=not isinstance(error, TimedOut))
            if new is not None and new is not old:
                new.leave(master, ssid)
            raise
        done()
        self._commit_ats(master, ssid, ats)
        if old is not None and old is not new:
            old.leave(master, ssid)

    def _put_back(self, master, ssid, stes, cd, commands_work):
        """Make STEs and a CD what they were."""
        driver = self._driver

        def invalidate(batch):
            if commands_work:
                driver.issue(batch)

        if master.cd_table:
            master.cd_table.write(cd, ssid, lambda ssid, leaf: invalidate(
                [commands.cfgi_cd(sid, ssid, leaf) for sid in master.sids]))
        for sid, ste in zip(master.sids, stes, strict=True):
            driver.stream_table.write(
                sid, ste, lambda leaf, sid=sid: invalidate([commands.cfgi_ste(sid, leaf)]))

    def _commit_ats(self, master, ssid, ats):
        """Empty the ATC when it goes on (all of it), and when its contents changed."""
        if ats:
            which = ssid if master.ats_enabled else NO_PASID
            self._driver.issue(commands.atc_inv(master.sids, which, 0, 0))
        master.ats_enabled = ats

    def _set_ste(self, master, ste):
        driver = self._driver
        for sid in master.sids:
            if driver.set_ste(sid, ste):
                driver.issue([commands.prefetch_config(sid)], sync=False)

    def _set_cd(self, master, ssid, cd):
        table = master.cd_table
        if table is None or (cd == 0 and not table.read(ssid)):
            return
        self._driver.set_cd(table, cd, ssid, sids=master.sids)

    def _invalidate_cd(self, master, ssid, leaf):
        self._driver.issue([commands.cfgi_cd(sid, ssid, leaf) for sid in master.sids])

    # --- devices ---------------------------------------------------------------------------------

    def add(self, master):
        """Take in a device; its transactions abort."""
        driver = self._driver
        driver.masters.insert(master, driver.ensure_ste)
        features = driver.features
        master.driver, master.domain = driver, driver.blocked
        master.ssid_bits = min(master.ssid_bits, features.SSIDSIZE)
        if not features.CD2L:
            master.ssid_bits = min(master.ssid_bits, LINEAR_CD_BITS)
        driver.blocked.join(master, NO_PASID)

    def remove(self, master):
        """Detach a device from everything and forget it."""
        self._check_known(master)
        self._driver.events.abandon(master)
        for ssid in list(master.pasids):
            self.detach_pasid(master, ssid)
        self.attach(master, self._driver.blocked)
        self._driver.blocked.leave(master, NO_PASID)
        self._driver.masters.remove(master)
        if master.cd_table is not None:
            master.cd_table.free()
        master.driver = master.domain = master.cd_table = None

