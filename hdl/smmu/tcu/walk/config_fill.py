from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import (
    CONFIG_ROW_BITS, CONFIG_ROWS, ConfigFill, ConfigKey, LookupConfig, Stage1Config, Stage2Config)

__all__ = ["ConfigFiller", "FillCandidate"]


class FillCandidate(data.Struct):
    """A configuration just decoded."""

    walk: 5
    key: ConfigKey
    config0: LookupConfig
    config1: Stage1Config
    config2: Stage2Config


class ConfigFiller(wiring.Component):
    """Offer a decoded configuration to the configuration cache, row by row.

    One at a time: a candidate that comes meanwhile is not kept, which costs a fetch, no more.

    Timing
        `candidate` is taken when nothing is under way; `confirm` in the next cycle starts the fill.

    Members
    -------
    candidate : :py:`In(FillCandidate)`
    confirm : :py:`In(1)`
        The candidate of the previous cycle is good.
    marked : :py:`In(params.walks)`
        Walks that must not fill.
    fills : :py:`Out(stream.Signature(ConfigFill))`
        Withdrawn, with `abandon`, when the walk is marked.
    abandon : :py:`Out(1)`
        The fill under way is void.
    active, walk : :py:`Out(1)`, :py:`Out(5)`
        A fill for this walk is under way: the walk must not end, else nobody would mark it.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "candidate": In(FillCandidate),
            "confirm": In(1),
            "marked": In(params.walks),
            "fills": Out(stream.Signature(ConfigFill)),
            "abandon": Out(1),
            "active": Out(1),
            "walk": Out(5),
        })

    def elaborate(self, platform):
        m = Module()
        held, active = Signal(FillCandidate, reset_less=True), self.active
        row = Signal(range(CONFIG_ROWS))
        void = Signal()
        fill = self.fills.payload
        rows = [Cat(part.as_value(), C(0, CONFIG_ROW_BITS))[:CONFIG_ROW_BITS]
                for part in (held.config0, held.config1, held.config2)]
        m.d.comb += [
            void.eq(active & self.marked.bit_select(held.walk[:bits(self.params)], 1)),
            self.abandon.eq(void),
            self.walk.eq(held.walk),
            self.fills.valid.eq(active & ~void),
            fill.key.eq(held.key),
            fill.row.eq(row),
        ]
        with m.Switch(row):
            for number in range(CONFIG_ROWS):
                with m.Case(number):
                    m.d.comb += fill.bits.eq(rows[number])
        fresh = Signal()   # `held` was just taken
        m.d.sync += fresh.eq(~active)
        with m.If(~active):
            m.d.sync += [held.eq(self.candidate), row.eq(0)]
            m.d.sync += active.eq(0)
        with m.If(~active & fresh & self.confirm):
            # One more cycle passed since: keep what was taken then.
            m.d.sync += [active.eq(1), held.eq(held)]
        with m.If(void):
            m.d.sync += active.eq(0)
        with m.Elif(self.fills.valid & self.fills.ready):
            m.d.sync += row.eq(row + 1)
            with m.If(row == CONFIG_ROWS - 1):
                m.d.sync += active.eq(0)
        return m


def bits(params):
    """Bits of a walk's number."""
    return max(1, (params.walks - 1).bit_length())
