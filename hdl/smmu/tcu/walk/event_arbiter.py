from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import (
    PAGE_SHIFTS, TABLE_SHIFTS, ConfigRow, TableData, TablePointer, TLBEntry, TLBResult, WalkStart)
from smmu.tcu.walk.geometry import any_of
from smmu.tcu.walk.queue import Queue
from smmu.tcu.walk.records import WalkEvent

__all__ = ["EventArbiter"]


class _Loaded(data.Struct):
    walk: 5
    hit: 1


class _Page(data.Struct):
    walk: 5
    hit: 1
    size: 3
    entry: TLBEntry


class _Pointer(data.Struct):
    walk: 5
    hit: 1
    size: 3
    pointer: TablePointer


class EventArbiter(wiring.Component):
    """Merge what wakes walks into one event per cycle.

    Events that came back go first, then descriptors, which the user holds off for them; then
    answers of caches, decoded structures, and new walks, in this order. Answers can't be held off,
    so they queue. Who takes an event that comes back is never in the way of the action behind it.

    Timing
        Descriptor, structure, start: 1 cycle to `o`; answers of caches 2.

    Members
    -------
    descriptors : :py:`In(stream.Signature(TableData, always_ready=True))`
        Beats of single reads; none in a cycle with `again`.
    tlb_results, wc1_results, wc2_results, cfg_rows :
        As in the walk table.
    structures : :py:`In(stream.Signature(WalkEvent))`
    again : :py:`In(stream.Signature(WalkEvent, always_ready=True))`
    starts : :py:`In(stream.Signature(WalkStart))`
    o, o_valid : :py:`Out(WalkEvent)`, :py:`Out(1)`
    """

    def __init__(self, params: Params):
        self.params = params
        pages, tables = len(PAGE_SHIFTS), len(TABLE_SHIFTS)
        pointers = stream.Signature(TLBResult(6, tables, TablePointer), always_ready=True)
        super().__init__({
            "descriptors": In(stream.Signature(TableData, always_ready=True)),
            "tlb_results": In(stream.Signature(TLBResult(6, pages, TLBEntry), always_ready=True)),
            "wc1_results": In(pointers),
            "wc2_results": In(pointers),
            "cfg_rows": In(stream.Signature(ConfigRow, always_ready=True)),
            "structures": In(stream.Signature(WalkEvent)),
            "again": In(stream.Signature(WalkEvent, always_ready=True)),
            "starts": In(stream.Signature(WalkStart)),
            "o": Out(WalkEvent),
            "o_valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        walks = self.params.walks
        m.submodules.loaded = loaded = Queue(_Loaded, walks)
        m.submodules.pages = pages = Queue(_Page, walks)
        m.submodules.pointers1 = pointers1 = Queue(_Pointer, walks)
        m.submodules.pointers2 = pointers2 = Queue(_Pointer, walks)

        row = self.cfg_rows.payload
        m.d.comb += [
            # A hit is complete with its last row.
            loaded.i.valid.eq(self.cfg_rows.valid & (~row.hit | (row.row == 2))),
            loaded.i.payload.walk.eq(row.walk),
            loaded.i.payload.hit.eq(row.hit),
        ]
        for queue, results, name in ((pages, self.tlb_results, "entry"),
                                     (pointers1, self.wc1_results, "pointer"),
                                     (pointers2, self.wc2_results, "pointer")):
            result, kept = results.payload, queue.i.payload
            m.d.comb += [
                queue.i.valid.eq(results.valid),
                kept.walk.eq(result.tag),
                kept.hit.eq(result.hit),
                kept.size.eq(result.size),
                getattr(kept, name).eq(result.payload),
            ]

        # Each source as an event.
        events = {}
        for name in ("descriptor", "loaded", "page", "pointer1", "pointer2", "start"):
            events[name] = Signal(WalkEvent, name=f"event_{name}")
        beat = self.descriptors.payload
        m.d.comb += [
            events["descriptor"].walk.eq(beat.id),
            events["descriptor"].error.eq(beat.error),
            events["descriptor"].data.eq(beat.data),
            events["loaded"].walk.eq(loaded.o.payload.walk),
            events["loaded"].hit.eq(loaded.o.payload.hit),
            events["start"].walk.eq(self.starts.payload.walk),
            events["start"].start.eq(1),
        ]
        for name, queue, field in (("page", pages, "entry"), ("pointer1", pointers1, "pointer"),
                                   ("pointer2", pointers2, "pointer")):
            kept = queue.o.payload
            m.d.comb += [
                events[name].walk.eq(kept.walk),
                events[name].hit.eq(kept.hit),
                events[name].size.eq(kept.size),
                events[name].data.eq(getattr(kept, field)),
            ]
        sources = [
            (self.again, self.again.payload),
            (self.descriptors, events["descriptor"]), (pages.o, events["page"]),
            (pointers1.o, events["pointer1"]), (pointers2.o, events["pointer2"]),
            (loaded.o, events["loaded"]), (self.structures, self.structures.payload),
            (self.starts, events["start"]),
        ]
        taken = []
        for number, (port, _) in enumerate(sources):
            first = Signal(name=f"first_{number}")   # nobody before it
            m.d.comb += first.eq(~any_of([other.valid for other, _ in sources[:number]]))
            if number >= 2:
                m.d.comb += port.ready.eq(first)
            taken.append(port.valid & first)
        merged = Value.cast(self.o)
        m.d.sync += [
            self.o_valid.eq(any_of([port.valid for port, _ in sources])),
            merged.eq(Cat(
                any_of([strobe & Value.cast(event)[bit]
                        for strobe, (_, event) in zip(taken, sources)])
                for bit in range(len(merged)))),
        ]
        return m
