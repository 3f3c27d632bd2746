"""Where parked transactions leave: downstream, or to be answered here."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.events import EventType
from smmu.payloads import FaultRecord, Verdict
from smmu.tbu.records import Termination, result_record, transaction, translated
from smmu.tbu.translator import Translator

__all__ = ["Departure"]


class Departure(wiring.Component):
    """Translate parked transactions that may go, one at a time.

    Spec      IHI 0070: 7.3.2 (F_UUT).
    Timing    1 clock, and 1 per 2 clocks; an MSI write takes one more to be checked.
    Errors
        An MSI write that is not one aligned 32-bit write to the doorbell: ``faults`` gets F_UUT,
        then ``do_refuse`` tells the slot that it is to be terminated.

    Members
    -------
    next, next_result : :py:`In(stream)`, :py:`In`
        The slot that goes next and its translation.
    is_free, do_go_at_once, at_once, at_once_result :
        A slot that goes as soon as it is answered; only while ``is_free``.
    slot, txn : :py:`Out`, :py:`In(transaction(params))`
        The slot that leaves, and its transaction in the same clock.
    is_busy : :py:`Out(1)`
        Something is here.
    marks, razwi, bad_strobes : :py:`In(slots)`
        Slots in the snapshot; whose verdict is RAZ/WI; whose data is not one aligned word.
    o : :py:`Out(stream.Signature(translated(params)))`
    terminations : :py:`Out(stream.Signature(Termination(params)))`
    faults : :py:`Out(stream.Signature(FaultRecord))`
    do_refuse : :py:`Out(1)`
        ``slot`` is to be terminated after all.
    """

    def __init__(self, params, *, write):
        self._params, self._write = params, write
        slot, slots = range(params.slots), params.slots
        result = result_record(params, write=write)
        super().__init__({
            "next": In(stream.Signature(data.StructLayout({"slot": slot, "terminate": 1}))),
            "next_result": In(result),
            "is_free": Out(1, init=1), "do_go_at_once": In(1), "at_once": In(slot),
            "at_once_result": In(result),
            "slot": Out(slot), "txn": In(transaction(params)), "is_busy": Out(1),
            "marks": In(slots), "razwi": In(slots), "bad_strobes": In(slots),
            "o": Out(stream.Signature(translated(params))),
            "terminations": Out(stream.Signature(Termination(params))),
            "faults": Out(stream.Signature(FaultRecord)), "do_refuse": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        txn, next_, terminations, faults = self.txn, self.next, self.terminations, self.faults
        m.submodules.translator = translator = Translator(self._params, write=self._write)
        terminate = Signal()
        checked, refused = Signal(), Signal()   # MSI writes
        result = Signal(self.next_result.shape())
        is_msi = result.msi & ~terminate if self._write else 0

        chosen = Signal(self._params.slots)
        m.d.comb += [
            chosen.eq(1 << self.slot),
            translator.txn.eq(txn), translator.result.eq(result),
            translator.mark.eq((self.marks & chosen).any()),
            self.o.p.eq(translator.o),
            self.o.valid.eq(self.is_busy & ~terminate & (~is_msi | checked & ~refused)),
            terminations.valid.eq(self.is_busy & terminate),
            terminations.p.id.eq(txn.id), terminations.p.len.eq(txn.len),
            terminations.p.slot.eq(self.slot),
            terminations.p.verdict.eq(Mux(
                (self.razwi & chosen).any(), Verdict.RAZWI, Verdict.ABORT)),
            # Cleared before `is_busy` can fall, so one record each.
            faults.valid.eq(self.is_busy & is_msi & checked & refused & ~self.do_refuse),
            # What waits to be answered is never held here.
            next_.ready.eq(self.is_free & (~next_.p.terminate | terminations.ready)),
        ]
        with m.If(self.o.ready & self.o.valid | self.do_refuse
                  | terminations.ready & terminations.valid):
            m.d.sync += [self.is_busy.eq(0), self.is_free.eq(1)]
        m.d.sync += [checked.eq(1), self.do_refuse.eq(faults.valid & faults.ready)]
        if self._write:
            self._check_msi(m, txn, result, checked, refused)
        with m.If(self.is_free):
            comes = next_.valid & next_.ready | self.do_go_at_once
            m.d.sync += [
                self.is_busy.eq(comes), self.is_free.eq(~comes),
                self.slot.eq(Mux(next_.valid, next_.p.slot, self.at_once)),
                result.eq(Mux(next_.valid, self.next_result.as_value(),
                              self.at_once_result.as_value())),
                terminate.eq(next_.valid & next_.p.terminate), checked.eq(0),
                refused.eq((self.bad_strobes & (1 << next_.p.slot)).any()),
            ]
        return m

    def _check_msi(self, m, txn, result, checked, refused):
        """A 32-bit write to the doorbell, or an event."""
        record = self.faults.p
        with m.If(~checked):
            m.d.sync += refused.eq(refused | ~(
                (txn.len == 0) & (txn.size == 2) & (txn.addr[:2] == 0)
                & (txn.addr[2:12] == result.doorbell)))
        m.d.comb += [
            record.event.eq(EventType.F_UUT), record.ssv.eq(txn.user.ssv),
            record.ssid.eq(txn.user.ssid), record.sid.eq(txn.user.sid),
            record.pnu.eq(txn.prot[0]), record.input_addr.eq(txn.addr),
        ]
