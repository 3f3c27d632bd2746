from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RemapFlush"]


class RemapFlush(wiring.Component):
    """After each change of the remap, remove what the caches know by the old state.

    Timing
        `busy` is set from the cycle after `changed` on. A change during a flush has one more.

    Members
    -------
    changed : :py:`In(1)`
        Strobe: the remap answers by the new state, from 2 cycles later on.
    flushes : :py:`Out(stream.Signature(0))`
    caches_busy : :py:`In(1)`
        Valid from the cycle after the flush was taken.
    busy : :py:`Out(1)`
    """

    changed: In(1)
    flushes: Out(stream.Signature(0))
    caches_busy: In(1)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        wanted = Signal()
        starts = Signal()

        m.d.sync += wanted.eq((wanted & ~starts) | self.changed)
        with m.FSM() as fsm:
            with m.State("Idle"):
                m.d.comb += starts.eq(wanted)
                with m.If(wanted):
                    m.next = "Let it act"
            with m.State("Let it act"):
                # Answers by the old state have left the remap before the flush is taken.
                m.next = "Flush"
            with m.State("Flush"):
                m.d.comb += self.flushes.valid.eq(1)
                with m.If(self.flushes.ready):
                    m.next = "Let it arrive"
            with m.State("Let it arrive"):
                m.next = "Await the caches"
            with m.State("Await the caches"):
                with m.If(~self.caches_busy):
                    m.next = "Idle"
        m.d.comb += self.busy.eq(wanted | ~fsm.ongoing("Idle"))

        return m
