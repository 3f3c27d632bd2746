from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.registers import (
    CMDQ_BASE, CR1, EVENTQ_BASE, STRTAB_BASE, STRTAB_BASE_CFG)
from smmu.lib.thermometer import at_most
from smmu.params import Params
from smmu.payloads import MemType, QueueConfig, StrtabConfig, WalkAttributes

__all__ = ["Effective"]

NC, WB, WT = 0, 1, 2  # cacheability codes of CR1; 3 is reserved and acts as NC
ADDR_BITS = 48


class Effective(wiring.Component):
    """Work out how the base and attribute registers act: sizes limited, bases aligned.

    Spec
        IHI 0070: 6.3 (STRTAB_BASE, STRTAB_BASE_CFG, CMDQ_BASE, EVENTQ_BASE, CR1).
    Timing
        Latency 1 cycle.

    Members
    -------
    CR1, STRTAB_BASE, STRTAB_BASE_CFG, CMDQ_BASE, EVENTQ_BASE : :py:`In`
        The registers.
    strtab : :py:`Out(StrtabConfig)`
    table_attrs : :py:`Out(WalkAttributes)`
        A read-allocate hint of 0 stands in `strtab`.
    cmdq, eventq : :py:`Out(QueueConfig)`
        Of these, ``base``, ``log2size`` and ``attrs``; the rest is 0.
    """

    CR1: In(CR1)
    STRTAB_BASE: In(STRTAB_BASE)
    STRTAB_BASE_CFG: In(STRTAB_BASE_CFG)
    CMDQ_BASE: In(CMDQ_BASE)
    EVENTQ_BASE: In(EVENTQ_BASE)
    strtab: Out(StrtabConfig)
    table_attrs: Out(WalkAttributes)
    cmdq: Out(QueueConfig)
    eventq: Out(QueueConfig)

    def __init__(self, params: Params):
        self.params = params
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        self._stream_table(m)
        self._queue(m, self.cmdq, self.CMDQ_BASE, self.CMDQ_BASE.RA, self.params.cmdqs, 16)
        self._queue(m, self.eventq, self.EVENTQ_BASE, self.EVENTQ_BASE.WA, self.params.eventqs, 32)
        return m

    def _stream_table(self, m):
        base, config = self.STRTAB_BASE, self.STRTAB_BASE_CFG
        two_level = Signal()
        split = Signal(range(11))
        zeros = Signal(range(64 + 1))  # address bits from 6 up which the alignment clears
        spare = Signal(signed(8))      # the same for a level 1 table, negative below 64 bytes

        m.d.comb += [
            two_level.eq(config.FMT == 1),
            split.eq(6),
            spare.eq(config.LOG2SIZE - split - 3),
            zeros.eq(config.LOG2SIZE),
        ]
        with m.If((config.SPLIT == 8) | (config.SPLIT == 10)):
            m.d.comb += split.eq(config.SPLIT)
        with m.If(two_level):
            m.d.comb += zeros.eq(Mux(spare < 0, 0, spare))

        addr = base.ADDR[:ADDR_BITS - 6]
        kept = at_most(zeros, len(addr))
        sidsize = self.params.sidsize
        m.d.sync += [
            self.strtab.base.eq(addr & kept),
            self.strtab.log2size.eq(
                Mux(config.LOG2SIZE > sidsize, sidsize, config.LOG2SIZE)),
            self.strtab.split.eq(split),
            self.strtab.fmt.eq(two_level),
            self.strtab.ra.eq(base.RA),
            self.table_attrs.ic.eq(_known(self.CR1.TABLE_IC)),
            self.table_attrs.oc.eq(_known(self.CR1.TABLE_OC)),
            self.table_attrs.sh.eq(self.CR1.TABLE_SH),
        ]

    def _queue(self, m, queue, base, hint, largest, entry_size):
        """``base`` is aligned to the size of the queue, at least to 32 bytes."""
        log2size = Signal(5, name=f"log2size_{entry_size}")
        m.d.comb += log2size.eq(Mux(base.LOG2SIZE > largest, largest, base.LOG2SIZE))
        entry_bits = entry_size.bit_length() - 1
        addr = base.ADDR[:ADDR_BITS - 5]
        kept = at_most(log2size, len(addr) + 5 - entry_bits)[5 - entry_bits:]
        m.d.sync += [
            queue.base.eq(addr & kept),
            queue.log2size.eq(log2size),
            queue.attrs.inner.eq(_memory_type(self.CR1.QUEUE_IC)),
            queue.attrs.outer.eq(_memory_type(self.CR1.QUEUE_OC)),
            queue.attrs.sh.eq(self.CR1.QUEUE_SH),
            queue.attrs.ra.eq(hint),
            queue.attrs.wa.eq(hint),
        ]


def _known(cacheability):
    return Mux(cacheability == 3, NC, cacheability)


def _memory_type(cacheability):
    return Mux(cacheability == WB, MemType.WB, Mux(cacheability == WT, MemType.WT, MemType.NC))
