"""Make one random system: registers, structures, tables, and what happens to it."""

import random
from dataclasses import dataclass, field

from smmu.formats.commands import Opcode
from smmu.formats.context_descriptor import CD, L1CD
from smmu.formats.core import pack
from smmu.formats.descriptors import Granule
from smmu.formats.registers import BY_NAME, CR0, CR1, CR2, STRTAB_BASE_CFG
from smmu.formats.stream_table import L1STD, STE
from smmu_sim.backend import Transaction
from smmu_sim.fields import address
from smmu_sim.fuzz.guest_memory import Allocator, GuestAllocator, GuestMemory
from smmu_sim.memory import Memory
from smmu_sim.pagetable import PageTable, PageTableError, Prot, start_levels

__all__ = ["Scenario", "make_scenario"]

RAM = (0x4000_0000, 0x4000_0000)
HIGH_RAM = (0x8_0000_0000, 0x10_0000_0000)


@dataclass
class Stream:
    """One StreamID with what it may be given."""

    sid: int
    ste: int                    # address of its STE
    ssids: list                 # SubstreamIDs worth trying, None included
    addresses: list = field(default_factory=list)  # mapped input addresses
    words: list = field(default_factory=list)      # (address, kind) of the words behind it
    vmid: int = 0


@dataclass
class Scenario:
    """A system to play: memory, registers, and steps.

    Steps are ``("dma", Transaction)``, ``("write", address, bytes)``, ``("commands", [(q0, q1)])``
    and ``("abort", range, kind)``.
    """

    seed: int
    memory: Memory
    registers: list
    steps: list
    cmdq: tuple                 # base, log2 of the number of entries
    eventq: tuple
    streams: list


def make_scenario(params, seed, *, steps=40, mutations=2.0, aborts=0.3):
    """Return the :class:`Scenario` of ``seed`` for a build with ``params``.

    ``mutations`` is the mean number of words of garbage per round of changes, ``aborts`` the
    probability that some table access gets a bus error.
    """
    return _Maker(params, seed).make(steps, mutations, aborts)


