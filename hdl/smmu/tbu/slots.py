"""Parked transactions of one direction: which are there, in what order, which may go."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.tbu.contexts import lowest

__all__ = ["Slots", "encode"]


def encode(onehot):
    """The index of a one-hot value."""
    return Cat(Cat(onehot[k] for k in range(len(onehot)) if k >> bit & 1).any()
               for bit in range((len(onehot) - 1).bit_length()))


class Slots(wiring.Component):
    """Keep the order of parked transactions and pick those that may go.

    A slot waits for the youngest older one of its ID, or in chained mode for the youngest of all.
    A long one (a burst whose data cannot be buffered) that is not chained waits for all older ones.
    Answered slots that wait for nobody are picked in batches, so none starves.

    Timing
        ``same_id`` and ``parked`` are combinational. A slot answered in clock k is offered by
        ``next`` in k+3 at the earliest. A slot is freed in the clock after ``do_release``.

    Members
    -------
    has_free, free : :py:`Out(1)`, :py:`Out(range(slots))`
        The slot that ``do_park`` will take.
    do_park, park : :py:`In`
        Park a transaction. ``same`` is the mask of parked transactions of its ID.
        Not in the clock in which ``has_free`` is low.
    lookup_id, same_id : :py:`In(id_width)`, :py:`Out(slots)`
        Slots with this ID, without one that is being freed or parked now.
    parked : :py:`Out(1)`
        Some slot is in use.
    chained : :py:`Out(1)`
        A long transaction is parked, so that all that follow must be chained.
    freed : :py:`Out(slots)`
        The slot being freed.
    do_answer, answer : :py:`In`
        A slot got its translation. ``taken`` says that it goes at once, without being picked.
    query, at_once : :py:`In(range(slots))`, :py:`Out(1)`
        Whether this slot waits for no other one.
    next : :py:`Out(stream)`
        The slot that goes next, and whether it is to be terminated here.
    refuse, refused : :py:`In(1)`, :py:`In(range(slots))`
        A slot that was picked as an MSI is to be terminated instead.
    do_release, released : :py:`In(1)`, :py:`In(range(slots))`
        Free a slot.
    terminating, razwi, marks : :py:`Out(slots)`
        Slots that end here; with OKAY; that are in the snapshot.
    first_beat, all_beats, data_busy : :py:`In(slots)`
        State of the write data: MSIs wait for the first beat, terminations for all beats, and a
        slot whose data is still there is not free.
    snapshot, undecided, unfinished : :py:`In(1)`, :py:`Out(1)`, :py:`Out(1)`
        Marked slots without a verdict that stops them; marked slots.
    """

    def __init__(self, params):
        self._slots, self._id_width = params.slots, params.id_width
        count, index = params.slots, range(params.slots)
        super().__init__({
            "has_free": Out(1), "free": Out(index),
            "do_park": In(1),
            "park": In(data.StructLayout({
                "id": params.id_width, "same": count, "chained": 1, "long": 1, "answered": 1,
                "abort": 1, "msi": 1, "mark": 1})),
            "lookup_id": In(params.id_width), "same_id": Out(count), "parked": Out(1),
            "chained": Out(1), "freed": Out(count),
            "do_answer": In(1),
            "answer": In(data.StructLayout({
                "slot": index, "taken": 1, "terminate": 1, "razwi": 1, "msi": 1})),
            "query": In(index), "at_once": Out(1),
            "next": Out(stream.Signature(data.StructLayout({"slot": index, "terminate": 1}))),
            "refuse": In(1), "refused": In(index),
            "do_release": In(1), "released": In(index),
            "terminating": Out(count), "razwi": Out(count), "marks": Out(count),
            "first_beat": In(count), "all_beats": In(count), "data_busy": In(count),
            "snapshot": In(1), "undecided": Out(1), "unfinished": Out(1),
        })

    def _select(self, index):
        """One-hot of an index."""
        return Cat(index == k for k in range(self._slots))

    def elaborate(self, platform):
        m = Module()
        valid, mark = Signal(self._slots), self.marks
        park = self.park

        free, second = Signal(self._slots), Signal(self._slots)
        candidates = ~(valid | self.data_busy | free)
        m.d.comb += [
            second.eq(lowest(candidates)), self.free.eq(encode(free)), self.parked.eq(valid.any()),
        ]
        with m.If(self.do_park | ~self.has_free):
            m.d.sync += [free.eq(second), self.has_free.eq(candidates.any())]

        # One clock late, which keeps the wait for downstream out of everything here.
        do_free, to_free = Signal(), Signal(range(self._slots))
        m.d.sync += [do_free.eq(self.do_release), to_free.eq(self.released)]
        m.d.comb += self.freed.eq(self._select(to_free) & do_free.replicate(self._slots))
        parking = Signal(self._slots)
        m.d.comb += parking.eq(free & self.do_park.replicate(self._slots))
        m.d.sync += [
            valid.eq(valid & ~self.freed | parking),
            mark.eq(Mux(park.mark, mark | parking, mark & ~parking)
                    | self.snapshot.replicate(self._slots)),
        ]
        blocked, is_long = self._order(m, valid, parking, do_free, to_free)
        self._pick(m, valid, parking, blocked, is_long)
        m.d.comb += [
            self.undecided.eq((valid & mark & ~self.terminating).any()),
            self.unfinished.eq((valid & mark).any()),
        ]
        return m

    def _order(self, m, valid, parking, do_free, to_free):
        """Who waits for whom."""
        count, park = self._slots, self.park
        blocked, is_long, tail = Signal(count), Signal(count), Signal(count)
        last = Signal(count)    # the youngest
        older = Signal(count)   # than the long one that is not chained
        waits_for, waits = Signal(count), Signal()
        m.d.comb += [
            waits_for.eq(Mux(park.chained, last & valid, park.same & tail)),
            waits.eq((waits_for & ~self.freed).any()),
            self.chained.eq((valid & is_long).any()),
        ]
        m.d.sync += older.eq(older & ~self.freed)
        with m.If(self.do_park):
            m.d.sync += [last.eq(parking), tail.eq(tail & ~park.same | parking),
                         is_long.eq(Mux(park.long, is_long | parking, is_long & ~parking))]
            with m.If(park.long & ~park.chained):
                m.d.sync += older.eq(valid & ~self.freed)

        unblocked = Signal(count)
        for k in range(count):
            number = Signal(self._id_width, name=f"id_{k}")
            before = Signal(range(count), name=f"before_{k}")
            m.d.comb += [
                self.same_id[k].eq(valid[k] & ~self.freed[k] & (number == self.lookup_id)),
                unblocked[k].eq(do_free & (before == to_free)),
            ]
            with m.If(parking[k]):
                m.d.sync += [number.eq(park.id), before.eq(encode(waits_for))]
        m.d.sync += blocked.eq(
            (blocked & ~unblocked & ~parking) | (parking & waits.replicate(count)))
        stopped = is_long & older.any().replicate(count)
        m.d.comb += self.at_once.eq(
            (self._select(self.query) & ~blocked & ~is_long).any())
        return blocked | stopped, is_long

    def _pick(self, m, valid, parking, blocked, is_long):
        """Which of those that wait for nobody goes next."""
        count, park, answer = self._slots, self.park, self.answer
        answered, picked, is_msi = Signal(count), Signal(count), Signal(count)
        target = self._select(answer.slot) & self.do_answer.replicate(count)
        preset = parking & park.answered.replicate(count)
        refused = self._select(self.refused) & self.refuse.replicate(count)
        m.d.sync += [
            answered.eq(answered & ~parking | preset
                        | target & (~answer.taken).replicate(count)),
            is_msi.eq(is_msi & ~parking | preset & park.msi.replicate(count)
                      | target & answer.msi.replicate(count)),
            self.terminating.eq(self.terminating & ~parking
                                | preset & park.abort.replicate(count)
                                | target & answer.terminate.replicate(count) | refused),
            self.razwi.eq(self.razwi & ~parking | target & answer.razwi.replicate(count)),
        ]

        ready, batch, pick = Signal(count), Signal(count), Signal(count)
        m.d.comb += [
            ready.eq(valid & answered & ~picked & ~blocked & (
                self.terminating & self.all_beats
                | ~self.terminating & (~is_msi | self.first_beat))),
            pick.eq(lowest(batch)),
        ]
        do_batch, do_pick = ~batch.any(), ~self.next.valid | self.next.ready
        m.d.sync += picked.eq(picked & ~parking & ~refused
                              | ready & do_batch.replicate(count))
        with m.If(do_batch):
            m.d.sync += batch.eq(ready)
        with m.If(do_pick):
            m.d.sync += [
                self.next.valid.eq(batch.any()), self.next.p.slot.eq(encode(pick)),
                self.next.p.terminate.eq((pick & self.terminating).any())]
            with m.If(~do_batch):
                m.d.sync += batch.eq(batch & ~pick)
