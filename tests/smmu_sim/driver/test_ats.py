"""ATS: the driver's part of it, on a model that only claims to have it."""

import pytest

from smmu_sim.driver import NestedDomain, Stage1Domain, Stage2Domain, commands
from tests.smmu_sim.driver.guests import IPA, VMID, GuestMemory

SID, OTHER, MIB = 0x42, 0x43, 1 << 20
SYNC = ("SYNC", {})
ALL = ("ATC_INV", {"StreamID": SID, "Size": 52})


@pytest.fixture
def ats(make):
    """A device with an ATC behind an SMMU with ATS."""
    system = make(claim={"idr0": {"ATS": 1}})
    system.device = system.master(SID, ssid_bits=4, ats=True)
    return system


@pytest.mark.parametrize("addr, size, fields", [
    (0x7000, 0x4000, {"Size": 4}),              # pages 7 to 10 need pages 0 to 15
    (0x8000, 0x1000, {"Address": 0x8000}),
    (0x8000, 0x4000, {"Address": 0x8000, "Size": 2}),
    (0x7FFF, 2, {"Size": 4}),
    (0, 0, {"Size": 52})])
def test_ranges_of_atcs(ats, addr, size, fields):
    ats.driver.issue(commands.atc_inv([SID], 0, addr, size))
    assert ats.commands() == [("ATC_INV", {"StreamID": SID} | fields), SYNC]


def test_ats_goes_on_and_off_with_the_domain(ats):
    driver, device = ats.driver, ats.device
    domains = [Stage1Domain(driver), Stage2Domain(driver)]
    for domain in domains:
        driver.attach(device, domain)
        assert device.ats_enabled and ats.ste()["EATS"] == 1
        assert ALL in ats.commands()
        driver.attach(device, driver.identity)
        assert not device.ats_enabled and "EATS" not in ats.ste()
        assert "ATC_INV" not in ats.names()


def test_the_device_stops_using_ats_before_its_ste_loses_it(ats):
    driver, states = ats.driver, []
    driver.attach(ats.device, Stage1Domain(driver))
    addr = driver.stream_table.find(SID)
    ats.backend.memory.observe(range(addr, addr + 64), lambda *_: states.append(
        ats.device.ats_enabled))
    driver.attach(ats.device, driver.blocked)
    assert states and not any(states)


def test_the_atc_is_emptied_after_the_ste_and_before_the_old_tag(ats):
    driver = ats.driver
    driver.attach(ats.device, Stage1Domain(driver))
    ats.commands()
    driver.attach(ats.device, Stage2Domain(driver))
    names = ats.names()
    assert names[-4:] == ["ATC_INV", "SYNC", "NH_ASID", "SYNC"]
    assert "CFGI_STE" in names[:-4]


def test_unmap_reaches_the_atc_after_the_tlb(ats):
    driver, domain = ats.driver, Stage1Domain(ats.driver)
    other = ats.master(OTHER, name="no ATC")
    for device in (ats.device, other):
        driver.attach(device, domain)
    domain.map(0x20_0000, 0x8000_0000, 4 * MIB)
    ats.commands()
    domain.unmap(0x20_0000, 2 * MIB)
    (name, _), *rest = ats.commands()
    assert name == "NH_VA"
    assert rest == [SYNC, ("ATC_INV", {"StreamID": SID, "Size": 9, "Address": 0x20_0000}), SYNC]


def test_unmap_below_a_guest_empties_its_atcs(ats):
    """With ATS: S2_IPA, NH_ALL, ATC_INV, each waited for."""
    parent = Stage2Domain(ats.driver, nest_parent=True, vmid=VMID)
    guest = GuestMemory(ats, parent)
    ats.driver.attach(ats.device, NestedDomain(parent, guest.ste_words(EATS=1)))
    assert ats.device.ats_enabled and ats.ste()["EATS"] == 1
    ats.commands()
    parent.unmap(IPA + 32 * MIB, 2 * MIB)
    batch = ats.commands()
    assert [name for name, _ in batch] == ["S2_IPA", "SYNC", "NH_ALL", "SYNC", "ATC_INV", "SYNC"]
    assert batch[4] == ALL


def test_the_guest_decides_about_ats(ats):
    parent = Stage2Domain(ats.driver, nest_parent=True, vmid=VMID)
    guest = GuestMemory(ats, parent)
    ats.driver.attach(ats.device, NestedDomain(parent, guest.ste_words()))
    assert not ats.device.ats_enabled and "EATS" not in ats.ste()


def test_pasids(ats):
    driver, device = ats.driver, ats.device
    domain = Stage1Domain(driver)
    driver.attach_pasid(device, 5, domain)
    assert device.ats_enabled and ats.ste()["EATS"] == 1, "the RID is blocked, the PASID is not"
    domain.map(0x1000, 0x8000_0000, 0x2000)
    ats.commands()
    domain.unmap(0x1000, 0x1000)
    assert ats.commands()[2] == ("ATC_INV", {"StreamID": SID, "SSV": 1, "SubstreamID": 5,
                                             "Address": 0x1000})
    driver.attach(device, Stage1Domain(driver))
    ats.commands()
    driver.attach_pasid(device, 6, domain)
    gone = ("ATC_INV", {"StreamID": SID, "SSV": 1, "SubstreamID": 6, "Size": 52})
    assert gone in ats.commands()
    driver.detach_pasid(device, 6)
    assert gone in ats.commands() and device.ats_enabled
    driver.attach(device, driver.blocked)
    assert device.ats_enabled
    ats.commands()
    driver.detach_pasid(device, 5)
    names = ats.names()
    assert not device.ats_enabled and "EATS" not in ats.ste()
    assert names.index("ATC_INV") < names.index("CFGI_STE"), "before ATS goes off"


@pytest.mark.parametrize("smmu, device", [(0, True), (1, False)])
def test_both_must_have_it(make, smmu, device):
    system = make(claim={"idr0": {"ATS": smmu}})
    master = system.master(SID, ats=device)
    domain = Stage1Domain(system.driver)
    domain.map(0x1000, 0x8000_0000, 0x1000)
    system.driver.attach(master, domain)
    domain.unmap(0x1000, 0x1000)
    assert not master.ats_enabled and "ATC_INV" not in system.names()
