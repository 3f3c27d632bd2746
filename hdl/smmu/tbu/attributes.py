"""Memory attributes of a transaction: what depends on the translation alone, and the rest."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.payloads import PAGE_SHIFTS, MemType, Translation
from smmu.tbu.records import result_record

__all__ = ["ResultDigest", "OutputAttributes"]

INCOMING = 1  # SHCFG: use incoming


def _strengths(kind):
    """Thermometer of a memory type: at least nGnRE, NC, WT, WB."""
    kind = kind.as_value()
    return Cat(kind >= MemType.nGnRE.value, kind >= MemType.NC.value,
               kind >= MemType.WT.value, kind >= MemType.WB.value)


class ResultDigest(wiring.Component):
    """Prepare a translation for transactions of one direction.

    Spec      IHI 0070: 5.2 (MTCFG, MemAttr, ALLOCCFG, SHCFG), 13.1 (combining attributes).
    Timing    Combinational.

    Members
    -------
    translation : :py:`In(Translation)`
    result : :py:`Out(result_record(params, write=write))`
    """

    def __init__(self, params, *, write):
        self._write = write
        super().__init__({
            "translation": In(Translation),
            "result": Out(result_record(params, write=write)),
        })

    def elaborate(self, platform):
        m = Module()
        given, result = self.translation, self.result
        attrs, overrides = given.attrs, given.overrides

        m.d.comb += [
            result.page.eq(given.page),
            result.ignore.eq(Cat(given.size.as_value() > k for k in range(len(PAGE_SHIFTS) - 1))),
            result.priv.eq(overrides.PRIVCFG),
        ]

        # MemAttr: 00dd Device; else outer, inner: 01 NC, 10 WT, 11 WB; x00 is nGnRnE.
        low, high = overrides.MemAttr[:2], overrides.MemAttr[2:]
        normal = (high != 0) & (low != 0)
        memattr = Cat(low != 0, normal, normal & high[1], normal & (high == 3))
        replaced = Signal()  # the incoming type does not matter
        m.d.comb += replaced.eq(given.combine & overrides.MTCFG)

        outer, inner = _strengths(attrs.outer), _strengths(attrs.inner)
        forced_outer = attrs.outer == MemType.FORCE_WB
        forced_inner = attrs.inner == MemType.FORCE_WB
        m.d.comb += [
            result.outer.eq(outer & (memattr | (~(replaced & ~forced_outer)).replicate(4))),
            result.inner_cacheable.eq(
                inner[2] & (normal & low[1] | ~replaced | forced_inner)),
            result.use_outer.eq(given.combine & ~overrides.MTCFG & ~forced_outer),
            result.use_inner.eq(given.combine & ~overrides.MTCFG & ~forced_inner),
        ]

        SHCFG = overrides.SHCFG
        m.d.comb += [
            result.sh.eq(Cat(attrs.sh[1] | given.combine & SHCFG[1],
                             (attrs.sh == 2) | given.combine & (SHCFG == 2))),
            result.use_sh.eq(given.combine & (SHCFG == INCOMING)),
        ]

        # ALLOCCFG is 1RWT to override, 0xxx to use the incoming hints.
        override, hint = overrides.ALLOCCFG[3], overrides.ALLOCCFG[1 if self._write else 2]
        allowed = attrs.wa if self._write else attrs.ra
        m.d.comb += [
            result.cached_on.eq(allowed & override & hint),
            result.cached_in.eq(allowed & ~override),
            result.uncached.eq(allowed & ~(override & given.combine & ~hint)),
        ]

        if self._write:
            m.d.comb += [result.msi.eq(given.msi), result.doorbell.eq(given.doorbell)]
            with m.If(given.msi):  # Device-nGnRE
                m.d.comb += [result.outer.eq(0b0001), result.inner_cacheable.eq(0),
                             result.use_outer.eq(0), result.use_inner.eq(0)]
        else:
            m.d.comb += result.inst.eq(overrides.INSTCFG)
        return m


class OutputAttributes(wiring.Component):
    """Combine a prepared translation with the attributes that came with a transaction.

    Spec      IHI 0070: 13.1; AXI4 A4.4 (AxCACHE).
    Timing    Combinational, three levels of logic from ``result``.

    Members
    -------
    result : :py:`In(result_record(params, write=write))`
    i_cache, i_prot, i_sh : :py:`In`
        AxCACHE, AxPROT and shareability as they came.
    o_cache, o_prot, o_sh : :py:`Out`
        What leaves. Device types and non-cacheable memory are outer shareable.
    """

    def __init__(self, params, *, write):
        self._write = write
        super().__init__({
            "result": In(result_record(params, write=write)),
            "i_cache": In(4), "i_prot": In(3), "i_sh": In(2),
            "o_cache": Out(4), "o_prot": Out(3), "o_sh": Out(2),
        })

    def elaborate(self, platform):
        m = Module()
        result, cache = self.result, self.i_cache

        cacheable = cache[2:].any()
        incoming = Cat(cache.any(), cache[1:].any(), cacheable, cacheable & cache[0])
        outer = Signal(4)
        inner_cacheable = Signal()
        m.d.comb += [
            outer.eq(result.outer & (incoming | (~result.use_outer).replicate(4))),
            inner_cacheable.eq(result.inner_cacheable & (cacheable | ~result.use_inner)),
        ]

        hint = Signal()
        m.d.comb += hint.eq(Mux(
            cacheable, result.cached_on | result.cached_in & cache[3 if self._write else 2],
            result.uncached))
        allocate, other = outer[2] & hint, outer[2]
        m.d.comb += self.o_cache.eq(Cat(
            outer[0] & (~outer[2] | outer[3]), outer[1],
            *((other, allocate) if self._write else (allocate, other))))

        shareable = Cat(self.i_sh[1], self.i_sh == 2) & result.use_sh.replicate(2) | result.sh
        uncached = ~outer[2] & ~inner_cacheable
        m.d.comb += self.o_sh.eq(Cat(shareable[0] & ~shareable[1] & ~uncached,
                                     shareable[0] | uncached))

        m.d.comb += self.o_prot.eq(self.i_prot)
        with m.If(result.priv[1]):
            m.d.comb += self.o_prot[0].eq(result.priv[0])
        if self._write:
            m.d.comb += self.o_prot[2].eq(0)  # a write is data, whatever came in
        else:
            with m.If(result.inst[1]):
                m.d.comb += self.o_prot[2].eq(result.inst[0])
        return m
