from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.descriptors import Descriptor, S1Leaf, S1Table
from smmu.formats.stream_table import INSTCFG, PRIVCFG, STE, S1DSS, S1Fmt
from smmu.params import Params
from smmu.payloads import (
    LookupConfig, Stage1Config, Stage2Config, TablePointer, TLBEntry, TranslationRequest, World)
from smmu.tcu.walk.geometry import (
    at_least, beyond_size, block_allowed, leaf_sizes, level_after_pointer, one_hot, pointer_class)
from smmu.tcu.walk.records import Decoded, Purpose, Waits, WalkContext, WalkEvent

__all__ = ["Decode"]


class Decode(wiring.Component):
    """First stage of the walk pipeline: which step an event makes, with which fields.

    Chooses the configuration of the stage and half, swaps a big-endian descriptor, takes it apart,
    and decides on the SubstreamID once the STE is there.

    Spec
        IHI 0070: 3.9, 5.3 (SubstreamID), 7.3 (faults of structures); DDI 0487: D8.3.
    Timing
        Combinational.

    Members
    -------
    event : :py:`In(WalkEvent)`
    request : :py:`In(TranslationRequest)`
        Of the walk that the event wakes; so are the next four.
    context : :py:`In(WalkContext)`
    config0, config1, config2 : :py:`In(LookupConfig)` and so on
    sid_beyond : :py:`In(32)`
        StreamID bits that must be 0.
    o : :py:`Out(Decoded)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "event": In(WalkEvent),
            "request": In(TranslationRequest),
            "context": In(WalkContext),
            "config0": In(LookupConfig),
            "config1": In(Stage1Config),
            "config2": In(Stage2Config),
            "sid_beyond": In(32),
            "o": Out(Decoded),
        })

    def elaborate(self, platform):
        m = Module()
        self._identity(m)
        self._step(m)
        self._substream(m)
        self._configuration(m)
        self._descriptor(m)
        m.d.comb += [
            self.o.walk.eq(self.event.walk),
            self.o.context.eq(self.context),
            self.o.hit.eq(self.event.hit),
        ]
        # Where the CD is, remembered for the L1CD's answer.
        with m.If(self.waits[Waits.STE]):
            m.d.comb += [
                self.o.context.cd_walk.eq(self.event.cd_walk),
                self.o.context.leaf_64k.eq(self.o.two_level[1]),
                self.o.context.purpose.eq(
                    Mux(self.o.two_level.any(), Purpose.L1CD, Purpose.CD)),
            ]
        return m

    def _identity(self, m):
        who, request, config = self.o.who, self.request, self.config0
        overrides = config.overrides
        for name in ("sid", "ssv", "addr", "rnw", "priv", "inst"):
            m.d.comb += getattr(who, name).eq(getattr(request, name))
        for name in ("s1", "s2", "world", "vmid", "asid", "aset", "overrides", "A", "R", "S2R"):
            m.d.comb += getattr(who, name).eq(getattr(config, name))
        m.d.comb += [
            who.ssid.eq(Mux(request.ssv, request.ssid, 0)),
            who.PnU.eq(Mux(overrides.PRIVCFG[1], overrides.PRIVCFG == PRIVCFG.PRIVILEGED,
                           request.priv)),
            who.InD.eq(request.rnw & Mux(overrides.INSTCFG[1],
                                         overrides.INSTCFG == INSTCFG.INSTRUCTION, request.inst)),
        ]

    def _step(self, m):
        """One step, or the fault of a structure or of a read."""
        event, waits, step, fault = self.event, self.context.waits, self.o.step, self.o.fault
        self.waits = {state: Signal(name=f"waits_{state.name}") for state in Waits}
        for state, signal in self.waits.items():
            m.d.comb += signal.eq((waits == state) & ~event.start)
        waits = self.waits
        locate_cd = Signal()   # the STE asks for a CD
        begin = Signal()       # it does not
        m.d.comb += [
            step.start.eq(event.start & ~fault.as_value().any()),
            step.config_miss.eq(waits[Waits.CONFIG] & ~event.hit),
            step.l1std.eq(waits[Waits.L1STD] & ~event.error),
            step.locate_cd.eq(locate_cd),
            step.l1cd.eq(waits[Waits.L1CD] & ~event.error),
            step.begin.eq(begin | waits[Waits.CONFIG] & event.hit
                          | waits[Waits.CD] & ~event.error & ~event.bad),
            step.pointer1.eq(waits[Waits.STAGE1_POINTER]),
            step.stage1.eq(waits[Waits.STAGE1]),
            step.ipa.eq(waits[Waits.IPA]),
            step.pointer2.eq(waits[Waits.STAGE2_POINTER]),
            step.stage2.eq(waits[Waits.STAGE2]),
            step.none.eq((event.start | waits[Waits.L1STD] | waits[Waits.STE]
                          | waits[Waits.L1CD] | waits[Waits.CD]) & fault.as_value().any()),

            fault.transl_forbidden.eq(event.start & self.request.atst),
            fault.bad_streamid.eq(event.start & ~self.request.atst
                                  & (self.request.sid & self.sid_beyond).any()),
            fault.ste_fetch.eq((waits[Waits.L1STD] | waits[Waits.STE]) & event.error),
            fault.cd_fetch.eq((waits[Waits.L1CD] | waits[Waits.CD]) & event.error),
            fault.bad_ste.eq(waits[Waits.STE] & ~event.error & event.bad),
            fault.silent.eq(waits[Waits.STE] & ~event.error & ~event.bad & event.silent),
            fault.bad_cd.eq(waits[Waits.CD] & ~event.error & event.bad),
            fault.walk_eabt.eq((waits[Waits.STAGE1] | waits[Waits.STAGE2]) & event.error),
        ]
        self.locate_cd, self.begin = locate_cd, begin

    def _substream(self, m):
        """SubstreamID decision on a good STE, whose first qword is the event's data."""
        params, event, fault = self.params, self.event, self.o.fault
        ste, who = STE(Cat(event.data, C(0, 512 - 64))), self.o.who
        here, stage1, substreams = Signal(), Signal(), Signal()
        bad, disabled, beyond = Signal(), Signal(), Signal()
        mask = self.o.cd_index_mask
        if params.ssidsize:
            m.d.comb += [
                substreams.eq(ste.S1CDMax != 0),
                mask.eq(Cat(at_least(ste.S1CDMax, bit + 1) for bit in range(20))),
            ]
            if params.cd2l:
                m.d.comb += self.o.two_level.eq(Mux(substreams, Cat(
                    ste.S1Fmt == S1Fmt.LEVEL2_4K, ste.S1Fmt == S1Fmt.LEVEL2_64K), 0))
        m.d.comb += [
            here.eq(self.waits[Waits.STE] & ~event.error & ~event.bad & ~event.silent),
            stage1.eq(ste.Config & 1),
            beyond.eq((who.ssid & ~mask).any()),
            bad.eq(who.ssv & (~stage1 | ~substreams | beyond)),
            disabled.eq(stage1 & substreams & Mux(
                who.ssv, (who.ssid == 0) & (event.S1DSS == S1DSS.SSID0),
                (event.S1DSS != S1DSS.SSID0) & (event.S1DSS != S1DSS.BYPASS))),
            fault.bad_substreamid.eq(here & bad),
            fault.stream_disabled.eq(here & ~bad & disabled),
            # `config0.s1` knows about S1DSS.
            self.locate_cd.eq(here & ~bad & ~disabled & self.config0.s1),
            self.begin.eq(here & ~bad & ~disabled & ~self.config0.s1),
        ]

    def _configuration(self, m):
        """What of the configuration this stage and half need."""
        o, config0, config1, config2 = self.o, self.config0, self.config1, self.config2
        waits, half, stage2 = self.waits, self.o.half, self.o.stage2
        m.d.comb += [
            stage2.eq(waits[Waits.IPA] | waits[Waits.STAGE2_POINTER] | waits[Waits.STAGE2]),
            half.eq(self.request.addr[55] & (config0.world != World.EL2)),
            o.TxSZ.eq(Mux(half, config0.T1SZ, config0.T0SZ)),
            o.TBI.eq(Mux(half, config0.TBI1, config0.TBI0)),
            o.EPD.eq(Mux(half, config0.EPD1, config0.EPD0)),
            o.WXN.eq(config0.WXN),
            o.PAN.eq(config0.PAN),
            o.S2T0SZ.eq(config0.S2T0SZ),
            o.S2FWB.eq(config2.S2FWB),
            o.S2PTW.eq(config2.S2PTW),
            o.s1_walk.eq(Mux(half, config1.walk1, config1.walk0)),
            o.s2_walk.eq(config2.walk),
            o.ttb.eq(Mux(stage2, config2.S2TTB, Mux(half, config1.TTB1, config1.TTB0))),
            o.granule.eq(Mux(stage2, config2.granule,
                             Mux(half, config1.granule1, config1.granule0))),
            o.granule2.eq(config2.granule),
            o.input.eq(Mux(stage2 | waits[Waits.STAGE1_POINTER], self.context.ipa,
                           self.request.addr[3:48])),
        ]

    def _descriptor(self, m):
        """Take a descriptor or a cache's answer apart."""
        o, event, params = self.o, self.event, self.params
        granules, stage2, granule = params.granules, self.o.stage2, self.o.granule
        raw = Signal(64)
        m.d.comb += raw.eq(event.data)
        if params.ttendian == 0:
            reading2, reading1 = self.waits[Waits.STAGE2], self.waits[Waits.STAGE1]
            with m.If(reading2 & self.config2.S2ENDI | reading1 & self.config1.ENDI):
                m.d.comb += raw.eq(Cat(event.data.word_select(7 - n, 8) for n in range(8)))
        descriptor, leaf, table = Descriptor(raw), S1Leaf(raw), S1Table(raw)
        entry, pointer = TLBEntry(event.data[:52]), TablePointer(event.data[:40])

        level, limit = Signal(2), Signal(3)
        pointing = self.waits[Waits.STAGE1_POINTER] | self.waits[Waits.STAGE2_POINTER]
        reading = self.waits[Waits.STAGE1] | self.waits[Waits.STAGE2]
        m.d.comb += [
            level.eq(Mux(stage2, self.context.level2, self.context.level)),
            limit.eq(Mux(stage2, self.config2.S2PS, self.config1.IPS)),
            o.descriptor.eq(raw),
            o.is_table.eq(descriptor.is_table(level)),
            o.is_leaf.eq(descriptor.Valid & Mux(
                descriptor.Type, level == 3, block_allowed(level, granule, granules))),
            o.over.eq(beyond_size(descriptor.OA[32 - 12:], limit)),
            o.accessed.eq(leaf.AF | Mux(stage2, self.config2.S2AFFD, self.config1.AFFD)),
            o.pointer_class.eq(pointer_class(level, granule, granules)),
            o.leaf.eq(leaf_sizes(level, granule, granules)),
            o.target.eq(Mux(reading, descriptor.OA, entry.page)),
            o.next_level.eq(Cat(~level[0], level[0] ^ level[1])),
            o.cached_perms.eq(entry.perms),
            o.cached_attrs.eq(entry.attrs),
            o.mair.eq(Cat(
                Cat(self.config0.MAIR[8 * n + bit] & (leaf.AttrIndx == n)
                    for n in range(8)).any() for bit in range(8))),
        ]
        with m.If(self.waits[Waits.IPA]):
            m.d.comb += [
                o.leaf.eq(one_hot(event.size, 7)),
                o.next_level.eq(self.config2.start_level),
            ]
        with m.If(pointing):
            m.d.comb += o.next_level.eq(
                Mux(event.hit, level_after_pointer(event.size),
                    Mux(stage2, self.config2.start_level, self.context.level)))

        had = Mux(o.half, self.config1.HAD1, self.config1.HAD0)
        tables, gathered = o.tables, self.context.tables
        m.d.comb += tables.eq(gathered)
        with m.If(self.waits[Waits.STAGE1] & ~had & o.is_table):
            m.d.comb += [
                tables.aptable.eq(gathered.aptable | table.APTable),
                tables.uxntable.eq(gathered.uxntable | table.UXNTable),
                tables.pxntable.eq(gathered.pxntable | table.PXNTable),
            ]
        with m.If(self.waits[Waits.STAGE1_POINTER]):
            m.d.comb += [
                tables.aptable.eq(Mux(event.hit, pointer.aptable, 0)),
                tables.uxntable.eq(event.hit & pointer.uxntable),
                tables.pxntable.eq(event.hit & pointer.pxntable),
            ]
