from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.lib.skid_buffer import SkidBuffer

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
        m.submodules.skid = skid = SkidBuffer(self._shape)
        output = Signal(self._shape, reset_less=True)

        connect(m, flipped(self.i), skid.i)
        m.d.comb += [
            skid.o.ready.eq(self.o.ready | ~self.o.valid),
            self.o.payload.eq(output),
        ]
        with m.If(skid.o.ready):
            m.d.sync += [self.o.valid.eq(skid.o.valid), output.eq(skid.o.payload)]

        return m
