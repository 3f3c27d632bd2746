from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamRegister"]


class StreamRegister(wiring.Component):
    """Cut a stream between registers: no path leads through it, neither forward nor backward.

    Timing
        Latency 1 cycle, throughput 1 per cycle. Holds up to two payloads. ``i.ready``, ``o.valid``
        and ``o.payload`` are registers.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape))`
        The same payloads in the same order.
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    @property
    def shape(self):
        return self._shape

    def elaborate(self, platform):
        m = Module()
        output, spare = (Signal(self._shape, name=name, reset_less=True)
                         for name in ("output", "spare"))
        spare_valid = Signal()

        m.d.comb += [self.i.ready.eq(~spare_valid), self.o.payload.eq(output)]
        with m.If(self.i.ready):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | spare_valid),
                output.eq(Mux(spare_valid, spare, self.i.payload)),
                spare_valid.eq(0),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += spare_valid.eq(1)

        return m
