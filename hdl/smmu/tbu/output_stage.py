"""Last registers of a channel: what leaves, and one more behind it."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.tbu.records import translated

__all__ = ["OutputStage"]


class OutputStage(wiring.Component):
    """Register what leaves, so that READY of downstream reaches nothing but these registers.

    Timing    Latency 1 clock, throughput 1 per clock; ``i.ready`` is a register.

    Members
    -------
    i, o : :py:`In(stream)`, :py:`Out(stream)`
    snapshot : :py:`In(1)`
    marked : :py:`Out(1)`
        Something here is in the snapshot.
    """

    def __init__(self, params):
        beat = stream.Signature(translated(params))
        super().__init__({
            "i": In(beat), "o": Out(beat), "snapshot": In(1), "marked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        spare, is_full = Signal.like(i.p, reset_less=True), Signal()
        output = Signal.like(i.p, reset_less=True)
        is_empty = Signal(init=1)   # a register of its own, because of its load
        m.d.comb += [
            i.ready.eq(is_empty), o.p.eq(output),
            self.marked.eq(o.valid & o.p.mark | is_full & spare.mark),
        ]
        with m.If(i.ready):
            m.d.sync += spare.eq(i.p)
        with m.If(~o.valid | o.ready):
            m.d.sync += [
                o.valid.eq(is_full | i.valid), is_full.eq(0), is_empty.eq(1),
                output.eq(Mux(is_full, spare.as_value(), i.p.as_value()))]
        with m.Elif(i.valid & i.ready):
            m.d.sync += [is_full.eq(1), is_empty.eq(0)]
        with m.If(self.snapshot):
            m.d.sync += [output.mark.eq(1), spare.mark.eq(1)]
        return m
