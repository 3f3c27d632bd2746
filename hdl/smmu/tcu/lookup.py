from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import (
    PAGE_SHIFTS, ConfigLookup, ConfigResult, Decision, Overrides, TaggedRequest, TLBEntry,
    TLBKey, TLBLookup, TLBResult)
from smmu.tcu.lookup_key import LookupKey

__all__ = ["Lookup", "LOOKUPS"]

LOOKUPS = 16  # lookups under way: the depth of a LUT RAM
CLASSES = len(PAGE_SHIFTS)


class Lookup(wiring.Component):
    """Find the configuration of a request, then its page in the main TLB.

    Up to 16 lookups are under way in a ring. Each takes a place when its configuration lookup is
    sent; places are filled and left in order. A request whose configuration is not cached, whose
    address its configuration refuses, or that needs no TLB (full bypass, ATS Translated) leaves
    with ``hit`` 0, for a walk to say why.

    Timing
        One request per cycle. Apart from the two caches: 1 cycle for the key, 1 to the TLB,
        2 from its result to `decisions`.

    Members
    -------
    items : :py:`In(stream.Signature(TaggedRequest))`
    cfg_lookups : :py:`Out(stream.Signature(ConfigLookup))`
    cfg_results : :py:`In(stream.Signature(ConfigResult, always_ready=True))`
        In the order of `cfg_lookups`.
    tlb_lookups : :py:`Out(stream.Signature(TLBLookup(6, 7)))`
        ``tag`` is 32 + the place in the ring.
    tlb_results : :py:`In(stream.Signature(TLBResult(6, 7, TLBEntry), always_ready=True))`
    decisions : :py:`Out(stream.Signature(Decision))`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "items": In(stream.Signature(TaggedRequest)),
            "cfg_lookups": Out(stream.Signature(ConfigLookup)),
            "cfg_results": In(stream.Signature(ConfigResult, always_ready=True)),
            "tlb_lookups": Out(stream.Signature(TLBLookup(6, CLASSES))),
            "tlb_results": In(stream.Signature(
                TLBResult(6, CLASSES, TLBEntry), always_ready=True)),
            "decisions": Out(stream.Signature(Decision)),
        })

    def elaborate(self, platform):
        m = Module()

        arrived = data.StructLayout({"addr": 64, "atst": 1})
        configured = data.StructLayout({
            "cold": 1, "key": TLBKey, "combine": 1, "overrides": Overrides})
        found = data.StructLayout(
            {"hit": 1, "nG": 1, "size": range(CLASSES), "payload": TLBEntry})

        def ring(name, shape, style="distributed"):
            m.submodules[name] = ram = memory.Memory(
                shape=shape, depth=LOOKUPS, init=[], attrs={"ram_style": style})
            return ram.write_port(), ram

        style = self.params.record_ram_style
        arrived_write, arrived_ram = ring("arrived_ram", arrived)
        items_write, items_ram = ring("items_ram", TaggedRequest, style)
        configured_write, configured_ram = ring("configured_ram", configured)
        found_write, found_ram = ring("found_ram", found, style)

        # Places, in the order that a lookup passes them; one bit more than the index.
        taken, asked, keyed, probed, decided = (
            Signal(range(2 * LOOKUPS), name=n)
            for n in ("taken", "asked", "keyed", "probed", "decided"))
        probes, done = Signal(LOOKUPS), Signal(LOOKUPS)   # by place: to probe the TLB; to decide

        # Take a place.
        full = Signal()
        request = self.items.payload.request
        m.d.comb += [
            full.eq((taken ^ decided) == LOOKUPS),
            self.cfg_lookups.valid.eq(self.items.valid & ~full),
            self.cfg_lookups.payload.tag.eq(taken),
            self.cfg_lookups.payload.key.sid.eq(request.sid),
            self.cfg_lookups.payload.key.ssv.eq(request.ssv),
            self.cfg_lookups.payload.key.ssid.eq(request.ssid),
            self.items.ready.eq(self.cfg_lookups.ready & ~full),
            items_write.addr.eq(taken[:4]),
            items_write.data.eq(self.items.payload),
            items_write.en.eq(self.items.valid & self.items.ready),
            arrived_write.addr.eq(taken[:4]), arrived_write.en.eq(items_write.en),
            arrived_write.data.addr.eq(request.addr), arrived_write.data.atst.eq(request.atst),
        ]
        with m.If(items_write.en):
            m.d.sync += taken.eq(taken + 1)

        # The configuration arrives: make the key.
        row0, cfg_hit = self.cfg_results.payload.row0, self.cfg_results.payload.hit
        arrived_read = arrived_ram.read_port(domain="comb")
        m.submodules.lookup_key = lookup_key = LookupKey(self.params)
        keying, keying_hit, keying_probe = Signal(), Signal(), Signal()
        keying_combine, keying_overrides = Signal(), Signal(Overrides)
        m.d.comb += [
            arrived_read.addr.eq(asked[:4]),
            lookup_key.config.eq(row0),
            lookup_key.addr.eq(arrived_read.data.addr),
        ]
        m.d.sync += [
            keying.eq(self.cfg_results.valid),
            keying_hit.eq(cfg_hit),
            keying_probe.eq(cfg_hit & (row0.s1 | row0.s2) & ~arrived_read.data.atst),
            keying_combine.eq(~row0.s1),
            keying_overrides.eq(row0.overrides),
        ]
        with m.If(self.cfg_results.valid):
            m.d.sync += asked.eq(asked + 1)
        m.d.comb += [
            configured_write.en.eq(keying),
            configured_write.addr.eq(keyed[:4]),
            configured_write.data.cold.eq(~keying_hit),
            configured_write.data.key.eq(lookup_key.key),
            configured_write.data.combine.eq(keying_combine),
            configured_write.data.overrides.eq(keying_overrides),
        ]
        with m.If(keying):
            m.d.sync += [
                keyed.eq(keyed + 1),
                probes.bit_select(keyed[:4], 1).eq(keying_probe & lookup_key.legal),
            ]

        # Probe the main TLB.
        probe_read = configured_ram.read_port()   # holds the key that is offered
        offered = Signal()   # `tlb_lookups` holds a lookup not yet taken
        advance, probe = Signal(), Signal()
        m.d.comb += [
            probe_read.addr.eq(probed[:4]), probe_read.en.eq(advance),
            probe.eq(probes.bit_select(probed[:4], 1)),
            self.tlb_lookups.payload.key.eq(probe_read.data.key),
            self.tlb_lookups.valid.eq(offered),
            advance.eq(self.tlb_lookups.ready | ~offered),
        ]
        with m.If(advance):
            m.d.sync += [
                offered.eq((probed != keyed) & probe),
                self.tlb_lookups.payload.tag.eq(Cat(probed[:4], C(0b10, 2))),
                self.tlb_lookups.payload.classes.eq(~0),
            ]
            with m.If(probed != keyed):
                m.d.sync += probed.eq(probed + 1)
                with m.If(~probe):
                    m.d.sync += done.bit_select(probed[:4], 1).eq(1)
        result = self.tlb_results.payload
        m.d.comb += [
            found_write.en.eq(self.tlb_results.valid),
            found_write.addr.eq(result.tag[:4]),
            found_write.data.hit.eq(result.hit),
            found_write.data.nG.eq(result.nG),
            found_write.data.size.eq(result.size),
            found_write.data.payload.eq(result.payload),
        ]
        with m.If(self.tlb_results.valid):
            m.d.sync += done.bit_select(result.tag[:4], 1).eq(1)

        # Decide, in order. The memories' read registers hold what is offered.
        place, move, decided_probe = decided[:4], Signal(), Signal()
        item_read, config_read, found_read = (
            ram.read_port() for ram in (items_ram, configured_ram, found_ram))
        decision = self.decisions.payload
        m.d.comb += move.eq(self.decisions.ready | ~self.decisions.valid)
        for read in (item_read, config_read, found_read):
            m.d.comb += [read.addr.eq(place), read.en.eq(move)]
        m.d.comb += [
            decision.item.eq(item_read.data),
            decision.cold.eq(config_read.data.cold),
            decision.hit.eq(decided_probe & found_read.data.hit),
            decision.size.eq(found_read.data.size),
            decision.nG.eq(found_read.data.nG),
            decision.entry.eq(found_read.data.payload),
            decision.context.world.eq(config_read.data.key.world),
            decision.context.ipa.eq(config_read.data.key.ipa),
            decision.context.vmid.eq(config_read.data.key.vmid),
            decision.context.asid.eq(config_read.data.key.asid),
            decision.combine.eq(config_read.data.combine),
            decision.overrides.eq(config_read.data.overrides),
        ]
        with m.If(move):
            m.d.sync += [
                self.decisions.valid.eq(done.bit_select(place, 1)),
                decided_probe.eq(probes.bit_select(place, 1)),
            ]
            with m.If(done.bit_select(place, 1)):
                m.d.sync += [decided.eq(decided + 1), done.bit_select(place, 1).eq(0)]

        return m
