"""One direction's addresses: look-up, parking of misses, order, and what leaves."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import (
    FaultRecord, Invalidation, MemType, Overrides, TranslationRequest, TranslationResponse,
    Verdict)
from smmu.tbu.answer_stage import AnswerStage, context_of
from smmu.tbu.attributes import OutputAttributes, ResultDigest
from smmu.tbu.departure import Departure
from smmu.tbu.input_stage import InputStage
from smmu.tbu.micro_tlb import MicroTLB
from smmu.tbu.output_stage import OutputStage
from smmu.tbu.outstanding import Outstanding
from smmu.tbu.records import Termination, result_record, transaction, translated
from smmu.tbu.slots import Slots
from smmu.tbu.translator import Translator

__all__ = ["AddressChannel", "SHARED", "arrival", "departure", "share"]

# Members that the TCU and the barrier see.
SHARED = {
    "requests": Out(stream.Signature(TranslationRequest)),
    "responses": In(stream.Signature(TranslationResponse)),
    "can_invalidate": Out(1), "will_invalidate": In(1), "do_invalidate": In(1),
    "invalidation": In(Invalidation),
    "snapshot": In(1), "undecided": Out(1), "unfinished": Out(1),
    "smmuen": In(1), "abort": In(1), "overrides": In(Overrides),
    "counts": Out(data.StructLayout({"transactions": 1, "hits": 1, "misses": 1})),
}


def share(m, outer, inner):
    """Connect the members named in ``SHARED`` of a component to those of a part of it."""
    for name, member in SHARED.items():
        outside, inside = getattr(outer, name), getattr(inner, name)
        if not member.is_port:
            wiring.connect(m, wiring.flipped(outside), inside)
        elif member.flow == In:
            m.d.comb += inside.eq(outside)
        else:
            m.d.comb += outside.eq(inside)


def arrival(params):
    """A write address in the order of arrival: where its data goes."""
    lanes = (params.data_width // 32).bit_length() - 1
    return data.StructLayout({
        "direct": 1, "slot": range(params.slots), "buffered": 1, "lane": lanes})


def departure(params):
    """A write address in the order of leaving: where its data comes from."""
    return data.StructLayout({
        "parked": 1, "slot": range(params.slots), "buffered": 1, "len": 8})


class AddressChannel(wiring.Component):
    """Translate the addresses of one direction.

    A hit leaves at once if nothing of its ID is parked; everything else parks, with its translation
    if that is known. What is parked leaves in order within its ID. Writes whose data cannot be
    buffered keep the order of arrival.

    Spec      IHI 0070: 3.11 (GBPA), 13.1; AXI4 A5 (order).
    Timing
        A hit: 3 clocks from ``i`` to ``o``, 1 per clock. From a response to ``o``: 2 clocks if
        nothing is in its way. ``responses`` and ``do_invalidate`` never wait for ``o``.
    Errors
        An MSI write that is not one aligned 32-bit write to the doorbell: ``faults`` gets F_UUT
        before the transaction is terminated.

    Members
    -------
    i, o : :py:`In(stream)`, :py:`Out(stream)`
    requests, responses : :py:`Out(stream)`, :py:`In(stream)`
        Misses and their answers.
    can_invalidate, will_invalidate, do_invalidate, invalidation :
        Whether an invalidation may be accepted, whether one waits, that it is accepted.
    snapshot, undecided, unfinished, smmuen, abort, overrides :
        As in `TBU`.
    answered, answered_id : :py:`In`
        The last response of a transaction that left was delivered.
    terminations : :py:`Out(stream.Signature(Termination(params)))`
        To be answered here. Its slot is given back by ``releases``.
    query, idle : :py:`In(id_width)`, :py:`Out(1)`
        Nothing of this ID is outstanding; one clock later.
    arrivals, departures : :py:`Out`
        Valid-only, for write data; only while ``arrival_room`` and ``departure_room``. What leaves
        must not wait for ``arrival_room``: the room may depend on it.
    first_beat, bad_strobes, all_beats, data_busy, absorb :
        Write data of parked transactions, by slot. ``absorb``: the data goes nowhere.
    counts : :py:`Out`
    """

    def __init__(self, params, *, write):
        self._params, self._write = params, write
        slot, slots = range(params.slots), params.slots
        super().__init__({
            "i": In(stream.Signature(transaction(params))),
            "o": Out(stream.Signature(translated(params))),
            **SHARED,
            "answered": In(1), "answered_id": In(params.id_width),
            "terminations": Out(stream.Signature(Termination(params))),
            "releases": In(stream.Signature(slot)),
            "query": In(params.id_width), "idle": Out(1),
            "faults": Out(stream.Signature(FaultRecord)),
            "arrivals": Out(data.StructLayout({"valid": 1, "p": arrival(params)})),
            "departures": Out(data.StructLayout({"valid": 1, "p": departure(params)})),
            "arrival_room": In(1), "departure_room": In(1),
            "first_beat": In(slots), "bad_strobes": In(slots), "all_beats": In(slots),
            "data_busy": In(slots), "absorb": Out(slots),
        })

    def elaborate(self, platform):
        m = Module()
        params, write = self._params, self._write
        m.submodules.input = self._input = InputStage(params)
        m.submodules.tlb = self._tlb = MicroTLB(params, write=write)
        m.submodules.slots = self._slots = Slots(params)
        m.submodules.outstanding = self._outstanding = Outstanding(params.id_width)
        # Transactions and translations of the parked, by slot.
        m.submodules.parked = self._parked = memory.Memory(
            shape=transaction(params), depth=params.slots, init=[])
        m.submodules.results = self._results = memory.Memory(
            shape=result_record(params, write=write), depth=params.slots, init=[])

        self._can_leave = Signal()
        m.submodules.answers = self._answers = AnswerStage(params, write=write)
        m.submodules.departure = self._departure = Departure(params, write=write)
        m.submodules.output = self._output = OutputStage(params)
        wiring.connect(m, wiring.flipped(self.o), self._output.o)
        m.d.comb += self._can_leave.eq(
            self._output.i.ready & self._outstanding.room & self.departure_room)

        self._answer(m)
        found = self._look_up(m)
        passed = self._decide(m, *found)
        self._leave(m, *passed)
        self._account(m)
        return m

    def _answer(self, m):
        """Connect the answers of the TCU with micro-TLB and slots."""
        answers, tlb, slots = self._answers, self._tlb, self._slots
        answered, departure = answers.answered, self._departure
        asked = self._parked.read_port(domain="comb")
        wiring.connect(m, wiring.flipped(self.responses), answers.responses)
        m.d.comb += [
            self.can_invalidate.eq(answers.can_invalidate),
            answers.will_invalidate.eq(self.will_invalidate),
            answers.do_invalidate.eq(self.do_invalidate),
            asked.addr.eq(answered.slot), answers.txn.eq(asked.data),
            tlb.do_invalidate.eq(self.do_invalidate), tlb.invalidation.eq(self.invalidation),
            tlb.do_fill.eq(answers.do_fill), tlb.fill_key.eq(answers.fill_key),
            tlb.fill.eq(answers.fill), answers.fill_busy.eq(tlb.fill_busy),
            slots.query.eq(answers.at_once_slot),
            departure.at_once.eq(answers.at_once_slot),
            departure.at_once_result.eq(answers.at_once_result),
            departure.do_go_at_once.eq(
                answers.at_once & slots.at_once & departure.is_free & ~slots.next.valid),
            answers.do_go_at_once.eq(departure.do_go_at_once),
            slots.do_answer.eq(answered.valid), slots.answer.slot.eq(answered.slot),
            slots.answer.taken.eq(answered.taken), slots.answer.msi.eq(answered.msi),
            slots.answer.terminate.eq(answered.verdict != Verdict.OK),
            slots.answer.razwi.eq(answered.verdict == Verdict.RAZWI),
        ]

    def _look_up(self, m):
        """Compare what is in the input register; returns the register of what is found."""
        params, tlb, slots, entry = self._params, self._tlb, self._slots, self._input.o
        user, overrides = entry.p.txn.user, entry.p.overrides
        wiring.connect(m, wiring.flipped(self.i), self._input.i)
        m.d.comb += [
            self._input.enable.eq(self._outstanding.ready & ~tlb.busy),
            self._input.smmuen.eq(self.smmuen), self._input.abort.eq(self.abort),
            self._input.overrides.eq(self.overrides), self._input.snapshot.eq(self.snapshot),
            tlb.context.eq(context_of(params, self.i.p)), tlb.load.eq(self._input.load),
            tlb.page.eq(self._input.following.addr[12:]),
            tlb.access.eq(Mux(self._input.load, self._access(self.i.p),
                              self._access(entry.p.txn))),
            tlb.block.eq(entry.p.bypass | user.atst | user.sid[params.sidsize:].any()
                         | user.ssv & user.ssid[params.ssidsize:].any()),
            slots.lookup_id.eq(entry.p.txn.id),
        ]
        # SMMUEN = 0: the attributes that GBPA makes of the incoming ones.
        m.submodules.gbpa = gbpa = ResultDigest(params, write=self._write)
        m.submodules.bypassing = bypassing = OutputAttributes(params, write=self._write)
        attrs = gbpa.translation.attrs
        m.d.comb += [
            gbpa.translation.overrides.eq(overrides), gbpa.translation.combine.eq(1),
            attrs.outer.eq(MemType.WB), attrs.inner.eq(MemType.WB),
            attrs.ra.eq(1), attrs.wa.eq(1),
            bypassing.result.eq(gbpa.result), bypassing.i_cache.eq(entry.p.txn.cache),
            bypassing.i_prot.eq(entry.p.txn.prot), bypassing.i_sh.eq(user.sh),
        ]

        count = params.slots
        found = Signal(data.StructLayout({
            "valid": 1, "txn": transaction(params), "bypass": 1, "bypasses": 1, "abort": 1,
            "cache": 4, "prot": 3, "sh": 2, "mark": 1, "same": count, "chained": 1,
            "buffered": 1}))
        advance, aborts = Signal(), Signal()
        m.d.comb += [
            aborts.eq(entry.p.abort | entry.p.txn.addr[params.oas:].any()),
            entry.ready.eq(tlb.ready & advance), tlb.advance.eq(advance),
        ]
        m.d.sync += found.same.eq(found.same & ~slots.freed)
        with m.If(self.snapshot):
            m.d.sync += found.mark.eq(1)
        with m.If(advance):
            m.d.sync += found.valid.eq(entry.valid & tlb.ready)
            m.d.sync += [
                found.txn.eq(entry.p.txn),
                found.bypass.eq(entry.p.bypass),
                found.bypasses.eq(entry.p.bypass & ~aborts),
                found.abort.eq(entry.p.bypass & aborts),
                found.cache.eq(bypassing.o_cache), found.prot.eq(bypassing.o_prot),
                found.sh.eq(bypassing.o_sh),
                found.mark.eq(self.snapshot | self._input.o_mark),
                found.buffered.eq(entry.p.txn.len < self._segment()),
                found.same.eq(slots.same_id | self._parking_mask(entry.p.txn.id == found.txn.id)),
                found.chained.eq(self._chained(found)),
            ]
        self._found_marked = found.valid & found.mark
        return found, advance

    def _access(self, txn):
        """The class of an access, one-hot as in ``micro_fill``'s ``allowed``."""
        if self._write:
            return Cat(~txn.prot[0], txn.prot[0])
        return Cat(Cat(txn.prot[0], txn.prot[2]) == k for k in range(4))

    def _segment(self):
        """How many beats of a parked transaction have a place."""
        return self._params.write_buffer_beats // self._params.slots if self._write else 256

    def _parking_mask(self, same_id):
        """The slot that is being parked, if it has the ID of the transaction compared now."""
        do_it = self._slots.do_park & same_id
        return Cat(do_it & (self._slots.free == k) for k in range(self._params.slots))

    def _chained(self, found):
        """Whether the transaction compared now must follow everything parked."""
        if not self._write:
            return 0
        if not self._params.write_buffer_beats:
            return 1
        return self._slots.chained | self._slots.do_park & ~found.buffered

    def _decide(self, m, found, advance):
        """Pass or park, one clock after the comparison."""
        params, tlb, slots, requests = self._params, self._tlb, self._slots, self.requests
        answered = self._answers.answered
        room, before, do_go, passes = Signal(), Signal(), Signal(), Signal()
        # With SMMUEN = 0 there is no parking: what bypasses waits until nothing is parked.
        was_empty = Signal()
        can_ask = Signal(init=1)    # `requests` is free; a register of its own, because of its load
        m.d.sync += was_empty.eq(~slots.parked & ~slots.do_park)
        m.d.comb += [
            # Known from registers and inputs alone, whatever the look-up says.
            room.eq(self._can_leave & self._departure.is_free & slots.has_free
                    & self.arrival_room & can_ask & ~answered.valid),
            before.eq(found.same.any() | found.chained & slots.parked),
            do_go.eq(found.valid & room & (~found.bypasses | was_empty)),
            advance.eq(~found.valid | do_go),
            passes.eq(found.bypasses | tlb.hit & ~tlb.hit_msi & ~before),
            slots.do_park.eq(do_go & ~passes),
            slots.park.id.eq(found.txn.id), slots.park.same.eq(found.same),
            slots.park.chained.eq(found.chained), slots.park.mark.eq(found.mark),
            slots.park.long.eq(~found.buffered if self._write else 0),
            slots.park.abort.eq(found.abort),
            slots.park.answered.eq(tlb.hit | found.abort), slots.park.msi.eq(tlb.hit_msi),
        ]

        parked, results = self._parked.write_port(), self._results.write_port()
        m.d.comb += [
            parked.en.eq(slots.do_park), parked.addr.eq(slots.free), parked.data.eq(found.txn),
            results.en.eq(slots.do_park | answered.valid),
            results.addr.eq(Mux(answered.valid, answered.slot, slots.free)),
            results.data.eq(Mux(answered.valid, self._answers.fill.result.as_value(),
                                tlb.result.as_value())),
        ]

        misses = ~tlb.hit & ~found.bypass
        user = found.txn.user
        with m.If(requests.ready):
            m.d.sync += [requests.valid.eq(0), can_ask.eq(1)]
        with m.If(~requests.valid):
            m.d.sync += [
                requests.valid.eq(do_go & misses), can_ask.eq(~(do_go & misses)),
                requests.p.slot.eq(slots.free),
                requests.p.sid.eq(user.sid), requests.p.ssv.eq(user.ssv),
                requests.p.ssid.eq(user.ssid), requests.p.addr.eq(found.txn.addr),
                requests.p.priv.eq(found.txn.prot[0]), requests.p.atst.eq(user.atst),
                requests.p.rnw.eq(not self._write),
                requests.p.inst.eq(0 if self._write else found.txn.prot[2]),
            ]
        lanes = (params.data_width // 32).bit_length() - 1
        m.d.comb += [
            self.arrivals.valid.eq(do_go), self.arrivals.p.direct.eq(passes),
            self.arrivals.p.slot.eq(slots.free), self.arrivals.p.buffered.eq(found.buffered),
            self.arrivals.p.lane.eq(found.txn.addr[2:2 + lanes]),
        ]
        m.d.sync += [
            self.counts.transactions.eq(do_go), self.counts.misses.eq(do_go & misses),
            self.counts.hits.eq(do_go & tlb.hit),
        ]
        return found, do_go & passes

    def _leave(self, m, found, do_pass):
        """What passes, and before it what was parked."""
        params, slots, departure = self._params, self._slots, self._departure
        outstanding, tlb = self._outstanding, self._tlb
        txns, results = (self._parked.read_port(domain="comb"),
                         self._results.read_port(domain="comb"))
        wiring.connect(m, slots.next, departure.next)
        wiring.connect(m, departure.terminations, wiring.flipped(self.terminations))
        wiring.connect(m, departure.faults, wiring.flipped(self.faults))
        m.submodules.passing = passing = Translator(params, write=self._write)
        do_leave = departure.o.valid & departure.o.ready
        m.d.comb += [
            txns.addr.eq(departure.slot), departure.txn.eq(txns.data),
            results.addr.eq(slots.next.p.slot), departure.next_result.eq(results.data),
            departure.marks.eq(slots.marks), departure.razwi.eq(slots.razwi),
            departure.bad_strobes.eq(self.bad_strobes), departure.o.ready.eq(self._can_leave),
            slots.refuse.eq(departure.do_refuse), slots.refused.eq(departure.slot),
            slots.do_release.eq(do_leave | self.releases.valid),
            slots.released.eq(Mux(do_leave, departure.slot, self.releases.p)),
            self.releases.ready.eq(~do_leave),
            passing.txn.eq(found.txn), passing.result.eq(tlb.result), passing.mark.eq(found.mark),
        ]

        out, passed = self._output.i, Signal(translated(params))
        m.d.comb += [
            passed.eq(passing.o), out.valid.eq(do_leave | do_pass),
            out.p.eq(Mux(departure.is_busy, departure.o.p.as_value(), passed.as_value())),
        ]
        with m.If(found.bypass):
            m.d.comb += [passed.addr.eq(found.txn.addr), passed.cache.eq(found.cache),
                         passed.prot.eq(found.prot), passed.sh.eq(found.sh)]
        m.d.sync += [
            outstanding.sent.eq(out.valid), outstanding.sent_id.eq(out.p.id),
            outstanding.sent_mark.eq(out.p.mark | self.snapshot),
        ]
        m.d.comb += [
            self.departures.valid.eq(out.valid), self.departures.p.parked.eq(do_leave),
            self.departures.p.slot.eq(departure.slot), self.departures.p.len.eq(txns.data.len),
            self.departures.p.buffered.eq(txns.data.len < self._segment()),
        ]

    def _account(self, m):
        """What the barrier waits for, and what the slots know of the data."""
        slots, outstanding = self._slots, self._outstanding
        moving = self._input.marked | self._found_marked | self._output.marked
        m.d.comb += [
            self._output.snapshot.eq(self.snapshot),
            slots.snapshot.eq(self.snapshot), outstanding.snapshot.eq(self.snapshot),
            outstanding.answered.eq(self.answered), outstanding.answered_id.eq(self.answered_id),
            outstanding.query.eq(self.query), self.idle.eq(outstanding.idle),
            self.undecided.eq(moving | slots.undecided),
            self.unfinished.eq(moving | slots.unfinished | outstanding.unfinished),
            slots.first_beat.eq(self.first_beat), slots.all_beats.eq(self.all_beats),
            slots.data_busy.eq(self.data_busy), self.absorb.eq(slots.terminating),
        ]
