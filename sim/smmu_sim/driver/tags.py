"""ASIDs and VMIDs: which are in use."""

from smmu_sim.linux_error import LinuxError

__all__ = ["TagAllocator"]


class TagAllocator:
    """Hand out ASIDs or VMIDs, the lowest free one first. 0 is never handed out.

    Whoever gives one back has made the TLB forget it, so each is clean when it is handed out.

    Parameters
    ----------
    name
        ``"ASID"`` or ``"VMID"``.
    bits
        Their width.
    full
        The errno if there is none left: Linux's allocators differ.
    """

    def __init__(self, name, bits, full):
        self.name, self.bits, self.used = name, bits, set()
        self._full = full

    def alloc(self, wanted=None):
        """Return a free tag, or take ``wanted``.

        Raises :exc:`LinuxError`: EBUSY if ``wanted`` is in use, EINVAL if it does not fit, and
        ``full`` if none is left.
        """
        if wanted is not None:
            if wanted <= 0 or wanted >> self.bits:
                raise LinuxError("EINVAL", f"{self.name} {wanted} is not in 1 to "
                                           f"{(1 << self.bits) - 1}")
            if wanted in self.used:
                raise LinuxError("EBUSY", f"{self.name} {wanted} is in use")
            tag = wanted
        else:
            tag = next((n for n in range(1, 1 << self.bits) if n not in self.used), None)
            if tag is None:
                raise LinuxError(self._full, f"all {(1 << self.bits) - 1} {self.name}s are in use")
        self.used.add(tag)
        return tag

    def free(self, tag):
        """Give a tag back."""
        self.used.remove(tag)
