from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TLBFilter", "TLBPending"]

DRAIN = 8  # cycles after which no lookup can be answered from what a probe removes


class TLBFilter(data.Struct):
    """Entries that an invalidation may remove: lookups must not find them while it is pending."""

    active: 1
    kinds: 4
    any_vmid: 1
    vmid: 16


class TLBPending(wiring.Component):
    """Remember for the lookups what is being invalidated, until the last removal is written.

    Members
    -------
    add : :py:`In(1)`
        An invalidation begins, of `kinds`, and of `vmid` if `match_vmid`. What is remembered of
        several is what covers them all.
    kinds, match_vmid, vmid : :py:`In`
    hold : :py:`In(1)`
        One is under way.
    filter : :py:`Out(TLBFilter)`
    drained : :py:`Out(1)`
        `hold` has been low so long that all is written.
    """

    add: In(1)
    kinds: In(4)
    match_vmid: In(1)
    vmid: In(16)
    hold: In(1)
    filter: Out(TLBFilter)
    drained: Out(1)

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(DRAIN + 1), init=DRAIN)
        filter_ = self.filter

        m.d.comb += self.drained.eq(left == 0)
        with m.If(self.hold):
            m.d.sync += left.eq(DRAIN)
        with m.Elif(~self.drained):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += filter_.active.eq(0)

        other = filter_.any_vmid | (filter_.vmid != self.vmid)
        with m.If(self.add):
            m.d.sync += [
                filter_.active.eq(1),
                filter_.kinds.eq(self.kinds | Mux(filter_.active, filter_.kinds, 0)),
                filter_.any_vmid.eq(~self.match_vmid | (filter_.active & other)),
                filter_.vmid.eq(self.vmid),
            ]

        return m
