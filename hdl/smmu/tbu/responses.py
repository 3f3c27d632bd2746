"""Answers of a channel: those from downstream, and those of transactions that end here."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import Verdict
from smmu.tbu.records import RESP_OKAY, RESP_SLVERR, Termination

__all__ = ["ResponseMerge", "response"]


def response(params, *, write):
    """One beat of R, or B (whose ``last`` is constant)."""
    return data.StructLayout({
        "id": params.id_width, "resp": 2, "last": 1, "data": 0 if write else params.data_width})


class ResponseMerge(wiring.Component):
    """Pass responses on, and answer terminated transactions between two bursts.

    A terminated transaction is answered when nothing older of its ID is outstanding: SLVERR on
    every beat, or OKAY with zeros for RAZ/WI.

    Timing    From ``i`` to ``o`` combinational; a termination at least 4 clocks.

    Members
    -------
    i, o : :py:`In(stream)`, :py:`Out(stream)`
    terminations : :py:`In(stream.Signature(Termination(params)))`
    releases : :py:`Out(stream.Signature(slot))`
        The slot of a transaction that was answered.
    query, idle : :py:`Out(id_width)`, :py:`In(1)`
        Ask whether nothing of an ID is outstanding; answered one clock later.
    answered, answered_id : :py:`Out`
        The last beat of a transaction from downstream was delivered.
    """

    def __init__(self, params, *, write):
        self._params, self._write = params, write
        beat = stream.Signature(response(params, write=write))
        super().__init__({
            "i": In(beat), "o": Out(beat),
            "terminations": In(stream.Signature(Termination(params))),
            "releases": Out(stream.Signature(range(params.slots))),
            "query": Out(params.id_width), "idle": In(1),
            "answered": Out(1), "answered_id": Out(params.id_width),
        })

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        current = Signal(Termination(self._params))
        is_own = Signal()       # `o` belongs to `current`
        in_burst = Signal()     # of downstream

        with m.If(i.valid & i.ready):
            m.d.sync += in_burst.eq(~i.p.last)
        with m.If(is_own):
            m.d.comb += [
                o.valid.eq(1), o.p.id.eq(current.id), o.p.last.eq(current.len == 0),
                o.p.resp.eq(Mux(current.verdict == Verdict.RAZWI, RESP_OKAY, RESP_SLVERR))]
        with m.Else():
            m.d.comb += [o.valid.eq(i.valid), o.p.eq(i.p), i.ready.eq(o.ready)]
        m.d.comb += [
            self.answered.eq(i.valid & i.ready & i.p.last), self.answered_id.eq(i.p.id),
            self.query.eq(current.id), self.releases.p.eq(current.slot),
        ]

        wait = Signal(range(4))
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.terminations.ready.eq(1)
                m.d.sync += [current.eq(self.terminations.p), wait.eq(3)]
                if self._write:
                    m.d.sync += current.len.eq(0)
                with m.If(self.terminations.valid):
                    m.next = "Wait for older ones"
            with m.State("Wait for older ones"):
                # `idle` counts what left just before this one after three clocks.
                with m.If(wait.any()):
                    m.d.sync += wait.eq(wait - 1)
                between = Mux(i.valid, i.ready & i.p.last, ~in_burst)
                with m.If(~wait.any() & self.idle & between):
                    m.d.sync += is_own.eq(1)
                    m.next = "Answer"
            with m.State("Answer"):
                with m.If(o.ready):
                    m.d.sync += current.len.eq(current.len - 1)
                    with m.If(o.p.last):
                        m.d.sync += is_own.eq(0)
                        m.next = "Release"
            with m.State("Release"):
                m.d.comb += self.releases.valid.eq(1)
                with m.If(self.releases.ready):
                    m.next = "Idle"
        return m
