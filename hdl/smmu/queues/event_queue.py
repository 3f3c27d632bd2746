from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.events import F_PERMISSION, F_WALK_EABT
from smmu.lib.stream_fifo import StreamFIFO
from smmu.payloads import EventQueueUpdate, FaultRecord, QueueConfig
from smmu.queues.queue_index import QueueIndex
from smmu.queues.table_master import RECORD_BEATS, TableWrite, WriteDone

__all__ = ["EventQueue"]

WORD = 64
FIFO_RECORDS = 128  # what two block RAMs hold


class EventQueue(wiring.Component):
    """Write fault records to the event queue, or drop them.

    Spec
        IHI 0070: 7.1 (records), 7.2 (what is dropped), 7.4 (overflow), 6.3 (EVENTQ_*).
    Timing
        A record is taken in 4 cycles, 128 of them wait inside. One write at a time; PROD changes
        when its response has come. Whether the queue was empty is decided in the same cycle.
    Errors
        An aborted write raises EVENTQ_ABT_ERR and leaves PROD. A record that meets a full enabled
        queue is lost as an overflow; one that meets a disabled queue or an active error is lost.

    Members
    -------
    queue : :py:`In(QueueConfig)`
    update : :py:`Out(EventQueueUpdate)`
    records : :py:`In(stream.Signature(FaultRecord))`
    writes : :py:`Out(stream.Signature(TableWrite))`
    write_done : :py:`In(WriteDone)`
    mark : :py:`In(1)`
        Strobe: `drained` is about the records taken or offered so far, from the next cycle on.
    drained : :py:`Out(1)`
        They are in memory with PROD behind them, or dropped.
    rise : :py:`Out(1)`
        Strobe, together with the new PROD: the queue was empty before.
    """

    queue: In(QueueConfig)
    update: Out(EventQueueUpdate)
    records: In(stream.Signature(FaultRecord))
    writes: Out(stream.Signature(TableWrite))
    write_done: In(WriteDone)
    mark: In(1)
    drained: Out(1)
    rise: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = StreamFIFO(WORD, RECORD_BEATS * FIFO_RECORDS + 1)
        do_accept, do_retire, has_room = Signal(), Signal(), Signal()
        self._lay_out(m, fifo, has_room, do_accept)
        held = self._count(m, has_room, do_accept, do_retire)
        self._write(m, fifo, held, do_retire)
        return m

    def _lay_out(self, m, fifo, has_room, do_accept):
        """Queue the record as 64-bit words."""
        record, fault = self.records.payload, Signal(F_PERMISSION)
        fetch = Signal(F_WALK_EABT)  # its FetchAddr; all else stands in `fault`
        beat = Signal(range(RECORD_BEATS))
        words = Value.cast(fault) | Value.cast(fetch)

        m.d.comb += [
            fault.Event.eq(record.event),
            fault.SSV.eq(record.ssv),
            fault.SubstreamID.eq(record.ssid),
            fault.StreamID.eq(record.sid),
            fault.PnU.eq(record.pnu),
            fault.InD.eq(record.ind),
            fault.RnW.eq(record.rnw),
            fault.S2.eq(record.s2),
            fault.CLASS.eq(record.cls),
            fault.TTRnW.eq(record.ttrnw),
            fault.InputAddr.eq(record.input_addr),
            fault.IPA.eq(record.ipa),
            fetch.FetchAddr.eq(record.fetch_addr),
            fifo.i.valid.eq(self.records.valid & has_room),
            fifo.i.payload.eq(words.word_select(beat, WORD)),
            do_accept.eq(fifo.i.valid & (beat == RECORD_BEATS - 1)),
            self.records.ready.eq(do_accept),
        ]
        with m.If(fifo.i.valid):
            m.d.sync += beat.eq(beat + 1)

    def _count(self, m, has_room, do_accept, do_retire):
        """Count records from their acceptance on, and what is left of those that `mark` saw.

        There is room for a whole record or for none, so the level of the FIFO is not asked.
        """
        held, following = Signal(range(FIFO_RECORDS + 2)), Signal(range(FIFO_RECORDS + 2))
        marked = Signal(range(FIFO_RECORDS + 3))

        m.d.comb += following.eq(held + do_accept - do_retire)
        m.d.sync += [held.eq(following), has_room.eq(following < FIFO_RECORDS)]
        with m.If(self.mark):
            m.d.sync += marked.eq(held + self.records.valid - do_retire)
        with m.Elif(~self.drained):
            m.d.sync += marked.eq(marked - do_retire)
        m.d.comb += self.drained.eq(marked == 0)
        return held

    def _write(self, m, fifo, held, do_retire):
        m.submodules.index = index = QueueIndex()
        queue, update, write = self.queue, self.update, self.writes.payload
        both = index.index | index.wrap
        beat = Signal(range(RECORD_BEATS))
        is_full = Signal()   # or PROD and CONS are such as no queue can have
        overflows = Signal()
        last = beat == RECORD_BEATS - 1
        was_empty = ((queue.prod ^ queue.cons) & both) == 0

        m.d.comb += [
            index.log2size.eq(queue.log2size),
            # The base is aligned to the size of the queue; the unit is 4 bytes.
            write.addr.eq(Cat(C(0, 3), queue.base) | (queue.prod & index.index) << 3),
            write.word.eq(0),
            write.attrs.eq(queue.attrs),
            write.data.eq(fifo.o.payload),
            write.last.eq(last),
            update.prod.eq((queue.prod + 1) & both),
        ]
        m.d.sync += [
            is_full.eq(((queue.prod - queue.cons) & index.wrap).any()),
            self.rise.eq(update.advance & was_empty),
        ]
        with m.If(fifo.o.valid & fifo.o.ready):
            m.d.sync += beat.eq(beat + 1)

        with m.FSM():
            with m.State("Idle"):
                m.d.comb += update.stopped.eq(1)
                m.d.sync += overflows.eq(queue.enable & ~queue.error & is_full)
                with m.If(held != 0):
                    with m.If(queue.enable & ~queue.error & ~is_full):
                        m.next = "Write"
                    with m.Else():
                        m.next = "Drop"
            with m.State("Write"):
                m.d.comb += [
                    self.writes.valid.eq(fifo.o.valid), fifo.o.ready.eq(self.writes.ready)]
                with m.If(fifo.o.valid & self.writes.ready & last):
                    m.next = "Await the response"
            with m.State("Await the response"):
                with m.If(self.write_done.valid):
                    m.d.comb += [
                        do_retire.eq(1),
                        update.abort.eq(self.write_done.error),
                        update.advance.eq(~self.write_done.error),
                    ]
                    m.next = "Settle"
            with m.State("Drop"):
                m.d.comb += [update.stopped.eq(1), fifo.o.ready.eq(1)]
                with m.If(fifo.o.valid & last):
                    m.d.comb += [do_retire.eq(1), update.overflow.eq(overflows)]
                    m.next = "Settle"
            with m.State("Settle"):  # PROD and the error have changed; `is_full` follows
                m.next = "Idle"
