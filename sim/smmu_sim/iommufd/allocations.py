"""Every allocation of the modelled kernel asks here first, so that tests can let one fail."""

from smmu_sim.linux_error import LinuxError

__all__ = ["Allocations"]


class Allocations:
    """Count allocations, and let one fail: what Linux's fault injection by ``fail-nth`` does.

    Attributes
    ----------
    count
        Allocations asked for so far.
    fail_nth
        Which one from now on fails: 1 is the next. None: none.
    """

    def __init__(self):
        self.count, self.fail_nth = 0, None

    def request(self, what):
        """Ask for memory for ``what``. Raises ENOMEM if it is this one's turn to fail."""
        self.count += 1
        if self.fail_nth is None:
            return
        self.fail_nth -= 1
        if not self.fail_nth:
            self.fail_nth = None
            raise LinuxError("ENOMEM", f"no memory for {what}")
