"""Domains: mapping, unmapping, and which commands go with it (Linux 7.0's choice)."""

import pytest

from smmu.formats.descriptors import Granule
from smmu.params import Params
from smmu_sim.driver import Stage1Domain, Stage2Domain
from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.linux_error import LinuxError
from smmu_sim.pagetable import Prot

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SYNC = ("SYNC", {})


def attached(system, kind=Stage1Domain, **options):
    """A domain with a device on it."""
    domain = kind(system.driver, **options)
    system.driver.attach(system.master(), domain)
    system.commands()
    return domain


# --- mapping -------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", [Stage1Domain, Stage2Domain])
def test_map_reaches_memory_and_unmap_ends_it(system, kind):
    domain = attached(system, kind)
    domain.map(0x4000_0000, 0x8000_0000, 2 * MIB + 0x3000)
    assert system.read(0x4000_0010) == domain.iova_to_phys(0x4000_0010) == 0x8000_0010
    assert system.read(0x4020_2000) == 0x8020_2000
    assert domain.unmap(0x4000_0000, 2 * MIB) == 2 * MIB
    assert system.read(0x4000_0010) is None and domain.iova_to_phys(0x4000_0010) is None
    assert system.read(0x4020_0000) == 0x8020_0000
    assert domain.iova_to_phys(1 << 60) is None


@pytest.mark.parametrize("granule, sizes", [
    (Granule.G4K, (4 * KIB, 2 * MIB, GIB)), (Granule.G16K, (16 * KIB, 32 * MIB)),
    (Granule.G64K, (64 * KIB, 512 * MIB))])
def test_page_sizes_and_aperture(system, granule, sizes):
    domain = Stage1Domain(system.driver, granule=granule)
    assert domain.page_sizes == sizes and domain.aperture == (0, (1 << 48) - 1)


def test_stage_2_is_as_wide_as_the_output(make):
    assert Stage2Domain(make(Params(oas=40)).driver).aperture == (0, (1 << 40) - 1)


@pytest.mark.parametrize("iova, pa, size", [
    (0x1001, 0x8000_0000, 0x1000), (0x1000, 0x8000_0001, 0x1000), (0x1000, 0x8000_0000, 0x1001),
    (0x1000, 0x8000_0000, 0), (1 << 48, 0x8000_0000, 0x1000), (0x1000, 1 << 48, 0x1000)])
def test_ranges_that_cannot_be_mapped(system, iova, pa, size):
    with pytest.raises(LinuxError, match="EINVAL"):
        attached(system).map(iova, pa, size)


def test_what_is_mapped_is_not_mapped_again(system):
    domain = attached(system)
    domain.map(0x20_0000, 0x8000_0000, 2 * MIB)
    domain.map(0x50_0000, 0x9000_0000, 0x1000)
    for iova, size in ((0x20_0000, 0x1000), (0x10_0000, 2 * MIB), (0x40_0000, 2 * MIB)):
        with pytest.raises(LinuxError, match="EEXIST"):
            domain.map(iova, 0xA000_0000, size)
    assert system.read(0x20_0000) == 0x8000_0000
    assert system.read(0x10_0000) is None and system.read(0x40_0000) is None


def test_no_memory_leaves_nothing_mapped(system):
    domain = attached(system)
    domain.map(0, 0x8000_0000, 0x1000)
    allocator = domain.table.allocator
    left, alloc = 2, allocator.alloc

    def scarce(size):  # of the three tables on the way, two can be had
        nonlocal left
        if not left:
            raise OutOfMemory("nothing left")
        left -= 1
        return alloc(size)

    allocator.alloc = scarce
    with pytest.raises(LinuxError, match="ENOMEM"):
        domain.map(1 << 40, 0x8000_0000, 0x1000)
    allocator.alloc = alloc
    assert system.read(1 << 40) is None and domain.iova_to_phys(1 << 40) is None
    domain.map(1 << 40, 0x8000_0000, 0x1000)
    assert system.read(1 << 40) == 0x8000_0000


def test_no_memory_in_the_middle_undoes_what_was_mapped(system):
    domain = attached(system)
    domain.map(0x40_0000, 0x8000_0000, 0x1000)  # the second table is there, the third is not
    domain.table.allocator.alloc, alloc = _nothing_left, domain.table.allocator.alloc
    with pytest.raises(LinuxError, match="ENOMEM"):
        domain.map(0x40_1000, 0x9000_0000, 2 * MIB)
    domain.table.allocator.alloc = alloc
    assert domain.iova_to_phys(0x40_1000) is None and system.read(0x40_1000) is None
    assert system.read(0x40_0000) == 0x8000_0000


