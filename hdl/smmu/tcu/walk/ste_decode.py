from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.descriptors import S2_START_LEVEL, TG0, bits_per_level
from smmu.formats.stream_table import STE, S1DSS, S1Fmt, STRW
from smmu.params import Params
from smmu.payloads import Stage2Config, WalkAttributes, World
from smmu.tcu.walk.geometry import (
    CODES, CONCATENATED_BITS, any_of, at_least, beyond_size, granule_is, index_bits_sum, table_mask)
from smmu.tcu.walk.records import StreamPart

__all__ = ["STEDecode"]

MIN_TXSZ, MAX_TXSZ = 16, 39


class STEDecode(wiring.Component):
    """Decode an STE and tell whether it is ILLEGAL, while its first four qwords pass by.

    Spec
        IHI 0070: 5.2 (fields), 7.3.5 (C_BAD_STE).
    Timing
        The outputs are right 3 cycles after the last strobe, until the next first one.

    Members
    -------
    qword : :py:`In(64)`
    strobe : :py:`In(4)`
        Which of the qwords 0 to 3 `qword` is, one-hot.
    ssv : :py:`In(1)`
        The transaction has a SubstreamID: then S1DSS does not bypass stage 1.
    e2h : :py:`In(1)`
        CR2.E2H. Static.
    bad : :py:`Out(1)`
        ILLEGAL: C_BAD_STE. The other outputs mean nothing then.
    silent : :py:`Out(1)`
        Config says: abort without an event.
    first : :py:`Out(64)`
        Qword 0.
    S1DSS : :py:`Out(2)`
    cd_walk : :py:`Out(WalkAttributes)`
        S1CIR, S1COR, S1CSH.
    stream : :py:`Out(StreamPart)`
    stage2 : :py:`Out(Stage2Config)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "qword": In(64),
            "strobe": In(4),
            "ssv": In(1),
            "e2h": In(1),
            "bad": Out(1),
            "silent": Out(1),
            "first": Out(64),
            "S1DSS": Out(2),
            "cd_walk": Out(WalkAttributes),
            "stream": Out(StreamPart),
            "stage2": Out(Stage2Config),
        })

    def elaborate(self, platform):
        m = Module()
        params = self.params
        # The fields of each qword, as they pass.
        ste = Signal(STE, reset_less=True)
        raw = ste.as_value()
        for number in range(4):
            with m.If(self.strobe[number]):
                m.d.sync += raw[64 * number:64 * (number + 1)].eq(self.qword)
        m.d.comb += [
            self.first.eq(raw[:64]),
            self.S1DSS.eq(ste.S1DSS),
            self.cd_walk.ic.eq(ste.S1CIR),
            self.cd_walk.oc.eq(ste.S1COR),
            self.cd_walk.sh.eq(ste.S1CSH),
        ]
        s1, s2, substreams = Signal(), Signal(), Signal()
        el2, strw_used = Signal(), Signal()
        m.d.comb += [
            s1.eq(ste.Config[0]),
            s2.eq(ste.Config[1]),
            substreams.eq((ste.S1CDMax != 0) & (params.ssidsize != 0)),
            strw_used.eq(ste.Config == 0b101),
            el2.eq(strw_used & (ste.STRW == STRW.EL2) & params.hyp),
        ]

        granule, level = Signal(2), Signal(2)
        level_known = Signal()
        granules = {TG0[g.name].value: g for g in params.granules}
        m.d.comb += [
            granule.eq(any_or(Mux(ste.S2TG == code, CODES[g].value, 0)
                              for code, g in granules.items())),
            level_known.eq(any_of([(ste.S2TG == code) & (ste.S2SL0 == sl0)
                                   for code, g in granules.items()
                                   for sl0 in S2_START_LEVEL[g]])),
            level.eq(any_or(Mux((ste.S2TG == code) & (ste.S2SL0 == sl0), number, 0)
                            for code, g in granules.items()
                            for sl0, number in S2_START_LEVEL[g].items())),
        ]
        stage2 = self.stage2
        total, limit = Signal(7), Signal(3)
        m.d.sync += total.eq(
            index_bits_sum(ste.S2T0SZ, level, stage2.granule, params.granules))
        m.d.comb += [
            limit.eq(Mux(at_least(ste.S2PS, params.oas_code), params.oas_code, ste.S2PS)),
            stage2.S2TTB.eq(ste.S2TTB & table_mask(total)),
            stage2.granule.eq(granule),
            stage2.start_level.eq(level),
            stage2.S2PS.eq(limit),
            stage2.walk.ic.eq(ste.S2IR0),
            stage2.walk.oc.eq(ste.S2OR0),
            stage2.walk.sh.eq(ste.S2SH0),
            stage2.S2AFFD.eq(ste.S2AFFD),
            stage2.S2PTW.eq(ste.S2PTW),
            stage2.S2ENDI.eq(ste.S2ENDI),
            stage2.S2FWB.eq(ste.S2FWB & params.fwb),
        ]

        # Partial terms of "ILLEGAL", each of few fields, in registers.
        bypassed = ~self.ssv & substreams & (ste.S1DSS == S1DSS.BYPASS)
        illegal_config, illegal_s1, illegal_s2, illegal_geometry, illegal_vmid = (
            Signal(), Signal(), Signal(), Signal(), Signal())
        fmt = Signal()
        if not params.cd2l:
            m.d.comb += fmt.eq(substreams & (
                (ste.S1Fmt == S1Fmt.LEVEL2_4K) | (ste.S1Fmt == S1Fmt.LEVEL2_64K)))
        oversized = index_limits(total, stage2.granule, params.granules)
        m.d.sync += [
            illegal_config.eq(~ste.V | ste.Config[2] & (
                s1 & (not params.s1p) | s2 & (not params.s2p)
                | strw_used & (params.s1p & params.hyp) & ste.STRW[0])),
            illegal_s1.eq(ste.Config[2] & s1 & (
                ste.S1STALLD & (params.stall_model != 0) | fmt
                | substreams & at_least(ste.S1CDMax, params.ssidsize + 1)
                | ste.S1ContextPtr[params.oas - 6:].any())),
            illegal_s2.eq(ste.Config[2] & s2 & (
                ~ste.S2AA64 | ste.S2HA | ste.S2HD | (params.stall_model == 1) & ste.S2S
                | ~level_known | at_least(ste.S2T0SZ, MAX_TXSZ + 1)
                | ~at_least(ste.S2T0SZ, max(MIN_TXSZ, 64 - params.oas))
                | (params.ttendian == 2) & ste.S2ENDI)),
            illegal_geometry.eq(ste.Config[2] & s2 & (
                oversized | ste.S2TTB[48 - 4:].any()
                | beyond_size(ste.S2TTB[32 - 4:48 - 4], limit))),
            illegal_vmid.eq(
                (not params.vmid16) & (ste.S2VMID[8:] != 0) & bool(params.s2p)
                & (ste.Config[0:2] != 0) & ste.Config[2] & ~el2),
        ]
        stream = self.stream
        m.d.comb += [
            self.bad.eq(illegal_config | illegal_s1 | illegal_s2 | illegal_geometry
                        | illegal_vmid),
            self.silent.eq(~ste.Config[2]),
            stream.s1.eq(s1 & ~bypassed),
            stream.s2.eq(s2),
            stream.world.eq(Mux(el2, Mux(self.e2h, World.EL2_E2H, World.EL2), World.NS_EL1)),
            stream.vmid.eq(ste.S2VMID & (
                (ste.Config[0:2] != 0) & ~el2 & bool(params.s2p)).replicate(16)),
            stream.S2T0SZ.eq(ste.S2T0SZ),
            stream.S2R.eq(ste.S2R),
            stream.overrides.SHCFG.eq(1),
        ]
        types = ("MemAttr", "MTCFG", "ALLOCCFG", "SHCFG") if params.attr_types_ovr else ()
        perms = ("PRIVCFG", "INSTCFG") if params.attr_perms_ovr else ()
        for name in (*types, *perms):
            m.d.comb += getattr(stream.overrides, name).eq(getattr(ste, name))
        return m


def any_or(terms):
    """OR of values."""
    result = 0
    for term in terms:
        result = result | term
    return result


def index_limits(total, granule_code, granules):
    """Whether a stage-2 start table has no index bit, or more than concatenation allows."""
    few = at_least(total, 64)
    return few | any_of([
        granule_is(granule_code, granule)
        & ~at_least(total, 64 - bits_per_level(granule) - CONCATENATED_BITS)
        for granule in granules])
