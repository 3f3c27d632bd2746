"""Attaching: which STE and CD, in which order, what is refused, and that nothing is half-done."""

import itertools

import pytest

from smmu.formats.commands import CERROR, Opcode
from smmu.formats.stream_table import S1DSS, SHCFG
from smmu_sim.backend import Transaction
from smmu_sim.driver import (
    CommandError, Master, NestedDomain, Stage1Domain, Stage2Domain, TimedOut, entries)
from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.linux_error import LinuxError
from tests.smmu_sim.driver.attached import OTHER, SID, stage1, stage2


# --- RID -----------------------------------------------------------------------------------------

def test_each_kind_of_domain_for_all_streams_of_a_device(system):
    driver, master = system.driver, system.master(SID, OTHER)
    domains = {driver.identity: 0x1000, stage1(system): 0x8000_0000, stage2(system): 0xC000_1000,
               driver.blocked: None}
    for before, after in itertools.permutations(domains, 2):
        driver.attach(master, before)
        driver.attach(master, after)
        assert [system.read(0x1000, sid=sid) for sid in (SID, OTHER)] == [domains[after]] * 2
        assert master.domain is after
        assert after.users == [(master, 0)] and before.users == []
    assert system.events() == []


def test_the_commands_of_an_attachment(system):
    driver, master = system.driver, system.master()
    domain = stage1(system)
    driver.attach(master, domain)
    cd, ste = ("CFGI_CD", {"StreamID": SID, "Leaf": 1}), ("CFGI_STE", {"StreamID": SID, "Leaf": 1})
    sync, hint = ("SYNC", {}), ("PREFETCH_CONFIG", {"StreamID": SID})
    assert system.commands() == [cd, sync, cd, sync, ste, sync, ste, sync, hint]
    driver.attach(master, driver.identity)
    assert system.commands() == [ste, sync] * 3 + [hint] + [cd, sync] * 2 + [
        ("NH_ASID", {"ASID": domain.asid}), sync]
    driver.attach(master, domain)
    system.commands()
    driver.attach(master, domain)
    assert system.commands() == [], "it is there already"


def test_stage_1_ste_and_cd_are_linuxs(system):
    driver, master = system.driver, system.master(ssid_bits=12)
    driver.attach(master, stage1(system))
    assert system.ste() == {
        "V": 1, "Config": 5, "S1Fmt": 2, "S1CDMax": 12, "S1DSS": S1DSS.SSID0, "S1CIR": 1,
        "S1COR": 1, "S1CSH": 3, "S1ContextPtr": master.cd_table.base >> 6}
    driver.attach(master, stage2(system))
    ste = system.ste()
    assert (ste["Config"], ste["S2VMID"], ste["SHCFG"]) == (6, 1, SHCFG.INCOMING)
    assert {name: ste.get(name) for name in ("S2PTW", "S2R", "S2AA64", "S2S", "EATS")} == {
        "S2PTW": 1, "S2R": 1, "S2AA64": 1, "S2S": None, "EATS": None}


def test_the_old_tag_is_removed_only_with_its_last_user(system):
    driver, domain, guest = system.driver, stage1(system), stage2(system)
    one, two = system.master(SID, name="one"), system.master(OTHER, name="two", ssid_bits=2)
    for master in (one, two):
        driver.attach(master, domain)
    system.commands()
    driver.attach(one, guest)
    assert "NH_ASID" not in system.names()
    driver.attach_pasid(two, 1, domain)
    driver.attach(two, driver.blocked)
    assert "NH_ASID" not in system.names(), "PASID 1 uses it"
    driver.detach_pasid(two, 1)
    assert system.names()[-2:] == ["NH_ASID", "SYNC"]
    driver.attach(one, driver.blocked)
    assert system.names()[-2:] == ["S12_VMALL", "SYNC"]
    domain.free()
    guest.free()


def test_the_new_domain_is_invalidated_for_the_device_from_before_its_ste_is_written(system):
    """An unmap while the STE is being written reaches the TLB (Linux's order: prepare, write)."""
    driver, master, domain = system.driver, system.master(), stage2(system)
    addr = driver.stream_table.find(SID)
    seen = []
    system.backend.memory.observe(range(addr, addr + 64), lambda *_: seen.append(domain.in_use))
    driver.attach(master, domain)
    assert seen and all(seen)
    seen.clear()
    driver.attach(master, driver.blocked)
    assert seen and all(seen), "and for as long as the STE points there"
    assert not domain.in_use


