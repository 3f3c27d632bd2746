"""Access permissions of both stages, and who asks (SMMUV3: 5.2; DDI 0487: D8.4, direct scheme)."""

from amaranth.hdl import Mux, Signal

from smmu.payloads import Permissions, World

__all__ = ["from_stage1", "from_stage2", "both", "allowed", "for_incoming", "ALL"]

ALL = {name: 1 for name in ("pr", "pw", "px", "ur", "uw", "ux")}


def from_stage1(m, leaf, tables, WXN, PAN, world, name):
    """Permissions of a stage-1 leaf under the hierarchical ones gathered in ``tables``.

    In the world EL2 (not E2H) every access is privileged: AP[1] counts as 1, PAN and PXN do not
    exist, and unprivileged accesses get what privileged ones do.
    """
    perms = Signal(Permissions, name=name)
    single, user, writable = (Signal(name=f"{name}_{part}")
                              for part in ("single", "user", "writable"))
    uxn, pxn = Signal(name=f"{name}_uxn"), Signal(name=f"{name}_pxn")
    m.d.comb += [
        single.eq(world == World.EL2),
        user.eq(leaf.AP[0] & ~tables.aptable[0]),
        writable.eq(~(leaf.AP[1] | tables.aptable[1])),
        uxn.eq(leaf.UXN | tables.uxntable | WXN & writable & (single | user)),
        pxn.eq(leaf.PXN | tables.pxntable | writable & (user | WXN)),
        perms.pr.eq(single | ~(PAN & user)),
        perms.pw.eq(writable & (single | ~(PAN & user))),
        perms.px.eq(Mux(single, ~uxn, ~pxn)),
        perms.ur.eq(single | user),
        perms.uw.eq(writable & (single | user)),
        perms.ux.eq(~uxn),
    ]
    return perms


def from_stage2(m, leaf, xnx, name):
    """Permissions of a stage-2 leaf. Execution needs no read permission."""
    perms = Signal(Permissions, name=name)
    m.d.comb += [
        perms.pr.eq(leaf.S2AP[0]),
        perms.ur.eq(leaf.S2AP[0]),
        perms.pw.eq(leaf.S2AP[1]),
        perms.uw.eq(leaf.S2AP[1]),
        # XN[1:0]: 0 both, 1 unprivileged only, 2 none, 3 privileged only; without XNX XN[1] alone
        perms.px.eq(leaf.XN[0] == leaf.XN[1] if xnx else ~leaf.XN[1]),
        perms.ux.eq(~leaf.XN[1]),
    ]
    return perms


def both(one, other):
    """What two stages permit together."""
    return one.as_value() & other.as_value()


def allowed(perms, rnw, PnU, InD):
    """Whether ``perms`` permit an access. ``InD`` is 0 for a write."""
    privileged = Mux(~rnw, perms.pw, Mux(InD, perms.px, perms.pr))
    unprivileged = Mux(~rnw, perms.uw, Mux(InD, perms.ux, perms.ur))
    return Mux(PnU, privileged, unprivileged)


def for_incoming(perms, overrides, result):
    """Return statements that make ``result`` the permissions by the class of the incoming access.

    PRIVCFG 2 makes every access unprivileged, 3 privileged; INSTCFG 2 makes every read data, 3
    instruction.
    """
    privileged = {name: Mux(overrides.PRIVCFG == 2, getattr(perms, "u" + name),
                            getattr(perms, "p" + name)) for name in "rwx"}
    unprivileged = {name: Mux(overrides.PRIVCFG == 3, getattr(perms, "p" + name),
                              getattr(perms, "u" + name)) for name in "rwx"}
    statements = []
    for letter, source in (("p", privileged), ("u", unprivileged)):
        statements += [
            getattr(result, letter + "r").eq(
                Mux(overrides.INSTCFG == 3, source["x"], source["r"])),
            getattr(result, letter + "w").eq(source["w"]),
            getattr(result, letter + "x").eq(
                Mux(overrides.INSTCFG == 2, source["r"], source["x"])),
        ]
    return statements
