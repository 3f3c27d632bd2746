from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.lib.stream_fifo import StreamFIFO
from smmu.payloads import QueueConfig
from smmu.queues.queue_index import INDEX_BITS, QueueIndex
from smmu.queues.table_master import CommandData, CommandRead

__all__ = ["FetchedCommand", "CommandFetch"]

BURST = 16         # commands of a read at most; reads don't cross a multiple of that
BURST_BITS = 4
BUFFER = 2 * BURST  # commands asked for or held


class FetchedCommand(data.Struct):
    command: 128
    error: 1         # the read of it was aborted


class CommandFetch(wiring.Component):
    """Read commands ahead, from CONS up to PROD.

    Spec
        IHI 0070: 3.5 (queues), 4.1.
    Timing
        A read 3 cycles after PROD moved. Commands leave at most every second cycle, 4 cycles after
        their last beat. Up to two reads of 16 commands are outstanding.
    Errors
        ``error`` of the command. PROD and CONS that no queue can have: nothing is read.

    Members
    -------
    queue : :py:`In(QueueConfig)`
        ``prod`` and the place of the queue; ``cons`` where reading starts when `run` rises.
    run : :py:`In(1)`
        Read commands. Its fall discards what was read and is still on its way.
    idle : :py:`Out(1)`
        Nothing is held or outstanding. `run` must not rise before.
    reads : :py:`Out(stream.Signature(CommandRead))`
    data : :py:`In(CommandData stream)`
    o : :py:`Out(stream.Signature(FetchedCommand))`
    """

    queue: In(QueueConfig)
    run: In(1)
    idle: Out(1)
    reads: Out(stream.Signature(CommandRead))
    data: In(stream.Signature(CommandData, always_ready=True))
    o: Out(stream.Signature(FetchedCommand))

    def elaborate(self, platform):
        m = Module()
        m.submodules.index = index = QueueIndex()
        m.submodules.buffer = buffer = StreamFIFO(CommandData, 2 * BUFFER + 1)
        held = Signal(range(2 * BUFFER + 1))  # beats asked for and not yet taken from the buffer
        asked = Signal(range(2 * BURST + 1))
        taken = Signal()

        m.d.sync += held.eq(held + asked - taken)
        m.d.comb += [
            index.log2size.eq(self.queue.log2size),
            self.idle.eq(held == 0),
            buffer.i.valid.eq(self.data.valid),
            buffer.i.payload.eq(self.data.payload),
            taken.eq(buffer.o.valid & buffer.o.ready),
        ]
        self._ask(m, index, held, asked)
        self._assemble(m, buffer, taken)
        return m

    def _ask(self, m, index, held, asked):
        """Read up to the next multiple of 16 commands, the end of the queue, or PROD."""
        queue, request = self.queue, self.reads.payload
        place = Signal(INDEX_BITS)        # index with wrap bit of the next command to read
        available = Signal(INDEX_BITS)    # from there to PROD, a cycle ago
        count = Signal(range(BURST + 1))  # what to read of that, a cycle later
        is_fresh = Signal(2)              # `available` and `count` belong to `place`
        up_to_end = Signal(range(BURST + 1))
        do_ask = Signal()
        impossible = (available & index.wrap).any() & (available & index.index).any()

        m.d.comb += [
            up_to_end.eq((index.index[:BURST_BITS] & ~place[:BURST_BITS]) + 1),
            do_ask.eq(self.run & is_fresh[1] & (count != 0) & ~self.reads.valid
                      & (held <= 2 * (BUFFER - BURST))),
            asked.eq(Mux(do_ask, count << 1, 0)),
            request.attrs.eq(queue.attrs),
        ]
        m.d.sync += [
            available.eq((queue.prod - place) & (index.index | index.wrap)),
            count.eq(Mux(impossible, 0, Mux(available < up_to_end, available, up_to_end))),
            is_fresh.eq(Mux(self.run & ~do_ask, Cat(1, is_fresh[0]), 0)),
        ]
        with m.If(self.reads.ready):
            m.d.sync += self.reads.valid.eq(0)
        with m.If(do_ask):
            m.d.sync += [
                self.reads.valid.eq(1),
                # The base is aligned to the size of the queue.
                request.addr.eq(Cat(C(0, 2), queue.base) | (place & index.index) << 1),
                request.beats.eq(count << 1),
                place.eq(place + count),
            ]
        with m.Elif(~self.run):
            m.d.sync += place.eq(queue.cons)

    def _assemble(self, m, buffer, taken):
        """Two beats make a command. The first one waits in a register of its own."""
        beat, first = buffer.o.payload, Signal(CommandData, reset_less=True)
        has_first = Signal()

        m.d.comb += buffer.o.ready.eq(~self.run | ~has_first | ~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~self.run):
            m.d.sync += [self.o.valid.eq(0), has_first.eq(0)]
        with m.Elif(taken):
            m.d.sync += has_first.eq(~has_first)
            with m.If(has_first):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.payload.command.eq(Cat(first.data, beat.data)),
                    self.o.payload.error.eq(first.error | beat.error),
                ]
            with m.Else():
                m.d.sync += first.eq(beat)
