from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Queue"]


class Queue(wiring.Component):
    """Queue payloads that walks wait for: at most one for each walk, so it can't overflow.

    Parameters
    ----------
    registered
        `o.payload` is a register, or the output of a block RAM.
    ram_style
        Where synthesis puts the payloads; block RAM only if `registered`.

    Timing
        Latency 1 cycle, one payload per cycle; `o.payload` comes from LUT RAM, without a register.
        `registered`: latency 2 cycles.

    Members
    -------
    i : :py:`In(stream.Signature(shape, always_ready=True))`
    o : :py:`Out(stream.Signature(shape))`
    """

    def __init__(self, shape, depth, *, registered=False, ram_style="distributed"):
        self.shape = shape
        self.registered, self.ram_style = registered, ram_style
        self.depth = max(2, 1 << ceil_log2(depth))
        super().__init__({
            "i": In(stream.Signature(shape, always_ready=True)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self.shape, depth=self.depth, init=[], attrs={"ram_style": self.ram_style})
        write = storage.write_port()
        read = storage.read_port(domain="sync" if self.registered else "comb")
        bits = ceil_log2(self.depth)
        last, first = Signal(bits + 1), Signal(bits + 1)   # one bit more: full is not empty
        following = Signal(bits + 1)
        valid, taken = Signal(), Signal()   # a payload is in the memory, and leaves it
        if self.registered:
            m.d.comb += [read.en.eq(~self.o.valid | self.o.ready), taken.eq(valid & read.en)]
            with m.If(read.en):
                m.d.sync += self.o.valid.eq(valid)
        else:
            m.d.comb += [self.o.valid.eq(valid), taken.eq(valid & self.o.ready)]
        m.d.comb += [
            write.en.eq(self.i.valid),
            write.addr.eq(last[:bits]),
            Value.cast(write.data).eq(Value.cast(self.i.payload)),
            read.addr.eq(first[:bits]),
            Value.cast(self.o.payload).eq(Value.cast(read.data)),
            following.eq(first + 1),
        ]
        with m.If(taken):
            m.d.sync += first.eq(following)
        m.d.sync += [
            last.eq(last + self.i.valid),
            # Both comparisons come from registers: `taken` may be late.
            valid.eq(self.i.valid | Mux(taken, following != last, first != last)),
        ]
        return m
