"""First register of a channel: the transaction that is looked up."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import Overrides
from smmu.tbu.records import transaction

__all__ = ["InputStage", "entered"]


def entered(params):
    """A transaction with the global settings of the moment when it entered."""
    return data.StructLayout({
        "txn": transaction(params), "bypass": 1, "abort": 1, "overrides": Overrides})


class InputStage(wiring.Component):
    """Register transactions and sample SMMUEN and GBPA with each.

    Timing    Latency 1 clock, throughput 1 per clock.

    Members
    -------
    enable : :py:`In(1)`
        Accept transactions; from registers.
    i : :py:`In(stream.Signature(transaction(params)))`
    smmuen, abort, overrides : :py:`In`
        SMMUEN, GBPA.ABORT and GBPA's overrides.
    load : :py:`Out(1)`
        ``o`` changes.
    following : :py:`Out(transaction(params))`
        What ``o`` will hold in the next clock.
    o : :py:`Out(stream.Signature(entered(params)))`
    snapshot : :py:`In(1)`
    o_mark, marked : :py:`Out(1)`
        ``o`` is in the snapshot; and there is one.
    """

    def __init__(self, params):
        super().__init__({
            "enable": In(1), "i": In(stream.Signature(transaction(params))),
            "smmuen": In(1), "abort": In(1), "overrides": In(Overrides),
            "load": Out(1), "following": Out(transaction(params)),
            "o": Out(stream.Signature(entered(params))),
            "snapshot": In(1), "o_mark": Out(1), "marked": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        entry = Signal.like(o.p, reset_less=True)
        m.d.comb += [
            o.p.eq(entry),
            self.load.eq(o.ready | ~o.valid), i.ready.eq(self.load & self.enable),
            self.following.eq(Mux(self.load, i.p.as_value(), entry.txn.as_value())),
            self.marked.eq(o.valid & self.o_mark),
        ]
        with m.If(self.load):
            m.d.sync += [
                o.valid.eq(i.valid & self.enable), entry.txn.eq(i.p), self.o_mark.eq(self.snapshot),
                entry.overrides.eq(self.overrides), entry.abort.eq(self.abort),
                # What ATS has translated goes to the TCU, which refuses it.
                entry.bypass.eq(~self.smmuen & ~i.p.user.atst)]
        with m.Elif(self.snapshot):
            m.d.sync += self.o_mark.eq(1)
        return m
