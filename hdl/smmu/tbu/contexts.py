"""Context table of a micro-TLB: one bit for each (StreamID, SSV, SubstreamID) in use."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import ContextTag, Invalidation, World

__all__ = ["ContextTable", "context_key", "lowest"]


def lowest(bits):
    """The lowest set bit of ``bits``, one-hot."""
    return (bits & -bits)[:len(bits)]


def context_key(params):
    """What names a context."""
    return data.StructLayout({"sid": params.sidsize, "ssv": 1, "ssid": params.ssidsize})


class ContextTable(wiring.Component):
    """Select the contexts that a key or an invalidation names, and give new ones a place.

    A global entry of another ASID is not told from the others, so an invalidation by address and
    ASID removes that page in every ASID. CFGI of one SubstreamID removes the whole StreamID, CFGI
    of several StreamIDs removes all.

    Timing
        ``named`` and ``matched`` are combinational. ``do_fill`` and ``do_remove`` come two clocks
        after what they refer to, which ``compared`` holds then.

    Members
    -------
    key : :py:`In(context_key(params))`
    named : :py:`Out(params.utlb_contexts)`
        The context with this key, if it stays; with ``is_cfgi`` all that a CFGI of it names.
    is_cfgi, any_sid : :py:`In(1)`
        Only the StreamID counts; nothing counts.
    invalidation, matched : :py:`In(Invalidation)`, :py:`Out(params.utlb_contexts)`
        What a TLBI names.
    compared : :py:`In(params.utlb_contexts)`
        What was named for the fill or the CFGI that is carried out.
    place : :py:`Out(params.utlb_contexts)`
        One-hot: the context of ``compared``, or the one to be replaced.
    is_new : :py:`Out(1)`
        ``place`` is to be replaced: its entries must go.
    do_fill, fill_key, fill_tag : :py:`In`
        Write ``place`` if it is new.
    do_remove : :py:`In(1)`
        Remove ``compared``.
    changed : :py:`Out(params.utlb_contexts)`
        Contexts which will not be what they were.
    """

    def __init__(self, params):
        self._key, self._count = context_key(params), params.utlb_contexts
        count = self._count
        super().__init__({
            "key": In(self._key), "is_cfgi": In(1), "any_sid": In(1), "named": Out(count),
            "invalidation": In(Invalidation), "matched": Out(count), "compared": In(count),
            "place": Out(count), "is_new": Out(1),
            "do_fill": In(1), "fill_key": In(self._key), "fill_tag": In(ContextTag),
            "do_remove": In(1), "changed": Out(count),
        })

    def elaborate(self, platform):
        m = Module()
        given, count = self.invalidation, self._count
        valid = Signal(count)
        keys = [Signal(self._key, name=f"key_{k}") for k in range(count)]
        tags = [Signal(ContextTag, name=f"tag_{k}") for k in range(count)]

        for k, tag in enumerate(tags):
            m.d.comb += self.matched[k].eq(
                ((tag.world != World.NS_EL1) == given.el2) & Mux(tag.ipa, given.ipa, given.va)
                & (~given.match_vmid | (tag.vmid == given.vmid))
                & (~given.match_asid | ~given.keep_global | (tag.asid == given.asid)))

        for k, known in enumerate(keys):
            same_sid = known.sid == self.key.sid
            same_ssid = (known.ssv == self.key.ssv) & (known.ssid == self.key.ssid)
            m.d.comb += self.named[k].eq(
                valid[k] & ~self.changed[k] & (same_sid | self.any_sid)
                & (same_ssid | self.is_cfgi))

        compared = self.compared
        victim, turn = Signal(count), Signal(count, init=1)
        m.d.sync += victim.eq(Mux(valid.all(), turn, lowest(~valid)))
        m.d.comb += [
            self.is_new.eq(~compared.any()),
            self.place.eq(Mux(self.is_new, victim, compared)),
        ]
        with m.If(self.do_remove):
            m.d.comb += self.changed.eq(compared)
            m.d.sync += valid.eq(valid & ~compared)
        with m.If(self.do_fill & self.is_new):
            m.d.comb += self.changed.eq(victim)
            m.d.sync += [valid.eq(valid | victim), turn.eq(turn.rotate_left(1))]
            for k in range(count):
                with m.If(victim[k]):
                    m.d.sync += [keys[k].eq(self.fill_key), tags[k].eq(self.fill_tag)]
        return m
