from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.lib.thermometer import at_most

__all__ = ["QueueIndex", "INDEX_BITS"]

INDEX_BITS = 20  # of PROD and CONS with the wrap bit of the largest queue


class QueueIndex(wiring.Component):
    """Masks of a queue's indexes.

    Spec
        IHI 0070: 3.5.1. An index has LOG2SIZE bits, with the wrap bit above them.
    Timing
        Latency 1 cycle.

    Members
    -------
    log2size : :py:`In(5)`
    index : :py:`Out(20)`
        Ones for the bits of an index.
    wrap : :py:`Out(20)`
        A one for the wrap bit.
    """

    log2size: In(5)
    index: Out(INDEX_BITS)
    wrap: Out(INDEX_BITS)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [
            self.index.eq(~at_most(self.log2size, INDEX_BITS)),
            self.wrap.eq(Cat(self.log2size == bit for bit in range(INDEX_BITS))),
        ]
        return m
