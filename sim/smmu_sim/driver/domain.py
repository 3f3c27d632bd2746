"""What all domains have in common; and the two that have no tables."""

from smmu_sim.driver.entries import ABORT, bypass_ste
from smmu_sim.linux_error import LinuxError

__all__ = ["BlockedDomain", "Domain", "IdentityDomain"]


class Domain:
    """Something that a device, or one of its SubstreamIDs, can be attached to.

    Attributes
    ----------
    kind
        ``"stage1"``, ``"stage2"``, ``"nested"``, ``"identity"`` or ``"blocked"``.
    users
        Attached (master, SubstreamID), in order; 0 is for transactions without one.
    iopf
        Somebody handles the page faults of this domain: a stalling master must then have a
        single StreamID.
    enforces_coherency
        See :meth:`enforce_cache_coherency`.
    """

    kind = ""
    paging = False

    def __init__(self, driver):
        self.driver, self._users = driver, {}
        self.iopf = self.enforces_coherency = False

    @property
    def users(self):
        return list(self._users)

    @property
    def masters(self):
        """The attached masters, each once."""
        return list(dict.fromkeys(master for master, _ in self._users))

    def check(self, master):
        """Raise :exc:`LinuxError` if this master must not be attached. The base allows all."""

    def join(self, master, ssid):
        """Note a user. From here on invalidations are for it, too."""
        self._users[master, ssid] = True

    def leave(self, master, ssid):
        """Forget a user, whose STE or CD points elsewhere already."""
        del self._users[master, ssid]

    def ste(self, master, ats):
        """Return the STE for a master without SubstreamIDs in use."""
        raise LinuxError("EINVAL", f"a {self.kind} domain has no STE")

    def enforce_cache_coherency(self):
        """Demand that all devices write coherently; return whether all attached ones can.

        If so, later attachments of others fail (Linux 7.0: ``arm_smmu_enforce_cache_coherency``).
        """
        self.enforces_coherency = all(master.canwbs for master in self.masters)
        return self.enforces_coherency

    def free(self):
        """Give up the domain. Raises EBUSY while it has users."""
        if self._users:
            raise LinuxError("EBUSY", f"the {self.kind} domain is attached to "
                                      f"{', '.join(m.name for m in self.masters)}")

    def __repr__(self):
        return f"{type(self).__name__}()"


class IdentityDomain(Domain):
    """Addresses pass unchanged. There is one for each driver."""

    kind = "identity"

    def ste(self, master, ats):
        return bypass_ste()


class BlockedDomain(Domain):
    """Transactions are aborted. There is one for each driver."""

    kind = "blocked"

    def ste(self, master, ats):
        return ABORT
