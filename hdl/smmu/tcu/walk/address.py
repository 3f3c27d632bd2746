from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.context_descriptor import L1CD
from smmu.formats.descriptors import S1Leaf, S2Leaf
from smmu.formats.stream_table import L1STD, STE
from smmu.params import Params
from smmu.payloads import Attributes, MemType, StrtabConfig, WalkAttributes, World
from smmu.tcu.walk import attributes, permissions
from smmu.tcu.walk.geometry import (
    any_of, at_least, beyond_mask, encode, index_of, merge_page, start_level)
from smmu.tcu.walk.records import Addressed, Decoded, Purpose

__all__ = ["Address", "STRUCTURE_SHIFT", "POINTER_SHIFT"]

STRUCTURE_SHIFT = 6   # log2 of the bytes of an STE or CD
POINTER_SHIFT = 3     # of an L1STD or L1CD
LEAF_CDS = (6, 10)    # log2 of the CDs in a 4 KiB and a 64 KiB leaf table
MAX_SPAN = 11
ADDR = slice(3, 48)   # what an address of 45 bits holds


class Address(wiring.Component):
    """Second stage of the walk pipeline: base and index of the next access.

    Also what permissions and attributes a leaf gives, and whether the input address is in range.
    An address is base OR index: bases are masked to their alignment.

    Spec
        IHI 0070: 3.3, 5.1, 5.3 (locating STE and CD); DDI 0487: D8.2.
    Timing
        Combinational.

    Members
    -------
    i : :py:`In(Decoded)`
    strtab : :py:`In(StrtabConfig)`
        Static.
    split_mask : :py:`In(10)`
        2**SPLIT - 1. Static.
    table_attrs : :py:`In(WalkAttributes)`
        Of STE and L1STD fetches. Static.
    o : :py:`Out(Addressed)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "i": In(Decoded),
            "strtab": In(StrtabConfig),
            "split_mask": In(10),
            "table_attrs": In(WalkAttributes),
            "o": Out(Addressed),
        })

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        for name in ("walk", "step", "who", "context", "hit", "is_table", "is_leaf", "granule",
                     "granule2", "next_level", "pointer_class", "tables", "over", "accessed"):
            m.d.comb += getattr(o, name).eq(getattr(i, name))
        with m.If(i.step.stage1):
            m.d.comb += o.context.nG.eq(S1Leaf(i.descriptor).nG & (i.who.world != World.EL2))
        self._permissions(m)
        self._attributes(m)
        self._base(m)
        starting = (i.step.pointer1 | i.step.pointer2) & ~i.hit
        indexing = i.is_table & (i.step.stage1 | i.step.stage2) | i.step.pointer1 | i.step.pointer2
        m.d.comb += [
            o.size.eq(encode(i.leaf)),
            o.start_level.eq(start_level(i.TxSZ, i.granule, self.params.granules)),
            o.ipa_mask.eq(beyond_mask(i.S2T0SZ)),
            o.index.eq(index_of(i.input, i.next_level, i.granule, starting, self.params.granules)
                       & indexing.replicate(17)),
        ]
        return m

    def _permissions(self, m):
        i, o = self.i, self.o
        perms1 = permissions.from_stage1(
            m, S1Leaf(i.descriptor), i.context.tables, i.WXN, i.PAN, i.who.world, "stage1")
        perms2 = permissions.from_stage2(m, S2Leaf(i.descriptor), self.params.xnx, "stage2")
        m.d.comb += [
            o.perms1.eq(i.context.perms),
            o.perms2.eq(~0),
        ]
        with m.If(i.step.stage1):
            m.d.comb += o.perms1.eq(perms1)
        with m.If(i.step.begin):
            m.d.comb += o.perms1.eq(~0)
        with m.If(i.step.stage2):
            m.d.comb += o.perms2.eq(perms2)
        with m.If(i.step.ipa):
            m.d.comb += o.perms2.eq(i.cached_perms)

        # A structure or table is read as data; S2PTW keeps such reads off Device memory.
        rnw, PnU, InD = i.who.rnw, i.who.PnU, i.who.InD
        m.d.comb += [
            o.allowed1.eq(permissions.allowed(perms1, rnw, PnU, InD)),
            o.fit.eq(Mux(i.context.purpose == Purpose.IN,
                         permissions.allowed(o.perms2, rnw, PnU, InD),
                         o.perms2.pr & ~(i.S2PTW & attributes.is_device(o.second.outer)))),
        ]

    def _attributes(self, m):
        """`first` and `second`: what to combine for the result, or for the access that follows."""
        i, o, step = self.i, self.o, self.i.step
        leaf, leaf2 = S1Leaf(i.descriptor), S2Leaf(i.descriptor)
        attrs1 = attributes.from_mair(m, i.mair, leaf.SH, "mair")
        attrs2 = attributes.from_stage2(m, leaf2.MemAttr, leaf2.SH,
                                        i.S2FWB if self.params.fwb else C(0, 1), "operator")
        walk, access = Signal(WalkAttributes), Signal(Attributes)
        of_cd = Signal()
        m.d.comb += [
            of_cd.eq(step.locate_cd | step.l1cd | (step.ipa | step.stage2 & ~i.is_table) & (
                (i.context.purpose == Purpose.L1CD) | (i.context.purpose == Purpose.CD))),
            walk.eq(i.s1_walk),
            *attributes.from_walk(walk, access),
            o.leaf_attrs1.eq(Mux(step.stage1, attrs1.as_value(), i.context.attrs.as_value())),
            o.first.eq(access),
            o.second.eq(Mux(step.ipa, i.cached_attrs.as_value(), attrs2.as_value())),
        ]
        with m.If(step.config_miss | step.l1std):
            m.d.comb += walk.eq(self.table_attrs)
        with m.Elif(of_cd):
            m.d.comb += walk.eq(i.context.cd_walk)
        with m.Elif(step.pointer2 | step.stage2 & i.is_table):
            m.d.comb += walk.eq(i.s2_walk)
        # The result: stage 1's attributes, or those of what came in, which WB leaves as they are.
        with m.If(step.stage1 & i.is_leaf):
            m.d.comb += o.first.eq(attrs1)
        with m.If((step.ipa | step.stage2 & i.is_leaf) & (i.context.purpose == Purpose.IN)):
            m.d.comb += o.first.eq(i.context.attrs)
        with m.If(~(step.ipa | step.stage2 & i.is_leaf)):  # no stage 2 in this access
            m.d.comb += [
                o.second.outer.eq(MemType.WB),
                o.second.inner.eq(MemType.WB),
                o.second.ra.eq(1),
                o.second.wa.eq(1),
                o.second.sh.eq(0),
            ]

    def _base(self, m):
        i, o, step = self.i, self.o, self.i.step
        ste, l1std = STE(Cat(i.descriptor, C(0, 512 - 64))), L1STD(i.descriptor)
        l1cd, who = L1CD(i.descriptor), i.who
        fault = o.fault
        m.d.comb += fault.eq(i.fault)

        # Input address ranges: of stage 1 (TxSZ, TBI, EPD), and of a bypass (OAS).
        VA, sign = who.addr, Signal(64)
        beyond = beyond_mask(i.TxSZ)
        out_of_range, too_large = Signal(), Signal()
        wrong = (VA ^ sign)[25:48] & beyond
        m.d.comb += [
            sign.eq(i.half.replicate(64)),
            out_of_range.eq(wrong.any() | (VA ^ sign)[48:56].any()
                            | (VA ^ sign)[56:64].any() & ~i.TBI | i.EPD),
            too_large.eq(VA[self.params.oas:].any()),
        ]
        with m.If(step.begin):
            m.d.comb += [
                fault.translation.eq(who.s1 & out_of_range),
                fault.addr_size.eq(~who.s1 & too_large),
            ]

        # Level 1 stream table descriptor.
        index = who.sid[:10] & self.split_mask
        count_mask = Cat(at_least(l1std.Span, bit + 2) for bit in range(10))
        bad = Signal()
        m.d.comb += bad.eq((l1std.Span == 0) | at_least(l1std.Span, MAX_SPAN + 1)
                           | (count_mask & ~self.split_mask).any()
                           | (index & ~count_mask).any())
        with m.If(step.l1std):
            m.d.comb += fault.bad_streamid.eq(bad)

        # Level 1 context descriptor.
        oas = self.params.oas
        with m.If(step.l1cd):
            m.d.comb += fault.bad_substreamid.eq(~l1cd.V | l1cd.L2Ptr[oas - 12:].any())

        # Bases and indexes of everything, each as address bits [47:3].
        oas_mask = C((1 << oas) - 1, 48)
        l2_table = Cat(C(0, 6), l1std.L2Ptr)[:48] & oas_mask
        # SPLIT is 6, 8 or 10.
        split_index = Mux(self.split_mask[9], who.sid[10:], Mux(
            self.split_mask[7], who.sid[8:], who.sid[6:]))
        cd_table = Cat(C(0, 6), ste.S1ContextPtr)[:48]
        bases = [
            (step.config_miss, Cat(C(0, 6), self.strtab.base) | Mux(
                self.strtab.fmt, Cat(C(0, POINTER_SHIFT), split_index)[:48],
                Cat(C(0, STRUCTURE_SHIFT), who.sid)[:48])),
            (step.l1std, l2_table & ~Cat(C(0, 6), count_mask, C(0, 32))
             | Cat(C(0, STRUCTURE_SHIFT), index, C(0, 32))),
            (step.locate_cd, cd_table & ~self._cd_offset(i.cd_index_mask)
             | self._cd_offset(who.ssid)),
            (step.l1cd, self._leaf_cd(l1cd, who)),
            ((step.pointer1 | step.pointer2) & ~i.hit, Cat(C(0, 4), i.ttb)),
            ((step.pointer1 | step.pointer2) & i.hit | (step.stage1 | step.stage2) & i.is_table,
             Cat(C(0, 12), self._next_table())),
            ((step.stage1 | step.stage2) & i.is_leaf | step.ipa, Cat(
                C(0, 3), i.input[:9], merge_page(i.target, i.input, i.leaf))),
            (step.begin, Cat(VA[:25], VA[25:48] & ~(beyond & who.s1.replicate(23)))),
        ]
        m.d.comb += o.base.eq(Cat(
            any_of([strobe & base[bit] for strobe, base in bases]) for bit in range(3, 48)))

    def _next_table(self):
        """Next table's address [47:12]; its low bits below the granule are not part of it."""
        i = self.i
        return Cat(
            i.target[0] & (i.granule.as_value() == 0), i.target[1] & (i.granule.as_value() == 0),
            i.target[2] & (i.granule.as_value() != 2), i.target[3] & (i.granule.as_value() != 2),
            i.target[4:])

    def _cd_offset(self, index):
        """Where CD ``index``, or its L1CD, stands in the table that S1ContextPtr points to."""
        two_level = self.i.two_level
        linear = Cat(C(0, STRUCTURE_SHIFT), index, C(0, 48))[:48]
        small = Cat(C(0, POINTER_SHIFT), index[LEAF_CDS[0]:], C(0, 48))[:48]
        large = Cat(C(0, POINTER_SHIFT), index[LEAF_CDS[1]:], C(0, 48))[:48]
        return (linear & (~two_level.any()).replicate(48) | small & two_level[0].replicate(48)
                | large & two_level[1].replicate(48))

    def _leaf_cd(self, l1cd, who):
        leaf_64k = self.i.context.leaf_64k
        table = Cat(C(0, 12), l1cd.L2Ptr[:4] & ~leaf_64k.replicate(4), l1cd.L2Ptr[4:])[:48]
        index = Cat(who.ssid[:LEAF_CDS[0]],
                    who.ssid[LEAF_CDS[0]:LEAF_CDS[1]] & leaf_64k.replicate(4))
        return table | Cat(C(0, STRUCTURE_SHIFT), index, C(0, 32))
