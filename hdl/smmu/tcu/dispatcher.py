from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from smmu.params import Params
from smmu.payloads import (
    Decision, RequestWait, TranslationResponse, Verdict, WalkFinished, WalkResult, WalkStart)
from smmu.tcu.lookup_key import incoming_permissions
from smmu.tcu.request_table import request_count

__all__ = ["Dispatcher"]

HASH_BITS = 14


def folded(value, width):
    """XOR of the `width`-bit pieces of a value."""
    pieces = [value[i:i + width] for i in range(0, len(value), width)]
    result = pieces[0]
    for piece in pieces[1:]:
        result = result ^ piece
    return result[:width]


class Dispatcher(wiring.Component):
    """Answer what the main TLB knows; start one walk for what it doesn't; keep the marks.

    A request for a page whose walk is under way waits for that walk and is then looked up again. So
    does a request of a stream whose configuration another walk is fetching, and, with all walks
    busy, any other. Pages and streams are compared by a hash: a false match waits, no more.

    A walk is marked when an invalidation is accepted while it is active, or was since the lookup
    that started it. A marked walk answers and fills nothing, here nor in the walk table, and nobody
    waits for it. An answer may fill a micro-TLB only if no invalidation came since its lookup
    entered, up to the cycle in which the translation buffer takes it.

    Timing
        Hit: 1 cycle from `decisions` to `responses`; result of a walk: 2. Miss: 3 cycles to
        `starts`, one each 3 cycles. No `ready` depends on that of another stream.

    Members
    -------
    decisions : :py:`In(stream.Signature(Decision))`
    starts : :py:`Out(stream.Signature(WalkStart))`
    results : :py:`In(stream.Signature(WalkResult))`
    responses : :py:`Out(stream.Signature(TranslationResponse)).array(2 * ports)`
    wait, finished : :py:`Out(RequestWait)`, :py:`Out(WalkFinished)`
        To the request table.
    invalidate : :py:`In(1)`
        Strobe: an invalidation is accepted by every cache in this cycle.
    requests_marked : :py:`In(request_count(params))`
    walks_marked : :py:`Out(params.walks)`
        Walks that must not fill, active ones only.
    hit, miss : :py:`Out(1)`
        Strobes: a lookup was answered by the main TLB, or not.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "decisions": In(stream.Signature(Decision)),
            "starts": Out(stream.Signature(WalkStart)),
            "results": In(stream.Signature(WalkResult)),
            "responses": Out(stream.Signature(TranslationResponse)).array(2 * params.ports),
            "wait": Out(RequestWait),
            "finished": Out(WalkFinished),
            "invalidate": In(1),
            "requests_marked": In(request_count(params)),
            "walks_marked": Out(params.walks),
            "hit": Out(1),
            "miss": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        walks = self.params.walks
        slot_bits = ceil_log2(self.params.slots)

        active, marked, cold = Signal(walks), Signal(walks), Signal(walks)
        page_hash = [Signal(HASH_BITS, name=f"page_hash_{n}") for n in range(walks)]
        stream_hash = [Signal(HASH_BITS, name=f"stream_hash_{n}") for n in range(walks)]
        m.submodules.owners = owners = memory.Memory(
            shape=8, depth=max(walks, 2), init=[], attrs={"ram_style": "distributed"})
        owner_write, owner = owners.write_port(), owners.read_port(domain="comb")

        # Answers, shared by all sources: one on offer and a spare, so that nothing here waits for a
        # `ready` of this cycle. Results of walks go before hits.
        shape = data.StructLayout({"source": 8 - slot_bits, "response": TranslationResponse})
        answer, spare = (Signal(shape, name=n, reset_less=True) for n in ("answer", "spare"))
        fresh = Signal(shape)
        busy, spare_busy, taken = Signal(), Signal(), Signal()
        free = ~spare_busy
        for number, response in enumerate(self.responses):
            m.d.comb += [
                response.valid.eq(busy & (answer.source == number)),
                response.payload.eq(answer.response),
            ]
            with m.If(answer.source == number):
                m.d.comb += taken.eq(response.ready)
        with m.If(free):
            m.d.sync += spare.eq(fresh)
        with m.If(taken | ~busy):
            m.d.sync += [
                busy.eq(spare_busy | self.finished.valid | self.hit),
                spare_busy.eq(0),
                answer.eq(Mux(spare_busy, spare, fresh)),
            ]
        with m.Elif(self.finished.valid | self.hit):
            m.d.sync += spare_busy.eq(1)
        with m.If(self.invalidate):
            m.d.sync += [answer.response.fill.eq(0), spare.response.fill.eq(0)]

        # A walk ends; it is active until its result leaves the register here.
        result, has_result = Signal.like(self.results.payload, reset_less=True), Signal()
        number = result.walk[:ceil_log2(walks)]
        m.d.comb += self.results.ready.eq(free | ~has_result)
        with m.If(self.results.ready):
            m.d.sync += [has_result.eq(self.results.valid), result.eq(self.results.payload)]
        m.d.comb += [
            owner.addr.eq(number),
            self.finished.valid.eq(has_result & free),
            self.finished.walk.eq(result.walk),
        ]
        ended, found = Signal(shape), Signal(shape)
        m.d.comb += [
            fresh.eq(Mux(has_result, ended, found)),
            ended.source.eq(owner.data >> slot_bits),
            ended.response.slot.eq(owner.data[:slot_bits]),
            ended.response.verdict.eq(result.verdict),
            ended.response.fill.eq(result.cacheable & ~marked.bit_select(number, 1)),
            ended.response.translation.eq(result.translation),
            ended.response.context.eq(result.context),
        ]

        # A lookup ends: an answer, or a miss to be dealt with.
        decision, request = self.decisions.payload, self.decisions.payload.item.request
        perms = incoming_permissions(decision.entry.perms, decision.overrides)
        allowed = Signal()
        with m.If(~request.rnw):
            m.d.comb += allowed.eq(Mux(request.priv, perms.pw, perms.uw))
        with m.Elif(request.inst):
            m.d.comb += allowed.eq(Mux(request.priv, perms.px, perms.ux))
        with m.Else():
            m.d.comb += allowed.eq(Mux(request.priv, perms.pr, perms.ur))

        known, missing, settled = Signal(), Signal(), Signal()  # `missing` holds a miss
        m.d.comb += [
            known.eq(decision.hit & allowed),
            self.decisions.ready.eq(Mux(known, free & ~has_result, ~missing)),
            self.hit.eq(self.decisions.valid & self.decisions.ready & known),
            self.miss.eq(self.decisions.valid & self.decisions.ready & ~known),
        ]
        translation = found.response.translation
        m.d.comb += [
            found.source.eq(decision.item.index >> slot_bits),
            found.response.slot.eq(decision.item.index[:slot_bits]),
            found.response.verdict.eq(Verdict.OK),
            found.response.fill.eq(~self.requests_marked.bit_select(decision.item.index, 1)),
            found.response.context.eq(decision.context),
            translation.page.eq(decision.entry.page),
            translation.size.eq(decision.size),
            translation.perms.eq(perms),
            translation.attrs.eq(decision.entry.attrs),
            translation.combine.eq(decision.combine),
            translation.overrides.eq(decision.overrides),
            translation.nG.eq(decision.nG),
        ]

        miss = Signal.like(decision.item, reset_less=True)
        miss_cold = Signal()
        miss_page, miss_stream = Signal(HASH_BITS), Signal(HASH_BITS)
        with m.If(self.miss):
            m.d.sync += [
                missing.eq(1),
                miss.eq(decision.item),
                miss_cold.eq(decision.cold),
                miss_page.eq(folded(request.addr[12:], HASH_BITS)),
                miss_stream.eq(folded(Cat(request.sid, request.ssv, request.ssid), HASH_BITS)),
            ]

        # The miss, one cycle later: which walks could answer it?
        same = Signal(walks)
        compared = Signal()
        m.d.sync += compared.eq(missing & ~settled & ~compared)
        for n in range(walks):
            m.d.sync += same[n].eq(
                (stream_hash[n] == miss_stream)
                & ((page_hash[n] == miss_page) | (cold[n] & miss_cold)))

        # And one more: wait for one of them, or start a walk, or wait for any.
        target = Signal(walks)      # one-hot
        chosen = Signal(walks)
        unused = Signal(walks)
        ending = Signal(walks)
        waits, starting = Signal(), Signal()
        m.d.comb += [
            target.eq(same & active & ~marked),
            unused.eq(~active),
            chosen.eq(Mux(waits, target & -target, unused & -unused)),
            ending.eq(self.finished.valid << number),
            waits.eq(target.any() | active.all()),
        ]
        walk = Signal(5)
        for bit in range(ceil_log2(walks)):
            m.d.comb += walk[bit].eq(Cat(chosen[n] for n in range(walks) if n >> bit & 1).any())
        m.d.comb += [
            self.wait.valid.eq(compared & waits),
            self.wait.index.eq(miss.index),
            self.wait.walk.eq(walk),
            self.wait.any_walk.eq(~target.any()),
            # The walk ends in this very cycle, so nobody would wake the request: look again.
            self.wait.now.eq(Mux(target.any(), (chosen & ending).any(), self.finished.valid)),
            starting.eq(compared & ~waits),
            settled.eq(self.starts.valid),
        ]
        with m.If(self.wait.valid):
            m.d.sync += missing.eq(0)
        with m.If(starting):
            m.d.sync += [
                self.starts.valid.eq(1),
                self.starts.payload.walk.eq(walk),
                self.starts.payload.request.eq(miss.request),
            ]
        with m.If(self.starts.valid & self.starts.ready):
            m.d.sync += [self.starts.valid.eq(0), missing.eq(0)]

        m.d.comb += [
            owner_write.en.eq(starting),
            owner_write.addr.eq(walk),
            owner_write.data.eq(miss.index),
        ]
        miss_marked = self.requests_marked.bit_select(miss.index, 1)
        for n in range(walks):
            with m.If(starting & chosen[n]):
                m.d.sync += [
                    active[n].eq(1), cold[n].eq(miss_cold), marked[n].eq(miss_marked),
                    page_hash[n].eq(miss_page), stream_hash[n].eq(miss_stream),
                ]
            with m.If(ending[n]):
                m.d.sync += [active[n].eq(0), marked[n].eq(0)]
            with m.Elif(self.invalidate):
                m.d.sync += marked[n].eq(1)
        m.d.comb += self.walks_marked.eq(active & marked)

        return m
