from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import Invalidation

__all__ = ["TLBRange"]

MOST_PAGES = 16  # of a range that is worth to be probed page by page


class TLBRange(wiring.Component):
    """Step through the address range of an invalidation, or say what its addresses have in common.

    Spec
        SMMUV3 4.1: NUM, SCALE, TG. A range does not wrap; one that leaves 48 bits has nothing in
        common.
    Timing
        `measured` comes one cycle for each doubling of the range after `load`, and one more.
        `page` changes in the cycle after `load` and `advance`.

    Members
    -------
    load, command : :py:`In(1)`, :py:`In(Invalidation)`
    step : :py:`In`
        One-hot: the size class whose size is the step. Stable from `measured` on.
    measured : :py:`Out(1)`
        The outputs below hold.
    page : :py:`Out(36)`
        Address [47:12] of the present page. Holds without `measured`, too.
    ends : :py:`Out(1)`
        It is the last.
    begins : :py:`Out`
        Size classes of which a page begins here.
    advance : :py:`In(1)`
        Go on to the next page.
    is_short : :py:`Out(1)`
        There are not more than 16 pages.
    differ : :py:`Out`
        Address segments in which pages of the range differ, and all segments below these.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__({
            "load": In(1),
            "command": In(Invalidation),
            "step": In(geometry.classes),
            "measured": Out(1),
            "page": Out(36),
            "ends": Out(1),
            "begins": Out(geometry.classes),
            "advance": In(1),
            "is_short": Out(1),
            "differ": Out(geometry.classes),
        })

    @property
    def geometry(self):
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry, command = self._geometry, self.command
        segments = geometry.segments
        page, last = self.page, Signal(36)
        span = Signal(40)         # pages of 4 KiB, less one
        doublings = Signal(6)
        beyond = Signal()

        with m.If(~self.measured):
            m.d.sync += [self.measured.eq(doublings == 0), Cat(last, beyond).eq(page + span[:36])]
        with m.If(doublings != 0):
            m.d.sync += [span.eq(Cat(1, span)), doublings.eq(doublings - 1)]

        coarser = ~geometry.below(self.step)  # the segments that the steps go through
        increment = Cat(Cat(self.step[n], C(0, s.stop - s.start - 1))
                        for n, s in enumerate(segments))
        with m.If(self.advance):
            m.d.sync += page[geometry.lowest:].eq(page[geometry.lowest:] + increment)

        differ = Cat((page[s] ^ last[s]).any() for s in segments)
        begins = Cat(~page[s].any() for s in segments) | ~coarser
        many = Cat(span[s.start + (MOST_PAGES - 1).bit_length():].any() for s in segments)
        leaves = beyond | span[36:].any()
        m.d.comb += [
            self.ends.eq((differ & coarser) == 0),
            self.begins.eq(Cat(begins[:n].all() for n in range(geometry.classes))),
            self.is_short.eq(~(many & self.step).any() & ~leaves),
            self.differ.eq(Cat(differ[n:].any() | leaves for n in range(geometry.classes))),
        ]

        with m.If(self.load):
            m.d.sync += [
                page.eq(command.addr),
                span.eq(command.num),
                doublings.eq(command.scale + Mux(command.tg[0], Mux(command.tg[1], 4, 0), 2)),
                self.measured.eq(0),
            ]

        return m
