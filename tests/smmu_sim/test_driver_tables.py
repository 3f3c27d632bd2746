"""Stream tables, CD tables, and changing their entries while devices use them."""

import itertools

import pytest

from smmu.formats.core import update
from smmu.formats.stream_table import EATS, S1DSS, SHCFG, STE, S1Fmt
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.driver import (
    ContextDescriptorTable, DriverError, PageAllocator, SMMUv3Driver, StreamTable, entries)
from smmu_sim.driver.entry_writer import cd_used, ste_safe, ste_used, write_entry
from smmu_sim.memory import Memory

POOL = (0x4000_0000, 0x1000_0000)
SID = 0x42


def ready(params=None, **options):
    memory = Memory()
    backend = ModelBackend(params or Params(), memory)
    driver = SMMUv3Driver(backend, PageAllocator(memory, *POOL), **options)
    driver.reset()
    return driver, backend


def identity(driver, offset, **geometry):
    """A page table that maps the first 16 pages to ``offset``."""
    table = driver.page_table(ia_bits=39, **geometry)
    table.map(0, offset, 0x1_0000)
    return table


# --- stream table --------------------------------------------------------------------------------

@pytest.mark.parametrize("options, params", [
    ({"two_level": True}, {}), ({"two_level": False}, {"sidsize": 10}),
    ({}, {"sidsize": 8, "ssidsize": 0}), ({}, {"sidsize": 4})])
def test_streams_of_each_table_format(options, params):
    driver, backend = ready(Params(**params), **options)
    last = (1 << driver.features.SIDSIZE) - 1
    sids = {0, 1, 5, last} | ({255, 256, 511, 0x1000} if last > 0x1000 else set())
    for sid in sids:
        driver.set_ste(sid, entries.bypass_ste())
    for sid in sids:
        assert backend.dma(Transaction(sid=sid, addr=0x1000, length=4)).pa == 0x1000
        assert driver.stream_table.read(sid) == entries.bypass_ste()
    for sid in {2, 6, last - 1} - sids:
        assert not backend.dma(Transaction(sid=sid, addr=0x1000, length=4)).ok
    assert driver.service() == [], "streams that were never set abort silently"
    driver.detach(5)
    assert not backend.dma(Transaction(sid=5, addr=0x1000, length=4)).ok
    with pytest.raises(DriverError, match=f"StreamID {last + 1:#x} is outside of"):
        driver.set_ste(last + 1, entries.bypass_ste())


@pytest.mark.parametrize("split", [6, 8, 10])
def test_level_2_tables_are_made_when_needed(split):
    memory = Memory()
    allocator = PageAllocator(memory, *POOL)
    table = StreamTable(memory, allocator, 16, split)
    level1 = allocator.used
    assert table.find(5) is None and table.read(5) == entries.ABORT
    invalidated = []
    table.write(5, entries.bypass_ste(), invalidated.append)
    assert invalidated[0] is False, "a new L1STD needs an invalidation with Leaf=0"
    used = allocator.used - level1
    assert used == max(64 << split, 0x1000)
    table.write((1 << split) - 1, entries.bypass_ste(), invalidated.append)
    assert allocator.used - level1 == used
    table.write(1 << split, entries.bypass_ste(), invalidated.append)
    assert allocator.used - level1 == 2 * used
    assert table.find((1 << split) + 1) == table.find(1 << split) + 64


def test_bad_split():
    memory = Memory()
    with pytest.raises(DriverError, match=r"SPLIT is 7; it is one of \(6, 8, 10\)"):
        StreamTable(memory, PageAllocator(memory, *POOL), 16, 7)


# --- CD tables -----------------------------------------------------------------------------------

