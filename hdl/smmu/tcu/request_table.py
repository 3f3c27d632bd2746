from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from smmu.lib.stream_register import StreamRegister
from smmu.params import Params
from smmu.payloads import RequestWait, TaggedRequest, TranslationRequest, WalkFinished

__all__ = ["RequestTable", "request_count"]


def request_count(params: Params) -> int:
    """Number of requests that can be under way: one for each slot of each direction and port."""
    return 2 * params.ports * (1 << ceil_log2(params.slots))


class RequestTable(wiring.Component):
    """Hold every request of the translation buffers until it is answered, and issue it to lookup.

    A request is issued once when it arrives, and again each time that what it waited for has
    happened. Its index is the slot number below the number of its source
    (source = 2 * port + is_write).

    Timing
        Latency 1 cycle from `requests` to `items`; one item per cycle. A request that is issued
        again takes 3 cycles after its wake-up.
        Its mark is cleared in the cycle before it may appear at `items`, and set by `invalidate`,
        the latter winning: ``marked[index]`` tells whether any invalidation came since.

    Members
    -------
    requests : :py:`In(stream.Signature(TranslationRequest)).array(2 * ports)`
    items : :py:`Out(stream.Signature(TaggedRequest))`
    wait : :py:`In(RequestWait)`
        Strobe: request ``index`` waits for the end of ``walk``, of any walk, or (``now``) not.
    finished : :py:`In(WalkFinished)`
        Strobe: ``walk`` ends in this cycle.
    invalidate : :py:`In(1)`
        Strobe: an invalidation is accepted by every cache in this cycle.
    marked : :py:`Out(request_count(params))`
    """

    def __init__(self, params: Params):
        self.params = params
        self.sources = 2 * params.ports
        self.count = request_count(params)
        super().__init__({
            "requests": In(stream.Signature(TranslationRequest)).array(self.sources),
            "items": Out(stream.Signature(TaggedRequest)),
            "wait": In(RequestWait),
            "finished": In(WalkFinished),
            "invalidate": In(1),
            "marked": Out(self.count),
        })

    def elaborate(self, platform):
        m = Module()
        slot_bits = ceil_log2(self.params.slots)

        m.submodules.records = records = memory.Memory(
            shape=TranslationRequest, depth=self.count, init=[],
            attrs={"ram_style": self.params.record_ram_style})
        write, read = records.write_port(), records.read_port()

        # Which source may give its request: round robin.
        last = Signal(self.sources, init=1)  # one-hot, the source served last
        valid = Cat(source.valid for source in self.requests)
        after = Signal(self.sources)         # sources behind the last one in the round
        grant = Signal(self.sources)
        m.d.comb += after.eq(~((last - 1) | last))
        candidates = Mux((valid & after).any(), valid & after, valid)
        m.d.comb += grant.eq(candidates & -candidates)

        fresh = Signal(TaggedRequest)
        for number, source in enumerate(self.requests):
            with m.If(grant[number]):
                m.d.comb += [
                    fresh.request.eq(source.payload),
                    fresh.index.eq(Cat(source.payload.slot[:slot_bits], C(number, 8))),
                ]

        woken = Signal(self.count)   # to be issued again
        again = Signal(TaggedRequest)
        again_ready = Signal()       # `again.request` arrives from the memory in this cycle or did
        again_index = Signal(8)
        again_read = Signal()        # the memory is being read
        # The path of `ready` back from lookup ends here.
        m.submodules.output = output = StreamRegister(TaggedRequest)
        connect(m, output.o, flipped(self.items))
        advance = output.i.ready
        m.d.comb += [
            again.request.eq(read.data),
            again.index.eq(again_index),
            read.en.eq(again_read),
            read.addr.eq(again_index),
        ]

        do_fresh, do_again = Signal(), Signal()
        m.d.comb += [
            do_again.eq(advance & again_ready),
            do_fresh.eq(advance & ~again_ready & valid.any()),
            write.en.eq(do_fresh),
            write.addr.eq(fresh.index),
            write.data.eq(fresh.request),
        ]
        for number, source in enumerate(self.requests):
            m.d.comb += source.ready.eq(advance & ~again_ready & grant[number])
        with m.If(do_fresh):
            m.d.sync += last.eq(grant)
        m.d.comb += [
            output.i.valid.eq(do_again | do_fresh),
            output.i.payload.eq(Mux(again_ready, again, fresh)),
        ]

        # Issue the woken ones again, one at a time: choose, read, offer.
        chosen = Signal(self.count)
        m.d.comb += chosen.eq(woken & -woken)
        with m.If(do_again):
            m.d.sync += again_ready.eq(0)
        with m.If(again_read):
            m.d.sync += [again_read.eq(0), again_ready.eq(1)]
        with m.Elif(~again_ready & woken.any()):
            m.d.sync += [again_read.eq(1), woken.eq(woken & ~chosen)]
            for bit in range(8):
                numbers = [n for n in range(self.count) if n >> bit & 1]
                m.d.sync += again_index[bit].eq(Cat(chosen[n] for n in numbers).any())

        wait, finished = self.wait, self.finished
        for number in range(self.count):
            waiting = Signal(name=f"waiting_{number}")
            for_any = Signal(name=f"for_any_{number}")
            walk = Signal(5, name=f"walk_{number}")
            with m.If(finished.valid & waiting & (for_any | (walk == finished.walk))):
                m.d.sync += [waiting.eq(0), woken[number].eq(1)]
            with m.If(wait.valid & (wait.index == number)):
                m.d.sync += [
                    waiting.eq(~wait.now), for_any.eq(wait.any_walk), walk.eq(wait.walk)]
                with m.If(wait.now):
                    m.d.sync += woken[number].eq(1)

            entering = Signal(name=f"entering_{number}")
            m.d.comb += entering.eq(Mux(again_ready, do_again & (again_index == number),
                                        do_fresh & (fresh.index == number)))
            with m.If(self.invalidate):
                m.d.sync += self.marked[number].eq(1)
            with m.Elif(entering):
                m.d.sync += self.marked[number].eq(0)

        return m