# --- what is refused -----------------------------------------------------------------------------

def refused(name, attach, *args):
    with pytest.raises(LinuxError, match=f"^{name}: "):
        attach(*args)


def test_stage_2_and_nested_leave_no_place_for_pasids(system):
    driver, master = system.driver, system.master(ssid_bits=4)
    parent = stage2(system, nest_parent=True)
    nested = NestedDomain(parent, (0, 0))
    driver.attach_pasid(master, 5, stage1(system))
    for domain in (parent, nested, Stage2Domain(driver)):
        refused("EBUSY", driver.attach, master, domain)
    assert master.domain is driver.blocked and system.read(0x1000, 5) == 0x8000_0000
    driver.detach_pasid(master, 5)
    for domain in (parent, nested):
        driver.attach(master, domain)
        refused("EINVAL", driver.attach_pasid, master, 5, stage1(system))
    assert master.pasids == {} and master.domain is nested


def test_domains_that_a_pasid_cannot_have(system):
    driver, master = system.driver, system.master(ssid_bits=4)
    for domain in (driver.identity, stage2(system)):
        refused("EINVAL", driver.attach_pasid, master, 5, domain)
    for ssid in (0, 16, -1):
        refused("EINVAL", driver.attach_pasid, master, ssid, stage1(system))
        refused("EINVAL", driver.detach_pasid, master, ssid)
    assert system.ste() == {"V": 1}


def test_strangers(system, make):
    driver, master = system.driver, system.master(ssid_bits=4)
    foreign = Stage1Domain(make().driver)
    refused("EINVAL", driver.attach, master, foreign)
    refused("EINVAL", driver.attach_pasid, master, 1, foreign)
    refused("ENODEV", driver.attach, Master("stranger", [1]), driver.identity)
    refused("ENODEV", driver.detach_pasid, Master("stranger", [1]), 1)
    assert foreign.users == []


def test_coherency(system):
    driver, domain = system.driver, stage2(system)
    good, bad = system.master(SID), system.master(OTHER, name="bad", canwbs=False)
    driver.attach(good, domain)
    assert domain.enforce_cache_coherency()
    refused("EINVAL", driver.attach, bad, domain)
    other = stage2(system)
    driver.attach(bad, other)
    assert not other.enforce_cache_coherency(), "an attached device can't"
    driver.attach(good, other)


def test_page_faults_need_a_single_streamid(make):
    system = make(claim={"idr0": {"STALL_MODEL": 0}})
    driver, domain = system.driver, stage1(system)
    domain.iopf = True
    several = system.master(SID, OTHER, can_stall=True)
    refused("EOPNOTSUPP", driver.attach, several, domain)
    driver.attach(system.master(0x50, name="no stalls"), domain)
    driver.attach(system.master(0x51, name="one", can_stall=True), domain)


def test_no_memory_for_cds(system):
    driver, master = system.driver, system.master(ssid_bits=16)
    old, new = stage2(system), stage1(system)
    driver.attach(master, old)
    alloc = driver.allocator.alloc

    def nothing_left(size):
        raise OutOfMemory("nothing left")

    driver.allocator.alloc = nothing_left
    refused("ENOMEM", driver.attach, master, new)
    driver.allocator.alloc = alloc
    assert master.domain is old and system.read(0x1000) == 0xC000_1000 and new.users == []


# --- failures on the way -------------------------------------------------------------------------

def fail_at(driver, number, error):
    """Let the command batch ``number`` fail."""
    issue, left = driver.command_queue.issue, number

    def failing(batch, sync=True):
        nonlocal left
        left -= 1
        if left < 0 and (isinstance(error, TimedOut) or left == -1):
            raise error
        issue(batch, sync)

    driver.command_queue.issue = failing
    return lambda: setattr(driver.command_queue, "issue", issue)


@pytest.mark.parametrize("error", [CommandError(CERROR.CERROR_ILL, 0, 0), TimedOut("no answer")],
                         ids=["refused", "timed out"])
