"""A transaction with its translation applied."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.tbu.attributes import OutputAttributes
from smmu.tbu.records import SEGMENTS, result_record, transaction, translated

__all__ = ["Translator"]

PAGE_LSB = SEGMENTS[0][0]
UNCHANGED = ("id", "len", "size", "burst", "lock", "qos", "region")


class Translator(wiring.Component):
    """Put page and attributes of a translation into a transaction.

    Spec      IHI 0070: 13.1.
    Timing    Combinational.

    Members
    -------
    txn : :py:`In(transaction(params))`
    result : :py:`In(result_record(params, write=write))`
    mark : :py:`In(1)`
    o : :py:`Out(translated(params))`
    """

    def __init__(self, params, *, write):
        self._params, self._write = params, write
        super().__init__({
            "txn": In(transaction(params)), "result": In(result_record(params, write=write)),
            "mark": In(1), "o": Out(translated(params)),
        })

    def elaborate(self, platform):
        m = Module()
        txn, result, o = self.txn, self.result, self.o
        m.submodules.attributes = attributes = OutputAttributes(self._params, write=self._write)

        page = []
        for bit in range(PAGE_LSB, self._params.oas):
            ignored = [k for k, (low, high) in enumerate(SEGMENTS) if low <= bit < high]
            given = result.page[bit - PAGE_LSB]
            page.append(Mux(result.ignore[ignored[0]], txn.addr[bit], given) if ignored else given)
        m.d.comb += [
            *(o[name].eq(txn[name]) for name in UNCHANGED),
            attributes.result.eq(result), attributes.i_cache.eq(txn.cache),
            attributes.i_prot.eq(txn.prot), attributes.i_sh.eq(txn.user.sh),
            o.cache.eq(attributes.o_cache), o.prot.eq(attributes.o_prot),
            o.sh.eq(attributes.o_sh), o.msi.eq(result.msi if self._write else 0),
            o.addr.eq(Cat(txn.addr[:PAGE_LSB], *page)), o.sid.eq(txn.user.sid),
            o.mark.eq(self.mark),
        ]
        return m
