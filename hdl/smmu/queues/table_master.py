from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.bus.axi import AXI4
from smmu.params import Params
from smmu.payloads import Attributes, MemType, TableData, TableRead

__all__ = ["CommandRead", "CommandData", "TableWrite", "WriteDone", "TableMaster"]

# AXI IDs; those of walks are the numbers below.
COMMAND_ID = 32
RECORD_ID = 33
MSI_ID = 34

ID_BITS = 6
BEAT_SIZE = 3   # AxSIZE of 64 bits
WORD_SIZE = 2   # AxSIZE of 32 bits
INCR = 1
PROT = 0b011    # privileged, non-secure, data
RECORD_BEATS = 4


class CommandRead(data.Struct):
    """A read of several commands."""

    addr: 45         # [47:3]
    beats: 6         # 1 to 32
    attrs: Attributes


class CommandData(data.Struct):
    """A beat of commands, in the order of the reads."""

    data: 64
    error: 1


class TableWrite(data.Struct):
    """One beat of a write. All but ``data`` and ``last`` is the same in each beat of the write."""

    addr: 46         # [47:2]
    word: 1          # one beat of 32 bits, which ``data`` holds twice; else 4 beats of 64 bits
    attrs: Attributes
    data: 64
    last: 1


class WriteDone(data.Struct):
    valid: 1
    error: 1


