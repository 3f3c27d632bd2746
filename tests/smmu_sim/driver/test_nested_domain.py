"""STEs of guests: what is accepted, and which physical STEs they become."""

import pytest

from smmu.formats.core import pack
from smmu.formats.stream_table import SHCFG, STE
from smmu_sim.driver import NestedDomain, Stage1Domain, Stage2Domain, vste
from smmu_sim.linux_error import LinuxError
from tests.smmu_sim.driver.guests import IPA, PA, VMID, GuestMemory

SID, VSID = 0x42, 0x10


@pytest.fixture
def nest(system):
    """A system with a nest parent, a guest in it, and a device."""
    system.parent = Stage2Domain(system.driver, nest_parent=True, vmid=VMID)
    system.guest = GuestMemory(system, system.parent)
    system.device = system.master(SID)
    return system


def words(**fields):
    raw = pack(STE, {"V": 1, **fields})
    return raw & (1 << 64) - 1, raw >> 64 & (1 << 64) - 1


# --- validation ----------------------------------------------------------------------------------

@pytest.mark.parametrize("number, bit", [
    *((0, bit) for bit in range(1, 64)), *((1, bit) for bit in range(64))])
def test_bits_that_a_guest_may_set(number, bit):
    """Beside V and Config 5. Bits of Config and EATS are judged with their values."""
    allowed = {0: {*range(1, 4), 4, 5, *range(6, 52), *range(59, 64)},
               1: {*range(8), 27, 28, 29}}[number]
    ste = [1 | 5 << 1, 0]
    if number or bit not in (1, 2, 3):
        ste[number] |= 1 << bit
    if bit in allowed and (number, bit) != (1, 29):
        assert vste.validate(*ste)[0][0] == ste[0]
    else:
        with pytest.raises(LinuxError, match="EIO"):
            vste.validate(*ste)


@pytest.mark.parametrize("config", range(8))
def test_configurations_that_a_guest_may_choose(config):
    if config in (0, 4, 5):
        assert vste.validate(*words(Config=config))[0] == words(Config=config)
    else:
        with pytest.raises(LinuxError, match=f"EIO: Config is {config}"):
            vste.validate(*words(Config=config))


@pytest.mark.parametrize("eats, config, wanted", [(0, 5, False), (1, 5, True), (1, 4, False)])
def test_ats_is_kept_apart(eats, config, wanted):
    assert vste.validate(*words(Config=config, EATS=eats)) == (words(Config=config), wanted)


@pytest.mark.parametrize("eats", [2, 3])
def test_ats_that_a_guest_may_not_choose(eats):
    with pytest.raises(LinuxError, match=f"EIO: EATS is {eats}"):
        vste.validate(*words(Config=5, EATS=eats))


def test_an_invalid_ste_may_hold_anything(nest):
    domain = NestedDomain(nest.parent, ((1 << 64) - 2, (1 << 64) - 1))
    assert domain.vste == (0, 0)
    nest.driver.attach(nest.device, domain)
    assert nest.ste() == {"V": 1} and nest.read(0x1_0000) is None
    assert nest.events() == [], "C_BAD_STE is up to who plays the guest's SMMU"


def test_a_bad_ste_makes_no_domain(nest):
    with pytest.raises(LinuxError, match="EIO"):
        NestedDomain(nest.parent, words(Config=6))
    with pytest.raises(LinuxError, match="EIO"):
        NestedDomain(nest.parent, words(Config=5, S2FWB=1))


def test_parents(nest):
    for parent in (Stage2Domain(nest.driver), Stage1Domain(nest.driver)):
        with pytest.raises(LinuxError, match="EINVAL: .* is not a nest parent"):
            NestedDomain(parent, (0, 0))


# --- the physical STE ----------------------------------------------------------------------------

def test_the_physical_ste_of_a_guest_that_translates(nest):
    driver = nest.driver
    driver.attach(nest.device, nest.parent)
    parent = nest.ste()
    driver.attach(nest.device, NestedDomain(nest.parent, nest.guest.ste_words(EATS=1)))
    own = {"Config": 7, "MEV": 1, "S1ContextPtr": nest.guest.cds.base >> 6, "S1DSS": 2,
           "S1CIR": 1, "S1COR": 1, "S1CSH": 3}
    assert nest.ste() == parent | own
    assert parent | {"S2VMID": VMID, "S2FWB": 1, "SHCFG": SHCFG.INCOMING, "Config": 6} == parent
    assert nest.read(0x1_0010) == PA + nest.guest.data - IPA + 0x10


def test_the_guests_other_choices(nest):
    driver = nest.driver
    driver.attach(nest.device, NestedDomain(nest.parent, words(Config=4)))
    assert nest.ste()["Config"] == 6 and nest.read(IPA + 0x100) == PA + 0x100
    driver.attach(nest.device, NestedDomain(nest.parent, words(Config=0)))
    assert nest.ste() == {"V": 1}
    driver.attach(nest.device, NestedDomain(nest.parent, words(
        Config=5, S1Fmt=2, S1CDMax=12, S1ContextPtr=0x4000_1000 >> 6, S1DSS=1, S1STALLD=1)))
    ste = nest.ste()
    assert [ste[name] for name in ("S1Fmt", "S1CDMax", "S1DSS", "S1STALLD")] == [2, 12, 1, 1]


def test_replacing_nested_domains_of_one_parent_keeps_the_tlb(nest):
    driver = nest.driver
    first = NestedDomain(nest.parent, nest.guest.ste_words())
    second = NestedDomain(nest.parent, words(Config=4))
    driver.attach(nest.device, nest.parent)
    for domain in (first, second, nest.parent, first):
        nest.commands()
        driver.attach(nest.device, domain)
        assert "S12_VMALL" not in nest.names()
    with pytest.raises(LinuxError, match="EBUSY"):
        nest.parent.free()
    driver.attach(nest.device, driver.blocked)
    assert nest.names()[-2:] == ["S12_VMALL", "SYNC"]
    nest.parent.free()


def test_unmap_below_a_guest(nest):
    """What the guest's stage 1 combined goes as well; each batch is waited for."""
    nest.driver.attach(nest.device, NestedDomain(nest.parent, nest.guest.ste_words()))
    assert nest.read(0x1_0000) is not None
    nest.commands()
    nest.parent.unmap(nest.guest.data, 2 << 20)
    assert nest.commands() == [
        ("S2_IPA", {"VMID": VMID, "Leaf": 1, "SCALE": 9, "TTL": 2, "TG": 1,
                    "Address": nest.guest.data}), ("SYNC", {}),
        ("NH_ALL", {"VMID": VMID}), ("SYNC", {})]
    assert nest.read(0x1_0000) is None


# --- virtual StreamIDs ---------------------------------------------------------------------------

def test_a_stage_1_needs_a_virtual_streamid(nest):
    driver, known = nest.driver, {}
    for config, allowed in ((5, False), (4, True), (0, True)):
        domain = NestedDomain(nest.parent, words(Config=config), vsid_of=known.get)
        if allowed:
            driver.attach(nest.device, domain)
        else:
            with pytest.raises(LinuxError, match="ENOENT: device has no virtual StreamID"):
                driver.attach(nest.device, domain)
            assert nest.device.domain is driver.blocked
        assert nest.device.vsid is None
    known[nest.device] = VSID
    driver.attach(nest.device, NestedDomain(nest.parent, words(Config=5), vsid_of=known.get))
    assert nest.device.vsid == VSID
    driver.attach(nest.device, nest.parent)
    assert nest.device.vsid is None
