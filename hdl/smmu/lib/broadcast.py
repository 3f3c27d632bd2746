from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.lib.stream_register import StreamRegister

__all__ = ["Broadcast"]


class Broadcast(wiring.Component):
    """Give each transfer of a stream to several listeners in one and the same cycle.

    Timing
        Latency 1 cycle, throughput 1 per cycle; ``i.ready`` is a register. A transfer happens when
        all listeners are ready, so a listener's ``ready`` must not depend on its ``valid``.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape)).array(listeners)`
    do : :py:`Out(1)`
        Strobe: the listeners take a transfer in this cycle.
    pending : :py:`Out(1)`
        A transfer was accepted and the listeners have not taken it before this cycle.
    """

    def __init__(self, shape, listeners: int):
        if listeners < 1:
            raise ValueError(f"listeners must be at least 1, not {listeners!r}")
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)).array(listeners),
            "do": Out(1),
            "pending": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.register = register = StreamRegister(self.i.payload.shape())

        connect(m, flipped(self.i), register.i)
        m.d.comb += [
            self.pending.eq(register.o.valid),
            self.do.eq(register.o.valid & Cat(listener.ready for listener in self.o).all()),
            register.o.ready.eq(self.do),
        ]
        for listener in self.o:
            m.d.comb += [listener.valid.eq(self.do), listener.payload.eq(register.o.payload)]

        return m
