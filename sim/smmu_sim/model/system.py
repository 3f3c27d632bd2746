"""The smallest system around a backend: stream table, queues, CDs and tables in a flat memory.

For tests and experiments that want one STE, one CD and a few pages, written field by field.
"""

from smmu.formats.context_descriptor import CD
from smmu.formats.core import fields, pack, plain, to_bytes, unpack, update
from smmu.formats.descriptors import (
    Descriptor, Granule, S1Leaf, S1Table, S2Leaf, level_shift, next_table_mask,
)
from smmu.formats.events import EVENTS, EventHeader, EventType
from smmu.formats.registers import (
    BY_NAME, CMDQ_BASE, CR0, CR2, EVENTQ_BASE, EVENTQ_CONS, EVENTQ_PROD, STRTAB_BASE_CFG,
)
from smmu.formats.stream_table import SHCFG, STE, STEConfig
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.memory import Memory

__all__ = ["System"]

STE_BYTES, CD_BYTES, EVENT_BYTES, COMMAND_BYTES = 64, 64, 32, 16

STE_DEFAULTS = {
    "V": 1, "SHCFG": SHCFG.INCOMING, "S2T0SZ": 25, "S2SL0": 1, "S2PS": 5, "S2AA64": 1, "S2R": 1,
}
CD_DEFAULTS = {"V": 1, "T0SZ": 25, "T1SZ": 25, "TG1": 2, "IPS": 5, "AA64": 1, "A": 1, "R": 1}
S1_DEFAULTS = {"AF": 1, "AP": 1, "SH": 3}
S2_DEFAULTS = {"AF": 1, "S2AP": 3, "MemAttr": 15, "SH": 3}