class _Maker:
    def __init__(self, params, seed):
        self.params, self.seed = params, seed
        self.rng = random.Random(seed)
        self.memory = Memory()
        high = self.rng.random() < 0.4 and params.oas >= 40
        self.pages = Allocator(self.rng, *(HIGH_RAM if high else RAM))
        self.granules = [g for g, on in zip(Granule, (
            params.gran4k, params.gran16k, params.gran64k)) if on]
        self.streams = []
        self.el2_taken = False

    def chance(self, probability):
        return self.rng.random() < probability

    # --- registers and queues

    def make(self, steps, mutations, aborts):
        rng, p = self.rng, self.params
        self.e2h = rng.getrandbits(1) if p.hyp else 0
        registers = [
            ("w32", BY_NAME["CR1"].offset, pack(CR1, {
                name: rng.getrandbits(2) for name in (
                    "QUEUE_IC", "QUEUE_OC", "QUEUE_SH", "TABLE_IC", "TABLE_OC", "TABLE_SH")})),
            ("w32", BY_NAME["CR2"].offset, pack(CR2, {
                "E2H": self.e2h, "RECINVSID": int(self.chance(0.8))})),
        ]
        registers += self.make_stream_table()
        cmdq, eventq = self.make_queue(16), self.make_queue(32)
        for (base, log2size), name in ((cmdq, "CMDQ"), (eventq, "EVENTQ")):
            registers += [
                ("w64", BY_NAME[f"{name}_BASE"].offset, base | log2size),
                ("w32", BY_NAME[f"{name}_PROD"].offset, 0),
                ("w32", BY_NAME[f"{name}_CONS"].offset, 0),
            ]
        registers.append(("w32", BY_NAME["CR0"].offset, pack(CR0, {"CMDQEN": 1, "EVENTQEN": 1})))
        plan = [("commands", [
            (Opcode.CMD_CFGI_STE_RANGE, 31), (Opcode.CMD_TLBI_NSNH_ALL, 0),
            *([(Opcode.CMD_TLBI_EL2_ALL, 0)] if p.hyp else [])])]
        self.mutate(plan, mutations, aborts)
        plan.append(("register", "w32", BY_NAME["CR0"].offset,
                     pack(CR0, {"CMDQEN": 1, "EVENTQEN": 1, "SMMUEN": 1})))
        for number in range(steps):
            if number and self.chance(0.1):
                self.mutate(plan, mutations, aborts)
            elif self.chance(0.1):
                plan.append(("commands", [self.random_invalidation()]))
            plan.append(("dma", self.make_transaction()))
        return Scenario(self.seed, self.memory, registers, plan, cmdq, eventq, self.streams)

    def make_queue(self, entry):
        log2size = self.rng.choice([5, 6, 8])
        return self.pages.alloc(entry << log2size), log2size

    # --- stream table

    def make_stream_table(self):
        rng, p = self.rng, self.params
        two_level = p.st_level and self.chance(0.5)
        log2size = rng.randrange(2, min(p.sidsize, 12) + 1)
        split = rng.choice([6, 8, 10, 7])
        effective = split if split in (6, 8, 10) else 6
        if two_level:
            table = self.pages.alloc(max(64, 8 << max(log2size - effective, 0)))
            leaves = {}
        else:
            table = self.pages.alloc(64 << log2size)
        sids = rng.sample(range(1 << log2size), min(1 << log2size, rng.randrange(2, 7)))
        for sid in sids:
            if two_level:
                index = sid >> effective
                if index not in leaves:
                    span = rng.randrange(1, effective + 2) if self.chance(0.2) else effective + 1
                    leaves[index] = self.pages.alloc(64 << span - 1)
                    self.memory.write64(table + 8 * index, pack(
                        L1STD, {"Span": span, "L2Ptr": address(L1STD, "L2Ptr", leaves[index])}))
                ste = leaves[index] + 64 * (sid & (1 << effective) - 1)
            else:
                ste = table + 64 * sid
            self.make_stream(sid, ste)
            if two_level:
                self.streams[-1].words.append((table + 8 * (sid >> effective), "L1STD"))
        self.sid_bits = log2size
        return [
            ("w64", BY_NAME["STRTAB_BASE"].offset, table | rng.getrandbits(1) << 62),
            ("w32", BY_NAME["STRTAB_BASE_CFG"].offset, pack(STRTAB_BASE_CFG, {
                "LOG2SIZE": log2size, "SPLIT": split, "FMT": int(two_level)})),
        ]

    def make_stream(self, sid, ste):
        rng, p = self.rng, self.params
        config = rng.choice([4, 5, 5, 5, 6, 6, 7, 7, 7, 7]) if self.chance(0.97) else 0
        if not p.s1p and config & 1 or not p.s2p and config & 2:
            config = 4
        stream = Stream(sid, ste, [None])
        self.streams.append(stream)
        fields = {
            "V": 1, "Config": config, "MemAttr": rng.getrandbits(4), "MTCFG": self.chance(0.2),
            "ALLOCCFG": rng.getrandbits(4), "SHCFG": rng.getrandbits(2),
            "PRIVCFG": rng.choice([0, 0, 0, 1, 2, 3]), "INSTCFG": rng.choice([0, 0, 0, 1, 2, 3]),
            "S1CIR": rng.getrandbits(2), "S1COR": rng.getrandbits(2), "S1CSH": rng.getrandbits(2),
        }
        stream.vmid = rng.randrange(1 << (16 if p.vmid16 else 8))
        fields["S2VMID"] = stream.vmid
        stage2, space, memory = None, self.pages, self.memory
        if config & 2:
            stage2 = self.make_stage2(stream, fields)
            if config & 1:
                ipas = Allocator(rng, 0x1_0000, min(1 << stage2.ia_bits, 1 << 36) - 0x2_0000)
                space = GuestAllocator(ipas, self.pages, stage2, self.table_prot)
                memory = GuestMemory(self.memory, stage2)
        if config & 1:
            self.make_stage1(stream, fields, config, space, memory, stage2)
        else:
            stream.addresses = stream.addresses or [rng.getrandbits(48) for _ in range(4)]
        for number in range(4):
            raw = pack(STE, {k: int(v) for k, v in fields.items()}) >> 64 * number
            self.memory.write64(ste + 8 * number, raw & (1 << 64) - 1)
            stream.words.append((ste + 8 * number, "STE"))

    # --- stage 2

    def table_prot(self):
        rng = self.rng
        return Prot(write=self.chance(0.7), memory=rng.choice(["wb", "wb", "wb", "nc", "device"]))

    def leaf_prot(self, stage):
        """Any permissions and attributes; most of them let something pass."""
        rng = self.rng
        fields = {"SH": rng.choice([0, 2, 3]), "AF": not self.chance(0.08)}
        if stage == 1:
            fields |= {"AP": rng.choice([1, 1, 1, 0, 2, 3]), "AttrIndx": rng.randrange(8),
                       "PXN": self.chance(0.3), "UXN": self.chance(0.3)}
        else:
            fields |= {"S2AP": rng.choice([3, 3, 3, 1, 2, 0]), "XN": rng.getrandbits(2),
                       "MemAttr": rng.getrandbits(4)}
        return Prot(contiguous=self.chance(0.2), fields={k: int(v) for k, v in fields.items()})

    def make_stage2(self, stream, fields):
        rng, p = self.rng, self.params
        granule = rng.choice(self.granules)
        ia_bits = rng.choice([n for n in range(30, min(p.oas, 48) + 1) if start_levels(granule, n)])
        stage2 = PageTable(
            self.memory, self.pages, stage=2, granule=granule, ia_bits=ia_bits,
            oa_bits=rng.choice([n for n in (40, 42, 44, 48) if n <= p.oas] or [p.oas]),
            start_level=rng.choice(start_levels(granule, ia_bits)),
            big_endian=p.ttendian == 0 and self.chance(0.3), fwb=p.fwb and self.chance(0.4))
        fields |= stage2.ste_fields() | {
            "S2AFFD": self.chance(0.2), "S2PTW": self.chance(0.3), "S2R": self.chance(0.9)}
        self.map_some(stream, stage2, self.pages, range(1 << ia_bits))
        return stage2

    def map_some(self, stream, table, outputs, inputs):
        """Map a few ranges of each level; remember their addresses and descriptors."""
        rng = self.rng
        found = []
        for _ in range(rng.randrange(2, 6)):
            levels = table.leaf_levels()
            level = rng.choice(levels[-2:] if self.chance(0.8) else levels)
            size = table.leaf_size(level)
            at = rng.randrange(len(inputs)) & -size
            if self.chance(0.5):
                at &= 0xFFFF_FFFF & -size
            at += inputs.start
            output = self.output_for(outputs, size, table.oa_bits)
            count = rng.choice([1, 1, 2, 3])
            for number in range(count):
                try:
                    table.map(at + number * size, (output + number * size) % (1 << table.oa_bits),
                              size, self.leaf_prot(table.stage), levels=[level])
                except (PageTableError, MemoryError):
                    continue
                found.append((at + number * size, size))
        for at, size in found:
            for _ in range(2):
                stream.addresses.append(at + rng.randrange(size))
        return found

    def output_for(self, outputs, size, oa_bits):
        if isinstance(outputs, GuestAllocator) or size > 1 << 21:
            return self.rng.getrandbits(oa_bits) & -size
        return outputs.alloc(size)

    # --- stage 1

    def make_stage1(self, stream, fields, config, space, memory, stage2):
        rng, p = self.rng, self.params
        if config == 5 and p.hyp and not self.el2_taken and self.chance(0.2):
            fields["STRW"] = 2
            self.el2_taken = True
        single = fields.get("STRW") or not p.ssidsize or self.chance(0.5)
        fields["S1DSS"] = rng.getrandbits(2)
        if single:
            fields["S1CDMax"] = 0
            cds = [(0, space.alloc(64))]
            pointer = cds[0][1]
        else:
            bits = rng.choice([1, 3, 6, 8, min(p.ssidsize, 12)])
            fmt = rng.choice([0, 1, 2, 3]) if p.cd2l else rng.choice([0, 3])
            fields |= {"S1CDMax": bits, "S1Fmt": fmt}
            ssids = rng.sample(range(1 << bits), min(1 << bits, 3))
            pointer, cds = self.make_cd_table(stream, space, memory, fmt, bits, ssids)
            stream.ssids += [*(4 * ssids), 0, rng.choice([1 << bits, rng.getrandbits(20)])]
        fields["S1ContextPtr"] = address(STE, "S1ContextPtr", pointer)
        alone = len(cds) == 1
        asids = rng.sample(range(1 << (16 if p.asid16 else 8)), len(cds))
        for (_, place), asid in zip(cds, asids):
            self.make_cd(stream, place, asid, space, memory, alone, stage2,
                         one_half=fields.get("STRW") == 2 and not self.e2h)

    def make_cd_table(self, stream, space, memory, fmt, bits, ssids):
        if fmt in (0, 3):
            table = space.alloc(64 << bits)
            return table, [(ssid, table + 64 * ssid) for ssid in ssids]
        leaf_bits, leaf_bytes = (6, 4096) if fmt == 1 else (10, 65536)
        table = space.alloc(max(64, 8 << max(bits - leaf_bits, 0)))
        leaves, cds = {}, []
        for ssid in ssids:
            index = ssid >> leaf_bits
            if index not in leaves:
                leaves[index] = space.alloc(leaf_bytes)
                memory.write64(table + 8 * index, pack(
                    L1CD, {"V": 1, "L2Ptr": address(L1CD, "L2Ptr", leaves[index])}))
                self.add_word(stream, memory, table + 8 * index, "L1CD")
            cds.append((ssid, leaves[index] + 64 * (ssid & (1 << leaf_bits) - 1)))
        return table, cds

    def add_word(self, stream, memory, place, kind):
        if isinstance(memory, GuestMemory):
            place = memory.place(place)
        stream.words.append((place, kind))

    def make_cd(self, stream, place, asid, space, memory, alone, stage2, one_half):
        rng, p = self.rng, self.params
        oa_bits = min(p.oas, stage2.ia_bits) if stage2 else p.oas
        ips = max((n for n in (32, 36, 40, 42, 44, 48) if n <= oa_bits), default=32)
        fields = {
            "V": 1, "AA64": 1, "ASID": asid, "ASET": rng.getrandbits(1),
            "A": 1 if p.term_model or self.chance(0.7) else 0, "R": self.chance(0.9),
            "WXN": self.chance(0.15), "PAN": self.chance(0.15), "AFFD": self.chance(0.2),
            "UWXN": rng.getrandbits(1), "HAD0": self.chance(0.2), "HAD1": self.chance(0.2),
            "MAIR0": self.mair(), "MAIR1": self.mair(),
            "EPD0": 1, "EPD1": not one_half, "T0SZ": 25, "T1SZ": 25 if not one_half else 0,
        }
        big = p.ttendian == 0 and self.chance(0.3)
        for half in ([0] if one_half else rng.choice([[0], [1], [0, 1]])):
            fields[f"EPD{half}"] = 0
            tbi = self.chance(0.3)
            table = PageTable(
                memory, space, stage=1, granule=rng.choice(self.granules),
                ia_bits=rng.randrange(25, 49), oa_bits=ips, upper=bool(half), big_endian=big)
            fields |= table.cd_fields() | {f"TBI{half}": tbi}
            bottom = -(1 << table.ia_bits) if half else 0
            found = self.map_some(stream, table, space if stage2 else self.pages,
                                  range(bottom, bottom + (1 << table.ia_bits)))
            if stage2:
                self.point_into_stage2(stream, table, found)
            if not alone:
                self.make_nonglobal(table, found)
            self.decorate(stream, memory, table, found)
            if tbi:
                stream.addresses += [a & (1 << 56) - 1 | rng.getrandbits(8) << 56
                                     for a in rng.sample(stream.addresses, 1)]
        raw = pack(CD, {k: int(v) for k, v in fields.items()})
        for number in range(4):
            memory.write64(place + 8 * number, raw >> 64 * number & (1 << 64) - 1)
            self.add_word(stream, memory, place + 8 * number, "CD")

    def mair(self):
        common = [0x00, 0x04, 0x08, 0x0C, 0x44, 0xFF, 0xBB, 0xEE, 0x4F, 0xF4, 0xAF, 0x99]
        return int.from_bytes(bytes(
            self.rng.choice(common) if self.chance(0.8) else self.rng.getrandbits(8)
            for _ in range(4)), "little")

    def point_into_stage2(self, stream, table, found):
        """Give leaves output addresses that stage 2 maps, most of them."""
        targets = [a for a in stream.addresses[:8] if 0 <= a < 1 << table.oa_bits]
        for at, size in found:
            if targets and self.chance(0.8):
                leaf = table.lookup(at)
                target = self.rng.choice(targets) & -size
                raw = leaf.raw & ~((1 << 48) - 1 & -table.page_size & -size) | target
                table.write_descriptor(leaf.addr, raw)
                stream.addresses.append(at + (self.rng.choice(targets) & size - 1))

    def make_nonglobal(self, table, found):
        for at, _ in found:
            leaf = table.lookup(at)
            table.write_descriptor(leaf.addr, leaf.raw | 1 << 11)

    def decorate(self, stream, memory, table, found):
        """Hierarchical permissions, and a list of every descriptor on the way."""
        for at, _ in found:
            for level, slot, raw in table.path(at):
                if level != 3 and raw & 3 == 3 and self.chance(0.15):
                    table.write_descriptor(slot, raw | self.rng.getrandbits(4) << 59)
                self.add_word(stream, memory, slot, "S1")

    # --- what happens

    def mutate(self, plan, mutations, aborts):
        """Garbage into some words, and bus errors; then everything cached is invalidated."""
        rng = self.rng
        for _ in range(min(int(rng.expovariate(1 / mutations)) if mutations else 0, 8)):
            words = [word for stream in self.streams for word in stream.words]
            place, kind = rng.choice(words)
            old = self.memory.read64(place)
            if self.chance(0.7):
                bits = 1 << rng.randrange(64) | (1 << rng.randrange(64) if self.chance(0.3) else 0)
                new = old ^ bits
            else:
                new = rng.getrandbits(64)
            if kind == "S1":
                new |= 1 << 11  # two CDs may share a VMID: keep leaves non-global
            plan.append(("write", place, new.to_bytes(8, "little")))
        if self.chance(aborts):
            words = [word for stream in self.streams for word in stream.words]
            place = rng.choice(words)[0]
            plan.append(("abort", range(place, place + 8), "read"))
        elif self.chance(0.3):
            plan.append(("no aborts",))
        plan.append(("commands", [
            (Opcode.CMD_CFGI_STE_RANGE, 31), (Opcode.CMD_TLBI_NSNH_ALL, 0),
            *([(Opcode.CMD_TLBI_EL2_ALL, 0)] if self.params.hyp else [])]))

    def random_invalidation(self):
        """One command that nothing demands: whatever it removes, answers stay the same."""
        rng = self.rng
        stream = rng.choice(self.streams)
        opcodes = [
            Opcode.CMD_CFGI_STE, Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL,
            Opcode.CMD_CFGI_STE_RANGE, Opcode.CMD_TLBI_NH_ALL, Opcode.CMD_TLBI_NH_ASID,
            Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_VAA, Opcode.CMD_TLBI_S12_VMALL,
            Opcode.CMD_TLBI_S2_IPA, Opcode.CMD_TLBI_NSNH_ALL]
        if not (self.params.s1p and self.params.s2p):
            opcodes = [Opcode.CMD_CFGI_STE, Opcode.CMD_TLBI_NSNH_ALL]
        opcode = rng.choice(opcodes)
        low = int(opcode) | rng.getrandbits(20) << 12
        if opcode in (Opcode.CMD_CFGI_STE, Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL,
                      Opcode.CMD_CFGI_STE_RANGE):
            return low | stream.sid << 32, rng.getrandbits(1)
        low |= stream.vmid << 32 | rng.getrandbits(16) << 48
        high = rng.choice(stream.addresses or [0]) & (1 << 64) - 1 & -4096 | rng.getrandbits(1)
        return low & ~(0x3FF << 12), high

    def make_transaction(self):
        rng, p = self.rng, self.params
        stream = rng.choice(self.streams)
        sid = stream.sid if not self.chance(0.04) else rng.getrandbits(rng.choice([4, 12, 32]))
        if self.chance(0.05):
            addr = rng.getrandbits(64)
        else:
            addr = rng.choice(stream.addresses or [rng.getrandbits(32)])
            if self.chance(0.12):
                addr ^= 1 << rng.randrange(64)
        addr &= (1 << 64) - 1
        length = rng.choice([1, 2, 4, 8, 16, 32, 64])
        addr &= -length
        write = bool(rng.getrandbits(1))
        ssid = rng.choice(stream.ssids) if self.chance(0.97) else rng.getrandbits(20)
        if ssid is not None and not p.ssidsize and self.chance(0.8):
            ssid = None
        return Transaction(
            sid=sid, ssid=ssid, addr=addr, write=write,
            data=rng.randbytes(length) if write else None, length=length,
            priv=bool(rng.getrandbits(1)), instr=self.chance(0.15),
            nonsecure=bool(rng.getrandbits(1)),
            cache=rng.choice([0, 1, 2, 3, 0b0110, 0b0111, 0b1010, 0b1011, 0b1110, 0b1111]),
            shareability=rng.choice([0, 2, 3]), port=rng.randrange(p.ports))
