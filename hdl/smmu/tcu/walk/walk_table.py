from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.params import Params
from smmu.payloads import (
    PAGE_SHIFTS, TABLE_SHIFTS, ConfigFill, ConfigLoad, ConfigRow, FaultRecord, RemapAnswer,
    RemapQuery, StrtabConfig, TableData, TablePointer, TableRead, TLBEntry, TLBFill, TLBLookup,
    TLBResult, TranslationRequest, WalkAttributes, WalkResult, WalkStart)
from smmu.tcu.walk.act import Act
from smmu.tcu.walk.action_queue import ActionQueue
from smmu.tcu.walk.address import Address
from smmu.tcu.walk.check import Check
from smmu.tcu.walk.config_fill import ConfigFiller
from smmu.tcu.walk.decode import Decode
from smmu.tcu.walk.event_arbiter import EventArbiter
from smmu.tcu.walk.geometry import at_least
from smmu.tcu.walk.records import Addressed, Checked, Decoded, WalkContext, WalkEvent
from smmu.tcu.walk.rows import ConfigRows
from smmu.tcu.walk.structures import Structures

__all__ = ["WalkTable"]

PAGES, TABLES = len(PAGE_SHIFTS), len(TABLE_SHIFTS)


class WalkTable(wiring.Component):
    """Fetch configurations and walk translation tables, `walks` requests at a time.

    A walk is a request, a configuration and a context, all in RAM. It mostly waits; an event
    (start, descriptor, answer of a cache, decoded structure) wakes it for one step through a shared
    pipeline, which ends in one action: a read, a lookup, or the result. Since a walk waits for one
    event at a time, nothing in the pipeline ever stalls, and no queue overflows.

    ::

        event -> contexts -> Decode -> Address -> Check -> Act -> actions
                    ^                                       |
                    +---------------------------------------+

    Spec
        IHI 0070: 3.3, 3.4, 5, 7.3; DDI 0487: D8.
    Timing
        From a descriptor to the next read: 7 cycles. One step per cycle. Results in any order.
    Errors
        A fault ends a walk: its record is accepted by `events` before its result is offered.

    Members
    -------
    starts : :py:`In(stream.Signature(WalkStart))`
        The walk is free: never started, or its result was accepted.
    results : :py:`Out(stream.Signature(WalkResult))`
    marked : :py:`In(params.walks)`
        Walks that must fill nothing. A fill that waits is withdrawn.
    cfg_loads : :py:`Out(stream.Signature(ConfigLoad))`
    cfg_rows : :py:`In(stream.Signature(ConfigRow, always_ready=True))`
        Rows 0, 1, 2 of a hit, or one row with ``hit`` 0.
    cfg_fills : :py:`Out(stream.Signature(ConfigFill))`
        Rows 0, 1, 2.
    cfg_abandon : :py:`Out(1)`
        The fill under way is void.
    tlb_lookups, tlb_results, tlb_fills :
        Main TLB: IPA-type lookups with the walk as tag, answers, results to keep.
    wc1_lookups, wc1_results, wc1_fills, wc2_lookups, wc2_results, wc2_fills :
        Walk caches of stage 1 and stage 2. The pointers of nested stage 1 are IPAs.
    reads : :py:`Out(stream.Signature(TableRead))`
        ``beats`` is 4 for an STE or CD, else 1; the walk is the ``id``.
    data : :py:`In(stream.Signature(TableData))`
        Beats of different reads may interleave. Waits only for an event that goes straight back.
    events : :py:`Out(stream.Signature(FaultRecord))`
    remap_query, remap_answer : :py:`Out(RemapQuery)`, :py:`In(RemapAnswer)`
        The answer comes 2 cycles after the query.
    strtab, table_attrs, e2h, recinvsid :
        Registers. Stable while a walk is active.
    """

    def __init__(self, params: Params):
        self.params = params
        pointers = stream.Signature(TLBResult(6, TABLES, TablePointer), always_ready=True)
        super().__init__({
            "starts": In(stream.Signature(WalkStart)),
            "results": Out(stream.Signature(WalkResult)),
            "marked": In(params.walks),
            "cfg_loads": Out(stream.Signature(ConfigLoad)),
            "cfg_rows": In(stream.Signature(ConfigRow, always_ready=True)),
            "cfg_fills": Out(stream.Signature(ConfigFill)),
            "cfg_abandon": Out(1),
            "tlb_lookups": Out(stream.Signature(TLBLookup(6, PAGES))),
            "tlb_results": In(stream.Signature(TLBResult(6, PAGES, TLBEntry), always_ready=True)),
            "tlb_fills": Out(stream.Signature(TLBFill(PAGES, TLBEntry))),
            "wc1_lookups": Out(stream.Signature(TLBLookup(6, TABLES))),
            "wc1_results": In(pointers),
            "wc1_fills": Out(stream.Signature(TLBFill(TABLES, TablePointer))),
            "wc2_lookups": Out(stream.Signature(TLBLookup(6, TABLES))),
            "wc2_results": In(pointers),
            "wc2_fills": Out(stream.Signature(TLBFill(TABLES, TablePointer))),
            "reads": Out(stream.Signature(TableRead)),
            "data": In(stream.Signature(TableData)),
            "events": Out(stream.Signature(FaultRecord)),
            "remap_query": Out(RemapQuery),
            "remap_answer": In(RemapAnswer),
            "strtab": In(StrtabConfig),
            "table_attrs": In(WalkAttributes),
            "e2h": In(1),
            "recinvsid": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.arbiter = arbiter = EventArbiter(params)
        m.submodules.structures = structures = Structures(params)
        m.submodules.rows = rows = ConfigRows(params)
        m.submodules.filler = filler = ConfigFiller(params)
        m.submodules.decode = decode = Decode(params)
        m.submodules.address = address = Address(params)
        m.submodules.check = check = Check(params)
        m.submodules.act = act = Act(params)
        m.submodules.actions = actions = ActionQueue(params)

        # Events. A read of one beat is a descriptor, a read of four a structure.
        single = self.data.payload.last & self.data.payload.first
        taken = self.data.valid & self.data.ready
        m.d.comb += [
            # An event that goes straight back has the cycle for itself.
            self.data.ready.eq(~actions.again.valid),
            arbiter.descriptors.payload.eq(self.data.payload),
            arbiter.descriptors.valid.eq(taken & single),
            structures.beats.payload.eq(self.data.payload),
            structures.beats.valid.eq(taken & ~single),
            structures.e2h.eq(self.e2h),
            structures.stall.eq(self.cfg_rows.valid),
            rows.loaded.eq(self.cfg_rows.payload),
            rows.loaded_valid.eq(self.cfg_rows.valid),
            arbiter.cfg_rows.payload.eq(self.cfg_rows.payload),
            arbiter.cfg_rows.valid.eq(self.cfg_rows.valid),
        ]
        for name in ("walk", "write_stream", "write_context", "stream", "context", "stage1",
                     "stage2"):
            m.d.comb += getattr(rows, name).eq(getattr(structures, name))
        for name in ("starts", "tlb_results", "wc1_results", "wc2_results"):
            connect(m, flipped(getattr(self, name)), getattr(arbiter, name))
        connect(m, structures.events, arbiter.structures)
        connect(m, actions.again, arbiter.again)

        # W0: the event. W1: with it, all that is known of its walk.
        depth, style = max(2, params.walks), {"ram_style": params.record_ram_style}
        m.submodules.requests = requests = memory.Memory(
            shape=TranslationRequest, depth=depth, init=[], attrs=style)
        m.submodules.contexts = contexts = memory.Memory(
            shape=WalkContext, depth=depth, init=[], attrs=style)
        request_write, request = requests.write_port(), requests.read_port()
        context_write, context = contexts.write_port(), contexts.read_port()
        start = self.starts.payload
        m.d.comb += [
            request_write.en.eq(self.starts.valid & self.starts.ready),
            request_write.addr.eq(start.walk),
            request_write.data.eq(start.request),
            request.addr.eq(arbiter.o.walk),
            context.addr.eq(arbiter.o.walk),
            rows.read_walk.eq(arbiter.o.walk),
        ]
        valid = [Signal(name=f"valid{n}") for n in range(1, 5)]
        event1 = Signal(WalkEvent, reset_less=True)
        m.d.sync += [
            valid[0].eq(arbiter.o_valid),
            event1.eq(arbiter.o),
        ]
        m.d.comb += [
            decode.event.eq(event1),
            decode.request.eq(request.data),
            decode.context.eq(context.data),
            decode.config0.eq(rows.config0),
            decode.config1.eq(rows.config1),
            decode.config2.eq(rows.config2),
            self.remap_query.sid.eq(request.data.sid),
            self.remap_query.ipa.eq(context.data.ipa[9:]),
        ]

        # W2 to W4.
        decoded = Signal(Decoded, reset_less=True)
        addressed = Signal(Addressed, reset_less=True)
        checked = Signal(Checked, reset_less=True)
        m.d.sync += [
            valid[1].eq(valid[0]),
            decoded.eq(decode.o),
            valid[2].eq(valid[1]),
            addressed.eq(address.o),
            valid[3].eq(valid[2]),
            checked.eq(check.o),
        ]
        m.d.comb += [
            address.i.eq(decoded),
            check.i.eq(addressed),
            check.remap.eq(self.remap_answer),
            check.two_level.eq(self.strtab.fmt),
            act.i.eq(checked),
            act.recinvsid.eq(self.recinvsid),
            act.two_level.eq(self.strtab.fmt),
            actions.actions.payload.eq(act.action),
            actions.actions.valid.eq(valid[3]),
            actions.marked.eq(self.marked),
            context_write.en.eq(valid[3]),
            context_write.addr.eq(checked.walk),
            context_write.data.eq(act.context),
            structures.kind_write.eq(valid[3]),
            structures.kind_walk.eq(checked.walk),
            structures.kind_cd.eq(checked.step.locate_cd | checked.step.l1cd
                                  | checked.step.ipa | checked.step.stage2),
            structures.kind_ssv.eq(checked.who.ssv),
        ]

        # A configuration just decoded.
        m.d.comb += [
            filler.candidate.walk.eq(event1.walk),
            filler.candidate.key.sid.eq(request.data.sid),
            filler.candidate.key.ssv.eq(request.data.ssv),
            filler.candidate.key.ssid.eq(Mux(request.data.ssv, request.data.ssid, 0)),
            filler.candidate.config0.eq(rows.config0),
            filler.candidate.config1.eq(rows.config1),
            filler.candidate.config2.eq(rows.config2),
            filler.confirm.eq(valid[1] & decoded.step.begin & ~decoded.hit),
            filler.marked.eq(self.marked),
            actions.hold.eq(filler.active),
            actions.hold_walk.eq(filler.walk),
            self.cfg_abandon.eq(filler.abandon),
        ]
        connect(m, filler.fills, flipped(self.cfg_fills))
        for name in ("results", "cfg_loads", "tlb_lookups", "tlb_fills", "wc1_lookups",
                     "wc1_fills", "wc2_lookups", "wc2_fills", "reads", "events"):
            connect(m, getattr(actions, name), flipped(getattr(self, name)))

        # What follows from static registers.
        sid_beyond, split_mask = Signal(32), Signal(10)
        m.d.sync += [
            sid_beyond.eq(Cat(~at_least(self.strtab.log2size, bit + 1) for bit in range(32))),
            split_mask.eq(Cat(at_least(self.strtab.split, bit + 1) for bit in range(10))),
        ]
        m.d.comb += [
            decode.sid_beyond.eq(sid_beyond),
            address.strtab.eq(self.strtab),
            address.split_mask.eq(split_mask),
            address.table_attrs.eq(self.table_attrs),
        ]
        return m
