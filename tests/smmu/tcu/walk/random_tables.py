"""Random configurations and tables: legal steps mostly, now and then anything at all."""

import contextlib
import random

from smmu_sim.memory import BusAbort, Memory
from smmu_sim.model.context_descriptor import fetch_cd
from smmu_sim.model.faults import CLASS, Fault

from smmu.formats.context_descriptor import CD, L1CD
from smmu.formats.core import pack, to_bytes
from smmu.formats.descriptors import (
    S2_START_LEVEL, TG0, TG1, Granule, bits_per_level, start_index_bits)
from smmu.formats.stream_table import L1STD, STE

__all__ = ["TableMemory", "RandomStreams", "place_cds"]

STRTAB = 0x1_0000_0000
STRUCTURES = 0x2_0000_0000


class TableMemory(Memory):
    """Memory where every qword that was not written is a random descriptor, always the same.

    ``bad`` is the probability of each way in which a descriptor may be unusual. Descriptors point
    below ``1 << reach``, so that stage 2 mostly takes what stage 1 yields.
    """

    def __init__(self, seed, bad, reach, aborts=True):
        super().__init__()
        self.seed, self.bad, self.reach, self.aborts = seed, bad, reach, aborts
        self._known = {}
        self._written = set()

    def poke(self, addr, data):
        self._written.update(range(addr & ~7, addr + len(data), 8))
        super().poke(addr, data)

    def read(self, addr, size):
        for word in range(addr & ~7, addr + size, 8):
            if word not in self._written:
                value = self._descriptor(word)
                if value is None:
                    raise BusAbort(word, "read")
                self.poke(word, value.to_bytes(8, "little"))
        return super().read(addr, size)

    def _descriptor(self, addr):
        if addr in self._known:
            return self._known[addr]
        rng = random.Random(f"{self.seed}/{addr}")

        def unusual(times=1):
            return rng.random() < self.bad * times

        value = rng.getrandbits(self.reach - 16) << 16 | rng.getrandbits(4) << 12
        if unusual():
            value |= rng.getrandbits(48) & ~0xFFF
        value |= 3
        if unusual(10):
            value &= ~2                                     # a block
        if unusual():
            value &= ~1
        value |= (rng.getrandbits(8) << 2) | 1 << 10        # attributes, AP, SH; AF
        if not unusual(10):
            value |= 3 << 6                                 # S2AP, and AP: read-only
        elif unusual(30):
            value &= ~(3 << 6)
        if unusual():
            value &= ~(1 << 10)
        value |= rng.getrandbits(1) << 11                   # nG
        if unusual(10):
            value |= rng.getrandbits(16) << 48              # XN, hierarchical, software, ignored
        self._known[addr] = value
        if self.aborts and unusual(0.5):
            self._known[addr] = None
        return self._known[addr]


def _sizes(rng, params, granule):
    """A legal (T0SZ, SL0) of stage 2."""
    while True:
        t0sz = rng.randint(max(16, 64 - params.oas), 39)
        sl0 = rng.choice(list(S2_START_LEVEL[granule]))
        bits = start_index_bits(t0sz, S2_START_LEVEL[granule][sl0], granule)
        if 1 <= bits <= bits_per_level(granule) + 4:
            return t0sz, sl0


def _spoil(rng, struct, raw, bad, first=0):
    """Flip a few bits of the first 256 now and then."""
    while rng.random() < bad:
        raw ^= 1 << rng.randrange(first, 256)
    return raw


def random_ste(rng, params, *, config, vmid, context_ptr, bad, reach):
    """An STE as an integer, and whether stage 1 and stage 2 are on."""
    granule = rng.choice(params.granules)
    t0sz, sl0 = _sizes(rng, params, granule)
    values = {
        "V": 1, "Config": config, "S1Fmt": rng.choice((0, 0, 1, 2, 3)) if params.cd2l else 0,
        "S1ContextPtr": context_ptr >> 6,
        "S1CDMax": rng.choice((0, rng.randint(0, params.ssidsize))),
        "S1DSS": rng.choice((0, 1, 1, 2, 2, 3)),
        "S1CIR": rng.randrange(4), "S1COR": rng.randrange(4), "S1CSH": rng.randrange(4),
        "S2FWB": rng.randrange(2), "STRW": rng.choice((0, 0, 2)) if config == 5 else 0,
        "MemAttr": rng.randrange(16), "MTCFG": rng.randrange(2), "ALLOCCFG": rng.randrange(16),
        "SHCFG": rng.randrange(4), "PRIVCFG": rng.choice((0, 0, 1, 2, 3)),
        "INSTCFG": rng.choice((0, 0, 1, 2, 3)), "S2VMID": vmid, "S2T0SZ": t0sz, "S2SL0": sl0,
        "S2IR0": rng.randrange(4), "S2OR0": rng.randrange(4), "S2SH0": rng.randrange(4),
        "S2TG": TG0[Granule(granule).name],
        "S2PS": rng.choice((5, 5, 5, 5, 7, 7, 7, rng.randrange(8))),
        "S2AA64": 1, "S2ENDI": 0, "S2AFFD": rng.randrange(2), "S2PTW": rng.random() < 0.2,
        "S2R": rng.random() < 0.8, "S2TTB": rng.getrandbits(reach) >> 4}
    return _spoil(rng, STE, pack(STE, values), bad)


