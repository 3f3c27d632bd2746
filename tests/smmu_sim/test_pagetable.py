"""Page tables, checked by the reference model's walk."""

import random

import pytest

from smmu.formats.descriptors import Granule
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.driver import (
    ContextDescriptorTable, MemoryWindow, PageAllocator, SMMUv3Driver, entries)
from smmu_sim.memory import Memory
from smmu_sim.pagetable import CONTIGUOUS, PageTable, PageTableError, Prot, start_levels

SID, ASID, VMID = 5, 3, 2
POOL = (0x4000_0000, 0x1000_0000)
GRANULES = list(Granule)


class Setup:
    """A driver on the model, with one page table behind one stream."""

    def __init__(self, *, upper=False, ttendian=0, **geometry):
        self.memory = Memory()
        self.backend = ModelBackend(Params(ttendian=ttendian), self.memory)
        self.driver = SMMUv3Driver(self.backend, PageAllocator(self.memory, *POOL))
        self.driver.reset()
        self.table = self.driver.page_table(upper=upper, **geometry)
        if self.table.stage == 1:
            cds = self.driver.context_table()
            half = {"upper": self.table} if upper else {"lower": self.table}
            self.driver.set_cd(cds, entries.cd(**half, asid=ASID))
            self.driver.set_ste(SID, entries.stage1_ste(cds))
        else:
            self.driver.set_ste(SID, entries.stage2_ste(self.table, vmid=VMID))

    def translate(self, addr, **kind):
        """What the model makes of an input address: output address, or the event's name."""
        result = self.access(addr, **kind)
        events = self.driver.service()
        assert len(events) == (result.pa is None)
        return result.pa if result.pa is not None else events[0].name

    def access(self, addr, *, write=False, **kind):
        return self.backend.dma(Transaction(
            sid=SID, addr=addr & (1 << 64) - 1, write=write, data=b"x" if write else None,
            length=None if write else 1, **kind))


def geometries():
    """Every granule; sizes at which the start level or its table changes; every start level."""
    for granule in GRANULES:
        for ia_bits in (25, 30, 31, 34, 35, 36, 39, 40, 42, 43, 47, 48):
            yield {"stage": 1, "granule": granule, "ia_bits": ia_bits}
            yield from ({"stage": 2, "granule": granule, "ia_bits": ia_bits, "start_level": level}
                        for level in start_levels(granule, ia_bits))


def name(geometry):
    return "-".join(str(getattr(value, "name", value)) for value in geometry.values())


@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("geometry", list(geometries()), ids=name)
def test_model_walks_what_was_mapped(geometry, big_endian):
    rng = random.Random(name(geometry))
    setup = Setup(**geometry, big_endian=big_endian)
    table, shadow = setup.table, []
    span = 1 << table.ia_bits
    for level in table.leaf_levels():
        size = table.leaf_size(level)
        for _ in range(3):
            count = rng.randint(1, 3)
            if size * count > span:
                continue
            start = rng.randrange(0, span - size * count + 1, size)
            if any(start < at + length and at < start + size * count for at, _, length in shadow):
                continue
            output = rng.randrange(0, (1 << 48) - size * count, size)
            table.map(start, output, size * count)
            shadow.append((start, output, size * count))
    assert shadow

    def expected(addr):
        return next((output + addr - at for at, output, length in shadow
                     if at <= addr < at + length), "F_TRANSLATION")

    probes = [rng.randrange(span) for _ in range(10)] + [0, span - 1]
    for at, _, length in shadow:
        probes += [at, at + length - 1, at + rng.randrange(length), at - 1, at + length]
    for addr in probes:
        if 0 <= addr < span:
            assert setup.translate(addr) == expected(addr), hex(addr)
            assert table.iova_to_phys(addr) == (None if expected(addr) == "F_TRANSLATION"
                                                else expected(addr))
    # An IPA beyond the largest possible one is refused before stage 2 looks at it.
    beyond = "F_ADDR_SIZE" if table.stage == 2 and table.ia_bits == 48 else "F_TRANSLATION"
    assert setup.translate(span) == beyond


@pytest.mark.parametrize("granule", GRANULES, ids=lambda g: g.name)
def test_upper_half(granule):
    setup = Setup(upper=True, granule=granule, ia_bits=42)
    page = setup.table.page_size
    setup.table.map(-page, 0x8000_0000, page)
    assert setup.translate(-1) == 0x8000_0000 + page - 1
    assert setup.translate((1 << 64) - page) == 0x8000_0000
    assert setup.translate(-page - 1) == setup.translate(page) == "F_TRANSLATION"
    assert setup.table.iova_to_phys(-8) == 0x8000_0000 + page - 8
    with pytest.raises(PageTableError, match="upper 42 bits"):
        setup.table.map(0, 0x8000_0000, page)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("granule", GRANULES, ids=lambda g: g.name)
