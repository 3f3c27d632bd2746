from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.lib.broadcast import Broadcast
from smmu.lib.skid_buffer import SkidBuffer
from smmu.lib.stream_arbiter import StreamArbiter
from smmu.params import Params
from smmu.payloads import (
    PAGE_SHIFTS, TABLE_SHIFTS, CounterIncrements, FaultRecord, Invalidation, RemapAnswer,
    RemapQuery, StrtabConfig, TableData, TablePointer, TableRead, TLBEntry, TLBLookup,
    TranslationRequest, TranslationResponse, WalkAttributes)
from smmu.tcu.config_cache import ConfigCache
from smmu.tcu.dispatcher import Dispatcher
from smmu.tcu.lookup import Lookup
from smmu.tcu.request_table import RequestTable
from smmu.tcu.tlb import TLB
from smmu.tcu.walk.walk_table import WalkTable

__all__ = ["TCU"]


class TCU(wiring.Component):
    """Translation control unit: answer the misses of all translation buffers.

    Members
    -------
    requests : :py:`In(stream.Signature(TranslationRequest)).array(2 * ports)`
        Reads of port n at 2n, writes at 2n + 1.
    responses : :py:`Out(stream.Signature(TranslationResponse)).array(2 * ports)`
    invalidations : :py:`In(stream.Signature(Invalidation))`
    tbu_invalidations : :py:`Out(stream.Signature(Invalidation)).array(ports)`
        The same, to each translation buffer, in the cycle in which the caches here take it.
    tbus_clear : :py:`Out(1)`
        No invalidation is on its way to a translation buffer, nor at work in one.
    caches_busy : :py:`Out(1)`
        An invalidation is not yet carried out everywhere.
    walks_marked : :py:`Out(1)`
        A walk under way may have used what was invalidated.
    reads, data : :py:`Out(stream.Signature(TableRead))`, :py:`In(stream.Signature(TableData))`
    events : :py:`Out(stream.Signature(FaultRecord))`
    remap_query, remap_answer : :py:`Out(RemapQuery)`, :py:`In(RemapAnswer)`
        The answer comes 2 cycles after the query.
    strtab, table_attrs, e2h, recinvsid :
        Registers; stable while a transaction can be under way that sees them.
    counts : :py:`Out(CounterIncrements)`
        Those of the TCU; the others 0.
    """

    def __init__(self, params: Params):
        self.params = params
        sources = 2 * params.ports
        super().__init__({
            "requests": In(stream.Signature(TranslationRequest)).array(sources),
            "responses": Out(stream.Signature(TranslationResponse)).array(sources),
            "invalidations": In(stream.Signature(Invalidation)),
            "tbu_invalidations": Out(stream.Signature(Invalidation)).array(params.ports),
            "tbus_clear": Out(1),
            "caches_busy": Out(1),
            "walks_marked": Out(1),
            "reads": Out(stream.Signature(TableRead)),
            "data": In(stream.Signature(TableData)),
            "events": Out(stream.Signature(FaultRecord)),
            "remap_query": Out(RemapQuery),
            "remap_answer": In(RemapAnswer),
            "strtab": In(StrtabConfig),
            "table_attrs": In(WalkAttributes),
            "e2h": In(1),
            "recinvsid": In(1),
            "counts": Out(CounterIncrements),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.request_table = table = RequestTable(p)
        m.submodules.lookup = lookup = Lookup(p)
        m.submodules.dispatcher = dispatcher = Dispatcher(p)
        m.submodules.config_cache = config_cache = ConfigCache(p)
        m.submodules.tlb = tlb = TLB(
            PAGE_SHIFTS, TLBEntry, entries=p.tlb_entries, ways=p.tlb_ways, tag_bits=6,
            leaf_only_kept=False)
        m.submodules.stage1_walk_cache = wc1 = TLB(
            TABLE_SHIFTS, TablePointer, entries=p.walk_cache_entries, ways=p.walk_cache_ways,
            tag_bits=6, leaf_only_kept=True)
        m.submodules.stage2_walk_cache = wc2 = TLB(
            TABLE_SHIFTS, TablePointer, entries=p.walk_cache_entries, ways=p.walk_cache_ways,
            tag_bits=6, leaf_only_kept=True)
        m.submodules.walk_table = walks = WalkTable(p)

        def cut(name, source, sink):
            """Connect two blocks that lie apart; the `ready` of one ends before the other."""
            m.submodules[name] = skid = SkidBuffer(source.payload.shape())
            connect(m, source, skid.i)
            connect(m, skid.o, sink)

        # The way of a request.
        for number in range(2 * p.ports):
            connect(m, flipped(self.requests[number]), table.requests[number])
            connect(m, dispatcher.responses[number], flipped(self.responses[number]))
        connect(m, table.items, lookup.items)
        cut("config_lookup", lookup.cfg_lookups, config_cache.lookups)
        connect(m, config_cache.results, lookup.cfg_results)
        connect(m, lookup.decisions, dispatcher.decisions)
        cut("start", dispatcher.starts, walks.starts)
        connect(m, walks.results, dispatcher.results)
        m.d.comb += [
            table.wait.eq(dispatcher.wait),
            table.finished.eq(dispatcher.finished),
            dispatcher.requests_marked.eq(table.marked),
            walks.marked.eq(dispatcher.walks_marked),
            self.walks_marked.eq(dispatcher.walks_marked.any()),
        ]

        # The main TLB serves lookups and the stage 2 of walks; bit 5 of the tag says whose it is.
        m.submodules.tlb_arbiter = arbiter = StreamArbiter(2, TLBLookup(6, len(PAGE_SHIFTS)))
        connect(m, lookup.tlb_lookups, arbiter.i[0])
        cut("tlb_lookup", walks.tlb_lookups, arbiter.i[1])
        connect(m, arbiter.o, tlb.lookups)
        result, is_lookup = tlb.results, tlb.results.payload.tag[5]
        m.d.comb += [
            lookup.tlb_results.payload.eq(result.payload),
            lookup.tlb_results.valid.eq(result.valid & is_lookup),
            walks.tlb_results.payload.eq(result.payload),
            walks.tlb_results.valid.eq(result.valid & ~is_lookup),
        ]
        connect(m, walks.tlb_fills, tlb.fills)

        for name, cache, lookups, results, fills in (
            ("wc1_lookup", wc1, walks.wc1_lookups, walks.wc1_results, walks.wc1_fills),
            ("wc2_lookup", wc2, walks.wc2_lookups, walks.wc2_results, walks.wc2_fills),
        ):
            cut(name, lookups, cache.lookups)
            connect(m, cache.results, results)
            connect(m, fills, cache.fills)
        connect(m, walks.cfg_loads, config_cache.loads)
        connect(m, config_cache.rows, walks.cfg_rows)
        connect(m, walks.cfg_fills, config_cache.fills)
        m.d.comb += config_cache.abandon.eq(walks.cfg_abandon)

        # Invalidation.
        caches = [tlb, wc1, wc2, config_cache]
        m.submodules.invalidation_bus = bus = Broadcast(Invalidation, len(caches) + p.ports)
        connect(m, flipped(self.invalidations), bus.i)
        for cache, o in zip(caches, bus.o):
            connect(m, o, cache.invalidations)
        for number in range(p.ports):
            connect(m, bus.o[len(caches) + number], flipped(self.tbu_invalidations[number]))
        was_busy = Signal()
        m.d.sync += was_busy.eq(
            ~self.tbus_clear | Cat(cache.busy for cache in caches).any())
        m.d.comb += [
            self.tbus_clear.eq(
                ~bus.pending & Cat(tbu.ready for tbu in self.tbu_invalidations).all()),
            self.caches_busy.eq(bus.pending | was_busy),
            table.invalidate.eq(bus.do),
            dispatcher.invalidate.eq(bus.do),
        ]

        # Memory, events, remap, registers.
        connect(m, walks.reads, flipped(self.reads))
        connect(m, flipped(self.data), walks.data)
        connect(m, walks.events, flipped(self.events))
        m.d.comb += [
            self.remap_query.eq(walks.remap_query),
            walks.remap_answer.eq(self.remap_answer),
            walks.strtab.eq(self.strtab),
            walks.table_attrs.eq(self.table_attrs),
            walks.e2h.eq(self.e2h),
            walks.recinvsid.eq(self.recinvsid),
        ]

        m.d.sync += [
            self.counts.tlb_hit.eq(dispatcher.hit),
            self.counts.tlb_miss.eq(dispatcher.miss),
            self.counts.cfg_hit.eq(config_cache.results.valid & config_cache.results.payload.hit),
            self.counts.cfg_miss.eq(
                config_cache.results.valid & ~config_cache.results.payload.hit),
            self.counts.s1_walk_cache_hit.eq(wc1.results.valid & wc1.results.payload.hit),
            self.counts.s1_walk_cache_miss.eq(wc1.results.valid & ~wc1.results.payload.hit),
            self.counts.s2_walk_cache_hit.eq(wc2.results.valid & wc2.results.payload.hit),
            self.counts.s2_walk_cache_miss.eq(wc2.results.valid & ~wc2.results.payload.hit),
            self.counts.table_reads.eq(self.reads.valid & self.reads.ready),
        ]

        return m
