from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import Invalidation
from smmu.tcu.tlb_geometry import first_one
from smmu.tcu.tlb_pending import TLBFilter, TLBPending
from smmu.tcu.tlb_range import TLBRange

__all__ = ["TLBInvalidate"]


class TLBInvalidate(wiring.Component):
    """Take an invalidation apart into probes of one set each; after reset, remove everything.

    An address is probed once for each size class in use, a range page by page if it has at most 16
    pages of the smallest class in use. All else goes through every set: with the address bits that
    are the same in the whole range, down to the next boundary of a size class.

    Spec
        SMMUV3 4.1 and 8.2 as :class:`~smmu.payloads.Invalidation` has them. TTL is not regarded.
    Timing
        An address takes 2 cycles and one for each class in use, and the next invalidation may
        follow at once. ``invalidations.ready`` is a register's decode. Probes begin when no fill
        is pending, and those accepted later are not subject to the invalidation.

    Members
    -------
    invalidations : :py:`In(stream.Signature(Invalidation))`
    requests : :py:`Out(stream.Signature(geometry.request))`
        Probes.
    used : :py:`In`
        Size classes that have entries.
    fill_pending : :py:`In(1)`
        A fill was accepted and is not written yet.
    hold_fills : :py:`Out(1)`
        No fill may be accepted.
    probe_waits : :py:`In(1)`
        A probe of this component was taken, but doesn't read yet.
    filter : :py:`Out(TLBFilter)`
        Evaluated for a lookup two cycles after it reads.
    clearing : :py:`Out(1)`
        After reset: nothing may be looked up nor filled.
    sweep_ends : :py:`Out(1)`
        Strobe: the probes of a sweep, all since `hold_fills` was high, have done their writes.
    busy : :py:`Out(1)`
        From the cycle after an invalidation was accepted until it is carried out.
    """

    def __init__(self, geometry, *, leaf_only_kept):
        self._geometry = geometry
        self._leaf_only_kept = leaf_only_kept
        super().__init__({
            "invalidations": In(stream.Signature(Invalidation)),
            "requests": Out(stream.Signature(geometry.request)),
            "used": In(geometry.classes),
            "fill_pending": In(1),
            "hold_fills": Out(1, init=1),
            "probe_waits": In(1),
            "filter": Out(TLBFilter),
            "clearing": Out(1, init=1),
            "sweep_ends": Out(1),
            "busy": Out(1),
        })

    @property
    def geometry(self):
        return self._geometry

    @property
    def leaf_only_kept(self):
        return self._leaf_only_kept

    def elaborate(self, platform):
        m = Module()
        geometry, request = self._geometry, self.requests.payload
        command = self.invalidations.payload
        m.submodules.range = range_ = TLBRange(geometry)
        m.submodules.pending = pending = TLBPending()

        # What every probe of this command compares. At first, the sweep after reset.
        kinds = Signal(4, init=0b1111)
        ignore = Signal(geometry.classes, init=-1)
        index = Signal(geometry.index_bits)
        match_addr, is_range, set_is_known = Signal(), Signal(), Signal()
        asked = Signal.like(request)
        m.d.comb += [
            request.eq(asked),
            request.kinds.eq(kinds),
            request.addr.eq(range_.page),
            request.index.eq(index),
            request.ignore.eq(ignore),
            range_.command.eq(command),
            pending.kinds.eq(kinds),
            pending.match_vmid.eq(asked.match_vmid),
            pending.vmid.eq(asked.vmid),
            self.filter.eq(pending.filter),
        ]

        # The size classes to probe at one page, one after the other.
        size_class, more, step = (
            Signal(geometry.classes, name=name) for name in ("size_class", "more", "step"))
        due, take_due, at_last = Signal(geometry.classes), Signal(), Signal()
        m.d.comb += [due.eq(more), request.size_class.eq(size_class), range_.step.eq(step)]
        with m.If(take_due):
            m.d.sync += [size_class.eq(first_one(due)), more.eq(due & ~first_one(due))]

        with m.FSM(init="Sweep") as fsm:
            with m.State("Idle"):
                m.d.comb += [self.invalidations.ready.eq(1), range_.load.eq(1)]
                m.d.sync += [
                    *self._conditions(asked, command),
                    kinds.eq(Cat(~command.el2 & command.va, ~command.el2 & command.ipa,
                                 (command.el2 & command.va).replicate(2))),
                    match_addr.eq(command.match_addr),
                    is_range.eq((command.tg > 1) | (command.tg[0] & Cat(
                        command.num, command.scale).any())),
                    set_is_known.eq(command.match_vmid | command.el2),
                    ignore.eq(Mux(command.match_addr, 0, ~0)),
                    index.eq(0),
                ]
                ignored = command.cfg | (command.leaf if self._leaf_only_kept else 0)
                with m.If(self.invalidations.valid & ~ignored):
                    m.d.sync += self.hold_fills.eq(1)
                    m.next = "Prepare"
            with m.State("Prepare"):
                m.d.comb += [due.eq(self.used), take_due.eq(1), pending.add.eq(1)]
                m.d.sync += [step.eq(first_one(due)), at_last.eq(1)]
                with m.If(~self.fill_pending):
                    m.d.sync += self.hold_fills.eq(match_addr & is_range & self.used.any())
                    with m.If(~self.used.any()):
                        m.next = "Idle"
                    with m.Elif(match_addr & is_range):
                        m.next = "Measure"
                    with m.Elif(match_addr & set_is_known):
                        m.next = "Probe"
                    with m.Else():
                        m.next = "Sweep"
            with m.State("Measure"):
                m.d.sync += at_last.eq(range_.ends)
                with m.If(range_.measured):
                    m.d.sync += self.hold_fills.eq(0)
                with m.If(range_.measured & range_.is_short & set_is_known):
                    m.next = "Probe"
                with m.Elif(range_.measured):
                    m.d.sync += ignore.eq(range_.differ)
                    m.next = "Sweep"
            with m.State("Probe"):
                m.d.comb += [self.requests.valid.eq(1), take_due.eq(self.requests.ready)]
                with m.If(self.requests.ready & ~more.any()):
                    m.d.comb += range_.advance.eq(1)
                    with m.If(at_last):
                        m.next = "Idle"
                    with m.Else():
                        m.next = "Next page"
            with m.State("Next page"):
                m.d.comb += [due.eq(self.used & range_.begins), take_due.eq(1)]
                m.d.sync += at_last.eq(range_.ends)
                m.next = "Probe"
            with m.State("Sweep"):
                m.d.comb += [self.requests.valid.eq(1), request.sweep.eq(1)]
                with m.If(self.requests.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == geometry.sets - 1):
                        m.next = "Drain"
            with m.State("Drain"):
                with m.If(pending.drained):
                    m.d.comb += self.sweep_ends.eq(1)
                    m.d.sync += [self.clearing.eq(0), self.hold_fills.eq(0)]
                    m.next = "Idle"

        m.d.comb += [
            pending.hold.eq(
                self.probe_waits | ~(fsm.ongoing("Idle") | fsm.ongoing("Drain"))),
            self.busy.eq(~fsm.ongoing("Idle") | pending.filter.active),
        ]

        return m

    @staticmethod
    def _conditions(asked, command):
        return [
            asked.match_vmid.eq(command.match_vmid & ~command.el2),
            asked.vmid.eq(Mux(command.el2, 0, command.vmid)),
            asked.match_asid.eq(command.match_asid),
            asked.asid.eq(command.asid),
            asked.keep_global.eq(command.match_asid & command.keep_global),
            asked.va55.eq(command.addr[55 - 12]),
        ]
