from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.events import CLASS
from smmu.params import Params
from smmu.payloads import PageSize, RemapAnswer
from smmu.tcu.walk import attributes, permissions
from smmu.tcu.walk.geometry import less
from smmu.tcu.walk.records import Addressed, Checked, Main, Purpose, Side

__all__ = ["Check"]

LAST_LEVEL = 3


class Check(wiring.Component):
    """Third stage of the walk pipeline: faults in their order, the remap, and how to go on.

    Spec
        IHI 0070: 3.13 and 7.3.22 (order of the checks); DDI 0487: D8.4.
    Timing
        Combinational. `remap` answers about `i.context.ipa`.

    Members
    -------
    i : :py:`In(Addressed)`
    two_level : :py:`In(1)`
        The stream table has two levels. Static.
    remap : :py:`In(RemapAnswer)`
    o : :py:`Out(Checked)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "i": In(Addressed),
            "two_level": In(1),
            "remap": In(RemapAnswer),
            "o": Out(Checked),
        })

    def elaborate(self, platform):
        m = Module()
        i, o, step = self.i, self.o, self.i.step
        for name in ("walk", "step", "who", "context", "is_table", "is_leaf", "granule",
                     "granule2", "next_level", "pointer_class", "tables", "perms1", "perms2",
                     "leaf_attrs1", "second"):
            m.d.comb += getattr(o, name).eq(getattr(i, name))

        combined = attributes.combine(m, i.first, i.second, "combined")
        near = Signal()
        m.d.comb += [
            near.eq(self.remap.near & (step.ipa | step.stage2)),
            o.next.eq(i.base | i.index),
            o.beyond.eq((i.base[25 - 3:] & i.ipa_mask).any()),
            o.level.eq(i.start_level),
            o.leaf_size.eq(Mux(near, PageSize.SIZE_4K, i.size)),
            o.size.eq(o.leaf_size),
            o.fragment.eq(near | (step.ipa | step.stage2) & i.who.s1
                          & self._purpose_is(Purpose.IN)
                          & less(i.size.as_value(), i.context.size.as_value())),
            o.perms.eq(permissions.both(i.perms1, i.perms2)),
            o.attrs.eq(combined),
            o.doorbell.eq(self.remap.doorbell),
            o.remapped.eq(step.ipa & self._purpose_is(Purpose.IN) & self.remap.hit),
            o.hit.eq(i.hit & i.fit),
        ]
        # A nested result is as large as the smaller of the two leaves.
        with m.If((step.ipa | step.stage2) & i.who.s1
                  & less(i.context.size.as_value(), i.size.as_value()) & ~near):
            m.d.comb += o.size.eq(i.context.size)

        self._faults(m)
        self._way(m)
        return m

    def _purpose_is(self, purpose):
        """Whether the IPA under translation is for ``purpose``."""
        return self.i.context.purpose == purpose

    def _faults(self, m):
        i, o, step, fault = self.i, self.o, self.i.step, self.o.fault
        descriptor, leaf = Signal(), Signal()   # of this event
        m.d.comb += [
            descriptor.eq((step.stage1 | step.stage2) & ~i.fault.walk_eabt),
            leaf.eq(descriptor & i.is_leaf & ~i.over & i.accessed),
            fault.eq(i.fault),
            fault.translation.eq(
                i.fault.translation
                | descriptor & ~i.is_table & ~i.is_leaf
                | step.ipa & i.context.beyond & ~o.remapped),
            fault.addr_size.eq(
                i.fault.addr_size | descriptor & (i.is_table | i.is_leaf) & i.over),
            fault.access.eq(descriptor & i.is_leaf & ~i.over & ~i.accessed),
            fault.permission.eq(leaf & Mux(step.stage1, ~i.allowed1, ~i.fit)),
            fault.uut.eq(o.remapped & i.who.rnw),
            o.faulty.eq(fault.as_value().any()),
        ]

        # An IPA of a table or structure that stage 2 does not take. For the output of stage 1 the
        # remap is asked first, see `WalkContext.beyond`.
        goes_on, table_beyond = Signal(), Signal()
        m.d.comb += [
            goes_on.eq(step.locate_cd | step.l1cd & ~i.fault.bad_substreamid
                       | step.pointer1 | descriptor & step.stage1 & i.is_table & ~i.over),
            table_beyond.eq(goes_on & i.who.s2 & o.beyond),
            o.s2_fault.eq(table_beyond | step.stage2 | step.ipa & ~o.remapped),
            o.cls.eq(CLASS.IN),
        ]
        with m.If(table_beyond):
            m.d.comb += fault.translation.eq(1)
        with m.If(step.locate_cd | step.l1cd | (step.stage2 | step.ipa) & (
                self._purpose_is(Purpose.L1CD) | self._purpose_is(Purpose.CD))):
            m.d.comb += o.cls.eq(CLASS.CD)
        with m.If(table_beyond & (step.pointer1 | step.stage1)
                  | (step.stage2 | step.ipa) & self._purpose_is(Purpose.TT)
                  | step.stage1 & i.fault.walk_eabt):
            m.d.comb += o.cls.eq(CLASS.TT)

    def _way(self, m):
        """How the walk goes on if there is no fault."""
        i, o, step, who = self.i, self.o, self.i.step, self.i.who
        final = self._purpose_is(Purpose.IN)
        of_cd, found = Signal(), Signal()
        arrived = Signal()   # an IPA is translated
        m.d.comb += [
            of_cd.eq(step.locate_cd | step.l1cd),
            found.eq(step.ipa & o.hit & ~o.remapped),
            arrived.eq(found | step.stage2 & i.is_leaf),
            o.access.eq(of_cd | step.pointer1 | step.stage1 & i.is_table),
            o.output.eq(step.stage1 & i.is_leaf | step.begin & ~who.s1),
            o.consult.eq((o.access | o.output) & who.s2),
            o.miss.eq(step.ipa & ~o.hit & ~o.remapped),
            o.result.eq(o.output & ~who.s2 | o.remapped | found & final
                        | step.stage2 & i.is_leaf & final & ~who.s1),
            o.record.eq(o.faulty | step.start),
            o.ipa_type.eq(step.stage2 | o.miss | ~who.s1),
            o.purpose.eq(Mux(o.output, Purpose.IN, Mux(step.l1cd, Purpose.CD, Mux(
                step.pointer1 | step.stage1, Purpose.TT, i.context.purpose)))),
            o.wide_read.eq(step.config_miss & ~self.two_level | step.l1std | (
                of_cd | arrived) & (o.purpose == Purpose.CD)),
            o.reads.eq((o.main == Main.READ)),
        ]
        # READ unless said otherwise.
        with m.If(step.start):
            m.d.comb += o.main.eq(Main.CONFIG)
        with m.Elif(o.consult):
            m.d.comb += o.main.eq(Main.TLB)
        with m.Elif(step.begin & who.s1):
            m.d.comb += o.main.eq(Mux(o.level == LAST_LEVEL, Main.AGAIN, Main.POINTER1))
        with m.Elif(o.result):
            m.d.comb += o.main.eq(Main.RESULT)
        with m.Elif(o.miss):
            m.d.comb += o.main.eq(Mux(i.next_level == LAST_LEVEL, Main.AGAIN, Main.POINTER2))
        with m.Elif(step.stage2 & i.is_leaf & final):
            m.d.comb += o.main.eq(Main.AGAIN)

        with m.If(step.stage1 & i.is_table):
            m.d.comb += o.side.eq(Side.POINTER1_FILL)
        with m.Elif(step.stage2 & i.is_table):
            m.d.comb += o.side.eq(Side.POINTER2_FILL)
        with m.Elif(step.stage1 & ~who.s2
                    | (found & final & who.s1 | step.stage2) & ~self.remap.bound):
            m.d.comb += o.side.eq(Side.TLB_FILL)
