from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import RemapAnswer, RemapQuery

__all__ = ["RemapEntry", "Remap"]

PAGE_BITS = 36     # IPA [47:12]
REGION_BITS = 18   # IPA [47:30], 1 GiB


class RemapEntry(data.Struct):
    """A binding to write; an invalid one unbinds."""

    entry: 6
    valid: 1
    sid: 32
    ipa: 44          # [55:12]
    doorbell: 46     # [47:2]


class Remap(wiring.Component):
    """Look up the doorbell that an IPA page is bound to.

    Timing
        The answer comes exactly 2 cycles after its query, one query per cycle. A binding of a valid
        entry must be unbound first, at least 3 cycles before. If two entries match, the lower one
        counts.

    Members
    -------
    enable : :py:`In(1)`
        REMAP_CTRL.ENABLE. While it is 0, answers are 0.
    query : :py:`In(RemapQuery)`
    answer : :py:`Out(RemapAnswer)`
    do_write : :py:`In(1)`
        Strobe: entry ``write.entry`` becomes `write`.
    write : :py:`In(RemapEntry)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "enable": In(1),
            "query": In(RemapQuery),
            "answer": Out(RemapAnswer),
            "do_write": In(1),
            "write": In(RemapEntry),
        })

    def elaborate(self, platform):
        m = Module()
        count, sid_bits = self.params.remap_entries, self.params.sid_bits
        write, query = self.write, self.query
        region_bit = PAGE_BITS - REGION_BITS
        same_sid, same_page, same_region = Signal(count), Signal(count), Signal(count)
        valid = Signal(count)
        # Beyond the sizes of this build nothing can match.
        can_match = write.valid & ~write.ipa[PAGE_BITS:].any() & ~write.sid[sid_bits:].any()

        for number in range(count):
            sid, page = Signal(sid_bits, name=f"sid_{number}"), Signal(36, name=f"page_{number}")
            with m.If(self.do_write & (write.entry == number)):
                m.d.sync += [
                    valid[number].eq(can_match), sid.eq(write.sid), page.eq(write.ipa)]
            is_on = valid[number] & self.enable
            m.d.sync += [
                same_sid[number].eq(query.sid[:sid_bits] == sid),
                same_region[number].eq((query.ipa[region_bit:] == page[region_bit:]) & is_on),
                same_page[number].eq(query.ipa[:region_bit] == page[:region_bit]),
            ]

        m.submodules.doorbells = doorbells = memory.Memory(
            shape=46, depth=max(2, count), init=[])
        stored, store = doorbells.read_port(domain="comb"), doorbells.write_port()
        matches, bound = Signal(count), Signal(count)
        first = matches & -matches
        m.d.comb += [
            store.addr.eq(write.entry),
            store.data.eq(write.doorbell),
            store.en.eq(self.do_write),
            bound.eq(same_region & same_page),
            matches.eq(bound & same_sid),
            stored.addr.eq(_number(first, count)),
        ]
        m.d.sync += [
            self.answer.hit.eq(matches.any()),
            self.answer.bound.eq(bound.any()),
            self.answer.near.eq(same_region.any()),
            self.answer.doorbell.eq(Mux(matches.any(), stored.data, 0)),
        ]
        return m


def _number(one_hot, count):
    return Cat(Cat(one_hot[n] for n in range(count) if n >> bit & 1).any()
               for bit in range(max(1, (count - 1).bit_length())))
