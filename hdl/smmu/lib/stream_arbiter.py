from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamArbiter"]


class StreamArbiter(wiring.Component):
    """Merge ``count`` streams into one, in turn.

    Timing
        Latency 1 cycle, throughput 1 per cycle; the output is a register. An input that offers a
        payload waits for at most ``count - 1`` payloads of others.

    Members
    -------
    i : :py:`In(stream.Signature(shape)).array(count)`
    o : :py:`Out(stream.Signature(shape))`
    """

    def __init__(self, count, shape):
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        self._count = count
        self._shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)).array(count),
            "o": Out(stream.Signature(shape)),
        })

    @property
    def count(self):
        return self._count

    @property
    def shape(self):
        return self._shape

    def elaborate(self, platform):
        m = Module()
        requests = Cat(i.valid for i in self.i)
        # Ones for the inputs after the one served last: these come first.
        later = Signal(self._count)
        preferred = Signal(self._count)
        grant = Signal(self._count)  # one-hot
        output = Signal(self._shape, reset_less=True)

        m.d.comb += preferred.eq(Mux((requests & later).any(), requests & later, requests))
        m.d.comb += [grant.eq(preferred & -preferred), self.o.payload.eq(output)]
        with m.If(self.o.ready | ~self.o.valid):
            m.d.comb += Cat(i.ready for i in self.i).eq(grant)
            m.d.sync += self.o.valid.eq(requests.any())
            for n, i in enumerate(self.i):
                with m.If(grant[n]):
                    m.d.sync += [
                        output.eq(i.payload),
                        later.eq(-1 << (n + 1)),
                    ]

        return m
