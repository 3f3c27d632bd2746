from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import BarrierKind

__all__ = ["Barrier"]


class Barrier(wiring.Component):
    """Wait until transactions that came before have taken their decision, or have completed.

    One barrier at a time: a CMD_SYNC, a change of SMMUEN, a GBPA update, in this order if several
    wait. Traffic goes on meanwhile.

    Spec
        IHI 0070: 4.7 (CMD_SYNC), 6.3 (CR0.SMMUEN, GBPA.Update).
    Timing
        Done 3 cycles after the snapshot if nothing is in flight; the snapshot comes 1 cycle after
        the request.

    Members
    -------
    sync, smmuen, gbpa : :py:`In(1)`
        Requests, set until done. `sync` waits for completion, the others for the decision.
    sync_done, smmuen_done, gbpa_done : :py:`Out(1)`
        Strobes. The request falls in the next cycle.
    snapshot : :py:`Out(1)`
        Strobe: mark what is in the translation buffers, what enters in this cycle included.
    undecided, unfinished : :py:`In(1)`
        Of what was marked something has no decision, or is not completely answered. Valid from
        the second cycle after the snapshot on.
    """

    sync: In(1)
    smmuen: In(1)
    gbpa: In(1)
    sync_done: Out(1)
    smmuen_done: Out(1)
    gbpa_done: Out(1)
    snapshot: Out(1)
    undecided: In(1)
    unfinished: In(1)

    def elaborate(self, platform):
        m = Module()
        requests = Cat(self.sync, self.smmuen, self.gbpa)
        done = Cat(self.sync_done, self.smmuen_done, self.gbpa_done)
        served = Signal(3)  # one-hot
        kind = Signal(BarrierKind)

        m.d.comb += kind.eq(Mux(served[0], BarrierKind.COMPLETE, BarrierKind.DECIDED))
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += served.eq(requests & -requests)
                with m.If(requests.any()):
                    m.next = "Take a snapshot"
            with m.State("Take a snapshot"):
                m.d.comb += self.snapshot.eq(1)
                m.next = "Let it arrive"
            with m.State("Let it arrive"):
                m.next = "Await"
            with m.State("Await"):
                with m.If(~Mux(kind == BarrierKind.COMPLETE, self.unfinished, self.undecided)):
                    m.next = "Done"
            with m.State("Done"):
                m.d.comb += done.eq(served)
                m.next = "Idle"

        return m
