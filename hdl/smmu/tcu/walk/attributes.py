"""Memory attributes: decoding them, and combining two stages (SMMUV3: 5.2, 13; DDI 0487: D8.6)."""

from amaranth.hdl import Cat, Mux, Signal

from smmu.payloads import Attributes, MemType

__all__ = ["from_mair", "from_stage2", "from_walk", "combine", "is_device"]


def _mair_type(nibble):
    """Type of one half of the MAIR byte of Normal memory."""
    # 0100 NC; 00xx WT (transient), 01xx WB (transient), 10xx WT, 11xx WB; 0000 is reserved: WT
    normal = Mux(nibble[2], MemType.WB, MemType.WT)
    return Mux(nibble == 0b0100, MemType.NC, normal)


def from_mair(m, byte, sh, name):
    """Decode the MAIR byte of a stage-1 leaf; hints are 1 where the type has none."""
    attrs = Signal(Attributes, name=name)
    device = Signal(name=f"{name}_device")
    hintless = Signal(name=f"{name}_hintless")
    m.d.comb += [
        device.eq(byte[4:8] == 0),
        hintless.eq(device | (byte[4:8] == 0b0100)),
        attrs.outer.eq(Mux(device, byte[2:4], _mair_type(byte[4:8]))),
        attrs.inner.eq(Mux(device, byte[2:4], _mair_type(byte[0:4]))),
        attrs.ra.eq(hintless | byte[5]),
        attrs.wa.eq(hintless | byte[4]),
        attrs.sh.eq(sh),
    ]
    return attrs


def _s2_type(code):
    """Type of one half of MemAttr for Normal memory: 1 NC, 2 WT, 3 WB."""
    return Mux(code == 1, MemType.NC, Mux(code == 2, MemType.WT, MemType.WB))


def from_stage2(m, MemAttr, sh, S2FWB, name):
    """Decode a stage-2 leaf's MemAttr into the operator on stage 1's type.

    With S2FWB: 0dd Device, 110 forces WB, 111 leaves the type, 101 (and the reserved 100) NC.
    """
    attrs = Signal(Attributes, name=name)
    device, reserved = Signal(name=f"{name}_device"), Signal(name=f"{name}_reserved")
    forced = Mux(MemAttr[1], Mux(MemAttr[0], MemType.WB, MemType.FORCE_WB), MemType.NC)
    m.d.comb += [
        device.eq(MemAttr[2:4] == 0),
        reserved.eq(~device & (MemAttr[0:2] == 0)),
        attrs.ra.eq(1),
        attrs.wa.eq(1),
        attrs.sh.eq(sh),
    ]
    with m.If(S2FWB):
        m.d.comb += [
            attrs.outer.eq(Mux(MemAttr[2], forced, MemAttr[0:2])),
            attrs.inner.eq(Mux(MemAttr[2], forced, MemAttr[0:2])),
        ]
    with m.Elif(device | reserved):
        m.d.comb += [
            attrs.outer.eq(Mux(reserved, MemType.nGnRnE, MemAttr[0:2])),
            attrs.inner.eq(Mux(reserved, MemType.nGnRnE, MemAttr[0:2])),
        ]
    with m.Else():
        m.d.comb += [
            attrs.outer.eq(_s2_type(MemAttr[2:4])),
            attrs.inner.eq(_s2_type(MemAttr[0:2])),
        ]
    return attrs


def _walk_type(code):
    return Cat(code == 2, code[0], 1)


def from_walk(walk, attrs):
    """Return statements that make ``attrs`` what a `WalkAttributes` means."""
    # NC is 0b100, WT 0b101, WB 0b110.
    return [
        attrs.outer.eq(_walk_type(walk.oc)),
        attrs.inner.eq(_walk_type(walk.ic)),
        attrs.ra.eq(1),
        attrs.wa.eq(1),
        attrs.sh.eq(walk.sh),
    ]


def is_device(memtype):
    """Whether a type is any of the four Device types."""
    return ~memtype.as_value()[2]


def combine(m, first, second, name):
    """Combine stage 1's attributes with stage 2's operator."""
    attrs = Signal(Attributes, name=name)
    one, two = first.sh, second.sh
    force = second.outer.as_value() == MemType.FORCE_WB
    for half in ("outer", "inner"):
        a, b = getattr(first, half).as_value(), getattr(second, half).as_value()
        m.d.comb += getattr(attrs, half).eq(
            Mux(force, MemType.WB, Mux(a < b, a, b)))
    m.d.comb += [
        attrs.ra.eq(first.ra),
        attrs.wa.eq(first.wa),
        # Outer is stronger than inner; 1 is reserved and acts as non-shareable.
        attrs.sh[1].eq(one[1] | two[1]),
        attrs.sh[0].eq((one == 3) & (two != 2) | (two == 3) & (one != 2)),
    ]
    return attrs