def test_largest_leaves_are_taken(granule, stage):
    setup = Setup(granule=granule, stage=stage, ia_bits=40)
    table = setup.table
    block, page = table.leaf_size(2), table.page_size
    start = block - 2 * page
    table.map(start, start + 4 * block, block + 4 * page)
    assert [table.lookup(start + offset).size for offset in (0, page, 2 * page, 2 * page + block)] \
        == [page, page, block, page]
    assert table.lookup(start - page) is None
    assert table.lookup(start + block + 4 * page) is None
    # An output address that is not aligned to the block leaves only pages.
    table.map(8 * block, 16 * block + page, block)
    assert table.lookup(8 * block).size == page
    assert setup.translate(9 * block - 1) == 17 * block + page - 1


def test_levels_limit_the_leaves():
    table = Setup(ia_bits=48).table
    table.map(0, 0, 2 << 30, levels=[2])
    assert table.lookup(0).size == 2 << 20
    table.map(4 << 30, 0, 2 << 30)
    assert table.lookup(4 << 30).size == 1 << 30
    with pytest.raises(PageTableError, match=r"levels is \[0\]; leaves can stand at \[1, 2, 3\]"):
        table.map(8 << 30, 0, 1 << 30, levels=[0])
    with pytest.raises(PageTableError, match="not a multiple of 0x200000"):
        table.map(8 << 30, 0, 0x1000, levels=[2])


@pytest.mark.parametrize("stage", [1, 2])
def test_permissions(stage):
    setup = Setup(stage=stage, ia_bits=40)
    rights = {
        0x1000: Prot(write=False), 0x2000: Prot(), 0x3000: Prot(execute=True, write=False),
        0x4000: Prot(read=False), 0x5000: Prot(privileged=True),
    }
    for addr, prot in rights.items():
        setup.table.map(addr, addr, 0x1000, prot)

    def allowed(addr, **kind):
        answer = setup.translate(addr, **kind)
        assert answer in (addr, "F_PERMISSION")
        return answer == addr

    assert [allowed(addr) for addr in rights] == [True, True, True, stage == 1, stage == 2]
    assert [allowed(addr, write=True) for addr in rights] == [False, True, False, True, stage == 2]
    assert [allowed(addr, instr=True) for addr in rights] == [False, False, True, False, False]
    assert allowed(0x5000, priv=True) and allowed(0x5000, priv=True, write=True)


@pytest.mark.parametrize("geometry", [
    {"stage": 1}, {"stage": 2}, {"stage": 2, "fwb": True}], ids=["s1", "s2", "s2-fwb"])
def test_memory_types(geometry):
    setup = Setup(**geometry, ia_bits=40)
    for addr, memory in ((0x1000, "wb"), (0x2000, "nc"), (0x3000, "device")):
        setup.table.map(addr, addr, 0x1000, Prot(memory=memory))
    # AXI: write-back with both hints, Normal non-cacheable, Device
    caches = [setup.access(addr, cache=0b1111).cache for addr in (0x1000, 0x2000, 0x3000)]
    assert caches == [0b1111, 0b0011, 0b0001]


@pytest.mark.parametrize("granule", GRANULES, ids=lambda g: g.name)
@pytest.mark.parametrize("level", [2, 3])
def test_contiguous_groups(granule, level):
    setup = Setup(granule=granule, ia_bits=48)
    table = setup.table
    leaf, entries_of_group = table.leaf_size(level), CONTIGUOUS[granule][level]
    group = leaf * entries_of_group
    start = 4 * group + leaf
    table.map(start, start, 2 * group, Prot(contiguous=True), levels=[level])
    bits = [table.lookup(start + n * leaf).raw >> 52 & 1 for n in range(2 * entries_of_group)]
    assert bits == [0] * (entries_of_group - 1) + [1] * entries_of_group + [0]
    assert setup.translate(start + group) == start + group
    with pytest.raises(PageTableError, match="cuts the leaf or contiguous group"):
        table.unmap(5 * group, leaf)
    assert table.unmap(5 * group, group).size == group


