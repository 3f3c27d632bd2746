"""The guards of the register table, as the decoder needs them."""

import fnmatch

from smmu.formats.core import fields

__all__ = ["guards", "runs"]


def guards(register):
    """Yield (mask of a register's bits, the enables that must be 0 for them to be writable).

    The text of a guard is ``"SMMUEN=0"``, or a list of ``"<fields>: A=B=0"`` divided by ``;``.
    """
    for part in register.guard.split(";"):
        pattern, _, condition = part.rpartition(":")
        mask = 0
        for name, field in fields(register.struct).items():
            if fnmatch.fnmatchcase(name, pattern.strip() or "*"):
                mask |= field.mask
        yield mask, condition.strip().split("=")[:-1]


def runs(mask):
    """Yield (start, stop) of each run of ones."""
    start = 0
    while mask >> start:
        if not mask >> start & 1:
            start += 1
            continue
        stop = start
        while mask >> stop & 1:
            stop += 1
        yield start, stop
        start = stop
