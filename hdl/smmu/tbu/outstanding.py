"""Exact counts of transactions sent and not yet answered, with a snapshot for the barrier."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Outstanding"]

COUNT_BITS = 8   # two cells of LUT RAM


class Outstanding(wiring.Component):
    """Count what is outstanding per ID, apart for the time before and after a snapshot.

    Two sets of counters take turns: a snapshot makes the running set the old one. Answers come in
    order within an ID, so they belong to the old set as long as that has any of their ID.
    Numbers sent and answered are kept apart in small memories, each with one writer.

    Timing
        After reset ``ready`` is low for 2**id_width clocks, while the memories are cleared. An
        event counts one clock after its strobe; ``idle`` is one clock behind ``query``.

    Members
    -------
    ready : :py:`Out(1)`
        Whether transactions may be sent at all.
    room : :py:`Out(1)`
        Fewer than the counters can hold are outstanding.
    sent, sent_id, sent_mark : :py:`In`
        A transaction is on its way. A marked one is counted into the old set.
    answered, answered_id : :py:`In`
        Its last response was delivered. Never earlier than the clock after ``sent``.
    snapshot : :py:`In(1)`
        Turn. The old set is empty then.
    unfinished : :py:`Out(1)`
        The old set is not empty.
    query, idle : :py:`In(id_width)`, :py:`Out(1)`
        Nothing of this ID is outstanding.
    """

    def __init__(self, id_width):
        self._id_width = id_width
        super().__init__({
            "ready": Out(1), "room": Out(1),
            "sent": In(1), "sent_id": In(id_width), "sent_mark": In(1),
            "answered": In(1), "answered_id": In(id_width),
            "snapshot": In(1), "unfinished": Out(1),
            "query": In(id_width), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        ids = 1 << self._id_width

        clearing = Signal(range(ids + 1))  # counts up to `ids`, then stays
        m.d.comb += self.ready.eq(clearing[-1])
        with m.If(~self.ready):
            m.d.sync += clearing.eq(clearing + 1)

        current = Signal()
        with m.If(self.snapshot):
            m.d.sync += current.eq(~current)

        answer, answer_id = Signal(), Signal(self._id_width)
        m.d.sync += [answer.eq(self.answered), answer_id.eq(self.answered_id)]

        def counter(name, do_count, index):
            """A memory of counts that goes up at `index`; returns a reader."""
            m.submodules[name] = store = memory.Memory(shape=COUNT_BITS, depth=ids, init=[])
            port, read = store.write_port(), store.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(index),
                port.en.eq(do_count | ~self.ready),
                port.addr.eq(Mux(self.ready, index, clearing)),
                port.data.eq(Mux(self.ready, read.data + 1, 0)),
            ]

            def at(address):
                other = store.read_port(domain="comb")
                m.d.comb += other.addr.eq(address)
                return other.data
            return read.data, at

        old_left = Signal(2)  # by set: something of the answer's ID is outstanding in it
        idle = Signal(2)
        left = Signal(2)
        totals = []
        sent_old = self.sent_mark
        for k in range(2):
            is_old = current != k
            do_send = Signal(name=f"do_send_{k}")
            do_answer = Signal(name=f"do_answer_{k}")
            _, sent_at = counter(f"sent_{k}", do_send, self.sent_id)
            done_here, done_at = counter(f"answered_{k}", do_answer, answer_id)
            total = Signal(COUNT_BITS, name=f"total_{k}")
            totals.append(total)
            m.d.comb += [
                old_left[k].eq(is_old & (sent_at(answer_id) != done_here)),
                do_send.eq(self.sent & (sent_old == is_old)),
                do_answer.eq(answer & (old_left.any() == is_old)),
                idle[k].eq(sent_at(self.query) == done_at(self.query)),
            ]
            # The total follows one clock later.
            was_sent, was_answered = Signal(name=f"was_sent_{k}"), Signal(name=f"was_answered_{k}")
            m.d.sync += [was_sent.eq(do_send), was_answered.eq(do_answer)]
            with m.If(was_sent & ~was_answered):
                m.d.sync += total.eq(total + 1)
            with m.Elif(was_answered & ~was_sent):
                m.d.sync += total.eq(total - 1)
            m.d.comb += left[k].eq(total.any() | was_sent | do_send)

        # A limit on each set by itself keeps every count below 2**COUNT_BITS.
        m.d.sync += self.room.eq(~(totals[0][3:].all() | totals[1][3:].all()))
        m.d.sync += self.idle.eq(idle.all())
        m.d.comb += self.unfinished.eq(Mux(current, left[0], left[1]))
        return m
