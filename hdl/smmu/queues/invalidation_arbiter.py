from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import Invalidation

__all__ = ["InvalidationArbiter"]


class InvalidationArbiter(wiring.Component):
    """Put the remap's flush of all NS-EL1 entries between the invalidations of commands.

    Timing
        An invalidation of a command goes straight through. A flush waits for the one on offer.

    Members
    -------
    commands : :py:`In(stream.Signature(Invalidation))`
    flushes : :py:`In(stream.Signature(0))`
    o : :py:`Out(stream.Signature(Invalidation))`
        With a flush, the fields that it does not match are those of `commands`, meaningless.
    hold : :py:`Out(1)`
        A flush may be on offer: `commands` must keep its payload.
    """

    commands: In(stream.Signature(Invalidation))
    flushes: In(stream.Signature(0))
    o: Out(stream.Signature(Invalidation))
    hold: Out(1)

    def elaborate(self, platform):
        m = Module()
        flush = Signal()  # whose turn it is; never changed under an offer
        command, payload = self.commands.payload, self.o.payload
        matches = ("cfg", "el2", "match_vmid", "match_asid", "keep_global", "match_addr", "leaf",
                   "match_ssid")

        m.d.comb += [
            self.hold.eq(flush),
            payload.eq(command),
            payload.va.eq(command.va | flush),
            payload.ipa.eq(command.ipa | flush),
            self.o.valid.eq(Mux(flush, self.flushes.valid, self.commands.valid)),
            self.flushes.ready.eq(flush & self.o.ready),
            self.commands.ready.eq(~flush & self.o.ready),
        ]
        for match in matches:
            m.d.comb += payload[match].eq(command[match] & ~flush)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += flush.eq(self.flushes.valid & ~flush)

        return m
