from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import (
    CONFIG_ROW_BITS, CONFIG_ROWS, ConfigFill, ConfigKey, ConfigLoad, ConfigLookup, ConfigResult,
    ConfigRow, Invalidation)
from smmu.tcu.config_invalidate import ConfigInvalidate
from smmu.tcu.config_tags import ConfigGeometry, ConfigTags
from smmu.tcu.config_writer import ConfigWriter

__all__ = ["ConfigCache"]


class ConfigCache(wiring.Component):
    """Keep decoded configurations (STE and CD together) by StreamID and SubstreamID.

    Tags of two ways in LUT RAM, rows in one block RAM. A fill first empties a way and lets its
    readers leave, then writes the rows, then makes the tag valid, unless it was abandoned or a CFGI
    was accepted since its first row.

    Spec
        SMMUV3 8.4. An entry is removed by whatever removes its STE or its CD.
    Timing
        A lookup or the first row of a load is answered 5 cycles after it was accepted, the other
        rows in the next two cycles. One lookup per cycle; each row of a load, and each step of a
        fill or a CFGI, takes the cycle of a lookup, those of a CFGI every other cycle at most.
        After reset nothing is accepted until the tags are cleared. A CFGI of one SubstreamID
        looks at one set, any other at all of them.

    Members
    -------
    lookups : :py:`In(stream.Signature(ConfigLookup))`
    results : :py:`Out(stream.Signature(ConfigResult, always_ready=True))`
        In the order of the lookups.
    loads : :py:`In(stream.Signature(ConfigLoad))`
    rows : :py:`Out(stream.Signature(ConfigRow, always_ready=True))`
        For each load rows 0, 1 and 2 in consecutive cycles, or one with ``hit`` 0.
    fills : :py:`In(stream.Signature(ConfigFill))`
        Rows that don't follow each other from row 0 are accepted and forgotten.
    abandon : :py:`In(1)`
        Forget the fill whose rows were accepted so far, in this cycle too.
    invalidations : :py:`In(stream.Signature(Invalidation))`
        ``ready`` doesn't depend on ``valid``. TLBI is accepted without effect.
    busy : :py:`Out(1)`
        An accepted CFGI is not yet carried out.
    """

    def __init__(self, params: Params):
        self.params = params
        self._geometry = ConfigGeometry(params)
        super().__init__({
            "lookups": In(stream.Signature(ConfigLookup)),
            "results": Out(stream.Signature(ConfigResult, always_ready=True)),
            "loads": In(stream.Signature(ConfigLoad)),
            "rows": Out(stream.Signature(ConfigRow, always_ready=True)),
            "fills": In(stream.Signature(ConfigFill)),
            "abandon": In(1),
            "invalidations": In(stream.Signature(Invalidation)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        m.submodules.tags = tags = ConfigTags(geometry)
        m.submodules.invalidate = invalidate = ConfigInvalidate(geometry)
        m.submodules.writer = writer = ConfigWriter(geometry)
        m.submodules.ram = ram = memory.Memory(
            shape=CONFIG_ROW_BITS, depth=4 * geometry.sets * geometry.ways, init=[])
        wiring.connect(m, wiring.flipped(self.invalidations), invalidate.invalidations)
        wiring.connect(m, wiring.flipped(self.fills), writer.fills)
        m.d.comb += [
            self.busy.eq(invalidate.busy),
            writer.hold.eq(invalidate.clearing),
            writer.forget.eq(self.abandon | invalidate.accepted),
            writer.emptied.valid.eq(tags.done.victim),
            writer.emptied.way.eq(tags.way),
            tags.pending.eq(invalidate.busy),
        ]
        for name in "sid", "sid_ignore", "match_ssid", "ssid":
            m.d.comb += getattr(tags, name).eq(getattr(invalidate, name))

        # A load stays here for its three rows.
        load, loading, do_load = Signal.like(self.loads.payload), Signal(), Signal()
        row = Signal(range(CONFIG_ROWS))
        m.d.comb += self.loads.ready.eq(~loading & ~invalidate.clearing)
        with m.If(self.loads.ready):
            m.d.sync += [load.eq(self.loads.payload), loading.eq(self.loads.valid), row.eq(0)]
        with m.Elif(do_load):
            m.d.sync += row.eq(row + 1)
            with m.If(row == CONFIG_ROWS - 1):
                m.d.sync += loading.eq(0)

        # One operation per cycle; the rows of a load follow each other. CFGI and lookups in turn.
        operation, was_removal, key = tags.operation, Signal(), Signal(ConfigKey)
        trimmed, possible = geometry.trimmed(key)
        m.d.comb += key.eq(Mux(loading, load.key, self.lookups.payload.key))
        m.d.sync += [
            operation.eq(0),
            operation.possible.eq(possible),
            operation.key.eq(trimmed),
            operation.set.eq(geometry.set_of(
                key.sid[:geometry.sid_bits], Mux(key.ssv, key.ssid, 0)[:geometry.ssid_bits])),
            operation.number.eq(Mux(loading, load.walk, self.lookups.payload.tag)),
            was_removal.eq(invalidate.do_remove),
        ]
        with m.If(loading):
            m.d.comb += do_load.eq(1)
            m.d.sync += [operation.load.eq(1), operation.row.eq(row)]
        with m.Elif(writer.victim | writer.publish):
            m.d.comb += [writer.do_victim.eq(writer.victim), writer.do_publish.eq(writer.publish)]
            m.d.sync += [
                operation.victim.eq(writer.victim),
                operation.publish.eq(writer.publish & ~writer.forget),
                operation.key.eq(writer.key),
                operation.set.eq(writer.set),
                operation.way.eq(writer.way),
            ]
        with m.Elif(invalidate.remove & ~was_removal):
            m.d.comb += invalidate.do_remove.eq(1)
            m.d.sync += [operation.remove.eq(1), operation.set.eq(invalidate.set)]
        with m.Elif(~invalidate.clearing):
            m.d.comb += self.lookups.ready.eq(1)
            m.d.sync += operation.lookup.eq(self.lookups.valid)

        # Rows are read in cycle 2 of the tags, those of a load after the first where that was.
        read, write = ram.read_port(), ram.write_port()
        done, hit, way = tags.done, Signal(), Signal()
        was_hit, was_way = Signal(), Signal()
        with m.If(done.row == 0):
            m.d.comb += [hit.eq(tags.hit), way.eq(tags.way)]
        with m.Else():
            m.d.comb += [hit.eq(was_hit), way.eq(was_way)]
        m.d.sync += [was_hit.eq(hit), was_way.eq(way)]
        m.d.comb += [
            read.addr.eq(Cat(done.row, way, done.set)),
            write.addr.eq(Cat(writer.write.row, writer.way, writer.set)),
            write.data.eq(writer.write.bits),
            write.en.eq(writer.write.en),
        ]

        # Cycle 3: the block RAM's output register; cycle 4: the answer.
        found = Signal(data.StructLayout({"lookup": 1, "load": 1, "number": 6, "row": 2, "hit": 1}))
        bits, result, answer = Signal(CONFIG_ROW_BITS), self.results.payload, self.rows.payload
        m.d.sync += [
            found.lookup.eq(done.lookup),
            found.load.eq(done.load & (hit | (done.row == 0))),
            found.number.eq(done.number),
            found.row.eq(done.row),
            found.hit.eq(hit),
            self.results.valid.eq(found.lookup),
            result.tag.eq(found.number),
            result.hit.eq(found.hit),
            self.rows.valid.eq(found.load),
            answer.walk.eq(found.number),
            answer.hit.eq(found.hit),
            answer.row.eq(found.row),
            bits.eq(read.data),
        ]
        m.d.comb += [result.row0.eq(bits), answer.bits.eq(bits)]

        return m
