"""eventfd: how the kernel tells user space that something happened, as a counter."""

from smmu_sim.linux_error import LinuxError

__all__ = ["EventFD"]

_MOST = (1 << 64) - 2


class EventFD:
    """One eventfd (Linux: fs/eventfd.c), never blocking.

    Parameters
    ----------
    count
        Where the counter starts.
    semaphore
        EFD_SEMAPHORE: a read takes one.

    Attributes
    ----------
    count
        The counter.
    """

    def __init__(self, count=0, *, semaphore=False):
        self.count, self.semaphore = count, semaphore

    @property
    def readable(self):
        """What poll says: the counter is above zero."""
        return self.count > 0

    def signal(self, amount=1):
        """Add to the counter, as the kernel does; it stays at its largest value (2**64 - 1)."""
        self.count = min(self.count + amount, _MOST + 1)

    def read(self, size=8):
        """Return the counter as 8 bytes and clear it; a semaphore returns and takes one.

        EINVAL: ``size`` is below 8. EAGAIN: the counter is zero.
        """
        if size < 8:
            raise LinuxError("EINVAL", f"an eventfd is read as 8 bytes, not {size}")
        if not self.count:
            raise LinuxError("EAGAIN", "the counter is 0")
        taken = 1 if self.semaphore else self.count
        self.count -= taken
        return taken.to_bytes(8, "little")

    def write(self, data):
        """Add 8 bytes, as user space does; return 8.

        EINVAL: fewer than 8 bytes, or 2**64 - 1. EAGAIN: the counter would pass 2**64 - 2.
        """
        if len(data) < 8:
            raise LinuxError("EINVAL", f"an eventfd is written as 8 bytes, not {len(data)}")
        amount = int.from_bytes(data[:8], "little")
        if amount > _MOST:
            raise LinuxError("EINVAL", f"{amount:#x} cannot be added")
        if self.count + amount > _MOST:
            raise LinuxError("EAGAIN", f"{self.count:#x} + {amount:#x} passes {_MOST:#x}")
        self.count += amount
        return 8
