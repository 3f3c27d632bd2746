"""Fully associative micro-TLB of one direction: page entries behind a table of contexts."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import PAGE_SHIFTS, ContextTag, Invalidation
from smmu.tbu.contexts import ContextTable, context_key, lowest
from smmu.tbu.records import SEGMENTS, result_record
from smmu.tbu.slots import encode

__all__ = ["MicroTLB", "lookup_key", "micro_fill"]

PAGE_LSB = PAGE_SHIFTS[0]
TOP_BYTE = 56   # an invalidation ignores VA[63:56], which TBI leaves in the entries


def lookup_key(params):
    """What a translation is looked up by."""
    return data.StructLayout({"page": 52, "context": context_key(params)})


def micro_fill(params, *, write):
    """A new entry, beside the key of the transaction that asked for it."""
    return data.StructLayout({
        "result": result_record(params, write=write), "allowed": 2 if write else 4,
        "context": ContextTag})


class MicroTLB(wiring.Component):
    """Look up the page of a transaction within its context.

    The context table maps (StreamID, SSV, SubstreamID) to a bit that entries carry, so that only
    contexts are compared with invalidations by VMID, ASID or StreamID. Fills and invalidations
    use the comparators of look-ups, in a slot which they take from them. Insufficient permission
    is a miss. At most one entry ever hits: a fill removes what it overlaps.
    A TLBI of a single address removes the entries of the same context in its 1 GB, because an entry
    may be a fragment of a larger stage 1 page; one of a range, all of the context.

    Spec      IHI 0070: 3.17 (invalidation, what it may remove beyond its name), 4.4.
    Timing
        ``context`` in clock k, with ``load``, and ``page`` in k are compared in k+1 if ``ready``
        then; with ``advance`` in k+1, ``hits`` and ``result`` are there in k+2 and stay, less what
        is removed, until the next ``advance``.
        An invalidation or a fill accepted in t: entries are removed in t+3, and in hits of look-ups
        compared before, too. What is compared from t+3 on never hits them. A fill is found by what
        loads from t+4 on.
        Invalidations 1 per clock, but none while ``fill_busy``; fills 1 per 4 clocks, none in the
        three clocks after an invalidation.

    Members
    -------
    context, load, busy : :py:`In`, :py:`In(1)`, :py:`Out(1)`
        Context of the transaction that enters the input register; not while ``busy``.
    page, access, ready, advance : :py:`In(52)`, :py:`In`, :py:`Out(1)`, :py:`In(1)`
        VA[63:12] of what stands in the input register in the next clock, and one-hot the
        permission that it needs.
    block : :py:`In(1)`
        The transaction compared now must not hit.
    hits, hit, result : :py:`Out`
        Which entry hit, whether one did, and its translation.
    hit_msi : :py:`Out(1)`
        The hit is an MSI doorbell's (writes).
    do_fill, fill_key, fill : :py:`In`
        Accept a fill. ``fill`` stays stable for three more clocks.
    fill_busy : :py:`Out(1)`
        A fill was accepted in one of the last two clocks.
    do_invalidate, invalidation : :py:`In(1)`, :py:`In(Invalidation)`
        Accept an invalidation.
    """

    def __init__(self, params, *, write):
        self._params, self._write = params, write
        entries = params.utlb_entries
        super().__init__({
            "context": In(context_key(params)), "load": In(1), "busy": Out(1),
            "page": In(52), "access": In(2 if write else 4), "ready": Out(1), "advance": In(1),
            "block": In(1),
            "hits": Out(entries), "hit": Out(1), "hit_msi": Out(1),
            "result": Out(result_record(params, write=write)),
            "do_fill": In(1), "fill_key": In(lookup_key(params)),
            "fill": In(micro_fill(params, write=write)), "fill_busy": Out(1),
            "do_invalidate": In(1), "invalidation": In(Invalidation),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.contexts = contexts = ContextTable(self._params)

        # The steps of an operation: accepted, in the page register, compared.
        pending = Signal(Invalidation, reset_less=True)
        pending_key = Signal(lookup_key(self._params), reset_less=True)
        is_pending, pending_fill, any_sid, pending_by_page = (
            Signal(), Signal(), Signal(), Signal())
        m.d.sync += [is_pending.eq(self.do_invalidate), pending_fill.eq(self.do_fill)]
        with m.If(self.do_fill):
            m.d.sync += pending_key.eq(self.fill_key)
        with m.If(self.do_invalidate):
            given = self.invalidation
            m.d.sync += [
                pending_key.page.eq(given.addr), pending_key.context.sid.eq(given.sid),
                pending.eq(given), any_sid.eq(given.sid_ignore.any()),
                pending_by_page.eq(~given.cfg & given.match_addr & (
                    (given.tg == 0) | (given.num == 0) & (given.scale == 0)))]
        is_tlbi, is_cfgi = is_pending & ~pending.cfg, is_pending & pending.cfg

        page, access = Signal(52, reset_less=True), Signal.like(self.access)
        page_fills, page_tlbi, page_cfgi = Signal(), Signal(), Signal()
        by_page = Signal()
        ignore = Signal(len(SEGMENTS))
        do_apply_fill, do_apply_tlbi, do_apply_cfgi = Signal(), Signal(), Signal()
        m.d.sync += [
            page.eq(self.page), access.eq(self.access),
            page_fills.eq(pending_fill), do_apply_fill.eq(page_fills),
            page_tlbi.eq(is_tlbi), do_apply_tlbi.eq(page_tlbi),
            page_cfgi.eq(is_cfgi), do_apply_cfgi.eq(page_cfgi),
            by_page.eq(~is_pending | pending_by_page),
            # All that one leaf descriptor of stage 1 may have become under stage 2.
            ignore.eq(Mux(pending_fill, self.fill.result.ignore,
                          is_pending.replicate(len(SEGMENTS)))),
        ]
        m.d.comb += contexts.key.eq(self.context)
        with m.If(self.busy):
            m.d.sync += page.eq(pending_key.page)
            m.d.comb += contexts.key.eq(pending_key.context)

        # Contexts are compared a clock ahead of pages.
        of_lookup, of_operation, compared_contexts = (
            Signal(self._params.utlb_contexts, name=name)
            for name in ("of_lookup", "of_operation", "compared_contexts"))
        m.d.sync += [
            of_lookup.eq(Mux(self.load, contexts.named, of_lookup & ~contexts.changed)),
            of_operation.eq(Mux(is_tlbi, contexts.matched, contexts.named)),
            compared_contexts.eq(of_operation),
        ]
        m.d.comb += [
            self.busy.eq(pending_fill | is_pending),
            self.fill_busy.eq(pending_fill | page_fills),
            self.ready.eq(~(page_fills | page_tlbi | page_cfgi)),
            contexts.is_cfgi.eq(is_cfgi), contexts.any_sid.eq(is_cfgi & any_sid),
            contexts.invalidation.eq(pending), contexts.compared.eq(compared_contexts),
            contexts.do_fill.eq(do_apply_fill), contexts.do_remove.eq(do_apply_cfgi),
            contexts.fill_key.eq(pending_key.context), contexts.fill_tag.eq(self.fill.context),
        ]
        selected = Mux(self.ready, of_lookup, of_operation)

        # Comparators.
        entries = self._params.utlb_entries
        valid = Signal(entries)
        page_ok, match = Signal(entries), Signal(entries)
        stored = [self._entry(k) for k in range(entries)]
        for k, entry in enumerate(stored):
            m.d.comb += page_ok[k].eq(~by_page | self._same_page(entry, page, ignore,
                                                                page_tlbi))
            m.d.comb += match[k].eq(
                valid[k] & page_ok[k] & (entry.context & selected).any()
                & ((entry.allowed & access).any() | ~self.ready))

        # Removal and replacement.
        compared = Signal(entries)
        victim, turn = Signal(entries), Signal(entries, init=1)
        removed = Signal(entries)
        m.d.sync += [compared.eq(match), victim.eq(Mux(valid.all(), turn, lowest(~valid)))]
        with m.If(do_apply_fill):
            m.d.comb += removed.eq(compared | victim | Cat(
                contexts.is_new & (entry.context & contexts.place).any() for entry in stored))
            m.d.sync += [valid.eq(valid & ~removed | victim), turn.eq(turn.rotate_left(1))]
        with m.If(do_apply_tlbi | do_apply_cfgi):
            m.d.comb += removed.eq(compared)
            m.d.sync += valid.eq(valid & ~removed)
        for k, entry in enumerate(stored):
            with m.If(do_apply_fill & victim[k]):
                m.d.sync += [
                    entry.page.eq(pending_key.page), entry.ignore.eq(self.fill.result.ignore),
                    entry.context.eq(contexts.place), entry.allowed.eq(self.fill.allowed)]
                if self._write:
                    m.d.sync += entry.msi.eq(self.fill.result.msi)

        # Answer.
        with m.If(self.advance & self.ready):
            m.d.sync += self.hits.eq(match & ~removed & (~self.block).replicate(entries))
        with m.Else():
            m.d.sync += self.hits.eq(self.hits & ~removed)
        m.submodules.results = results = memory.Memory(
            shape=self.result.shape(), depth=entries, init=[])
        read, write = results.read_port(domain="comb"), results.write_port()
        m.d.comb += [
            self.hit.eq(self.hits.any()),
            read.addr.eq(encode(self.hits)), self.result.eq(read.data),
            write.en.eq(do_apply_fill), write.addr.eq(encode(victim)),
            write.data.eq(self.fill.result),
        ]
        if self._write:
            m.d.comb += self.hit_msi.eq(Cat(
                self.hits[k] & entry.msi for k, entry in enumerate(stored)).any())
        return m

    def _entry(self, k):
        return Signal(data.StructLayout({
            "page": 52, "ignore": len(SEGMENTS), "context": self._params.utlb_contexts,
            "allowed": 2 if self._write else 4, "msi": 1}), name=f"entry_{k}", reset_less=True)

    def _same_page(self, entry, page, ignore, is_tlbi):
        """Whether ``page`` lies in the page of ``entry``, or overlaps it under ``ignore``."""
        same = [
            (entry.page[low - PAGE_LSB:high - PAGE_LSB] == page[low - PAGE_LSB:high - PAGE_LSB])
            | entry.ignore[k] | ignore[k] for k, (low, high) in enumerate(SEGMENTS)]
        low, top = SEGMENTS[-1][1] - PAGE_LSB, TOP_BYTE - PAGE_LSB
        same += [entry.page[low:top] == page[low:top],
                 (entry.page[top:] == page[top:]) | is_tlbi]
        return Cat(same).all()