@pytest.mark.parametrize("number", range(4))
def test_an_attachment_that_fails_leaves_the_old_domain(system, number, error):
    driver, master = system.driver, system.master()
    old, new = stage1(system), stage1(system, 0x9000_0000)
    driver.attach(master, old)
    before = system.ste(), master.cd_table.read(0)
    repair = fail_at(driver, number, error)
    target = [new, stage2(system)][number % 2]
    with pytest.raises(type(error)):
        driver.attach(master, target)
    repair()
    assert (system.ste(), master.cd_table.read(0)) == before
    assert master.domain is old and old.users == [(master, 0)] and target.users == []
    assert system.read(0x1000) == 0x8000_0000
    driver.attach(master, target)
    assert system.read(0x1000) in (0x9000_0000, 0xC000_1000)


def test_an_error_of_the_last_step_finds_the_new_domain_in_place(system):
    driver, master = system.driver, system.master()
    old, new = stage1(system), stage2(system)
    driver.attach(master, old)
    issue = driver.command_queue.issue

    def failing(batch, sync=True):
        batch = list(batch)
        if batch and batch[0] & 0xFF == Opcode.CMD_TLBI_NH_ASID:
            raise TimedOut("no answer")
        issue(batch, sync)

    driver.command_queue.issue = failing
    with pytest.raises(TimedOut):
        driver.attach(master, new)
    driver.command_queue.issue = issue
    assert master.domain is new and (old.users, new.users) == ([], [(master, 0)])
    assert system.read(0x1000) == 0xC000_1000


# --- running devices -----------------------------------------------------------------------------

def test_a_running_device_sees_the_old_or_the_new_at_every_store(system):
    """bypass -> stage 1 -> S1DSS changes -> stage 2 and back: no access with SSID 5 is disturbed,
    and those without find the old or the new domain."""
    driver, master = system.driver, system.master(ssid_bits=4)
    pasid, rid = stage1(system, 0x9000_0000), stage1(system)
    driver.attach(master, driver.identity)
    addr = driver.stream_table.find(SID)
    seen, ssids = set(), [None]

    def look(*_):
        seen.update((ssid, system.backend.dma(Transaction(
            sid=SID, ssid=ssid, addr=0x1000, length=4)).pa) for ssid in ssids)

    system.backend.memory.observe(range(addr, addr + 64), look)
    driver.attach(master, rid)
    assert seen == {(None, 0x1000), (None, 0x8000_0000)}
    driver.attach_pasid(master, 5, pasid)
    ssids, _ = [None, 5], seen.clear()
    driver.attach(master, driver.identity)
    driver.attach(master, rid)
    driver.attach(master, driver.identity)
    assert seen == {(None, 0x1000), (None, 0x8000_0000), (5, 0x9000_0000)}
    assert system.events() == []


def test_another_cd_table_and_other_fields_need_a_moment_without_ste(system):
    """A device that runs meanwhile gets C_BAD_STE."""
    driver, cds = system.driver, [system.driver.context_table() for _ in range(2)]
    driver.set_ste(SID, entries.stage1_ste(cds[0]))
    addr, seen = driver.stream_table.find(SID), []
    system.backend.memory.observe(range(addr, addr + 64), lambda *_: seen.append(system.read(0)))
    assert driver.set_ste(SID, entries.stage1_ste(cds[1], S1CIR=2)) == 3
    assert seen and "C_BAD_STE" in system.events()


def test_many_devices_and_substreams_keep_apart(system):
    driver = system.driver
    masters = [system.master(0x100 + n, name=f"device {n}", ssid_bits=6) for n in range(5)]
    for n, master in enumerate(masters):
        driver.attach(master, stage1(system, 0x1_0000_0000 + (n << 24)))
        for ssid in range(1, 8):
            driver.attach_pasid(master, ssid, stage1(
                system, 0x1_0000_0000 + (n << 24) + (ssid << 16)))
    for n in range(5):
        for ssid in range(8):
            assert system.read(0x1000, ssid or None, 0x100 + n) \
                == 0x1_0000_0000 + (n << 24) + (ssid << 16)
    assert len(driver.asids.used) == 40
    for master in masters:
        driver.remove_master(master)
    assert driver.command_queue.queue.used == 0
