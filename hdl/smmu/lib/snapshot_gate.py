from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SnapshotGate"]


class SnapshotGate(wiring.Component):
    """Hold a snapshot back until every translation buffer has carried out what it was told to drop.

    An invalidation that a translation buffer has taken but not carried out can still be missed by a
    transaction that enters after the snapshot. So the snapshot waits, and looks unfinished
    meanwhile.

    Timing
        Latency 1 cycle with nothing pending. The outputs are high from the cycle after `i` on.

    Members
    -------
    i : :py:`In(1)`
        Strobe: take a snapshot.
    clear : :py:`In(1)`
        No translation buffer, and nothing on the way to one, has an invalidation to carry out.
    o : :py:`Out(1)`
        Strobe to the translation buffers, in a cycle in which `clear` is set.
    tbu_undecided, tbu_unfinished : :py:`In(1)`
        What is left of the last snapshot.
    undecided, unfinished : :py:`Out(1)`
    """

    i: In(1)
    clear: In(1)
    o: Out(1)
    tbu_undecided: In(1)
    tbu_unfinished: In(1)
    undecided: Out(1)
    unfinished: Out(1)

    def elaborate(self, platform):
        m = Module()
        waiting = Signal()

        m.d.comb += [
            self.o.eq(waiting & self.clear),
            self.undecided.eq(waiting | self.tbu_undecided),
            self.unfinished.eq(waiting | self.tbu_unfinished),
        ]
        with m.If(self.i):
            m.d.sync += waiting.eq(1)
        with m.Elif(self.clear):
            m.d.sync += waiting.eq(0)

        return m
