from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.bus.axil import AXI4Lite
from smmu.formats.registers import BY_NAME
from smmu.params import Params
from smmu.payloads import CounterIncrements, RemapAccess
from smmu.regs.counters import Counters
from smmu.regs.register_port import ADDR_BITS, RegisterPort

__all__ = ["Accesses"]

PAGE_BITS = 12  # the arrays of the implementation-defined frame have 4 KiB each


class Accesses(wiring.Component):
    """Carry out one register access after the other.

    Timing
        `word`, `data` and `halves` are stable from the cycle before `act` to the one after.

    Members
    -------
    s_axil : AXI4-Lite slave, 64-bit data, 20-bit address
    word : :py:`Out(17)`
        Address [19:3] of the access.
    data : :py:`Out(64)`
    halves : :py:`Out(2)`
        Which of the halves at +0 and +4 a write wants to write.
    act : :py:`Out(1)`
        Strobe, in the second cycle of `word`: `value` is read.
    writes : :py:`Out(1)`
        Strobe, together with `act`: the access is a write.
    value : :py:`In(64)`
        The registers at `word`, 0 if there are none.
    counts : :py:`In(CounterIncrements)`
    remap : :py:`Out(stream.Signature(RemapAccess))`
    remap_data : :py:`In(stream.Signature(64))`
        The answer to each access of a remap entry, also to a write.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "s_axil": In(AXI4Lite(addr_width=ADDR_BITS, data_width=64)),
            "word": Out(ADDR_BITS - 3),
            "data": Out(64),
            "halves": Out(2),
            "act": Out(1),
            "writes": Out(1),
            "value": In(64),
            "counts": In(CounterIncrements),
            "remap": Out(stream.Signature(RemapAccess)),
            "remap_data": In(stream.Signature(64)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = RegisterPort()
        m.submodules.counters = counters = Counters()
        connect(m, flipped(self.s_axil), port.s_axil)
        access = port.o.payload
        is_remap, is_counter = self._arrays(m, access, counters)
        m.d.comb += [
            self.word.eq(access.word),
            self.data.eq(access.data),
            self.halves.eq(Cat(access.low, access.high)),
            self.writes.eq(self.act & access.write),
            counters.increments.eq(self.counts),
        ]
        self._sequence(m, port, counters, is_remap, is_counter)
        return m

    def _arrays(self, m, access, counters):
        """Decode the remap entries and the counters."""
        entries, counter = BY_NAME["REMAP_STREAMID"], BY_NAME["COUNTER"]
        is_remap, is_counter = Signal(), Signal()
        page, place = access.word[PAGE_BITS - 3:], access.word[:PAGE_BITS - 3]
        entry, request = place[(entries.stride // 8).bit_length() - 1:], self.remap.payload

        m.d.sync += [
            is_remap.eq((page == entries.offset >> PAGE_BITS) & (place[:2] != 3)
                        & (entry < self.params.remap_entries)),
            is_counter.eq((page == counter.offset >> PAGE_BITS) & (place < counter.count)),
        ]
        m.d.comb += [
            counters.index.eq(place),
            request.write.eq(access.write),
            request.entry.eq(entry),
            request.word.eq(place),
            request.halves.eq(self.halves),
            request.data.eq(access.data),
        ]
        return is_remap, is_counter

    def _sequence(self, m, port, counters, is_remap, is_counter):
        answer = port.answers
        with m.FSM():
            with m.State("Select"):
                m.d.comb += port.o.ready.eq(1)
                with m.If(port.o.valid):
                    m.next = "Act"
            with m.State("Act"):
                m.d.comb += self.act.eq(1)
                m.d.sync += answer.payload.eq(self.value)
                with m.If(is_counter):
                    m.next = "Read a counter"
                with m.Elif(is_remap):
                    m.next = "Ask the remap"
                with m.Else():
                    m.next = "Answer"
            with m.State("Read a counter"):
                m.d.comb += counters.read.eq(1)
                with m.If(counters.done):
                    m.d.sync += answer.payload.eq(counters.value)
                    m.next = "Answer"
            with m.State("Ask the remap"):
                m.d.comb += self.remap.valid.eq(1)
                with m.If(self.remap.ready):
                    m.next = "Await the remap"
            with m.State("Await the remap"):
                m.d.comb += self.remap_data.ready.eq(1)
                with m.If(self.remap_data.valid):
                    m.d.sync += answer.payload.eq(self.remap_data.payload)
                    m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += answer.valid.eq(1)
                with m.If(answer.ready):
                    m.next = "Select"
