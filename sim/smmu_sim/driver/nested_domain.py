"""Nested domains: stage 1 of a guest, as its STE says, over a stage 2 of the host."""

from smmu_sim.driver import vste
from smmu_sim.driver.domain import Domain
from smmu_sim.driver.stage2_domain import Stage2Domain
from smmu_sim.linux_error import LinuxError

__all__ = ["NestedDomain"]


class NestedDomain(Domain):
    """What a guest wrote into an STE of its virtual SMMU (Linux 7.0: ``arm_smmu_nested_domain``).

    Parameters
    ----------
    parent
        A :class:`Stage2Domain` with ``nest_parent``.
    ste
        The first two words of the guest's STE. See :mod:`smmu_sim.driver.vste` for what is
        allowed; anything else raises EIO.
    vsid_of
        Function from a master to its virtual StreamID, or None if it has none: then a stage 1
        that translates can't be attached (ENOENT). Left out: virtual StreamIDs play no part.
    report
        ``report(event, vsid)`` takes the guest's events. It returns False if it did not take one.

    Raises :exc:`LinuxError`: EINVAL if the parent is not one, EIO for the STE.
    """

    kind = "nested"

    def __init__(self, parent, ste, *, vsid_of=None, report=None):
        if not isinstance(parent, Stage2Domain) or not parent.nest_parent:
            raise LinuxError("EINVAL", f"{parent!r} is not a nest parent")
        super().__init__(parent.driver)
        self.vste, self.wants_ats = vste.validate(*ste)
        self.parent, self.vsid_of, self.report = parent, vsid_of, report

    @property
    def translates(self):
        """The guest's stage 1 is on."""
        return vste.translates(self.vste)

    def vsid(self, master):
        """Return the virtual StreamID of a master, or None. Raises ENOENT if one is needed."""
        if self.vsid_of is None or not vste.is_valid(self.vste):
            return None
        found = self.vsid_of(master)
        if found is None and self.translates:
            raise LinuxError("ENOENT", f"{master.name} has no virtual StreamID")
        return found

    def join(self, master, ssid):
        super().join(master, ssid)
        self.parent.finalised = True
        self.parent.hold(master, ssid, self)

    def leave(self, master, ssid):
        super().leave(master, ssid)
        self.parent.release(master, ssid, self)

    def ste(self, master, ats):
        return vste.physical(self.vste, self.parent, master, ats)

    def __repr__(self):
        return f"NestedDomain({self.vste[0]:#x}, {self.vste[1]:#x} over {self.parent!r})"
