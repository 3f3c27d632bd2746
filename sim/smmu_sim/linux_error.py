"""The error of a modelled Linux interface: an errno with its name and the reason."""

import errno

__all__ = ["LinuxError"]

# What the kernel uses inside and the C library does not know.
_KERNEL = {"ENOIOCTLCMD": 515, "ENOTSUPP": 524}


class LinuxError(OSError):
    """A call was refused. Nothing was changed by it.

    Parameters
    ----------
    name
        The errno as the kernel spells it: ``"EINVAL"``.
    reason
        What was wrong, with the value.

    Attributes
    ----------
    errno
        The number, positive as in user space.
    name, reason
        As given. ``strerror`` is ``"EINVAL: reason"``.
    """

    def __init__(self, name, reason):
        number = _KERNEL.get(name) or getattr(errno, name)
        super().__init__(number, f"{name}: {reason}")
        self.name, self.reason = name, reason

    def __str__(self):
        return self.strerror
