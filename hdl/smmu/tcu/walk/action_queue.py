from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import (
    PAGE_SHIFTS, TABLE_SHIFTS, ConfigLoad, FaultRecord, TableRead, TablePointer, TLBEntry, TLBFill,
    TLBLookup, WalkResult)
from smmu.tcu.walk.queue import Queue
from smmu.tcu.walk.records import Action, Main, Side, WalkEvent

__all__ = ["ActionQueue"]

PAGES, TABLES = len(PAGE_SHIFTS), len(TABLE_SHIFTS)


class ActionQueue(wiring.Component):
    """Carry out the actions of walks in order: a fill or event, and the way on.

    Each walk has at most one action here, so nothing overflows. A fill of a marked walk is dropped,
    even while it waits. A result leaves after its fill or event.

    Timing
        2 cycles from `actions` to an output; one action per cycle while the outputs are ready.

    Members
    -------
    actions : :py:`In(stream.Signature(Action, always_ready=True))`
    marked : :py:`In(params.walks)`
    hold, hold_walk : :py:`In(1)`, :py:`In(5)`
        The configuration of this walk is still to be kept: its result has to wait.
    again : :py:`Out(stream.Signature(WalkEvent, always_ready=True))`
        Events that go straight back.
    The others are those of the walk table.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "actions": In(stream.Signature(Action, always_ready=True)),
            "marked": In(params.walks),
            "hold": In(1),
            "hold_walk": In(5),
            "again": Out(stream.Signature(WalkEvent, always_ready=True)),
            "reads": Out(stream.Signature(TableRead)),
            "results": Out(stream.Signature(WalkResult)),
            "events": Out(stream.Signature(FaultRecord)),
            "cfg_loads": Out(stream.Signature(ConfigLoad)),
            "tlb_lookups": Out(stream.Signature(TLBLookup(6, PAGES))),
            "wc1_lookups": Out(stream.Signature(TLBLookup(6, TABLES))),
            "wc2_lookups": Out(stream.Signature(TLBLookup(6, TABLES))),
            "tlb_fills": Out(stream.Signature(TLBFill(PAGES, TLBEntry))),
            "wc1_fills": Out(stream.Signature(TLBFill(TABLES, TablePointer))),
            "wc2_fills": Out(stream.Signature(TLBFill(TABLES, TablePointer))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(
            Action, self.params.walks, registered=True, ram_style=self.params.record_ram_style)
        head, held = queue.o.payload, queue.o.valid
        side_done, main_done = Signal(), Signal()
        side_ends, main_ends = Signal(), Signal()
        side_over, main_over = Signal(), Signal()
        m.d.comb += [
            Value.cast(queue.i.payload).eq(Value.cast(self.actions.payload)),
            queue.i.valid.eq(self.actions.valid),
            side_over.eq((head.side == Side.NONE) | side_done | side_ends),
            main_over.eq(main_done | main_ends),
            queue.o.ready.eq(side_over & main_over),
        ]
        with m.If(~held | queue.o.ready):
            m.d.sync += [
                side_done.eq(0),
                main_done.eq(0),
            ]
        with m.Else():
            m.d.sync += [
                side_done.eq(side_done | side_ends),
                main_done.eq(main_done | main_ends),
            ]

        # Fills and events.
        withdrawn, is_fill = Signal(), Signal()
        walk_bits = max(1, (self.params.walks - 1).bit_length())
        m.d.comb += [
            withdrawn.eq(self.marked.bit_select(head.walk[:walk_bits], 1)),
            is_fill.eq((head.side != Side.EVENT) & (head.side != Side.NONE)),
        ]
        sides = {Side.TLB_FILL: self.tlb_fills, Side.POINTER1_FILL: self.wc1_fills,
                 Side.POINTER2_FILL: self.wc2_fills, Side.EVENT: self.events}
        ends = [is_fill & withdrawn]
        for side, port in sides.items():
            offered = held & (head.side == side) & ~side_done
            m.d.comb += port.valid.eq(
                offered if side == Side.EVENT else offered & ~withdrawn)
            ends.append(port.valid & port.ready)
        m.d.comb += side_ends.eq(held & Cat(*ends).any())

        # The way on.
        mains = {Main.READ: self.reads, Main.CONFIG: self.cfg_loads, Main.TLB: self.tlb_lookups,
                 Main.POINTER1: self.wc1_lookups, Main.POINTER2: self.wc2_lookups,
                 Main.RESULT: self.results, Main.AGAIN: self.again}
        ends = []
        for main, port in mains.items():
            offered = held & (head.main == main) & ~main_done
            if main == Main.RESULT:   # only when nothing of this walk is left
                offered &= (head.side == Side.NONE) | side_done
                offered &= ~(self.hold & (self.hold_walk == head.walk))
            m.d.comb += port.valid.eq(offered)
            ends.append(port.valid & port.ready)
        m.d.comb += main_ends.eq(Cat(*ends).any())

        self._fills(m, head)
        self._lookups(m, head)
        self._ends(m, head)
        return m

    def _fills(self, m, head):
        fill = head.payload.go.fill
        for port in (self.tlb_fills, self.wc1_fills, self.wc2_fills):
            key = port.payload.key
            for name in ("world", "ipa", "vmid", "asid", "aset", "va55", "addr"):
                m.d.comb += getattr(key, name).eq(getattr(fill, name))
            m.d.comb += [
                port.payload.nG.eq(fill.nG),
                port.payload.size.eq(fill.size),
            ]
        m.d.comb += self.tlb_fills.payload.fragment.eq(fill.fragment)
        entry = self.tlb_fills.payload.payload
        m.d.comb += [
            entry.page.eq(fill.page),
            entry.perms.eq(fill.perms),
            entry.attrs.eq(fill.attrs),
        ]
        for port in (self.wc1_fills, self.wc2_fills):
            pointer = port.payload.payload
            m.d.comb += [
                pointer.table.eq(fill.page),
                Cat(pointer.aptable, pointer.uxntable, pointer.pxntable).eq(fill.perms.as_value()),
            ]
        again = self.again.payload
        m.d.comb += [
            again.walk.eq(head.walk),
            again.hit.eq(head.hit),
            again.size.eq(fill.size),
            again.data.eq(Cat(fill.page, fill.perms, fill.attrs)),
        ]

    def _lookups(self, m, head):
        go, fill, event = head.payload.go.go, head.payload.go.fill, head.payload.event
        reads, loads = self.reads.payload, self.cfg_loads.payload
        m.d.comb += [
            reads.id.eq(head.walk),
            reads.addr.eq(go.next),
            reads.beats.eq(Mux(go.beats, 4, 1)),
            reads.attrs.eq(go.attrs),
            loads.walk.eq(head.walk),
            loads.key.sid.eq(event.sid),
            loads.key.ssv.eq(event.ssv),
            loads.key.ssid.eq(event.ssid),
        ]
        for port, of_ipa in ((self.tlb_lookups, True), (self.wc1_lookups, False),
                             (self.wc2_lookups, True)):
            key = port.payload.key
            m.d.comb += [
                port.payload.tag.eq(head.walk),
                port.payload.classes.eq(go.classes),
                key.world.eq(fill.world),
                key.vmid.eq(fill.vmid),
                key.ipa.eq(of_ipa),
            ]
            if of_ipa:
                m.d.comb += key.addr.eq(go.next[9:] if port is self.tlb_lookups else fill.addr)
            else:
                for name in ("asid", "aset", "va55", "addr"):
                    m.d.comb += getattr(key, name).eq(getattr(fill, name))

    def _ends(self, m, head):
        fill, end = head.payload.result.fill, head.payload.result.result
        result, event, record = self.results.payload, head.payload.event, self.events.payload
        translation, context = result.translation, result.context
        m.d.comb += [
            result.walk.eq(head.walk),
            result.verdict.eq(head.verdict),
            result.cacheable.eq(head.cacheable),
            translation.page.eq(fill.page),
            translation.size.eq(fill.size),
            translation.perms.eq(end.perms),
            translation.attrs.eq(end.attrs),
            translation.combine.eq(end.combine),
            translation.overrides.eq(end.overrides),
            translation.msi.eq(end.msi),
            translation.doorbell.eq(end.doorbell),
            translation.nG.eq(fill.nG),
            context.world.eq(fill.world),
            context.ipa.eq(fill.ipa),
            context.vmid.eq(fill.vmid),
            context.asid.eq(fill.asid),

            record.event.eq(event.event),
            record.input_addr.eq(event.input_addr),
        ]
        for name in ("sid", "ssv", "ssid", "pnu", "ind", "rnw", "s2", "cls", "ttrnw"):
            m.d.comb += getattr(record, name).eq(getattr(event, name))
        with m.If(event.fetch):
            m.d.comb += record.fetch_addr.eq(event.where)
        with m.Else():
            m.d.comb += record.ipa.eq(event.where)