def _nothing_left(size):
    raise OutOfMemory("nothing left")


def test_unmap_that_cuts_a_block(system):
    domain = attached(system)
    domain.map(0x20_0000, 0x8000_0000, 2 * MIB)
    with pytest.raises(LinuxError, match="EINVAL"):
        domain.unmap(0x20_0000, 0x1000)
    with pytest.raises(LinuxError, match="EINVAL"):
        domain.unmap(0x20_0000, 0x800)
    assert system.read(0x20_0000) == 0x8000_0000 and system.commands() == []


def test_unmapping_nothing_needs_no_command(system):
    assert attached(system).unmap(0x20_0000, 2 * MIB) == 0
    assert system.commands() == []


# --- invalidation --------------------------------------------------------------------------------

@pytest.mark.parametrize("pages, expected", [
    (1, [{}]), (16, [{"SCALE": 4}]), (21, [{"NUM": 20}]), (33, [{}, {"SCALE": 5}])])
def test_stage_1_ranges(system, pages, expected):
    domain = attached(system)
    domain.map(0x1000_0000, 0x8000_0000, 0x1000 * 40)
    domain.unmap(0x1000_0000, 0x1000 * pages)
    *batch, last = system.commands()
    assert last == SYNC and [name for name, _ in batch] == ["NH_VA"] * len(expected)
    common = {"ASID": domain.asid, "Leaf": 1, "TTL": 3, "TG": 1}
    assert [{name: value for name, value in fields.items() if name != "Address"}
            for _, fields in batch] == [common | fields for fields in expected]


def test_level_hint_of_blocks_and_none_where_sizes_differ(system):
    domain = attached(system, Stage2Domain)
    domain.map(0x4000_0000, 0x8000_0000, 4 * MIB + 0x2000)
    domain.unmap(0x4000_0000, 2 * MIB)
    assert system.commands() == [("S2_IPA", {"VMID": 1, "Leaf": 1, "SCALE": 9, "TTL": 2, "TG": 1,
                                             "Address": 0x4000_0000}), SYNC]
    domain.unmap(0x4020_0000, 2 * MIB + 0x1000)
    batch = system.commands()[:-1]
    assert all("TTL" not in fields for _, fields in batch)


def test_without_ranges_a_command_for_each_page_up_to_a_table(make):
    system = make()
    system.accept(RIL=False)
    domain = attached(system)
    domain.map(0x10_0000, 0x8010_0000, 4 * MIB)
    domain.map(0x100_0000, 0x8100_0000, 0x1000 * 20)
    domain.map(0x110_0000, 0x8200_0000, 0x1000)
    domain.unmap(0x100_0000, 0x1000 * 4)
    assert system.commands() == [("NH_VA", {"ASID": 1, "Leaf": 1, "Address": 0x100_0000 + at})
                                 for at in range(0, 0x4000, 0x1000)] + [SYNC]
    domain.unmap(0x10_0000, 2 * MIB - 0x10_0000)
    assert len(system.commands()) == 256 + 1
    domain.unmap(0x20_0000, 2 * MIB)
    assert system.commands() == [("NH_ASID", {"ASID": 1}), SYNC], "512 pages"


def test_full_flush_of_stage_2_without_ranges_is_one_command(make):
    system = make()
    system.accept(RIL=False)
    domain = attached(system, Stage2Domain, nest_parent=True)
    domain.map(0x4000_0000, 0x8000_0000, 8 * MIB)
    domain.unmap(0x4000_0000, 4 * MIB)
    assert system.commands() == [("S12_VMALL", {"VMID": 1}), SYNC]


def test_a_nest_parent_also_forgets_stage_1(system):
    domain = attached(system, Stage2Domain, nest_parent=True, vmid=7)
    domain.map(0x4000_0000, 0x8_8000_0000, 8 * MIB)
    domain.unmap(0x4000_0000, 2 * MIB)
    assert system.commands() == [
        ("S2_IPA", {"VMID": 7, "Leaf": 1, "SCALE": 9, "TTL": 2, "TG": 1, "Address": 0x4000_0000}),
        SYNC, ("NH_ALL", {"VMID": 7}), SYNC]


def test_no_device_no_command(system):
    domain = Stage1Domain(system.driver)
    domain.map(0x1000, 0x8000_0000, 0x1000)
    domain.unmap(0x1000, 0x1000)
    domain.invalidate_all()
    assert system.commands() == []


def test_size_0_and_everything_are_a_full_flush(system):
    domain = attached(system)
    domain.invalidate(0, 0)
    domain.invalidate(0, 1 << 48)
    domain.invalidate_all()
    assert system.commands() == [("NH_ASID", {"ASID": 1}), SYNC] * 3


