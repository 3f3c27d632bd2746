from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TLBWay"]


class TLBWay(wiring.Component):
    """Hold one way of a set-associative TLB, and compare its entry with a probe.

    A read of the set that is written in the same cycle yields nothing certain: who asks compares
    the indexes.

    Timing
        `index` is sampled in cycle 0, `probe` in cycle 2; `match` and the entry are there in
        cycle 3 (`match` one gate behind registers).

    Members
    -------
    index : :py:`In`
    probe : :py:`In`
        ``probe.index`` is not used here.
    match : :py:`Out(1)`
        The entry is valid and is what the probe asks for.
    valid, size, nG, payload : :py:`Out`
        The entry.
    write, write_index, entry : :py:`In`
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__({
            "index": In(geometry.index_bits),
            "probe": In(geometry.probe),
            "match": Out(1),
            "valid": Out(1),
            "size": Out(geometry.size_bits),
            "nG": Out(1),
            "payload": Out(geometry.payload),
            "write": In(1),
            "write_index": In(geometry.index_bits),
            "entry": In(geometry.entry),
        })

    @property
    def geometry(self):
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry, probe = self._geometry, self.probe
        m.submodules.entries = entries = memory.Memory(
            shape=geometry.entry, depth=geometry.sets, init=[])
        read, write = entries.read_port(), entries.write_port()
        # Nothing but this register stands behind the block RAM.
        found = Signal(geometry.entry, reset_less=True)
        m.d.comb += [
            read.addr.eq(self.index),
            write.addr.eq(self.write_index),
            write.data.eq(self.entry),
            write.en.eq(self.write),
        ]
        m.d.sync += found.eq(read.data)

        same = Signal(geometry.classes)  # by segment
        found_addr = Cat(C(0, geometry.lowest), found.addr)
        for n, segment in enumerate(geometry.segments):
            m.d.comb += same[n].eq(
                (found_addr[segment] == probe.addr[segment]) | probe.ignore[n] | (found.size > n))

        low_matches, high_matches, va55_matches, vmid_matches, asid_matches, rest_matches = (
            Signal(name=n) for n in ("low_matches", "high_matches", "va55_matches",
                                     "vmid_matches", "asid_matches", "rest_matches"))
        m.d.sync += [
            low_matches.eq(same[:-1].all()),
            high_matches.eq(same[-1]),
            va55_matches.eq((found.va55 == probe.va55) | probe.ignore[-1]),
            vmid_matches.eq((found.vmid == probe.vmid) | ~probe.match_vmid),
            asid_matches.eq((found.asid == probe.asid) | ~(probe.match_asid & found.nG)),
            rest_matches.eq(
                found.valid
                & probe.kinds.bit_select(found.kind, 1)
                & ((found.size == probe.size) | ~probe.match_size)
                & (found.nG | ~((probe.match_aset & (found.aset != probe.aset))
                                | probe.keep_global))),
            self.valid.eq(found.valid),
            self.size.eq(found.size),
            self.nG.eq(found.nG),
            self.payload.eq(found.payload),
        ]
        m.d.comb += self.match.eq(low_matches & high_matches & va55_matches & vmid_matches
                                  & asid_matches & rest_matches)

        return m
