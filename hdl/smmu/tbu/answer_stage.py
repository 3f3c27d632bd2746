"""Answers of the TCU: into the slot, into the micro-TLB, or straight on their way."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import TranslationResponse, Verdict
from smmu.tbu.attributes import ResultDigest
from smmu.tbu.micro_tlb import lookup_key, micro_fill
from smmu.tbu.records import result_record, transaction

__all__ = ["AnswerStage", "context_of"]


def context_of(params, txn):
    """The bits of `context_key` of a transaction."""
    return Cat(txn.user.sid[:params.sidsize], txn.user.ssv, txn.user.ssid[:params.ssidsize])


class AnswerStage(wiring.Component):
    """Take answers and decide what becomes of each.

    An answer that came, or waited, while an invalidation was waiting or not yet carried out is for
    its own transaction only.

    Timing
        An answer taken in clock h is offered ``at_once`` in h, answers its slot and starts its fill
        in h+1. After a fill the next answer is taken in h+4 at the earliest.

    Members
    -------
    responses : :py:`In(stream.Signature(TranslationResponse))`
    will_invalidate, do_invalidate, can_invalidate : :py:`In(1)`, :py:`In(1)`, :py:`Out(1)`
        An invalidation waits; is accepted; may be.
    at_once, at_once_slot, at_once_result, do_go_at_once : :py:`Out`, and :py:`In(1)`
        The transaction could go now; it does.
    answered : :py:`Out`
        The answer, registered; ``valid`` for one clock, the rest stable until a fill is done.
    txn : :py:`In(transaction(params))`
        The transaction of ``answered.slot``.
    do_fill, fill_key, fill, fill_busy : as in `MicroTLB`
    """

    def __init__(self, params, *, write):
        self._params, self._write = params, write
        slot, result = range(params.slots), result_record(params, write=write)
        super().__init__({
            "responses": In(stream.Signature(TranslationResponse)),
            "will_invalidate": In(1), "do_invalidate": In(1), "can_invalidate": Out(1),
            "at_once": Out(1), "at_once_slot": Out(slot), "at_once_result": Out(result),
            "do_go_at_once": In(1),
            "answered": Out(data.StructLayout({
                "valid": 1, "slot": slot, "verdict": Verdict, "taken": 1, "fills": 1,
                "msi": 1})),
            "txn": In(transaction(params)),
            "do_fill": Out(1), "fill_key": Out(lookup_key(params)),
            "fill": Out(micro_fill(params, write=write)), "fill_busy": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        responses, answered, fill = self.responses, self.answered, self.fill
        given = responses.p
        perms, is_ok = given.translation.perms, given.verdict == Verdict.OK
        m.submodules.digest = digest = ResultDigest(self._params, write=self._write)

        recent = Signal(3)      # invalidations that are not yet carried out
        accept = responses.valid & responses.ready
        m.d.comb += [
            self.can_invalidate.eq(~self.do_fill & ~self.fill_busy),
            self.do_fill.eq(answered.valid & answered.fills),
            self.fill_key.eq(Cat(self.txn.addr[12:], context_of(self._params, self.txn))),
            responses.ready.eq(self.can_invalidate),
            digest.translation.eq(given.translation),
            self.at_once.eq(accept & is_ok & ~(given.translation.msi if self._write else 0)),
            self.at_once_slot.eq(given.slot), self.at_once_result.eq(digest.result),
        ]
        m.d.sync += [
            recent.eq(Cat(self.do_invalidate, recent)), answered.valid.eq(accept)]
        with m.If(accept):
            m.d.sync += [
                answered.slot.eq(given.slot), answered.verdict.eq(given.verdict),
                answered.taken.eq(self.do_go_at_once),
                answered.msi.eq(given.translation.msi if self._write else 0),
                answered.fills.eq(given.fill & is_ok & ~self.will_invalidate & ~recent.any()),
                fill.result.eq(digest.result), fill.context.eq(given.context),
                fill.allowed.eq(Cat(perms.uw, perms.pw) if self._write
                                else Cat(perms.ur, perms.pr, perms.ux, perms.px)),
            ]
        return m
