"""Write data: steered in the order in which addresses came to the order in which they leave."""

from amaranth import *
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.lib.stream_register import StreamRegister
from smmu.tbu.address_channel import arrival, departure

__all__ = ["WriteData", "write_beat"]

ORDER_DEPTH = 16


def write_beat(params):
    """One beat of W."""
    return data.StructLayout({
        "data": params.data_width, "strb": params.data_width // 8, "last": 1})


class WriteData(wiring.Component):
    """Give each write address its data.

    AXI4 write data has no ID: it comes in the order of addresses and must leave in the order in
    which addresses left. Data of addresses that passed goes through. Data of a parked address goes
    into its segment of the buffer; if it does not fit, it waits at the port until its address has
    left or is terminated.

    Timing
        Throughput 1 beat per clock. Latency 1 clock, 3 clocks from the buffer.

    Members
    -------
    i, o : :py:`In(stream)`, :py:`Out(stream)`
        W of the device, W downstream.
    arrival_room, departure_room : :py:`Out(1)`
        ``arrivals``, ``departures`` may come.
    arrivals, departures : :py:`In`
        Addresses in both orders. A departure not before its arrival.
    absorb : :py:`In(slots)`
        The data of these slots goes nowhere.
    release, released : :py:`In`
        A slot that was terminated is given back.
    first_beat, bad_strobes : :py:`Out(slots)`
        The first beat of a slot's data is there; it does not write exactly one aligned word.
    all_beats, busy : :py:`Out(slots)`
        All data of a slot was taken; a slot still has or expects data.
    """

    def __init__(self, params):
        self._params = params
        slots = params.slots
        super().__init__({
            "i": In(stream.Signature(write_beat(params))),
            "o": Out(stream.Signature(write_beat(params))),
            "arrival_room": Out(1), "departure_room": Out(1),
            "arrivals": In(data.StructLayout({"valid": 1, "p": arrival(params)})),
            "departures": In(data.StructLayout({"valid": 1, "p": departure(params)})),
            "absorb": In(slots), "release": In(1), "released": In(range(slots)),
            "first_beat": Out(slots), "bad_strobes": Out(slots), "all_beats": Out(slots),
            "busy": Out(slots),
        })

    def elaborate(self, platform):
        m = Module()
        params, i = self._params, self.i
        m.submodules.output = self._output = StreamRegister(write_beat(params))
        wiring.connect(m, self._output.o, wiring.flipped(self.o))
        slots = params.slots
        head, tail = Signal(arrival(params)), Signal(departure(params))
        has_head, has_tail = Signal(), Signal()
        here, of_tail = Signal(slots), Signal(slots)    # their slots, if parked
        do_next, do_next_out = Signal(), Signal()
        for name, source, room, signal, has, do in (
                ("arriving", self.arrivals, self.arrival_room, head, has_head, do_next),
                ("leaving", self.departures, self.departure_room, tail, has_tail, do_next_out)):
            width = len(signal.as_value())
            m.submodules[name] = order = fifo.SyncFIFO(width=width, depth=ORDER_DEPTH)
            m.d.comb += [
                order.w_data.eq(source.p), order.w_en.eq(source.valid),
                order.r_en.eq(do | ~has)]
            m.d.sync += room.eq(order.w_level <= ORDER_DEPTH - 2)  # one may be on its way
            with m.If(order.r_en):
                following = data.View(signal.shape(), order.r_data)
                is_parked = order.r_rdy & (
                    ~following.direct if signal is head else following.parked)
                m.d.sync += [has.eq(order.r_rdy), signal.eq(following),
                             (here if signal is head else of_tail).eq(Cat(
                                 is_parked & (following.slot == k) for k in range(slots)))]

        # Where the beat at the port goes.
        issued = Signal(slots)      # left while its data waits at the port
        passes, keeps, drops, can_pass = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            passes.eq(has_head & (head.direct | (here & issued).any()) & can_pass),
            keeps.eq(has_head & ~head.direct & head.buffered),
            drops.eq((here & self.absorb).any() & ~head.buffered),
            i.ready.eq(passes | keeps | drops),
        ]
        do_beat = i.valid & i.ready
        m.d.comb += do_next.eq(do_beat & i.p.last)

        is_first = Signal(init=1)
        lanes = params.data_width // 32
        with m.If(do_beat):
            m.d.sync += is_first.eq(i.p.last)
        see = here & (i.valid & is_first).replicate(slots)
        exact = Cat(i.p.strb[4 * k:4 * k + 4] == Mux(head.lane == k, 0xF, 0)
                    for k in range(lanes)).all()
        done = here & do_next.replicate(slots)
        passed = done & passes.replicate(slots)
        new = Cat(self.arrivals.valid & ~self.arrivals.p.direct & (self.arrivals.p.slot == k)
                  for k in range(slots))
        left, released = Signal(slots), Signal(slots)
        m.d.sync += [
            left.eq(Cat(self.departures.valid & self.departures.p.parked
                        & ~self.departures.p.buffered & (self.departures.p.slot == k)
                        for k in range(slots))),
            released.eq(Cat(self.release & (self.released == k) for k in range(slots))),
        ]
        drained = Signal(slots)     # read out of the buffer
        m.d.sync += [
            self.first_beat.eq((self.first_beat | see) & ~new),
            self.bad_strobes.eq(Mux(exact, self.bad_strobes & ~see, self.bad_strobes | see)),
            self.all_beats.eq((self.all_beats | done) & ~new),
            issued.eq((issued | left) & ~new),
            self.busy.eq((self.busy & ~passed & ~drained & ~released) | new),
        ]
        self._send(m, tail, has_tail, do_next_out, can_pass, do_beat & passes, keeps & do_beat,
                   here, head, of_tail, drained)
        return m

    def _send(self, m, tail, has_tail, do_next_out, can_pass, do_pass, do_keep, here, head,
              of_tail, drained):
        """The output register and the buffer behind it."""
        params, i, out = self._params, self.i, self._output.i
        slots = params.slots
        can_send = out.ready
        from_buffer = Signal()
        m.d.comb += from_buffer.eq(has_tail & tail.parked & tail.buffered)
        m.d.comb += [out.valid.eq(do_pass), out.p.eq(i.p)]
        if not params.write_buffer_beats:
            m.d.comb += [can_pass.eq(can_send & has_tail),
                         do_next_out.eq(do_pass & i.p.last)]
            return

        segment = params.write_buffer_beats // slots
        stored = data.StructLayout({"data": params.data_width, "strb": params.data_width // 8})
        m.submodules.buffer = buffer = memory.Memory(
            shape=stored, depth=slots * segment, init=[])
        write, read = buffer.write_port(), buffer.read_port()

        written, sent = Signal(range(segment + 1)), Signal(range(segment + 1))
        with m.If(do_keep):
            m.d.sync += written.eq(Mux(i.p.last, 0, written + 1))
        m.d.comb += [
            write.en.eq(do_keep), write.addr.eq(head.slot * segment + written),
            write.data.data.eq(i.p.data), write.data.strb.eq(i.p.strb),
        ]

        # Three steps: address; what the memory puts out; a register that nothing stands before.
        out_valid, out_last, held_valid, held = (
            Signal(), Signal(), Signal(), Signal(write_beat(params)))
        can_hold, can_read, do_read = Signal(), Signal(), Signal()
        is_last = sent == tail.len
        ready = (of_tail & self.all_beats).any() | (of_tail & here).any() & (sent < written)
        m.d.comb += [
            can_hold.eq(~held_valid | can_send), can_read.eq(~out_valid | can_hold),
            do_read.eq(from_buffer & ready & can_read),
            read.en.eq(can_read), read.addr.eq(tail.slot * segment + sent),
            can_pass.eq(can_send & has_tail & ~from_buffer & ~out_valid & ~held_valid),
            do_next_out.eq(do_read & is_last | do_pass & i.p.last),
            drained.eq(of_tail & (do_read & is_last).replicate(slots)),
        ]
        with m.If(do_read):
            m.d.sync += sent.eq(Mux(is_last, 0, sent + 1))
        with m.If(can_read):
            m.d.sync += [out_valid.eq(do_read), out_last.eq(is_last)]
        with m.If(can_hold):
            m.d.sync += [held_valid.eq(out_valid), held.data.eq(read.data.data),
                         held.strb.eq(read.data.strb), held.last.eq(out_last)]
        with m.If(held_valid):
            m.d.comb += [out.valid.eq(1), out.p.eq(held)]
