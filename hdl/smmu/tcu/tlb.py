from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import Invalidation, TLBFill, TLBLookup, TLBResult
from smmu.tcu.tlb_filler import TLBFiller
from smmu.tcu.tlb_geometry import TLBGeometry, first_one
from smmu.tcu.tlb_invalidate import TLBInvalidate
from smmu.tcu.tlb_store import TLBStore

__all__ = ["TLB"]


class TLB(wiring.Component):
    """Keep translations, or pointers to tables, in a set-associative block RAM.

    Lookups, fills and invalidations go through one pipeline, one set per cycle: a lookup probes the
    size classes that are asked for and in use, smallest first. A fill overwrites the entry of the
    same key and size, else an invalid way, else a random one. While an invalidation is pending,
    lookups which it may concern (by world, type and VMID) miss. So does a probe of a set that is
    written in the same cycle.

    Spec
        SMMUV3 8.1, 8.2. :class:`~smmu.payloads.TLBKey` and `Invalidation` say what matches.
    Timing
        A lookup is answered 5 cycles after it was accepted if the first class that is probed hits,
        one more for each further class; one probe per cycle, every other one while an invalidation
        is probing. After reset nothing is accepted until every set is cleared. Fills take about 8
        cycles each. Invalidations: see :class:`TLBInvalidate`; of a fill and an invalidation
        accepted in the same cycle, the fill comes first.

    Members
    -------
    lookups : :py:`In(stream.Signature(TLBLookup(tag_bits, classes)))`
    results : :py:`Out(stream.Signature(TLBResult(...), always_ready=True))`
        In the order of the lookups. Without ``hit`` only ``tag`` means anything.
    fills : :py:`In(stream.Signature(TLBFill(classes, payload)))`
    invalidations : :py:`In(stream.Signature(Invalidation))`
        ``ready`` doesn't depend on ``valid``. With ``leaf_only_kept``, those of last-level
        information alone are without effect.
    busy : :py:`Out(1)`
        An accepted invalidation is not yet carried out.
    """

    def __init__(self, shifts, payload, entries, ways, tag_bits, leaf_only_kept):
        self._geometry = TLBGeometry(shifts, payload, entries=entries, ways=ways,
                                     tag_bits=tag_bits)
        self._leaf_only_kept = leaf_only_kept
        classes = len(shifts)
        super().__init__({
            "lookups": In(stream.Signature(TLBLookup(tag_bits, classes))),
            "results": Out(stream.Signature(TLBResult(tag_bits, classes, payload),
                                            always_ready=True)),
            "fills": In(stream.Signature(TLBFill(classes, payload))),
            "invalidations": In(stream.Signature(Invalidation)),
            "busy": Out(1),
        })

    @property
    def geometry(self):
        return self._geometry

    @property
    def leaf_only_kept(self):
        return self._leaf_only_kept

    def _invalidate_fragments(self, m, invalidate):
        """Hand invalidations on; those by address lose it while entries may be fragments.

        Under stage 2, or beside a bound doorbell, one leaf may be kept as several smaller entries.
        A TLBI that names any address of the leaf must remove them all, wherever they are.
        """
        given, passed, fill = self.invalidations, invalidate.invalidations, self.fills
        fragments, filling = Signal(), Signal()
        command = given.payload
        m.d.comb += [
            filling.eq(fill.valid & fill.ready & fill.payload.fragment),
            passed.valid.eq(given.valid),
            given.ready.eq(passed.ready),
            passed.payload.eq(command),
            passed.payload.match_addr.eq(command.match_addr & ~fragments & ~filling),
        ]
        with m.If(filling):
            m.d.sync += fragments.eq(1)
        everything = (~command.cfg & ~command.el2 & command.va & command.ipa & ~command.match_vmid
                      & ~command.match_asid & ~command.match_addr)
        with m.If(given.valid & given.ready & everything):
            m.d.sync += fragments.eq(0)

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        m.submodules.filler = filler = TLBFiller(geometry)
        m.submodules.invalidate = invalidate = TLBInvalidate(
            geometry, leaf_only_kept=self._leaf_only_kept)
        m.submodules.store = store = TLBStore(geometry)
        wiring.connect(m, wiring.flipped(self.fills), filler.fills)
        self._invalidate_fragments(m, invalidate)
        wiring.connect(m, store.results, wiring.flipped(self.results))
        m.d.comb += [
            filler.hold.eq(invalidate.hold_fills),
            filler.done.eq(store.fill_done),
            filler.again.eq(store.fill_again),
            store.entry.eq(filler.entry),
            store.filter.eq(invalidate.filter),
            invalidate.fill_pending.eq(filler.pending),
            self.busy.eq(invalidate.busy),
        ]

        # Size classes that have entries, and those that the sweep has met and left.
        used, kept = Signal(geometry.classes), Signal(geometry.classes)
        m.d.comb += invalidate.used.eq(used)
        with m.If(invalidate.hold_fills):
            m.d.sync += kept.eq(0)
        with m.Else():
            m.d.sync += kept.eq(kept | store.met | filler.begins)
        m.d.sync += used.eq(Mux(invalidate.sweep_ends, kept, used) | filler.begins)

        # A lookup stays here while its classes are probed.
        lookup = Signal.like(self.lookups.payload, reset_less=True)
        looking_up, do_lookup = Signal(), Signal()
        size_class, more = Signal(geometry.classes), Signal(geometry.classes)
        due = Mux(self.lookups.ready, self.lookups.payload.classes & used, more)
        m.d.comb += self.lookups.ready.eq(
            ~invalidate.clearing & (~looking_up | (do_lookup & ~more.any())))
        with m.If(self.lookups.ready):
            m.d.sync += [
                looking_up.eq(self.lookups.valid),
                lookup.eq(self.lookups.payload),
            ]
        with m.If(self.lookups.ready | do_lookup):
            m.d.sync += [size_class.eq(first_one(due)), more.eq(due & ~first_one(due))]

        # So does the next fill or invalidation. A fill that was accepted goes first: what is being
        # invalidated came before it.
        upkeep, upkeep_fills = Signal(geometry.request, reset_less=True), Signal()
        upkeep_waits, do_upkeep, upkeep_ready = Signal(), Signal(), Signal()
        m.d.comb += [
            upkeep_ready.eq(~upkeep_waits | do_upkeep),
            filler.requests.ready.eq(upkeep_ready),
            invalidate.requests.ready.eq(upkeep_ready & ~filler.requests.valid),
            invalidate.probe_waits.eq(upkeep_waits & ~upkeep_fills),
        ]
        with m.If(upkeep_ready):
            m.d.sync += [
                upkeep_waits.eq(filler.requests.valid | invalidate.requests.valid),
                upkeep_fills.eq(filler.requests.valid),
                upkeep.eq(Mux(filler.requests.valid, filler.requests.payload,
                              invalidate.requests.payload)),
            ]

        # One of the two reads; in turn if both could.
        was_lookup, request = Signal(), Signal(geometry.request)
        m.d.comb += [
            do_lookup.eq(looking_up & ~(upkeep_waits & was_lookup)),
            do_upkeep.eq(upkeep_waits & ~do_lookup),
            request.eq(Mux(do_lookup, geometry.request_of(lookup.key, size_class), upkeep)),
        ]
        m.d.sync += [
            was_lookup.eq(do_lookup),
            store.probe.eq(geometry.probe_of(request)),
            store.operation.lookup.eq(do_lookup),
            store.operation.fill.eq(do_upkeep & upkeep_fills),
            store.operation.invalidate.eq(do_upkeep & ~upkeep_fills),
            store.operation.tag.eq(lookup.tag),
            store.operation.last.eq(~more.any()),
            store.operation.none.eq(~size_class.any()),
        ]

        return m
