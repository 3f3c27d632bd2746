from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.bus.axil import AXI4Lite

__all__ = ["RegisterAccess", "RegisterPort"]

ADDR_BITS = 20


class RegisterAccess(data.Struct):
    """One access to an aligned 64-bit word."""

    write: 1
    word: ADDR_BITS - 3  # address[19:3]
    low: 1               # write the half at +0
    high: 1              # write the half at +4
    data: 64


class RegisterPort(wiring.Component):
    """Turn AXI4-Lite into accesses, one at a time.

    A write whose strobes are not one or both whole 32-bit words becomes an access that writes
    neither half.

    Timing
        A write is offered 1 cycle after the later one of AW and W, a read 1 cycle after AR. Waiting
        writes and reads take turns. The response is offered 1 cycle after the answer.
    Errors
        None: every response is OKAY.

    Members
    -------
    s_axil : AXI4-Lite slave
    o : :py:`Out(stream.Signature(RegisterAccess))`
    answers : :py:`In(stream.Signature(64))`
        One for each access, after it; the data of a read.
    """

    s_axil: In(AXI4Lite(addr_width=ADDR_BITS, data_width=64))
    o: Out(stream.Signature(RegisterAccess))
    answers: In(stream.Signature(64))

    def elaborate(self, platform):
        m = Module()
        axil, access = self.s_axil, self.o.payload
        addressed, data_there, reading = Signal(), Signal(), Signal()  # AW, W, AR received
        write_word, read_word = Signal(ADDR_BITS - 3), Signal(ADDR_BITS - 3)
        whole = Signal(2)
        turn = Signal()     # whose turn it is if both wait: 1 the read's
        waiting = Signal()  # for the answer

        m.d.comb += [
            axil.awready.eq(~addressed),
            axil.wready.eq(~data_there),
            axil.arready.eq(~reading),
            whole.eq(Cat(axil.wstrb[:4].all(), axil.wstrb[4:].all())),
        ]
        with m.If(axil.awvalid & axil.awready):
            m.d.sync += [addressed.eq(1), write_word.eq(axil.awaddr[3:])]
        with m.If(axil.wvalid & axil.wready):
            m.d.sync += [
                data_there.eq(1),
                access.data.eq(axil.wdata),
                # Both halves complete, or one complete and the other untouched.
                access.low.eq(whole[0] & (whole[1] | ~axil.wstrb[4:].any())),
                access.high.eq(whole[1] & (whole[0] | ~axil.wstrb[:4].any())),
            ]
        with m.If(axil.arvalid & axil.arready):
            m.d.sync += [reading.eq(1), read_word.eq(axil.araddr[3:])]

        can_write = addressed & data_there & ~axil.bvalid
        can_read = reading & ~axil.rvalid
        with m.If(~self.o.valid & ~waiting):
            m.d.sync += [
                self.o.valid.eq(can_write | can_read),
                access.write.eq(can_write & ~(can_read & turn)),
                access.word.eq(Mux(can_write & ~(can_read & turn), write_word, read_word)),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self.o.valid.eq(0), waiting.eq(1), turn.eq(access.write)]

        m.d.comb += self.answers.ready.eq(waiting)
        with m.If(axil.bready):
            m.d.sync += axil.bvalid.eq(0)
        with m.If(axil.rready):
            m.d.sync += axil.rvalid.eq(0)
        with m.If(self.answers.valid & waiting):
            m.d.sync += waiting.eq(0)
            with m.If(access.write):
                m.d.sync += [axil.bvalid.eq(1), addressed.eq(0), data_there.eq(0)]
            with m.Else():
                m.d.sync += [
                    axil.rvalid.eq(1), axil.rdata.eq(self.answers.payload), reading.eq(0)]

        return m
