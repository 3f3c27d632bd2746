"""A core for testing agents: AXI through registers, a scratch memory, and faults on demand."""

from amaranth import *
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxiSlice", "Fault"]


class Fault(enum.Enum, shape=4):
    """How the slice breaks the rules of AXI."""

    NONE = 0
    UNSTABLE_AR = 1      # ARADDR changes while it waits
    AW_FALLS = 2         # AWVALID falls while it waits
    AR_IN_RESET = 3      # ARVALID is always high, even after reset, until another fault is written
    WLAST_EARLY = 4      # WLAST on the first beat
    WRONG_RID = 5
    RLAST_EARLY = 6
    WRONG_BID = 7
    NO_WLAST = 8
    TERMINATE = 9        # no rule broken: reads answer SLVERR and do not leave
    STRAY_STRB = 10      # all strobes, whatever the beat carries


_ADDRESS = {"id": 4, "addr": 64, "len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3,
            "qos": 4, "region": 4, "user": 56}
_CHANNELS = {
    "aw": _ADDRESS,
    "w": {"data": 64, "strb": 8, "last": 1},
    "b": {"id": 4, "resp": 2},
    "ar": _ADDRESS,
    "r": {"id": 4, "data": 64, "resp": 2, "last": 1},
}
_LITE = {
    "aw": {"addr": 20, "prot": 3},
    "w": {"data": 64, "strb": 8},
    "b": {"resp": 2},
    "ar": {"addr": 20, "prot": 3},
    "r": {"data": 64, "resp": 2},
}


def axi_signature(channels):
    """All signals of an AXI port, seen from the master."""
    members = {}
    for channel, fields in channels.items():
        forward, backward = (In, Out) if channel in "br" else (Out, In)
        members |= {f"{channel}valid": forward(1), f"{channel}ready": backward(1)}
        members |= {f"{channel}{name}": forward(width) for name, width in fields.items()}
    return wiring.Signature(members)


class AxiSlice(wiring.Component):
    """Pass AXI from ``s0_axi`` to ``m0_axi`` through one register in each channel.

    ``s_axil`` is a scratch memory of 16 words of 64 bits. A write to word 0 pulses ``irq_eventq``,
    one to word 1 reads from that address through ``m_axi_tbl``, and puts the data into word 2. Word
    15 is a :class:`Fault`.
    """

    s0_axi: In(axi_signature(_CHANNELS))
    m0_axi: Out(axi_signature(_CHANNELS))
    s_axil: In(axi_signature(_LITE))
    m_axi_tbl: Out(axi_signature(_CHANNELS))
    irq_eventq: Out(1)
    irq_gerror: Out(1)
    irq_cmdq_sync: Out(1)
    irq_priq: Out(1)

    def elaborate(self, platform):
        m = Module()
        fault = Signal(Fault)
        self.stuck = Signal(reset_less=True)
        for channel in ("r", "b", "aw", "w", "ar"):  # AR last: a fault of it overrides R
            fields = _CHANNELS[channel]
            source, sink = (self.m0_axi, self.s0_axi) if channel in "br" else \
                (self.s0_axi, self.m0_axi)
            self._slice(m, channel, fields, source, sink, fault)
        self._registers(m, fault)
        return m

    def _slice(self, m, channel, fields, source, sink, fault):
        def of(port, member):
            return getattr(port, channel + member)

        held = {name: Signal(width, name=f"{channel}_{name}") for name, width in fields.items()}
        valid, free = Signal(name=f"{channel}_valid"), Signal(name=f"{channel}_free")
        m.d.comb += [free.eq(~valid | of(sink, "ready")), of(source, "ready").eq(free),
                     of(sink, "valid").eq(valid)]
        m.d.comb += [of(sink, name).eq(value) for name, value in held.items()]
        with m.If(free):
            m.d.sync += valid.eq(of(source, "valid"))
            m.d.sync += [value.eq(of(source, name)) for name, value in held.items()]
        self._break(m, channel, held, valid, sink, fault, free)

    def _break(self, m, channel, held, valid, sink, fault, free):
        if channel == "ar":
            with m.If((fault == Fault.UNSTABLE_AR) & ~free):
                m.d.sync += held["addr"].eq(held["addr"] + 8)
            with m.If(self.stuck):
                m.d.comb += sink.arvalid.eq(1)
            with m.If(fault == Fault.TERMINATE):  # the register holds it until R has answered
                m.d.comb += [sink.arvalid.eq(0), free.eq(~valid | self._answered())]
                m.d.comb += [self.s0_axi.rvalid.eq(valid), self.s0_axi.rid.eq(held["id"]),
                             self.s0_axi.rlast.eq(1), self.s0_axi.rresp.eq(2)]
        if channel == "aw":
            with m.If((fault == Fault.AW_FALLS) & ~free):
                m.d.sync += valid.eq(0)
        if channel == "w":
            m.d.comb += sink.wlast.eq(held["last"] | (fault == Fault.WLAST_EARLY))
            with m.If(fault == Fault.NO_WLAST):
                m.d.comb += sink.wlast.eq(0)
            with m.If(fault == Fault.STRAY_STRB):
                m.d.comb += sink.wstrb.eq(0xFF)
        if channel == "b":
            m.d.comb += sink.bid.eq(held["id"] ^ (fault == Fault.WRONG_BID))
        if channel == "r":
            m.d.comb += [sink.rid.eq(held["id"] ^ (fault == Fault.WRONG_RID)),
                         sink.rlast.eq(held["last"] | (fault == Fault.RLAST_EARLY))]

    def _answered(self):
        return self.s0_axi.rvalid & self.s0_axi.rready

    def _registers(self, m, fault):
        port = self.s_axil
        words = Array(Signal(64, name=f"word_{index}") for index in range(16))
        index_w, index_r = port.awaddr[3:7], port.araddr[3:7]
        write = Signal()
        # Both address and data are there, and the last response was taken.
        m.d.comb += [write.eq(port.awvalid & port.wvalid & (~port.bvalid | port.bready)),
                     port.awready.eq(write), port.wready.eq(write),
                     port.arready.eq(~port.rvalid | port.rready)]
        m.d.sync += self.irq_eventq.eq(write & (index_w == 0))
        with m.If(port.bready):
            m.d.sync += port.bvalid.eq(0)
        with m.If(write):
            m.d.sync += port.bvalid.eq(1)
            for lane in range(8):
                with m.If(port.wstrb[lane]):
                    m.d.sync += words[index_w].word_select(lane, 8).eq(
                        port.wdata.word_select(lane, 8))
        with m.If(port.arready):
            m.d.sync += [port.rvalid.eq(port.arvalid), port.rdata.eq(words[index_r])]
        m.d.comb += fault.eq(words[15][:4])
        table = self.m_axi_tbl
        m.d.comb += [table.araddr.eq(words[1]), table.arsize.eq(3), table.arburst.eq(1),
                     table.rready.eq(1), table.bready.eq(1)]
        with m.If(table.arready):
            m.d.sync += table.arvalid.eq(0)
        with m.If(write & (index_w == 1)):
            m.d.sync += table.arvalid.eq(1)
        with m.If(table.rvalid):
            m.d.sync += words[2].eq(table.rdata)
        with m.If(write & (index_w == 15)):
            m.d.sync += self.stuck.eq(port.wdata == Fault.AR_IN_RESET)
