"""Which TLBI commands the driver issues; and the MSI doorbell remap."""

import random

import pytest

from smmu.formats.commands import TLBI, Opcode
from smmu.formats.core import unpack
from smmu.formats.descriptors import TLBI_TG, Granule
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.driver import DriverError, PageAllocator, SMMUv3Driver, entries, invalidation
from smmu_sim.driver.commands import tlbi_range
from smmu_sim.driver.doorbell_remap import Binding
from smmu_sim.memory import Memory
from smmu_sim.pagetable import Prot

POOL = (0x4000_0000, 0x1000_0000)
KIB, MIB = 1 << 10, 1 << 20


def ready(params=None, **options):
    memory = Memory()
    backend = ModelBackend(params or Params(), memory)
    driver = SMMUv3Driver(backend, PageAllocator(memory, *POOL), **options)
    driver.reset()
    return driver, backend


def decode(batch):
    """The opcode and fields that are not 0 of each command."""
    found = []
    for raw in batch:
        fields = unpack(TLBI, raw)
        opcode = Opcode(fields.pop("Op")).name.removeprefix("CMD_TLBI_")
        if fields["Address"]:
            fields["Address"] <<= 12
        found.append((opcode, {name: value for name, value in fields.items() if value}))
    return found


def ranges(pages, leaf=True, leaf_size=4 * KIB, addr=0x10_0000):
    batch = tlbi_range(Opcode.CMD_TLBI_NH_VA, addr, pages * 4 * KIB, granule=Granule.G4K, ril=True,
                       leaf=leaf, leaf_size=leaf_size, ASID=1)
    return [{name: value for name, value in fields.items() if name in ("NUM", "SCALE", "TTL")}
            for _, fields in decode(batch)]


@pytest.mark.parametrize("pages, expected", [
    (1, [{"TTL": 3}]),
    (16, [{"SCALE": 4, "TTL": 3}]),
    (21, [{"NUM": 20, "TTL": 3}]),
    (33, [{"TTL": 3}, {"SCALE": 5, "TTL": 3}]),
    (512, [{"SCALE": 9, "TTL": 3}]),
])
def test_ranges_as_linux_splits_them(pages, expected):
    assert ranges(pages) == expected


def test_level_hints():
    assert ranges(512, leaf_size=2 * MIB) == [{"SCALE": 9, "TTL": 2}]
    assert ranges(1 << 18, leaf_size=1 << 30) == [{"SCALE": 18, "TTL": 1}]
    assert ranges(33, leaf=False) == [{"NUM": 16, "SCALE": 1}], "33 pages become 34"
    assert ranges(1, leaf=False) == [{"SCALE": 1}], "NUM = SCALE = TTL = 0 is illegal"
    assert ranges(1, leaf_size=None) == [{"SCALE": 1}]


@pytest.mark.parametrize("granule", list(Granule), ids=lambda g: g.name)
def test_random_ranges_cover_exactly_what_they_should(granule):
    rng = random.Random(granule)
    for _ in range(300):
        pages = rng.choice((rng.randint(1, 70), rng.randint(1, 1 << 20), rng.getrandbits(35) + 1))
        start = rng.randrange(1 << 20) << granule
        batch = tlbi_range(Opcode.CMD_TLBI_NH_VA, start, pages << granule, granule=granule,
                           ril=True, leaf_size=1 << granule)
        at = start
        for raw in batch:
            fields = unpack(TLBI, raw)
            assert fields["Address"] << 12 == at
            assert fields["TG"] == TLBI_TG[granule.name] and fields["TTL"] == 3
            assert fields["SCALE"] < 32 and fields["Leaf"] == 1
            at += (fields["NUM"] + 1 << fields["SCALE"]) << granule
        assert at == start + (pages << granule)


def test_without_ranges_there_is_a_command_for_each_leaf():
    batch = tlbi_range(Opcode.CMD_TLBI_S2_IPA, 0x20_0000, 64 * KIB, granule=Granule.G16K,
                       ril=False, VMID=3)
    assert decode(batch) == [
        ("S2_IPA", {"VMID": 3, "Leaf": 1, "Address": 0x20_0000 + n * 16 * KIB}) for n in range(4)]
    assert len(tlbi_range(Opcode.CMD_TLBI_NH_VA, 0, 4 * MIB, granule=Granule.G4K, ril=False,
                          leaf_size=2 * MIB)) == 2


def test_upper_half_addresses_keep_their_top_bits():
    (raw,) = tlbi_range(Opcode.CMD_TLBI_NH_VA, -0x1000, 0x1000, granule=Granule.G4K, ril=True,
                        leaf_size=0x1000)
    assert unpack(TLBI, raw)["Address"] << 12 == (1 << 64) - 0x1000


def test_large_ranges_without_ril_remove_everything():
    common = {"granule": Granule.G4K, "ril": False}
    assert decode(invalidation.stage1_range(0, 2 * MIB, asid=5, vmid=1, **common)) \
        == [("NH_ASID", {"ASID": 5, "VMID": 1})]
    assert len(invalidation.stage1_range(0, 2 * MIB - 4 * KIB, asid=5, **common)) == 511
    assert decode(invalidation.stage2_range(0, 2 * MIB, vmid=7, **common)) \
        == [("S12_VMALL", {"VMID": 7})]
    assert decode(invalidation.stage1_range(0, 2 * MIB, asid=5, e2h=True, **common)) \
        == [("EL2_ASID", {"ASID": 5})]