def test_fields_override_the_descriptor():
    setup = Setup(ia_bits=40)
    setup.table.map(0x1000, 0x1000, 0x1000, Prot(fields={"AF": 0}))
    assert setup.translate(0x1000) == "F_ACCESS"


def test_unmap_gives_tables_back():
    setup = Setup(ia_bits=48)
    table, allocator = setup.table, setup.driver.allocator
    before = allocator.used
    table.map(0x1000, 0x10_0000, 0x2000)
    table.map(0x8000, 0x20_0000, 0x1000)
    table.map(1 << 40, 0, 2 << 20)
    assert allocator.used == before + (3 + 2) * 0x1000
    first = table.unmap(0, 0x3000)
    assert (first.size, first.leaves, first.tables) == (0x2000, {0x1000}, ())
    assert setup.translate(0x1000) == "F_TRANSLATION" and setup.translate(0x8000) == 0x20_0000
    second = table.unmap(0, 1 << 39)
    assert second.size == 0x1000 and len(second.tables) == 3
    assert allocator.used == before + 5 * 0x1000, "tables are in use until they are released"
    table.release(second)
    table.release(table.unmap(1 << 40, 2 << 20))
    assert allocator.used == before
    table.map(0x1000, 0x10_0000, 0x1000)
    assert setup.translate(0x1234) == 0x10_0234
    table.free()
    assert allocator.used < before


def test_unmap_refuses_to_cut_a_block():
    setup = Setup(ia_bits=48)
    setup.table.map(0, 0, 4 << 20)
    for addr, size in ((0, 0x1000), (0x1F_F000, 0x1000), (0x10_0000, 2 << 20), (2 << 20, 0x1000)):
        with pytest.raises(PageTableError, match="cuts the leaf"):
            setup.table.unmap(addr, size)
    assert setup.translate(0x1000) == 0x1000, "nothing was removed"
    assert setup.table.unmap(0, 2 << 20).size == 2 << 20
    assert setup.table.unmap(0, 2 << 20).size == 0
    assert setup.translate(2 << 20) == 2 << 20


def test_random_map_and_unmap_agree_with_a_dictionary():
    rng = random.Random(4)
    setup = Setup(ia_bits=32)
    pages, table = {}, setup.table
    empty = setup.driver.allocator.used
    window = 1024  # pages: two tables
    for _ in range(400):
        first, count = rng.randrange(window), rng.choice((1, 1, 2, 5, 512))
        count = min(count, window - first)
        span = range(first, first + count)
        if any(page in pages for page in span):
            with pytest.raises(PageTableError, match="is mapped already"):
                table.map(first << 12, 0, count << 12, levels=[3])
            removed = table.unmap(first << 12, count << 12)
            assert removed.size == 0x1000 * sum(page in pages for page in span)
            table.release(removed)
            for page in span:
                pages.pop(page, None)
        else:
            output = rng.randrange(1 << 30)
            table.map(first << 12, output << 12, count << 12, levels=[3])
            pages |= {page: output + page - first for page in span}
        page = rng.randrange(window)
        expected = pages[page] << 12 if page in pages else "F_TRANSLATION"
        assert setup.translate(page << 12) == expected
    table.release(table.unmap(0, window << 12))
    assert setup.driver.allocator.used == empty


def test_descriptors_are_big_endian_in_memory():
    setup = Setup(big_endian=True, ia_bits=30, granule=Granule.G4K)
    setup.table.map(0, 0x1234_5000, 0x1000)
    leaf = setup.table.lookup(0)
    assert setup.memory.read(leaf.addr, 8) == leaf.raw.to_bytes(8, "big")
    assert leaf.raw & 0xFFFF_F000 == 0x1234_5000


@pytest.mark.parametrize("options, message", [
    ({"stage": 3}, "stage is 3; it is 1 or 2"),
    ({"granule": 13}, "granule is 13; it is one of G4K=12, G16K=14, G64K=16"),
    ({"ia_bits": 49}, "ia_bits is 49; TxSZ 16 to 39 allow 25 to 48"),
    ({"ia_bits": 24}, "ia_bits is 24"),
    ({"oa_bits": 41}, "oa_bits is 41; it is one of 32, 36, 40, 42, 44, 48"),
    ({"stage": 2, "upper": True}, "stage 2 has no upper half"),
    ({"stage": 1, "start_level": 2}, "start_level is 2, but 48 bits of stage 1 start at level 0"),
    ({"stage": 2, "ia_bits": 40, "start_level": 3}, r"start_level is 3; 40 bits with G4K can start "
                                                   r"at \[0, 1\]"),
])
def test_impossible_geometry(options, message):
    memory = Memory()
    with pytest.raises(PageTableError, match=message):
        PageTable(memory, PageAllocator(memory, *POOL), **options)


