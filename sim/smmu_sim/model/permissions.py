"""Access permissions of the two stages (DDI 0487: D8.4; here the direct scheme)."""

from smmu.formats.core import plain
from smmu.formats.descriptors import S1Leaf, S1Table, S2Leaf

__all__ = ["Access", "stage1_allows", "stage2_allows"]

_leaf = plain(S1Leaf)
_table = plain(S1Table)
_s2leaf = plain(S2Leaf)

AP_UNPRIVILEGED = 1  # AP[1]: unprivileged access, if AP[2:1] is an integer
AP_READ_ONLY = 2  # AP[2]
XN_ANY, XN_UNPRIVILEGED_ONLY, XN_NONE, XN_PRIVILEGED_ONLY = range(4)  # who may execute


class Access:
    """What a transaction wants, after the overrides: writes are always data."""

    __slots__ = ("write", "instruction", "privileged")

    def __init__(self, write, instruction, privileged):
        self.write = bool(write)
        self.instruction = bool(instruction) and not write
        self.privileged = bool(privileged)


def stage1_allows(access, leaf, hierarchy, context, had):
    """Whether stage 1 permits ``access``.

    ``hierarchy`` is the bitwise OR of the table descriptors on the way to ``leaf``; ``had`` is the
    HADx that applies.
    """
    ap = _leaf.AP(leaf)
    uxn, pxn = _leaf.UXN(leaf), _leaf.PXN(leaf)
    if not had:
        aptable = _table.APTable(hierarchy)
        if aptable & 1:
            ap &= ~AP_UNPRIVILEGED
        if aptable & 2:
            ap |= AP_READ_ONLY
        uxn |= _table.UXNTable(hierarchy)
        pxn |= _table.PXNTable(hierarchy)
    writable = not ap & AP_READ_ONLY
    if context.one_privilege:  # EL2 without E2H: only AP[2] and XN count
        if access.instruction:
            return not uxn and not (context.wxn and writable)
        return writable or not access.write
    unprivileged = bool(ap & AP_UNPRIVILEGED)
    if access.instruction:
        if access.privileged:
            return not pxn and not (unprivileged and writable) and not (context.wxn and writable)
        return not uxn and not (context.wxn and unprivileged and writable)
    if access.privileged:
        if context.pan and unprivileged:
            return False
    elif not unprivileged:
        return False
    return writable or not access.write


def stage2_allows(access, leaf):
    """Whether stage 2 permits ``access``. Executing needs no read permission."""
    if access.instruction:
        xn = _s2leaf.XN(leaf)
        if xn == XN_ANY:
            return True
        return xn == (XN_PRIVILEGED_ONLY if access.privileged else XN_UNPRIVILEGED_ONLY)
    return bool(_s2leaf.S2AP(leaf) & (2 if access.write else 1))
