from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Broadcast"]


class Broadcast(wiring.Component):
    """Give each transfer of a stream to several listeners in one and the same cycle.

    Timing
        Latency 1 cycle. A transfer happens when all listeners are ready, so a listener's ``ready``
        must not depend on its ``valid``.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape)).array(listeners)`
    do : :py:`Out(1)`
        Strobe: the listeners take a transfer in this cycle.
    """

    def __init__(self, shape, listeners: int):
        if listeners < 1:
            raise ValueError(f"listeners must be at least 1, not {listeners!r}")
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)).array(listeners),
            "do": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        held, payload = Signal(), Signal.like(self.i.payload)

        m.d.comb += [
            self.do.eq(held & Cat(listener.ready for listener in self.o).all()),
            self.i.ready.eq(self.do | ~held),
        ]
        for listener in self.o:
            m.d.comb += [listener.valid.eq(self.do), listener.payload.eq(payload)]
        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.valid), payload.eq(self.i.payload)]

        return m