class TableMaster(wiring.Component):
    """Bring all of the SMMU's own accesses onto one AXI4 manager port.

    Timing
        Address and write channels leave from registers, 1 cycle after they were taken, at most
        every second cycle each. Read data goes through without a register. Reads of walks and of
        commands take turns, as do writes of records and of MSIs. Any number of reads is
        outstanding, one for each walk; of each kind of write, as many as its source starts.
    Errors
        An error response travels with its beat, or with its `WriteDone`.

    Members
    -------
    m_axi : AXI4 manager
    reads : :py:`In(stream.Signature(TableRead))`
    data : :py:`Out(stream.Signature(TableData))`
    command_reads : :py:`In(stream.Signature(CommandRead))`
    command_data : :py:`Out(CommandData stream)`
        Must always be taken.
    records, msis : :py:`In(stream.Signature(TableWrite))`
    record_done, msi_done : :py:`Out(WriteDone)`
        A write of this kind is visible, or was aborted; in order for each kind.
    """

    def __init__(self, params: Params):
        if params.data_width != 64:
            raise ValueError(f"data_width must be 64, not {params.data_width!r}")
        self.params = params
        super().__init__({
            "m_axi": Out(AXI4(id_width=ID_BITS, addr_width=params.oas, data_width=64,
                              awuser_width=2, aruser_width=2)),
            "reads": In(stream.Signature(TableRead)),
            "data": Out(stream.Signature(TableData)),
            "command_reads": In(stream.Signature(CommandRead)),
            "command_data": Out(stream.Signature(CommandData, always_ready=True)),
            "records": In(stream.Signature(TableWrite)),
            "msis": In(stream.Signature(TableWrite)),
            "record_done": Out(WriteDone),
            "msi_done": Out(WriteDone),
        })

    def elaborate(self, platform):
        m = Module()
        self._read_addresses(m)
        self._read_data(m)
        self._writes(m)
        self._write_responses(m)
        return m

    def _read_addresses(self, m):
        axi, walk, command = self.m_axi, self.reads.payload, self.command_reads.payload
        turn = Signal()  # 1: a command read goes first
        take_command = Signal()
        attrs = Mux(take_command, command.attrs.as_value(), walk.attrs.as_value())
        addr = Mux(take_command, command.addr, walk.addr)

        m.d.comb += take_command.eq(self.command_reads.valid & (turn | ~self.reads.valid))
        with m.If(~axi.arvalid):
            m.d.comb += [
                self.command_reads.ready.eq(take_command),
                self.reads.ready.eq(self.reads.valid & ~take_command),
            ]
            m.d.sync += [
                axi.arvalid.eq(self.reads.valid | self.command_reads.valid),
                axi.arid.eq(Mux(take_command, COMMAND_ID, walk.id)),
                axi.araddr.eq(Cat(C(0, BEAT_SIZE), addr)),
                axi.arlen.eq(Mux(take_command, command.beats, walk.beats) - 1),
                turn.eq(~take_command),
            ]
            _drive_attributes(m, axi, "ar", Attributes(attrs))
        with m.Elif(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        m.d.comb += [axi.arsize.eq(BEAT_SIZE), axi.arburst.eq(INCR), axi.arprot.eq(PROT)]

    def _read_data(self, m):
        axi, walk = self.m_axi, self.data.payload
        is_command = axi.rid[ID_BITS - 1]
        error = axi.rresp[1]
        beats = Array(Signal(2, name=f"beat_{n}") for n in range(self.params.walks))
        begun = Signal(self.params.walks)  # the next beat is not the first
        number = axi.rid[:max(1, (self.params.walks - 1).bit_length())]

        m.d.comb += [
            self.command_data.valid.eq(axi.rvalid & is_command),
            self.command_data.payload.data.eq(axi.rdata),
            self.command_data.payload.error.eq(error),
            self.data.valid.eq(axi.rvalid & ~is_command),
            walk.id.eq(axi.rid),
            walk.beat.eq(beats[number]),
            walk.first.eq(~begun.bit_select(number, 1)),
            walk.data.eq(axi.rdata),
            walk.last.eq(axi.rlast),
            walk.error.eq(error),
            axi.rready.eq(is_command | self.data.ready),
        ]
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += [
                beats[number].eq(Mux(axi.rlast, 0, walk.beat + 1)),
                begun.bit_select(number, 1).eq(~axi.rlast),
            ]

    def _writes(self, m):
        axi = self.m_axi
        turn = Signal()  # 1: an MSI goes first
        is_msi, moving = Signal(), Signal()  # what is being written
        chosen = Signal(TableWrite)
        valid = Mux(is_msi, self.msis.valid, self.records.valid)
        addressing = Signal()  # the next beat is the first, which starts the address channel too
        can_move = Signal()
        do_beat = Signal()

        m.d.comb += [
            chosen.eq(Mux(is_msi, self.msis.payload.as_value(), self.records.payload.as_value())),
            can_move.eq(moving & ~axi.wvalid & ~(addressing & axi.awvalid)),
            do_beat.eq(can_move & valid),
            self.records.ready.eq(can_move & ~is_msi),
            self.msis.ready.eq(can_move & is_msi),
        ]
        with m.If(~moving):
            m.d.sync += [
                moving.eq(self.records.valid | self.msis.valid),
                is_msi.eq(self.msis.valid & (turn | ~self.records.valid)),
                addressing.eq(1),
            ]
        with m.Elif(do_beat):
            m.d.sync += [addressing.eq(0), moving.eq(~chosen.last), turn.eq(~is_msi)]

        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(do_beat & addressing):
            m.d.sync += [
                axi.awvalid.eq(1),
                axi.awid.eq(Mux(is_msi, MSI_ID, RECORD_ID)),
                axi.awaddr.eq(Cat(C(0, 2), chosen.addr)),
                axi.awlen.eq(Mux(chosen.word, 0, RECORD_BEATS - 1)),
                axi.awsize.eq(Mux(chosen.word, WORD_SIZE, BEAT_SIZE)),
            ]
            _drive_attributes(m, axi, "aw", chosen.attrs)
        with m.If(axi.wready):
            m.d.sync += axi.wvalid.eq(0)
        with m.If(do_beat):
            upper = chosen.addr[0]
            m.d.sync += [
                axi.wvalid.eq(1),
                axi.wdata.eq(chosen.data),
                axi.wstrb.eq(Cat((~chosen.word | ~upper).replicate(4),
                                 (~chosen.word | upper).replicate(4))),
                axi.wlast.eq(chosen.last),
            ]
        m.d.comb += [axi.awburst.eq(INCR), axi.awprot.eq(PROT)]

    def _write_responses(self, m):
        axi = self.m_axi
        m.d.comb += axi.bready.eq(1)
        for done, number in ((self.record_done, RECORD_ID), (self.msi_done, MSI_ID)):
            m.d.sync += [
                done.valid.eq(axi.bvalid & (axi.bid == number)),
                done.error.eq(axi.bresp[1]),
            ]


def _drive_attributes(m, axi, channel, attrs):
    """AxCACHE and shareability, in the register of the address channel."""
    cache, user = getattr(axi, f"{channel}cache"), getattr(axi, f"{channel}user")
    write_back = attrs.outer.as_value() == MemType.WB
    reading = channel == "ar"
    no_cache = (attrs.outer.as_value() <= MemType.NC) & (attrs.inner.as_value() <= MemType.NC)
    device = ((attrs.outer.as_value() < MemType.NC)
              | (attrs.inner.as_value() < MemType.NC))
    with m.Switch(attrs.outer):
        with m.Case(MemType.nGnRnE):
            m.d.sync += cache.eq(0b0000)
        with m.Case(MemType.nGnRE, MemType.nGRE, MemType.GRE):
            m.d.sync += cache.eq(0b0001)
        with m.Case(MemType.NC):
            m.d.sync += cache.eq(0b0011)
        with m.Default():
            m.d.sync += cache.eq(
                Cat(write_back, 1, attrs.ra, 1) if reading else Cat(write_back, 1, 1, attrs.wa))
    m.d.sync += user.eq(Mux(no_cache | device, 2, Mux(attrs.sh == 1, 0, attrs.sh)))
