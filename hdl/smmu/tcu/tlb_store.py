from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import TLBResult
from smmu.tcu.tlb_geometry import first_one
from smmu.tcu.tlb_pending import TLBFilter
from smmu.tcu.tlb_way import TLBWay

__all__ = ["TLBStore"]


def first_match(matches, values):
    """The value beside the first match; without a match, any of them."""
    matches, values = list(matches), list(values)
    while len(values) > 1:
        pairs = range(0, len(values) - 1, 2)
        rest = len(values) & ~1
        values = [Mux(matches[n], values[n], values[n + 1]) for n in pairs] + values[rest:]
        matches = [matches[n] | matches[n + 1] for n in pairs] + matches[rest:]
    return values[0]


class TLBStore(wiring.Component):
    """Read one set per cycle, compare, and answer, fill or remove.

    Timing
        `probe` and `operation` count in cycle 0. A lookup that ends with this probe is answered in
        cycle 4; a fill or a removal is written in cycle 5, `fill_done` in cycle 4.
        A lookup misses that reads (cycle 0) what is written in the same cycle; a fill asks to be
        probed again. A removal needs no such care: if the way that is written becomes empty, it is
        what the removal wants, and if it is filled, by a fill that came later.

    Members
    -------
    probe, operation : :py:`In`
        Registers. Probes of one lookup follow each other, but for others' between them.
    filter : :py:`In(TLBFilter)`
        Which lookups must miss; for cycle 2.
    entry : :py:`In(geometry.entry)`
        What a fill writes, but for ``valid``. Stable from its probe to the cycle after `fill_done`.
    results : :py:`Out(stream.Signature(TLBResult(...), always_ready=True))`
    fill_done, fill_again : :py:`Out(1)`
        Strobes in cycle 4: the fill will be written in the next cycle, or must be probed again.
    met : :py:`Out`
        Size classes of the entries that a removal met and left, in cycle 5.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__({
            "probe": In(geometry.probe),
            "operation": In(geometry.operation),
            "filter": In(TLBFilter),
            "entry": In(geometry.entry),
            "results": Out(stream.Signature(
                TLBResult(geometry.tag_bits, geometry.classes, geometry.payload),
                always_ready=True)),
            "fill_done": Out(1),
            "fill_again": Out(1),
            "met": Out(geometry.classes),
        })

    @property
    def geometry(self):
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        ways = [TLBWay(geometry) for _ in range(geometry.ways)]
        write, write_index = Signal(geometry.ways), Signal(geometry.index_bits)
        entry = Signal(geometry.entry)

        # Cycles 0 to 3: read, capture, compare.
        probe = [self.probe, *(Signal(geometry.probe, name=f"probe_{n}", reset_less=True)
                               for n in (1, 2))]
        operation = [self.operation, *(
            Signal(geometry.operation, name=f"operation_{n}") for n in (1, 2, 3, 4))]
        index = [self.probe.index, *(Signal(geometry.index_bits, name=f"index_{n}")
                                     for n in (1, 2, 3, 4))]
        collided = [Signal(name=f"collided_{n}") for n in range(5)]
        for stages in probe, operation, index, collided:
            m.d.sync += [after.eq(before) for before, after in zip(stages[:-1], stages[1:],
                                                                   strict=True)]
        m.d.comb += collided[0].eq(write.any() & (write_index == self.probe.index))
        for n, way in enumerate(ways):
            m.submodules[f"way_{n}"] = way
            m.d.comb += [
                way.index.eq(self.probe.index),
                way.probe.eq(probe[2]),
                way.write.eq(write[n]),
                way.write_index.eq(write_index),
                way.entry.eq(entry),
            ]
        write_valid = Signal()  # it is a fill; of what is removed, the rest doesn't matter
        m.d.comb += [entry.eq(self.entry), entry.valid.eq(write_valid)]
        filtered, size = Signal(), Signal(geometry.size_bits)
        m.d.sync += [
            filtered.eq(
                self.filter.active & (self.filter.kinds & probe[2].kinds).any()
                & (self.filter.any_vmid | (self.filter.vmid == probe[2].vmid))),
            size.eq(probe[2].size),
        ]

        # Cycle 3: the answer.
        matches = [way.match for way in ways]
        lookup, hit = operation[3], Signal()
        answered = Signal()  # an earlier probe of this lookup has hit
        found = first_match(matches, [Cat(way.nG, Value.cast(way.payload)) for way in ways])
        result = self.results.payload
        m.d.comb += hit.eq(Cat(matches).any() & ~filtered & ~collided[3] & ~lookup.none)
        m.d.sync += [
            self.results.valid.eq(lookup.lookup & ~answered & (hit | lookup.last)),
            result.tag.eq(lookup.tag),
            result.hit.eq(hit),
            result.size.eq(size),
            Cat(result.nG, Value.cast(result.payload)).eq(found),
        ]
        with m.If(lookup.lookup):
            m.d.sync += answered.eq((answered | hit) & ~lookup.last)

        # Cycle 4: which ways to write. In a set without room any way goes.
        matched, valid = Signal(geometry.ways), Signal(geometry.ways)
        sizes = [Signal(geometry.size_bits, name=f"size_{n}") for n in range(geometry.ways)]
        random, filled = Signal(7, init=1), Signal(geometry.ways)
        m.d.sync += [
            matched.eq(Cat(matches)),
            valid.eq(Cat(way.valid for way in ways)),
            *(size.eq(way.size) for size, way in zip(sizes, ways, strict=True)),
            random.eq(Cat(random[6] ^ random[5], random)),
        ]
        with m.If(matched.any()):
            m.d.comb += filled.eq(first_one(matched))
        with m.Elif(~valid.all()):
            m.d.comb += filled.eq(first_one(~valid))
        with m.Else():
            m.d.comb += filled.eq(1 << random[:(geometry.ways - 1).bit_length()] % geometry.ways)
        m.d.comb += [
            self.fill_done.eq(operation[4].fill & ~collided[4]),
            self.fill_again.eq(operation[4].fill & collided[4]),
        ]
        m.d.sync += [
            write.eq(Mux(operation[4].invalidate, matched, 0) | Mux(self.fill_done, filled, 0)),
            write_index.eq(index[4]),
            write_valid.eq(self.fill_done),
            self.met.eq(0),
        ]
        with m.If(operation[4].invalidate):
            for n in range(geometry.classes):
                m.d.sync += self.met[n].eq(
                    Cat(size == n for size in sizes) & valid & ~matched != 0)

        return m
