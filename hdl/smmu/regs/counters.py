from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import CounterIncrements

__all__ = ["Counters"]

HALF = 32


class Counters(wiring.Component):
    """Count in 64 bits, by small counters which are added one after the other to a memory.

    Timing
        A round takes two cycles for each counter. A value that is read contains everything that
        was counted up to the beginning of this counter's turn, which comes within one round.

    Members
    -------
    increments : :py:`In(CounterIncrements)`
        What each counter counts in this cycle.
    read : :py:`In(1)`
        Set until `done`: read counter `index`.
    index : :py:`In(range(counters))`
        Stable while `read` is set.
    done : :py:`Out(1)`
        `value` is valid in this cycle.
    value : :py:`Out(64)`
    """

    increments: In(CounterIncrements)
    read: In(1)
    index: In(range(len(CounterIncrements.as_shape().members)))
    done: Out(1)
    value: Out(2 * HALF)

    def elaborate(self, platform):
        m = Module()
        names = list(CounterIncrements.as_shape().members)
        turn = Signal(range(len(names)))
        high = Signal()       # which half
        first = Signal(init=1)  # the round after reset: the memory holds nothing yet

        m.submodules.totals = totals = memory.Memory(
            shape=HALF, depth=2 * len(names), init=[])
        stored = totals.read_port(domain="comb")
        store = totals.write_port()

        # What has been counted since the last turn. A round is 2 * len(names) cycles long.
        small, selected = [], Signal(range(32 * 2 * len(names)))
        for number, name in enumerate(names):
            increment = self.increments[name]
            count = Signal(range(2 * len(names) * (2**len(increment) - 1) + 1), name=name)
            taken = (turn == number) & ~high
            m.d.sync += count.eq(Mux(taken, 0, count) + increment)
            small.append(Mux(turn == number, count, 0))
        for count in small:
            selected = selected | count

        # Second step, one cycle later: add, and store.
        adding, adding_high = Signal.like(turn), Signal()
        old, addend, carry = Signal(HALF), Signal.like(selected), Signal()
        total = Signal(HALF + 1)
        m.d.comb += [
            stored.addr.eq(Cat(high, turn)),
            total.eq(old + Mux(adding_high, carry, addend)),
            store.addr.eq(Cat(adding_high, adding)),
            store.data.eq(total),
            store.en.eq(1),
        ]
        m.d.sync += [
            adding.eq(turn), adding_high.eq(high),
            old.eq(Mux(first, 0, stored.data)),
            addend.eq(selected),
            carry.eq(total[HALF]),
            high.eq(~high),
        ]
        with m.If(high):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == len(names) - 1):
                m.d.sync += [turn.eq(0), first.eq(0)]

        reading = Signal()  # the low half is there
        with m.If(~adding_high):
            m.d.sync += [
                reading.eq(self.read & ~self.done & (adding == self.index)),
                self.value[:HALF].eq(total),
            ]
        with m.Else():
            m.d.sync += self.value[HALF:].eq(total)
        m.d.sync += self.done.eq(adding_high & reading)

        return m