@pytest.mark.parametrize("fmt", list(S1Fmt), ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("substreamid_bits", [1, 6, 7, 11])
def test_substreams_of_each_table_format(fmt, substreamid_bits):
    driver, backend = ready()
    cds = driver.context_table(substreamid_bits, fmt)
    driver.set_ste(SID, entries.stage1_ste(cds))
    last = (1 << substreamid_bits) - 1
    ssids = sorted({0, 1, 63, 64, 1023, 1024, last} & set(range(last + 1)))
    for asid, ssid in enumerate(ssids):
        driver.set_cd(cds, entries.cd(identity(driver, asid << 20), asid=asid), ssid, sids=[SID])
    for asid, ssid in enumerate(ssids):
        transaction = Transaction(sid=SID, ssid=ssid or None, addr=0x1000, length=4)
        assert backend.dma(transaction).pa == (asid << 20) + 0x1000
        assert cds.read(ssid) == entries.cd(identity_of(cds, ssid), asid=asid)
    assert not backend.dma(Transaction(sid=SID, ssid=last + 1, addr=0x1000, length=4)).ok
    assert [event.name for event in driver.service()] == ["C_BAD_SUBSTREAMID"]
    with pytest.raises(DriverError, match=f"SubstreamID {last + 1:#x} is outside"):
        cds.find(last + 1)


def identity_of(cds, ssid):
    """A stand-in for the page table of a CD: its fields, as the CD has them."""
    raw = cds.read(ssid)

    class Table:
        @staticmethod
        def cd_fields():
            from smmu.formats.context_descriptor import CD
            from smmu.formats.core import unpack
            fields = unpack(CD, raw)
            return {name: fields[name] for name in
                    ("T0SZ", "TG0", "IR0", "OR0", "SH0", "TTB0", "IPS", "ENDI", "AA64")}
    return Table


def test_leaf_tables_of_cds_are_made_when_needed():
    memory = Memory()
    allocator = PageAllocator(memory, *POOL)
    cds = ContextDescriptorTable(memory, allocator, 12, S1Fmt.LEVEL2_4K)
    assert cds.find(70) is None and cds.read(70) == 0
    calls = []
    cds.write(entries.cd(None, upper=FakeTable, asid=1), 70, lambda *args: calls.append(args))
    assert calls == [(70, False), (70, True), (70, True)]
    assert cds.find(64) is not None and cds.find(63) is None


class FakeTable:
    @staticmethod
    def cd_fields():
        return {"T1SZ": 25, "TG1": 2, "TTB1": 0x1000, "AA64": 1}


def test_default_format_is_linear_up_to_1024_cds():
    memory = Memory()
    allocator = PageAllocator(memory, *POOL)
    assert ContextDescriptorTable(memory, allocator, 10).fmt == S1Fmt.LINEAR
    assert ContextDescriptorTable(memory, allocator, 11).fmt == S1Fmt.LEVEL2_64K
    with pytest.raises(DriverError, match="substreamid_bits is 21"):
        ContextDescriptorTable(memory, allocator, 21)
    with pytest.raises(ValueError, match="a CD needs a page table"):
        entries.cd(asid=1)


# --- changing entries ----------------------------------------------------------------------------

class Fields:
    """Stands for a page table or a CD table: its fields."""

    def __init__(self, **fields):
        self.fields = fields

    def ste_fields(self):
        return self.fields


CDS = Fields(S1ContextPtr=0x1000, S1CDMax=2, S1CIR=1, S1COR=1, S1CSH=3, S1DSS=S1DSS.SSID0)
OTHER_CDS = Fields(S1ContextPtr=0x2000, S1CDMax=2, S1CIR=2, S1COR=1, S1CSH=3, S1DSS=S1DSS.SSID0)
STAGE2 = Fields(S2T0SZ=24, S2SL0=1, S2IR0=1, S2OR0=1, S2SH0=3, S2PS=5, S2AA64=1, S2TTB=0x3000)
STES = {
    "abort": entries.ABORT,
    "bypass": entries.bypass_ste(),
    "cdtable": entries.stage1_ste(CDS, vmid=7, EATS=EATS.FULL),
    "other cdtable": entries.stage1_ste(OTHER_CDS, vmid=7, EATS=EATS.FULL),
    "s1dss bypass": entries.stage1_ste(CDS, vmid=7, S1DSS=S1DSS.BYPASS, EATS=EATS.FULL),
    "s2": entries.stage2_ste(STAGE2, vmid=7, EATS=EATS.FULL),
    "nested": entries.nested_ste(CDS, STAGE2, vmid=7, EATS=EATS.FULL),
    "nested s1dss bypass": entries.nested_ste(CDS, STAGE2, vmid=7, S1DSS=S1DSS.BYPASS,
                                              EATS=EATS.FULL),
}


def change(start, target, used=ste_used, safe=ste_safe):
    """Rewrite an entry; return (syncs, entries that the SMMU may have seen on the way)."""
    memory = Memory()
    addr = 0x1000
    memory.write(addr, start.to_bytes(64, "little"))
    seen = [start]

    class Watched:
        read64 = staticmethod(memory.read64)

        @staticmethod
        def write64(where, value):
            memory.write64(where, value)
            seen.append(int.from_bytes(memory.read(addr, 64), "little"))

    syncs = []
    count = write_entry(Watched, addr, target, used=used, safe=safe, sync=lambda: syncs.append(1))
    assert memory.read(addr, 64) == target.to_bytes(64, "little")
    assert count == len(syncs)
    return count, seen


# From Linux's unit tests of its writer, where the same STEs take as many steps.
@pytest.mark.parametrize("start, target, syncs", [
    ("abort", "bypass", 2), ("bypass", "abort", 2),
    ("abort", "cdtable", 2), ("cdtable", "abort", 2),
    ("bypass", "cdtable", 3), ("cdtable", "bypass", 3),
    ("cdtable", "s1dss bypass", 1), ("s1dss bypass", "cdtable", 1),
    ("s1dss bypass", "bypass", 2), ("bypass", "s1dss bypass", 2),
    ("abort", "s2", 2), ("s2", "abort", 2), ("s2", "bypass", 2), ("bypass", "s2", 2),
    ("cdtable", "s2", 3), ("s2", "cdtable", 3),
    ("nested s1dss bypass", "bypass", 2),
    ("cdtable", "other cdtable", 3),
])
def test_number_of_syncs(start, target, syncs):
    assert change(STES[start], STES[target])[0] == syncs


def meaning(ste):
    """What of an STE counts."""
    return ste & ste_used(ste)


@pytest.mark.parametrize("start, target", list(itertools.permutations(STES, 2)),
                         ids=lambda name: name.replace(" ", "_"))
def test_no_wrong_ste_is_ever_seen(start, target):
    """At each store the entry means the old or the new, or is invalid, if that can't be helped."""
    _, seen = change(STES[start], STES[target])
    ignored = ste_safe(STES[start], STES[target])
    allowed = {meaning(STES[name]) & ~ignored for name in (start, target)}
    for ste in seen:
        assert not ste & 1 or meaning(ste) & ~ignored in allowed
    if "other cdtable" not in (start, target) and "nested" not in start + target:
        assert all(ste & 1 for ste in seen)


def test_two_cd_tables_need_a_break():
    assert any(not ste & 1 for ste in change(STES["cdtable"], STES["other cdtable"])[1])


def test_same_entry_costs_nothing():
    assert change(STES["s2"], STES["s2"])[0] == 0


def test_safe_bits_change_at_once():
    without = update(STE, STES["cdtable"], {"EATS": 0})
    assert change(STES["cdtable"], without)[0] == 1
    moved = update(STE, without, {"S1ContextPtr": 0x5000})  # in another word than EATS
    assert all(ste & 1 for ste in change(STES["cdtable"], moved)[1])
    split = update(STE, STES["nested"], {"EATS": EATS.SPLIT})
    assert not ste_safe(STES["nested"], split) & update(STE, 0, {"EATS": 3})
    assert ste_safe(STES["nested"], STES["s2"]) & update(STE, 0, {"MEV": 1})


def test_unused_fields_of_an_ste():
    assert ste_used(update(STE, STES["abort"], {"V": 0})) == 1
    shcfg = update(STE, 0, {"SHCFG": SHCFG.ISH})
    assert not ste_used(STES["cdtable"]) & shcfg
    assert all(ste_used(STES[name]) & shcfg == shcfg for name in ("bypass", "s1dss bypass", "s2"))


def test_cd_changes():
    driver, _ = ready()
    first, second = identity(driver, 0), identity(driver, 1 << 20)
    old, new_asid = entries.cd(first, asid=1), entries.cd(first, asid=2)
    quiet, other = entries.cd(first, asid=1, EPD0=1), entries.cd(second, asid=2)

    def count(start, target):
        return change(start, target, used=cd_used, safe=lambda *_: 0)[0]

    assert count(old, new_asid) == 1, "one word changes"
    assert count(0, old) == count(old, 0) == 2
    assert count(old, quiet) == 1
    assert count(old, other) == 3, "ASID and table stand in two words"


def test_device_traffic_through_every_step():
    """A running device, looked at after each store, never sees anything but the old or the new."""
    driver, backend = ready()
    cds = driver.context_table()
    driver.set_cd(cds, entries.cd(identity(driver, 1 << 30), asid=1))
    stage2 = identity(driver, 2 << 30, stage=2)
    stes = {0: entries.bypass_ste(), 1 << 30: entries.stage1_ste(cds, vmid=1),
            2 << 30: entries.stage2_ste(stage2, vmid=1)}
    outcomes = set()
    memory = backend.memory
    addr = driver.stream_table.ensure(SID)
    for (before, start), (after, target) in itertools.permutations(stes.items(), 2):
        driver.set_ste(SID, start)
        seen = set()

        def look(where, data, device_id, seen=seen):
            seen.add(backend.dma(Transaction(sid=SID, addr=0x1000, length=4)).pa)

        handle = memory.observe(range(addr, addr + 64), look)
        driver.set_ste(SID, target)
        memory.remove(handle)
        assert seen <= {before + 0x1000, after + 0x1000}
        outcomes |= seen
    assert len(outcomes) == 3