class System:
    """An SMMU whose queues and stream table are in place, with SMMUEN=1.

    Stage 1 and stage 2 use 4 KB granules and 39 bits from level 1, until an STE or CD says else.
    ``S2_TABLE`` maps the first 8 GB onto themselves with 1 GB blocks. CD 0 is at ``CDS``.
    """

    STRTAB, CMDQ, EVENTQ, CDS = 0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000
    S1_TABLE, S1_HIGH_TABLE, S2_TABLE, FREE = 0x10_0000, 0x10_1000, 0x10_2000, 0x20_0000
    LOG2_STREAMS = LOG2_QUEUE = 6

    def __init__(self, params=None, backend=None, **cr2):
        self.backend = backend or ModelBackend(params or Params(), Memory())
        self.memory = self.backend.memory
        self._free = self.FREE
        self._command = 0
        self.write("STRTAB_BASE", self.STRTAB)
        self.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": self.LOG2_STREAMS}))
        self.write("CMDQ_BASE", self.CMDQ | pack(CMDQ_BASE, {"LOG2SIZE": self.LOG2_QUEUE}))
        self.write("EVENTQ_BASE", self.EVENTQ | pack(EVENTQ_BASE, {"LOG2SIZE": self.LOG2_QUEUE}))
        self.write("CR2", pack(CR2, {"RECINVSID": 1, **cr2}))
        for gigabyte in range(8):
            self.map(self.S2_TABLE, gigabyte << 30, S2Leaf,
                     {**S2_DEFAULTS, "OA": gigabyte << 18}, level=1, start=1)
        self.enable()

    # Registers

    def write(self, name, value, index=0):
        register = BY_NAME[name]
        write = self.backend.write64 if register.width == 64 else self.backend.write32
        write(register.at(index), value)

    def read(self, name, index=0):
        register = BY_NAME[name]
        read = self.backend.read64 if register.width == 64 else self.backend.read32
        return read(register.at(index))

    def field(self, register, name):
        """Return one field of a register."""
        return getattr(plain(BY_NAME[register].struct), name)(self.read(register))

    def enable(self, **cr0):
        self.write("CR0", pack(CR0, {"SMMUEN": 1, "EVENTQEN": 1, "CMDQEN": 1, **cr0}))

    # Structures

    def ste(self, streamid=1, config=STEConfig.S1_TRANS, **values):
        """Write an STE; what is not named has a harmless value."""
        values = {**STE_DEFAULTS, "Config": config, "S1ContextPtr": self.CDS >> 6,
                  "S2TTB": self.S2_TABLE >> 4, **values}
        self.memory.poke(self.STRTAB + STE_BYTES * streamid, to_bytes(STE, pack(STE, values)))

    def cd(self, index=0, addr=None, **values):
        """Write a CD. Without a T1SZ or the like there is no upper half."""
        if not {"EPD1", "T1SZ", "TG1", "TTB1"} & set(values):
            values["EPD1"] = 1
        values = {**CD_DEFAULTS, "TTB0": self.S1_TABLE >> 4, "TTB1": self.S1_HIGH_TABLE >> 4,
                  "MAIR0": 0x00_04_44_FF, **values}
        where = self.CDS + CD_BYTES * index if addr is None else addr
        self.memory.poke(where, to_bytes(CD, pack(CD, values)))

    def map(self, table, addr, struct, values, level=3, start=1, granule=Granule.G4K,
            table_flags=None):
        """Write a leaf at ``level`` and the tables between it and ``table`` at level ``start``.

        A block on the way is split. ``table_flags`` are fields of the table descriptors that are
        new. Returns the address of the leaf.
        """
        mask = (1 << granule - 3) - 1
        for each in range(start, level):
            slot = table + 8 * (addr >> level_shift(each, granule) & mask)
            old = self.memory.read64(slot)
            if plain(Descriptor).Valid(old) and plain(Descriptor).Type(old):
                table = old & next_table_mask(granule)
                continue
            table = self.allocate(1 << granule)
            if plain(Descriptor).Valid(old):
                size = 1 << level_shift(each + 1, granule)
                for index in range(mask + 1):
                    part = update(Descriptor, old + index * size, {"Type": int(each + 1 == 3)})
                    self.memory.write64(table + 8 * index, part)
            pointer = {"Valid": 1, "Type": 1, "NextTable": table >> 12, **(table_flags or {})}
            self.memory.poke(slot, to_bytes(S1Table, pack(S1Table, pointer)))
        slot = table + 8 * (addr >> level_shift(level, granule) & mask)
        leaf = pack(struct, {"Valid": 1, "Type": int(level == 3), **values})
        self.memory.poke(slot, to_bytes(struct, leaf))
        return slot

    def map1(self, va, pa, level=3, table_flags=None, high=False, **leaf):
        """Map ``va`` in stage 1."""
        table = self.S1_HIGH_TABLE if high else self.S1_TABLE
        return self.map(table, va, S1Leaf, {**S1_DEFAULTS, "OA": pa >> 12, **leaf}, level,
                        table_flags=table_flags)

    def map2(self, ipa, pa, level=3, **leaf):
        """Map ``ipa`` in stage 2, instead of the 1 GB block that was there."""
        return self.map(self.S2_TABLE, ipa, S2Leaf, {**S2_DEFAULTS, "OA": pa >> 12, **leaf}, level)

    def allocate(self, size):
        """Return the address of fresh memory, aligned to its size."""
        self._free = -(-self._free // size) * size + size
        return self._free - size

    # Traffic, commands, events

    def dma(self, addr, streamid=1, write=False, length=8, **more):
        """Perform a read, or a write of 0x5A bytes."""
        if write:
            more.setdefault("data", b"\x5A" * length)
        return self.backend.dma(Transaction(
            sid=streamid, addr=addr, write=write, length=length, **more))

    def command(self, *commands):
        """Append commands and let them be consumed."""
        for command in commands:
            slot = self._command & (1 << self.LOG2_QUEUE) - 1
            self.memory.poke(self.CMDQ + COMMAND_BYTES * slot, command.to_bytes(16, "little"))
            self._command = self._command + 1 & (2 << self.LOG2_QUEUE) - 1
        self.write("CMDQ_PROD", self._command)
        self.backend.idle()

    def events(self):
        """Return the new event records as (EventType, {field: value}), without zero fields."""
        self.backend.idle()
        consumed, produced = self.read("EVENTQ_CONS"), self.read("EVENTQ_PROD")
        index, end = plain(EVENTQ_CONS).RD(consumed), plain(EVENTQ_PROD).WR(produced)
        records = []
        while index != end:
            slot = index & (1 << self.LOG2_QUEUE) - 1
            octets = self.memory.peek(self.EVENTQ + EVENT_BYTES * slot, EVENT_BYTES)
            raw = int.from_bytes(octets, "little")
            number = EventType(plain(EventHeader).Event(raw))
            known = sum(field.mask for field in fields(EVENTS[number]).values())
            assert not raw & ~known, f"reserved bits are set in {raw:#x}"
            values = unpack(EVENTS[number], raw)
            del values["Event"]
            records.append((number, {name: value for name, value in values.items() if value}))
            index = index + 1 & (2 << self.LOG2_QUEUE) - 1
        self.write("EVENTQ_CONS", produced)
        return records
