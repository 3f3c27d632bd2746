"""Translation buffer unit: one device port, untranslated on one side, translated on the other."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.bus.axi import AXI4
from smmu.payloads import (
    FaultRecord, Invalidation, Overrides, TranslationRequest, TranslationResponse)
from smmu.tbu.read_channel import ReadChannel
from smmu.tbu.records import User
from smmu.tbu.write_channel import WriteChannel

__all__ = ["TBU", "USER_IN_BITS", "USER_OUT_BITS"]

USER_IN_BITS = 56
USER_OUT_BITS = 35
ADDRESS = ("id", "len", "size", "burst", "lock", "cache", "prot", "qos", "region")


class TBU(wiring.Component):
    """Translate the traffic of one device port.

    Hits leave one per clock in each direction; misses park in slots and ask the TCU, while hits of
    other IDs pass them. Order within an ID and direction is kept. Transactions that may not pass
    are answered here.

    Spec      IHI 0070: 3.11 (GBPA), 3.17, 4.8 (CMD_SYNC), 13.1 (attributes); AXI4.
    Timing
        A hit: 3 clocks from the handshake at ``s`` to VALID at ``m``, counted in registers.
        ``invalidations.ready`` comes from registers; what enters in a later clock than an
        invalidation's transfer never uses what it covers. Responses are taken within 4 clocks,
        and neither waits for AXI. After reset no transaction is accepted for 2**id_width clocks.
    Errors
        SLVERR, or OKAY with zeros, on every beat of what the TCU or GBPA stops. F_UUT on
        ``faults`` for an MSI write that is none, before its response.

    Members
    -------
    s, m : :py:`In(AXI4)`, :py:`Out(AXI4)`
        The device's port and the translated one.
    read_requests, write_requests : :py:`Out(stream.Signature(TranslationRequest))`
    read_responses, write_responses : :py:`In(stream.Signature(TranslationResponse))`
        Misses and their answers, in any order.
    invalidations : :py:`In(stream.Signature(Invalidation))`
    snapshot : :py:`In(1)`
        Mark all that is inside, with what is accepted in this clock.
    undecided : :py:`Out(1)`
        Something marked has not passed its translation; from the clock after ``snapshot``.
    unfinished : :py:`Out(1)`
        Something marked is not completely answered.
    smmuen, abort, overrides : :py:`In`
        CR0.SMMUEN and GBPA; a transaction goes by their values when it enters.
    faults : :py:`Out(stream.Signature(FaultRecord))`
    counts : :py:`Out`
        Numbers of this clock; misses asked the TCU.
    """

    def __init__(self, params):
        self._params = params
        port = {"id_width": params.id_width, "data_width": params.data_width}
        super().__init__({
            "s": In(AXI4(addr_width=64, awuser_width=USER_IN_BITS, aruser_width=USER_IN_BITS,
                         **port)),
            "m": Out(AXI4(addr_width=params.oas, awuser_width=USER_OUT_BITS,
                          aruser_width=USER_OUT_BITS, **port)),
            "read_requests": Out(stream.Signature(TranslationRequest)),
            "read_responses": In(stream.Signature(TranslationResponse)),
            "write_requests": Out(stream.Signature(TranslationRequest)),
            "write_responses": In(stream.Signature(TranslationResponse)),
            "invalidations": In(stream.Signature(Invalidation)),
            "snapshot": In(1), "undecided": Out(1), "unfinished": Out(1),
            "smmuen": In(1), "abort": In(1), "overrides": In(Overrides),
            "faults": Out(stream.Signature(FaultRecord)),
            "counts": Out(data.StructLayout({"transactions": 2, "hits": 2, "misses": 2})),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reads = reads = ReadChannel(self._params)
        m.submodules.writes = writes = WriteChannel(self._params)
        connect(m, reads.requests, flipped(self.read_requests))
        connect(m, writes.requests, flipped(self.write_requests))
        connect(m, flipped(self.read_responses), reads.responses)
        connect(m, flipped(self.write_responses), writes.responses)
        connect(m, writes.faults, flipped(self.faults))

        invalidations = self.invalidations
        m.d.comb += [
            invalidations.ready.eq(reads.can_invalidate & writes.can_invalidate),
            self.undecided.eq(reads.undecided | writes.undecided),
            self.unfinished.eq(reads.unfinished | writes.unfinished),
        ]
        for channel in (reads, writes):
            m.d.comb += [
                channel.will_invalidate.eq(invalidations.valid),
                channel.do_invalidate.eq(invalidations.valid & invalidations.ready),
                channel.invalidation.eq(invalidations.p), channel.snapshot.eq(self.snapshot),
                channel.smmuen.eq(self.smmuen), channel.abort.eq(self.abort),
                channel.overrides.eq(self.overrides),
            ]
        for kind in ("transactions", "hits", "misses"):
            m.d.comb += self.counts[kind].eq(reads.counts[kind] + writes.counts[kind])

        self._address(m, "ar", reads.ar, reads.m_ar)
        self._address(m, "aw", writes.aw, writes.m_aw)
        s, out = self.s, self.m
        m.d.comb += [
            writes.w.valid.eq(s.wvalid), s.wready.eq(writes.w.ready),
            writes.w.p.data.eq(s.wdata), writes.w.p.strb.eq(s.wstrb), writes.w.p.last.eq(s.wlast),
            out.wvalid.eq(writes.m_w.valid), writes.m_w.ready.eq(out.wready),
            out.wdata.eq(writes.m_w.p.data), out.wstrb.eq(writes.m_w.p.strb),
            out.wlast.eq(writes.m_w.p.last),
            writes.m_b.valid.eq(out.bvalid), out.bready.eq(writes.m_b.ready),
            writes.m_b.p.id.eq(out.bid), writes.m_b.p.resp.eq(out.bresp), writes.m_b.p.last.eq(1),
            s.bvalid.eq(writes.b.valid), writes.b.ready.eq(s.bready),
            s.bid.eq(writes.b.p.id), s.bresp.eq(writes.b.p.resp),
            reads.m_r.valid.eq(out.rvalid), out.rready.eq(reads.m_r.ready),
            reads.m_r.p.id.eq(out.rid), reads.m_r.p.resp.eq(out.rresp),
            reads.m_r.p.last.eq(out.rlast), reads.m_r.p.data.eq(out.rdata),
            s.rvalid.eq(reads.r.valid), reads.r.ready.eq(s.rready),
            s.rid.eq(reads.r.p.id), s.rresp.eq(reads.r.p.resp), s.rlast.eq(reads.r.p.last),
            s.rdata.eq(reads.r.p.data),
        ]
        return m

    def _address(self, m, ax, i, o):
        """Connect an address channel of both ports."""
        def of(port, name):
            return getattr(port, ax + name)

        for name in ADDRESS:
            m.d.comb += [i.p[name].eq(of(self.s, name)), of(self.m, name).eq(o.p[name])]
        m.d.comb += [
            i.valid.eq(of(self.s, "valid")), of(self.s, "ready").eq(i.ready),
            i.p.addr.eq(of(self.s, "addr")), i.p.user.eq(User(of(self.s, "user"))),
            of(self.m, "valid").eq(o.valid), o.ready.eq(of(self.m, "ready")),
            of(self.m, "addr").eq(o.p.addr),
            of(self.m, "user").eq(Cat(o.p.sid, o.p.msi, o.p.sh)),
        ]
