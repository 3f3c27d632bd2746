from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.context_descriptor import CD
from smmu.formats.descriptors import TG0, TG1
from smmu.params import Params
from smmu.payloads import Granule, Stage1Config, World
from smmu.tcu.walk.geometry import (
    CODES, any_of, at_least, beyond_size, index_bits_sum, start_level, table_mask)
from smmu.tcu.walk.records import ContextPart
from smmu.tcu.walk.ste_decode import MAX_TXSZ, MIN_TXSZ, any_or

__all__ = ["CDDecode"]


class CDDecode(wiring.Component):
    """Decode a CD and tell whether it is ILLEGAL, while its first four qwords pass by.

    Spec
        IHI 0070: 5.4 (fields), 7.3.11 (C_BAD_CD).
    Timing
        The outputs are right 3 cycles after the last strobe, until the next first one.

    Members
    -------
    qword : :py:`In(64)`
    strobe : :py:`In(4)`
        Which of the qwords 0 to 3 `qword` is, one-hot.
    world : :py:`In(World)`
        StreamWorld. In EL2 there is one range: EPD0 reads as 0, EPD1 as 1.
    bad : :py:`Out(1)`
        ILLEGAL: C_BAD_CD. The other outputs mean nothing then.
    context : :py:`Out(ContextPart)`
    stage1 : :py:`Out(Stage1Config)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "qword": In(64),
            "strobe": In(4),
            "world": In(World),
            "bad": Out(1),
            "context": Out(ContextPart),
            "stage1": Out(Stage1Config),
        })

    def elaborate(self, platform):
        m = Module()
        params, context, stage1 = self.params, self.context, self.stage1
        cd = Signal(CD, reset_less=True)
        raw = cd.as_value()
        for number in range(4):
            with m.If(self.strobe[number]):
                m.d.sync += raw[64 * number:64 * (number + 1)].eq(self.qword)

        single, limit = Signal(), Signal(3)
        m.d.comb += [
            single.eq(self.world == World.EL2),
            limit.eq(Mux(at_least(cd.IPS, params.oas_code), params.oas_code, cd.IPS)),
            context.asid.eq(cd.ASID & (~single).replicate(16)),
            context.aset.eq(cd.ASET & ~single),
            context.EPD0.eq(cd.EPD0 & ~single),
            context.EPD1.eq(cd.EPD1 | single),
            context.A.eq(cd.A | (params.term_model == 1)),
            context.PAN.eq(cd.PAN & ~single),
            context.MAIR.eq(Cat(cd.MAIR0, cd.MAIR1)),
            stage1.IPS.eq(limit),
            stage1.AFFD.eq(cd.AFFD),
            stage1.ENDI.eq(cd.ENDI),
        ]
        for name in ("T0SZ", "T1SZ", "TBI0", "TBI1", "R", "WXN"):
            m.d.comb += getattr(context, name).eq(getattr(cd, name))

        illegal = Signal()
        m.d.sync += illegal.eq(
            ~cd.V | ~cd.AA64 | cd.HA | cd.HD | cd.S & (params.stall_model == 1)
            | ~cd.A & (params.term_model == 1)
            | cd.ENDI & (params.ttendian == 2) & ~(context.EPD0 & context.EPD1)
            | (cd.ASID[8:] != 0) & (not params.asid16) & ~single)
        halves = [self._half(m, cd, half, limit) for half in (0, 1)]
        m.d.comb += self.bad.eq(illegal | halves[0] | halves[1])
        return m

    def _half(self, m, cd, half, limit):
        """One half of the address space; returns whether it is ILLEGAL."""
        params, stage1 = self.params, self.stage1

        def field(name):
            return getattr(cd, f"{name}{half}")

        codes = TG1 if half else TG0
        granules = {codes[g.name].value: g for g in params.granules}
        TxSZ, ttb = getattr(cd, f"T{half}SZ"), field("TTB")
        granule, known = Signal(Granule, name=f"granule{half}"), Signal(name=f"known{half}")
        level, total = Signal(2, name=f"level{half}"), Signal(7, name=f"total{half}")
        size, base = Signal(name=f"size{half}"), Signal(name=f"base{half}")
        m.d.comb += [
            known.eq(any_of([field("TG") == code for code in granules])),
            granule.eq(any_or(Mux(field("TG") == code, CODES[g].value, 0)
                              for code, g in granules.items())),
        ]
        m.d.sync += [
            level.eq(start_level(TxSZ, granule, params.granules)),
            total.eq(index_bits_sum(TxSZ, level, granule, params.granules)),
            size.eq(~known | at_least(TxSZ, MAX_TXSZ + 1) | ~at_least(TxSZ, MIN_TXSZ)),
            base.eq(ttb[48 - 4:].any() | beyond_size(ttb[32 - 4:48 - 4], limit)),
        ]
        walk = getattr(stage1, f"walk{half}")
        m.d.comb += [
            getattr(stage1, f"TTB{half}").eq(ttb & table_mask(total)),
            getattr(stage1, f"granule{half}").eq(granule),
            walk.ic.eq(field("IR")),
            walk.oc.eq(field("OR")),
            walk.sh.eq(field("SH")),
            getattr(stage1, f"HAD{half}").eq(field("HAD") & params.had),
        ]
        return (size | base) & ~getattr(self.context, f"EPD{half}")
