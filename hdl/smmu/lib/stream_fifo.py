from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamFIFO"]


class StreamFIFO(wiring.Component):
    """Queue up to ``depth`` payloads of a stream.

    Timing
        Latency 2 cycles, throughput 1 per cycle. ``i.ready`` and ``o.valid`` depend on registers
        only; ``o.payload`` comes straight from the memory's read register.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape))`
        The same payloads in the same order.
    level : :py:`Out(range(depth + 1))`
        The number of payloads inside.
    """

    def __init__(self, shape, depth):
        if depth < 3:
            raise ValueError(f"depth must be at least 3, not {depth!r}")
        self._shape = shape
        self._depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    @property
    def shape(self):
        return self._shape

    @property
    def depth(self):
        return self._depth

    def elaborate(self, platform):
        m = Module()
        i_payload, o_payload = Value.cast(self.i.payload), Value.cast(self.o.payload)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(i_payload), depth=self._depth)
        m.d.comb += [
            queue.w_data.eq(i_payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            o_payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.level.eq(queue.level),
        ]
        return m
