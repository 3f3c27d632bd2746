from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import TLBFill
from smmu.tcu.tlb_geometry import entry_kind

__all__ = ["TLBFiller"]


class TLBFiller(wiring.Component):
    """Hold one fill from its acceptance until it is written.

    Members
    -------
    fills : :py:`In(stream.Signature(TLBFill(...)))`
    hold : :py:`In(1)`
        Accept no fill.
    pending : :py:`Out(1)`
        A fill was accepted and is not written yet.
    begins : :py:`Out`
        Its size class, one-hot, in the cycle after it was accepted; else 0.
    requests : :py:`Out(stream.Signature(geometry.request))`
        Asks for the set that the fill goes to.
    done, again : :py:`In(1)`
        Strobes: the fill is written in the next cycle, or must be probed again.
    entry : :py:`Out(geometry.entry)`
        What to write, but for ``valid``. Stable from `requests` to the cycle after `done`.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__({
            "fills": In(stream.Signature(TLBFill(geometry.classes, geometry.payload))),
            "hold": In(1),
            "pending": Out(1),
            "begins": Out(geometry.classes),
            "requests": Out(stream.Signature(geometry.request)),
            "done": In(1),
            "again": In(1),
            "entry": Out(geometry.entry),
        })

    @property
    def geometry(self):
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        fill = Signal.like(self.fills.payload, reset_less=True)
        accepted, size_class = Signal(), Signal(geometry.classes)

        m.d.comb += self.fills.ready.eq(~self.pending & ~self.hold)
        m.d.sync += accepted.eq(self.fills.valid & self.fills.ready)
        with m.If(self.fills.ready):
            m.d.sync += [fill.eq(self.fills.payload), self.pending.eq(self.fills.valid)]
        with m.Elif(self.done):
            m.d.sync += self.pending.eq(0)

        with m.If(accepted):
            m.d.comb += self.begins.eq(1 << fill.size)
            m.d.sync += size_class.eq(1 << fill.size)
        with m.If(accepted | self.again):
            m.d.sync += self.requests.valid.eq(1)
        with m.Elif(self.requests.ready):
            m.d.sync += self.requests.valid.eq(0)

        m.d.comb += [
            self.requests.payload.eq(geometry.request_of(fill.key, size_class)),
            self.entry.kind.eq(entry_kind(fill.key.world, fill.key.ipa)),
            self.entry.size.eq(fill.size),
            self.entry.nG.eq(fill.nG),
            self.entry.aset.eq(fill.key.aset),
            self.entry.va55.eq(fill.key.va55),
            self.entry.vmid.eq(fill.key.vmid),
            self.entry.asid.eq(fill.key.asid),
            self.entry.addr.eq(fill.key.addr[geometry.lowest:]),
            self.entry.payload.eq(fill.payload),
        ]
        return m
