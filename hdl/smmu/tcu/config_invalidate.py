from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import Invalidation
from smmu.tcu.config_tags import ConfigGeometry

__all__ = ["ConfigInvalidate"]

WRITES = 5  # cycles from a request for an operation until its write is seen


class ConfigInvalidate(wiring.Component):
    """Take CFGI one by one and ask for removals, set by set; after reset, of everything.

    Timing
        A CFGI of one SubstreamID takes about 15 cycles, any other one for each set in addition, two
        while there are lookups.

    Members
    -------
    invalidations : :py:`In(stream.Signature(Invalidation))`
    accepted : :py:`Out(1)`
        Strobe: a CFGI is accepted. What was asked for up to this cycle is written before the first
        removal reads.
    remove, set : :py:`Out`
        A removal is asked for.
    do_remove : :py:`In(1)`
        Strobe: it begins.
    sid, sid_ignore, match_ssid, ssid : :py:`Out`
        What the CFGI names, stable while `busy`.
    busy : :py:`Out(1)`
        From the cycle after `accepted` until all removals are written.
    clearing : :py:`Out(1)`
        After reset: the same for the tags that the reset found.
    """

    def __init__(self, geometry: ConfigGeometry):
        self._geometry = geometry
        super().__init__({
            "invalidations": In(stream.Signature(Invalidation)),
            "accepted": Out(1),
            "remove": Out(1),
            "set": Out(geometry.set_bits),
            "do_remove": In(1),
            "sid": Out(geometry.sid_bits),
            "sid_ignore": Out(geometry.sid_bits, init=-1),
            "match_ssid": Out(1),
            "ssid": Out(geometry.ssid_bits),
            "busy": Out(1),
            "clearing": Out(1, init=1),
        })

    @property
    def geometry(self):
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        cfgi = self.invalidations.payload
        is_one_set = self.match_ssid & ~self.sid_ignore.any()
        wait = Signal(range(WRITES + 1), init=WRITES)

        with m.FSM(init="Remove") as fsm:
            with m.State("Idle"):
                m.d.comb += [
                    self.invalidations.ready.eq(1),
                    self.accepted.eq(self.invalidations.valid & cfgi.cfg),
                ]
                m.d.sync += [
                    self.sid.eq(cfgi.sid),
                    self.sid_ignore.eq(cfgi.sid_ignore),
                    self.match_ssid.eq(cfgi.match_ssid),
                    self.ssid.eq(cfgi.ssid),
                    wait.eq(WRITES),
                ]
                with m.If(self.accepted):
                    m.next = "Wait for writes"
            with m.State("Wait for writes"):
                m.d.sync += [
                    wait.eq(wait - 1),
                    self.set.eq(Mux(is_one_set, geometry.set_of(self.sid, self.ssid), 0)),
                ]
                with m.If(wait == 0):
                    m.d.sync += wait.eq(WRITES)
                    m.next = "Remove"
            with m.State("Remove"):
                m.d.comb += self.remove.eq(1)
                with m.If(self.do_remove):
                    m.d.sync += self.set.eq(self.set + 1)
                    with m.If(is_one_set | (self.set == geometry.sets - 1)):
                        m.next = "Drain"
            with m.State("Drain"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += self.clearing.eq(0)
                    m.next = "Idle"
        m.d.comb += self.busy.eq(~fsm.ongoing("Idle"))

        return m