def random_cd(rng, params, *, asid, bad, reach):
    """A CD as an integer."""
    values = {
        "T0SZ": rng.randint(16, 39), "T1SZ": rng.randint(16, 39),
        "TG0": TG0[Granule(rng.choice(params.granules)).name],
        "TG1": TG1[Granule(rng.choice(params.granules)).name],
        "EPD0": rng.random() < 0.1, "EPD1": rng.random() < 0.1, "V": 1,
        "IPS": rng.choice((5, 5, 5, 5, 7, 7, 7, rng.randrange(8))), "AFFD": rng.randrange(2),
        "WXN": rng.random() < 0.2, "TBI0": rng.randrange(2), "TBI1": rng.randrange(2),
        "PAN": rng.random() < 0.2, "AA64": 1, "R": rng.random() < 0.8,
        "A": rng.random() < 0.7 or params.term_model, "ASET": rng.randrange(2), "ASID": asid,
        "HAD0": rng.randrange(2), "HAD1": rng.randrange(2),
        "TTB0": rng.getrandbits(reach) >> 4, "TTB1": rng.getrandbits(reach) >> 4,
        "MAIR0": rng.getrandbits(32), "MAIR1": rng.getrandbits(32)}
    for name in ("IR0", "OR0", "SH0", "IR1", "OR1", "SH1"):
        values[name] = rng.randrange(4)
    if params.ttendian == 0 and rng.random() < 0.2:
        values["ENDI"] = 1
    return _spoil(rng, CD, pack(CD, values), bad)


class RandomStreams:
    """A stream table with a few streams, each with its CDs; the rest of memory is descriptors.

    No two streams share a VMID, and at most one is of EL2, so that caches may be shared.
    """

    def __init__(self, seed, params, bad):
        rng = self.rng = random.Random(seed)
        self.params = params
        self.reach = rng.choice((28, 32, 36))
        self.memory = TableMemory(seed, bad, self.reach)
        self.log2size = rng.randint(0, params.sidsize + 1)
        self.split = rng.choice((6, 8, 10, 7))
        self.two_level = rng.randrange(2) if params.st_level else 0
        self.base = STRTAB | rng.getrandbits(5) << 6
        self.registers = {
            "STRTAB_BASE": self.base | rng.getrandbits(1) << 62,
            "STRTAB_BASE_CFG": (self.log2size | self.split << 6 | self.two_level << 16),
            "CR1": rng.getrandbits(12), "CR2": rng.choice((0, 1, 2, 3))}
        self.sids = []
        self.el2 = False
        for vmid in rng.sample(range(1, 256), rng.randint(1, 6)):
            self._stream(vmid, bad)

    def _stream(self, vmid, bad):
        rng, params = self.rng, self.params
        sid = rng.getrandbits(min(self.log2size, params.sidsize))
        if sid in self.sids:
            return
        config = rng.choices((0, 4, 5, 6, 7), (1, 3, 16, 8, 24))[0]
        context_ptr = STRUCTURES + (rng.getrandbits(self.reach - 12) << 12)
        if config == 7 or rng.random() < bad:
            context_ptr = rng.getrandbits(self.reach) & ~0x3F
        ste = random_ste(rng, params, config=config, vmid=vmid, context_ptr=context_ptr,
                         bad=bad, reach=self.reach)
        if config == 5 and ste >> 95 & 1:
            if self.el2:
                ste &= ~(1 << 95)
            self.el2 = True
        self._place(sid, ste)
        self.sids.append(sid)

    def _place(self, sid, ste):
        rng, memory = self.rng, self.memory
        split = self.split if self.split in (6, 8, 10) else 6
        if not self.two_level:
            base = self.base & -(64 << self.log2size)
            memory.poke(base + 64 * sid, to_bytes(STE, ste)[:32])
            return
        table = self.base & -max(64, 8 << max(self.log2size - split, 0))
        address = table + 8 * (sid >> split)
        if address in memory._written:
            l1std = int.from_bytes(memory.peek(address, 8), "little")
        else:
            span = split + 1 if rng.random() < 0.9 else rng.randrange(14)
            l1std = pack(L1STD, {"Span": span, "L2Ptr": (STRUCTURES >> 6) + (
                rng.getrandbits(16) << 10) + rng.getrandbits(3)})
            memory.poke(address, l1std.to_bytes(8, "little"))
        span = l1std & 31
        table = (l1std >> 6 << 6) & -(64 << max(span - 1, 0))
        memory.poke(table + 64 * (sid & (1 << split) - 1), to_bytes(STE, ste)[:32])



def place_cds(translator, streams, memory, rng, params, bad):
    """Put CDs, and L1CDs, where the streams look for them. ``streams`` are StreamIDs."""
    for number, sid in enumerate(streams):
        try:
            stream = translator.stream(sid)
        except Fault:
            continue
        if not stream.stage1:
            continue
        few = [0, 1, 63, 64, 65, 1023, 1024, (1 << stream.cdmax) - 1]
        indexes = sorted({index for index in few if index < 1 << stream.cdmax})
        two_level = stream.cdmax and stream.s1fmt in (1, 2)
        for count, index in enumerate(indexes):
            _place_cd(translator, stream, index, memory, rng, params, bad,
                      8 * number + count + 1, two_level)


def _place_cd(translator, stream, index, memory, rng, params, bad, asid, two_level):
    places = []

    def locate(addr):
        pa = translator._through_stage2(stream, addr, CLASS.CD)
        if two_level and not places:
            if pa not in memory._written:
                leaf = STRUCTURES >> 12 if stream.stage2 is None else rng.getrandbits(8)
                memory.poke(pa, to_bytes(L1CD, pack(L1CD, {
                    "V": rng.random() >= bad, "L2Ptr": leaf + rng.getrandbits(12)})))
        else:
            cd = random_cd(rng, params, asid=asid, bad=bad,
                           reach=28 if stream.stage2 else 40)
            memory.poke(pa, to_bytes(CD, cd)[:32])
        places.append(pa)
        return pa

    with contextlib.suppress(Fault):
        fetch_cd(stream, index, memory, params, locate)