def test_stage_2_under_a_guest_removes_its_stage_1_too():
    common = {"granule": Granule.G4K, "ril": True, "vmid": 7, "leaf_size": 4 * KIB}
    assert [name for name, _ in decode(invalidation.stage2_range(0, 4 * KIB, **common))] \
        == ["S2_IPA", "NH_ALL"]
    assert [name for name, _ in decode(invalidation.stage2_range(
        0, 4 * KIB, nested=False, **common))] == ["S2_IPA"]


class Spy:
    """Notes what a driver issues."""

    def __init__(self, driver):
        self.batches = []
        issue = driver.command_queue.issue

        def noted(batch, sync=True):
            batch = list(batch)
            self.batches.append(batch)
            issue(batch, sync)

        driver.command_queue.issue = noted


@pytest.mark.parametrize("ril", [True, False])
def test_unmap_invalidates_before_it_frees_tables(ril):
    driver, _ = ready(Params(ril=int(ril), fwb=int(ril), bbml=2) if ril else None)
    driver.features = driver.features.__class__(**{**vars(driver.features), "RIL": ril})
    table = driver.page_table(ia_bits=39)
    table.map(0x1000, 0, 0x3000)
    spy = Spy(driver)
    freed = []
    free = driver.allocator.free
    driver.allocator.free = lambda *args: (freed.append(len(spy.batches)), free(*args))
    driver.unmap(table, 0x1000, 0x1000, asid=9)
    name, fields = decode(spy.batches[0])[0]
    assert name == "NH_VA" and fields["ASID"] == 9 and fields["Leaf"] == 1
    assert ("TG" in fields) == ril
    assert not freed
    driver.unmap(table, 0x2000, 0x2000, asid=9)
    assert all("Leaf" not in fields for _, fields in decode(spy.batches[1]))
    assert freed == [2, 2], "both tables went after the second batch"


def test_unmap_of_stage_2():
    driver, _ = ready()
    table = driver.page_table(stage=2, ia_bits=40)
    table.map(0, 0, 4 * MIB)
    spy = Spy(driver)
    assert driver.unmap(table, 0, 2 * MIB, vmid=7) == 2 * MIB
    assert decode(spy.batches[0]) == [
        ("S2_IPA", {"VMID": 7, "Leaf": 1, "SCALE": 9, "TTL": 2, "TG": 1}),
        ("NH_ALL", {"VMID": 7})]


# --- MSI doorbell remap --------------------------------------------------------------------------

DOORBELL_IPA, DOORBELLS = 0x0809_0040, (0x2021_0040, 0x2031_0040)


def guest_devices(driver, sids):
    """Streams with stage 2 alone, whose doorbell page goes to the first doorbell."""
    table = driver.page_table(stage=2, ia_bits=40)
    table.map(DOORBELL_IPA & -0x1000, DOORBELLS[0] & -0x1000, 0x1000, Prot(memory="device"))
    for sid in sids:
        driver.set_ste(sid, entries.stage2_ste(table, vmid=1))


def send(backend, sid):
    return backend.dma(Transaction(sid=sid, addr=DOORBELL_IPA, write=True, data=bytes(4))).pa


def test_bind_and_unbind():
    driver, backend = ready()
    guest_devices(driver, (1, 2))
    remap = driver.remap
    assert remap.present and remap.entries == 16
    assert [send(backend, sid) for sid in (1, 2)] == [DOORBELLS[0]] * 2
    spy = Spy(driver)
    assert remap.bind(2, DOORBELL_IPA, DOORBELLS[1]) == 0
    assert spy.batches == [[]], "a CMD_SYNC completes it"
    assert [send(backend, sid) for sid in (1, 2)] == list(DOORBELLS)
    assert remap.bindings == [Binding(2, DOORBELL_IPA & -0x1000, DOORBELLS[1])]
    with pytest.raises(DriverError, match="StreamID 0x2 has a doorbell at 0x8090000 already"):
        remap.bind(2, DOORBELL_IPA + 4, DOORBELLS[0])
    remap.unbind(2, DOORBELL_IPA)
    assert [send(backend, sid) for sid in (1, 2)] == [DOORBELLS[0]] * 2
    with pytest.raises(DriverError, match="StreamID 0x2 has no doorbell at 0x8090000"):
        remap.unbind(2, DOORBELL_IPA)


def test_remap_entries_run_out_and_come_back():
    driver, backend = ready(Params(remap_entries=4))
    for sid in range(4):
        assert driver.remap.bind(sid, DOORBELL_IPA, DOORBELLS[1]) == sid
    with pytest.raises(DriverError, match="all 4 remap entries are in use"):
        driver.remap.bind(4, DOORBELL_IPA, DOORBELLS[1])
    driver.remap.unbind(2, DOORBELL_IPA)
    assert driver.remap.bind(4, DOORBELL_IPA, DOORBELLS[1]) == 2


def test_a_doorbell_that_does_not_fit_its_register():
    driver, _ = ready()
    with pytest.raises(ValueError, match="REMAP_DOORBELL.ADDR holds address bits 55:2, not 0x1001"):
        driver.remap.bind(1, DOORBELL_IPA, 0x1001)
    assert driver.remap.bindings == []