@pytest.mark.parametrize("addr, output, size, message", [
    (0x800, 0, 0x1000, "input address 0x800 is not a multiple of 0x1000"),
    (0, 0x800, 0x1000, "output address 0x800"),
    (0, 0, 0x1800, "size 0x1800"),
    (0, 0, 0, "empty or outside of 40 bits"),
    (0, (1 << 40) - 0x1000, 0x2000, "outside of 40 bits"),
    ((1 << 39) - 0x1000, 0, 0x2000, "input address 0x8000000fff is outside of the 39 bits"),
    (-0x1000, 0, 0x1000, "is outside of the 39 bits"),
])
def test_impossible_mapping(addr, output, size, message):
    memory = Memory()
    table = PageTable(memory, PageAllocator(memory, *POOL), ia_bits=39, oa_bits=40)
    with pytest.raises(PageTableError, match=message):
        table.map(addr, output, size)
    with pytest.raises(PageTableError, match="memory is 'fast'; it is one of nc, wb, device"):
        table.map(0, 0, 0x1000, Prot(memory="fast"))
    assert table.lookup(0) is None


def test_fields_of_the_wrong_stage():
    memory = Memory()
    allocator = PageAllocator(memory, *POOL)
    with pytest.raises(PageTableError, match="fields of stage 2; the table is stage 1"):
        PageTable(memory, allocator).ste_fields()
    with pytest.raises(PageTableError, match="fields of stage 1; the table is stage 2"):
        PageTable(memory, allocator, stage=2).cd_fields()


def test_fields_for_cd_and_ste():
    memory = Memory()
    allocator = PageAllocator(memory, *POOL)
    lower = PageTable(memory, allocator, granule=Granule.G64K, ia_bits=42, oa_bits=44)
    assert lower.cd_fields() == {"T0SZ": 22, "TG0": 1, "IR0": 1, "OR0": 1, "SH0": 3, "IPS": 4,
                                 "TTB0": lower.root >> 4, "ENDI": 0, "AA64": 1}
    upper = PageTable(memory, allocator, granule=Granule.G16K, upper=True, big_endian=True)
    assert upper.cd_fields() == {"T1SZ": 16, "TG1": 1, "IR1": 1, "OR1": 1, "SH1": 3, "IPS": 5,
                                 "TTB1": upper.root >> 4, "ENDI": 1, "AA64": 1}
    stage2 = PageTable(memory, allocator, stage=2, ia_bits=40, oa_bits=42, fwb=True)
    assert stage2.ste_fields() == {
        "S2T0SZ": 24, "S2SL0": 1, "S2IR0": 1, "S2OR0": 1, "S2SH0": 3, "S2TG": 0, "S2PS": 3,
        "S2AA64": 1, "S2ENDI": 0, "S2FWB": 1, "S2TTB": stage2.root >> 4}


def test_default_start_level_avoids_level_0():
    memory = Memory()
    allocator = PageAllocator(memory, *POOL)

    def start(granule, ia_bits):
        return PageTable(memory, allocator, stage=2, granule=granule, ia_bits=ia_bits).start_level

    assert [start(Granule.G4K, bits) for bits in (48, 44, 43, 40, 39, 30)] == [0, 0, 1, 1, 1, 2]
    assert start(Granule.G16K, 48) == 1 and start(Granule.G64K, 48) == 1


def test_tables_in_a_guests_memory():
    """A nested stream whose stage 1 tables and CD lie at IPAs."""
    setup = Setup(stage=2, ia_bits=40)
    setup.table.map(0x8000_0000, 0x9_0000_0000, 0x100_0000)
    guest = MemoryWindow(setup.memory, 0x8000_0000, 0x9_0000_0000, 0x100_0000)
    allocator = PageAllocator(guest, 0x8000_0000, 0x80_0000)
    stage1 = PageTable(guest, allocator, ia_bits=39)
    stage1.map(0x1000, 0x8080_0000, 0x1000)
    cds = ContextDescriptorTable(guest, allocator)
    cds.write(entries.cd(stage1, asid=1))
    setup.driver.set_ste(SID, entries.nested_ste(cds, setup.table, vmid=1))
    assert setup.translate(0x1234) == 0x9_0080_0234
    assert 0x8000_0000 <= stage1.root < 0x8080_0000
