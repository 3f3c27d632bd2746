from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.events import EventType
from smmu.params import Params
from smmu.payloads import MemType, PageSize, Permissions, Verdict
from smmu.tcu.walk import permissions
from smmu.tcu.walk.geometry import any_of, pages_of, pointers_of
from smmu.tcu.walk.records import Action, Checked, Main, Purpose, Side, Waits, WalkContext

__all__ = ["Act"]

EVENTS = {
    "uut": EventType.F_UUT, "bad_streamid": EventType.C_BAD_STREAMID,
    "ste_fetch": EventType.F_STE_FETCH, "bad_ste": EventType.C_BAD_STE,
    "stream_disabled": EventType.F_STREAM_DISABLED,
    "transl_forbidden": EventType.F_TRANSL_FORBIDDEN,
    "bad_substreamid": EventType.C_BAD_SUBSTREAMID, "cd_fetch": EventType.F_CD_FETCH,
    "bad_cd": EventType.C_BAD_CD, "walk_eabt": EventType.F_WALK_EABT,
    "translation": EventType.F_TRANSLATION, "addr_size": EventType.F_ADDR_SIZE,
    "access": EventType.F_ACCESS, "permission": EventType.F_PERMISSION,
}


class Act(wiring.Component):
    """Fourth stage of the walk pipeline: what to do next, and the walk's new state.

    Spec
        IHI 0070: 3.12 (abort or RAZ/WI, recording), 7.3 (fields of the records).
    Timing
        Combinational.
    Errors
        A fault is an action with the result ABORT or RAZWI; its record goes before it if CD.R,
        STE.S2R or CR2.RECINVSID want one, where they have a say.

    Members
    -------
    i : :py:`In(Checked)`
    two_level : :py:`In(1)`
        The stream table has two levels. Static.
    recinvsid : :py:`In(1)`
        CR2.RECINVSID. Static.
    action : :py:`Out(Action)`
    context : :py:`Out(WalkContext)`
        The walk's new state.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "i": In(Checked),
            "two_level": In(1),
            "recinvsid": In(1),
            "action": Out(Action),
            "context": Out(WalkContext),
        })

    def elaborate(self, platform):
        m = Module()
        i, action = self.i, self.action
        m.d.comb += [
            action.walk.eq(i.walk),
            action.main.eq(i.main),
            action.side.eq(i.side),
            action.cacheable.eq(1),
            action.verdict.eq(Verdict.OK),
            action.hit.eq(i.step.stage2),
        ]
        self._context(m)
        with m.If(i.record):
            self._event(m)
        with m.Else():
            self._fill(m)
            with m.If(i.result):
                self._result(m)
            with m.Else():
                self._go(m)
        with m.If(i.faulty):
            self._termination(m)
        return m

    def _context(self, m):
        i, step, context = self.i, self.i.step, self.context
        m.d.comb += [
            context.eq(i.context),
            context.purpose.eq(i.purpose),
            context.tables.eq(i.tables),
        ]
        with m.If(i.reads):
            m.d.comb += context.fetch.eq(i.next)
        with m.If(i.access | i.output | step.begin):
            m.d.comb += [
                context.ipa.eq(i.next),
                context.beyond.eq(i.beyond & i.output),
            ]
        with m.If(i.output):
            m.d.comb += [
                context.perms.eq(i.perms1),
                context.attrs.eq(i.leaf_attrs1),
                context.size.eq(i.leaf_size),
            ]
        with m.If(step.begin):
            m.d.comb += context.level.eq(i.level)
        with m.If(step.pointer1 | step.stage1):
            m.d.comb += context.level.eq(i.next_level)
        with m.If(step.pointer2 | step.stage2):
            m.d.comb += context.level2.eq(i.next_level)

        with m.If(step.start):
            m.d.comb += context.waits.eq(Waits.CONFIG)
        with m.Elif(step.config_miss):
            m.d.comb += context.waits.eq(Mux(self.two_level, Waits.L1STD, Waits.STE))
        with m.Elif(step.l1std):
            m.d.comb += context.waits.eq(Waits.STE)
        with m.Elif(i.consult):
            m.d.comb += context.waits.eq(Waits.IPA)
        with m.Elif(step.begin):
            m.d.comb += context.waits.eq(Waits.STAGE1_POINTER)
        with m.Elif(i.miss):
            m.d.comb += context.waits.eq(Waits.STAGE2_POINTER)
        with m.Elif(step.pointer2 | step.stage2 & i.is_table):
            m.d.comb += context.waits.eq(Waits.STAGE2)
        with m.Else():
            # A structure or stage-1 descriptor is read; with IN the answer comes back (AGAIN).
            with m.Switch(i.purpose):
                for purpose, waits in ((Purpose.L1CD, Waits.L1CD), (Purpose.CD, Waits.CD),
                                       (Purpose.TT, Waits.STAGE1), (Purpose.IN, Waits.IPA)):
                    with m.Case(purpose):
                        m.d.comb += context.waits.eq(waits)

    def _fill(self, m):
        i, step, who = self.i, self.i.step, self.i.who
        fill, ipa_type = self.action.payload.go.fill, i.ipa_type
        table = Signal()
        m.d.comb += [
            table.eq(i.is_table & (step.stage1 | step.stage2)),
            fill.world.eq(who.world),
            fill.vmid.eq(who.vmid),
            fill.asid.eq(who.asid & (~ipa_type).replicate(16)),
            fill.aset.eq(who.aset & ~ipa_type),
            fill.va55.eq(who.addr[55] & ~ipa_type),
            fill.ipa.eq(ipa_type),
            fill.addr.eq(Mux(ipa_type, i.context.ipa[9:], who.addr[12:48])),
            fill.nG.eq(~ipa_type & (table | i.context.nG)),
            fill.size.eq(Mux(table, i.pointer_class, Mux(
                step.stage2, i.leaf_size.as_value(), i.size.as_value()))),
            fill.fragment.eq(i.fragment & ~table),
            fill.page.eq(i.next[9:]),
            fill.perms.eq(Mux(table, i.tables.as_value(), Mux(
                step.stage2, i.perms2.as_value(), i.perms.as_value()))),
            fill.attrs.eq(Mux(step.stage2 | ~who.s1, i.second.as_value(), i.attrs.as_value())),
        ]
        with m.If(i.remapped):
            m.d.comb += [
                fill.page.eq(i.doorbell[10:]),
                fill.size.eq(PageSize.SIZE_4K),
            ]
        with m.If(step.begin & ~who.s1):
            m.d.comb += fill.size.eq(PageSize.SIZE_1G)

    def _go(self, m):
        i, go, granules = self.i, self.action.payload.go.go, self.params.granules
        m.d.comb += [
            go.next.eq(i.next),
            go.attrs.eq(i.attrs),
            go.beats.eq(i.wide_read),
            go.classes.eq(pages_of(i.granule2, granules)),
        ]
        with m.If(i.step.begin & i.who.s1):
            m.d.comb += go.classes.eq(pointers_of(i.level, i.granule, granules))
        with m.If(i.miss):
            m.d.comb += go.classes.eq(pointers_of(i.next_level, i.granule2, granules))

    def _result(self, m):
        i, who = self.i, self.i.who
        result = self.action.payload.result.result
        perms = Signal(Permissions)
        m.d.comb += [
            result.doorbell.eq(i.doorbell[:10] & i.remapped.replicate(10)),
            result.msi.eq(i.remapped),
            result.combine.eq(~who.s1 & ~i.remapped),
            result.overrides.eq(who.overrides),
            result.attrs.eq(Mux(who.s1, i.attrs.as_value(), i.second.as_value())),
            perms.eq(Mux(i.remapped, i.perms1.as_value(), i.perms.as_value())),
            *permissions.for_incoming(perms, who.overrides, result.perms),
        ]
        with m.If(i.remapped):
            m.d.comb += [
                result.attrs.outer.eq(MemType.nGnRE),
                result.attrs.inner.eq(MemType.nGnRE),
                result.attrs.ra.eq(1),
                result.attrs.wa.eq(1),
                result.attrs.sh.eq(2),
            ]

    def _event(self, m):
        """The record of a fault; also the key of a configuration load."""
        i, who, fault, event = self.i, self.i.who, self.i.fault, self.action.payload.event
        families, fetches, access = Signal(), Signal(), Signal()
        m.d.comb += [
            families.eq(fault.translation | fault.addr_size | fault.access | fault.permission),
            fetches.eq(fault.ste_fetch | fault.cd_fetch | fault.walk_eabt),
            access.eq(families | fault.walk_eabt | fault.uut),
            event.event.eq(Cat(
                any_of([getattr(fault, name) for name, number in EVENTS.items()
                        if number >> bit & 1]) for bit in range(5))),
            event.sid.eq(who.sid),
            event.ssv.eq(who.ssv & ~(fault.stream_disabled | fault.transl_forbidden
                                     | fault.bad_substreamid)),
            event.ssid.eq(who.ssid & (~(fault.stream_disabled
                                        | fault.transl_forbidden)).replicate(20)),
            event.input_addr.eq(who.addr & (access | fault.transl_forbidden).replicate(64)),
            event.rnw.eq(who.rnw & (access | fault.transl_forbidden)),
            event.pnu.eq(access & Mux(fault.uut, who.priv, who.PnU)),
            event.ind.eq(access & Mux(fault.uut, who.inst & who.rnw, who.InD)),
            event.s2.eq(i.s2_fault & (families | fault.walk_eabt)),
            event.cls.eq(i.cls & (families | fault.walk_eabt).replicate(2)),
            event.ttrnw.eq(fault.permission & i.s2_fault
                           & (i.context.purpose == Purpose.TT)),
            event.fetch.eq(fetches),
        ]
        with m.If(fetches):
            m.d.comb += event.where.eq(i.context.fetch)
        with m.Elif(families & i.s2_fault):
            m.d.comb += event.where.eq(
                Mux(i.step.stage2 | i.step.ipa, i.context.ipa[9:], i.next[9:]))

    def _termination(self, m):
        i, fault, action = self.i, self.i.fault, self.action
        families, policy = Signal(), Signal()
        m.d.comb += [
            families.eq(fault.translation | fault.addr_size | fault.access | fault.permission),
            # A bypass beyond OAS has no CD to ask.
            policy.eq(families & ~i.s2_fault & ~(i.step.begin & ~i.who.s1)),
            action.main.eq(Main.RESULT),
            action.cacheable.eq(0),
            action.verdict.eq(Mux(policy & ~i.who.A, Verdict.RAZWI, Verdict.ABORT)),
            action.side.eq(Side.EVENT),
        ]
        with m.If(fault.silent | fault.bad_streamid & ~self.recinvsid
                  | policy & ~i.who.R | families & i.s2_fault & ~i.who.S2R):
            m.d.comb += action.side.eq(Side.NONE)
