from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SkidBuffer"]


class SkidBuffer(wiring.Component):
    """Cut the path of ``ready`` through a stream, without latency.

    Timing
        Latency 0, throughput 1 per cycle. Holds one payload that `o` did not take. ``i.ready`` is a
        register; from `i` to `o` there is one multiplexer.

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
        spare = Signal(self._shape, reset_less=True)
        spare_valid = Signal()

        m.d.comb += [
            self.i.ready.eq(~spare_valid),
            self.o.valid.eq(self.i.valid | spare_valid),
            self.o.payload.eq(Mux(spare_valid, spare, self.i.payload)),
        ]
        m.d.sync += spare_valid.eq(self.o.valid & ~self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += spare.eq(self.i.payload)

        return m
