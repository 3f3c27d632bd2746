from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import CONFIG_ROW_BITS, CONFIG_ROWS, ConfigFill
from smmu.tcu.config_tags import ConfigGeometry

__all__ = ["ConfigWriter"]

SETTLE = 8  # cycles after which nobody reads the rows of a way that was emptied


class ConfigWriter(wiring.Component):
    """Write a configuration: empty a way, let its readers leave, write the rows, make it valid.

    Members
    -------
    fills : :py:`In(stream.Signature(ConfigFill))`
        Rows that don't follow each other from row 0 are accepted and forgotten.
    forget : :py:`In(1)`
        Forget what was accepted up to this cycle, and is not published yet.
    hold : :py:`In(1)`
        Accept nothing.
    victim, publish : :py:`Out(1)`
        Ask for these operations, on `key` and `set`, and `way`.
    do_victim, do_publish : :py:`In(1)`
        Strobes: they begin.
    emptied : :py:`In(data.StructLayout({"valid": 1, "way": 1}))`
        The result of `victim`.
    key, set, way : :py:`Out`
    write : :py:`Out(data.StructLayout({"en": 1, "row": 2, "bits": CONFIG_ROW_BITS}))`
        Write a row of `set` and `way`.
    """

    def __init__(self, geometry: ConfigGeometry):
        self._geometry = geometry
        super().__init__({
            "fills": In(stream.Signature(ConfigFill)),
            "forget": In(1),
            "hold": In(1),
            "victim": Out(1),
            "publish": Out(1),
            "do_victim": In(1),
            "do_publish": In(1),
            "emptied": In(data.StructLayout({"valid": 1, "way": 1})),
            "key": Out(geometry.key),
            "set": Out(geometry.set_bits),
            "way": Out(1),
            "write": Out(data.StructLayout({"en": 1, "row": 2, "bits": CONFIG_ROW_BITS})),
        })

    @property
    def geometry(self):
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        fill, fill_valid, take = Signal.like(self.fills.payload), Signal(), Signal()
        expected = Signal(range(CONFIG_ROWS))
        settle = Signal(range(SETTLE + 1))
        key, _ = geometry.trimmed(fill.key)

        m.d.comb += [
            self.fills.ready.eq((~fill_valid | take) & ~self.hold),
            self.set.eq(geometry.set_of(self.key.sid, self.key.ssid)),
            self.write.row.eq(fill.row),
            self.write.bits.eq(fill.bits),
        ]
        with m.If(self.fills.ready):
            m.d.sync += [fill.eq(self.fills.payload), fill_valid.eq(self.fills.valid)]
        with m.Elif(take):
            m.d.sync += fill_valid.eq(0)
        with m.If(self.emptied.valid):
            m.d.sync += self.way.eq(self.emptied.way)

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [self.key.eq(key), expected.eq(0), settle.eq(SETTLE)]
                m.d.comb += take.eq(fill.row != 0)
                with m.If(fill_valid & (fill.row == 0) & ~self.forget):
                    m.next = "Empty a way"
            with m.State("Empty a way"):
                m.d.comb += self.victim.eq(1)
                with m.If(self.forget):
                    m.next = "Idle"
                with m.Elif(self.do_victim):
                    m.next = "Let readers leave"
            with m.State("Let readers leave"):
                m.d.sync += settle.eq(settle - 1)
                with m.If(self.forget):
                    m.next = "Idle"
                with m.Elif(settle == 0):
                    m.next = "Write rows"
            with m.State("Write rows"):
                m.d.comb += [take.eq(1), self.write.en.eq(fill_valid)]
                with m.If(fill_valid):
                    m.d.sync += expected.eq(expected + 1)
                with m.If(self.forget | (fill_valid & (fill.row != expected))):
                    m.next = "Idle"
                with m.Elif(fill_valid & (expected == CONFIG_ROWS - 1)):
                    m.next = "Publish"
            with m.State("Publish"):
                m.d.comb += self.publish.eq(1)
                with m.If(self.forget | self.do_publish):
                    m.next = "Idle"
        with m.If(self.forget):
            m.d.sync += fill_valid.eq(0)

        return m