def test_e2h_uses_el2_tags(make):
    system = make(e2h=True)
    domain = attached(system)
    domain.map(0x1000, 0x8000_0000, 0x2000)
    assert system.read(0x1000) == 0x8000_0000
    assert system.ste()["STRW"] == 2
    domain.unmap(0x1000, 0x1000)
    assert system.names() == ["EL2_VA", "SYNC"]
    system.driver.attach(system.driver.find_master(0x42), system.driver.blocked)
    assert system.names()[-2:] == ["EL2_ASID", "SYNC"]


@pytest.mark.parametrize("kind", [Stage1Domain, Stage2Domain])
def test_tables_are_freed_after_the_sync(system, kind):
    domain = attached(system, kind)
    domain.map(0x4000_0000, 0x8000_0000, 0x1000)
    done = []
    allocator = domain.table.allocator
    free = allocator.free
    allocator.free = lambda *block: (done.append(system.names()), free(*block))
    domain.unmap(0x4000_0000, 0x1000)
    assert done[0][-1] == "SYNC" and len(done) > 1


# --- what there is not ---------------------------------------------------------------------------

def test_stages_that_the_smmu_lacks(make):
    one = make(Params(s2p=0, hyp=0, xnx=0)).driver
    two = make(Params(s1p=0, hyp=0, had=0, ssidsize=0)).driver
    for refused in (lambda: Stage2Domain(one), lambda: Stage1Domain(two),
                    lambda: Stage2Domain(two, nest_parent=True)):
        with pytest.raises(LinuxError, match="EOPNOTSUPP"):
            refused()
    with pytest.raises(LinuxError, match="EINVAL"):
        Stage1Domain(make(Params(gran16k=0)).driver, granule=Granule.G16K)


def test_forced_write_back_under_guests(system):
    assert Stage2Domain(system.driver, nest_parent=True).table.fwb
    assert not Stage2Domain(system.driver).table.fwb
    system.accept(FWB=False)
    assert not Stage2Domain(system.driver, nest_parent=True).table.fwb


def test_free_while_in_use(system):
    domain = attached(system)
    with pytest.raises(LinuxError, match="EBUSY"):
        domain.free()
    master = system.driver.find_master(0x42)
    system.driver.attach(master, system.driver.blocked)
    domain.free()
    assert system.driver.asids.used == set()


# --- processes -----------------------------------------------------------------------------------

def shared(system):
    """A process's page table, used by PASID 3 of a device."""
    table = system.driver.page_table(ia_bits=48)
    table.map(0x5000, 0x8000_0000, 0x1000, Prot())
    domain = Stage1Domain(system.driver, page_table=table)
    master = system.master(ssid_bits=4)
    system.driver.attach_pasid(master, 3, domain)
    system.commands()
    return table, domain, master


def test_a_process_changes_its_own_table(system):
    table, domain, _ = shared(system)
    assert system.read(0x5000, 3) == 0x8000_0000
    for refused in (lambda: domain.map(0, 0, 0x1000), lambda: domain.unmap(0x5000, 0x1000)):
        with pytest.raises(LinuxError, match="EOPNOTSUPP: the page table belongs to a process"):
            refused()
    domain.invalidate(0x5000, 0x1000, leaf=False)
    (name, fields), last = system.commands()
    assert (name, fields["ASID"], fields["Address"]) == ("NH_VA", domain.asid, 0x5000)
    assert "Leaf" not in fields and last == SYNC


def test_after_the_process_accesses_abort_silently(system):
    table, domain, master = shared(system)
    domain.quiesce()
    names = system.names()
    assert names == ["CFGI_CD", "SYNC", "CFGI_CD", "SYNC", "NH_ASID", "SYNC"]
    assert system.read(0x5000, 3) is None and system.events() == []
    assert master.pasids == {3: domain}
    system.driver.detach_pasid(master, 3)
    domain.free()
    table.free()  # the process's, not the domain's


def test_a_live_domain_takes_another_asid(system):
    domain = attached(system)
    domain.map(0x1000, 0x8000_0000, 0x1000)
    assert domain.renumber() == 2
    assert system.commands() == [("CFGI_CD", {"StreamID": 0x42, "Leaf": 1}), SYNC,
                                 ("NH_ASID", {"ASID": 1}), SYNC]
    assert system.read(0x1000) == 0x8000_0000
    assert system.driver.asids.used == {2}
    domain.unmap(0x1000, 0x1000)
    assert system.commands()[0][1]["ASID"] == 2
