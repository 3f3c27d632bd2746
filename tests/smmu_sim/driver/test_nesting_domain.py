"""Guest tables by VFIO's generations: SET_PASID_TABLE's rules, and how STEs were written then."""

import pytest

from smmu_sim.driver import NestingDomain, PasidTableConfig, Stage2Domain, TableConfig
from smmu_sim.linux_error import LinuxError
from tests.smmu_sim.driver.guests import IPA, PA, VMID, GuestMemory

SID = 0x42
TRANSLATE, BYPASS, ABORT = TableConfig.TRANSLATE, TableConfig.BYPASS, TableConfig.ABORT


def nesting(system, generation="V15", attach=True):
    """A nesting domain with a guest in it, and a device."""
    domain = NestingDomain(system.driver, generation=generation, vmid=VMID)
    system.guest = GuestMemory(system, domain)
    system.device = system.master(SID)
    if attach:
        system.driver.attach(system.device, domain)
    system.commands()
    return domain


def table(system, config=TRANSLATE, **changes):
    return PasidTableConfig(system.guest.cds.base, config=config)._replace(**changes)


def test_life_cycle(system):
    """Attach, translate, bypass, abort, detach."""
    domain = nesting(system)
    writes = []
    addr = system.driver.stream_table.find(SID)
    system.backend.memory.observe(range(addr, addr + 64), lambda at, data, _: writes.append(
        (at - addr, int.from_bytes(data, "little"))))
    assert system.ste()["Config"] == 6
    domain.attach_pasid_table(table(system))
    assert [name for name, _ in system.commands()] == [
        "CFGI_STE", "SYNC", "CFGI_STE", "SYNC", "PREFETCH_CONFIG"]
    assert writes[0] == (0, 0) and writes[-1][0] == 0 and writes[-1][1] & 0xF == 0xF
    assert {at for at, _ in writes[1:-1]} == set(range(8, 64, 8))
    assert system.ste()["Config"] == 7
    assert system.ste()["S1ContextPtr"] == system.guest.cds.base >> 6
    assert system.read(0x1_0000) == PA + system.guest.data - IPA
    with pytest.raises(LinuxError, match="EINVAL: the guest's stage 1 is on already"):
        domain.attach_pasid_table(table(system))
    domain.attach_pasid_table(table(system, BYPASS))
    assert system.ste()["Config"] == 6 and system.read(IPA) == PA
    domain.attach_pasid_table(table(system, ABORT))
    assert system.ste() == {"V": 1} and system.read(IPA) is None
    domain.detach_pasid_table()
    assert system.ste()["Config"] == 6 and system.read(IPA) == PA


def test_running_devices_notice_the_change(system):
    """STEs were invalid for a moment in these series."""
    domain = nesting(system)
    addr = system.driver.stream_table.find(SID)
    handle = system.backend.memory.observe(range(addr, addr + 64), lambda *_: system.read(0x1_0000))
    domain.attach_pasid_table(table(system))
    system.backend.memory.remove(handle)
    assert "C_BAD_STE" in system.events()


@pytest.mark.parametrize("generation, ste", [("V8", {"V": 1}), ("V15", None), ("V16", None)])
def test_what_a_detached_table_leaves_behind(system, generation, ste):
    domain = nesting(system, generation)
    plain = system.ste()
    domain.attach_pasid_table(table(system))
    domain.detach_pasid_table()
    assert system.ste() == (ste or plain)


@pytest.mark.parametrize("changes", [
    {"format": 2}, {"version": 2}, {"smmuv3_version": 0}, {"config": 0}, {"config": 4},
    {"pasid_bits": 4}, {"base_ptr": 0x20}, {"base_ptr": 1 << 60}])
def test_configurations_that_are_refused(system, changes):
    domain = nesting(system)
    before = system.ste()
    with pytest.raises(LinuxError, match="EINVAL"):
        domain.attach_pasid_table(table(system, **changes))
    assert system.ste() == before and domain.config is None and system.read(IPA) == PA
    domain.attach_pasid_table(table(system))


def test_a_device_must_have_been_there(system):
    domain = nesting(system, attach=False)
    with pytest.raises(LinuxError, match="EINVAL: no device was attached"):
        domain.attach_pasid_table(table(system))


def test_rfc_v3_knew_other_rules(system):
    domain = nesting(system, "G1")
    domain.attach_pasid_table(table(system))
    domain.attach_pasid_table(table(system, pasid_bits=4, s1fmt=0, s1dss=2))
    assert system.ste()["S1CDMax"] == 4
    with pytest.raises(LinuxError, match="ENODEV"):
        domain.detach_pasid_table()


def test_all_masters_of_the_domain_follow(system):
    domain = nesting(system)
    other = system.master(0x50, name="other")
    system.driver.attach(other, domain)
    domain.attach_pasid_table(table(system))
    assert system.ste(0x50)["Config"] == 7
    third = system.master(0x51, name="third")
    system.driver.attach(third, domain)
    assert system.ste(0x51)["Config"] == 7, "one that comes later, too"
    assert system.read(0x1_0000, sid=0x51) == PA + system.guest.data - IPA


@pytest.mark.parametrize("generation, refused", [("G1", False), ("V8", True), ("V15", True),
                                                 ("V16", True)])
def test_devices_whose_msis_bypass_the_smmu(system, generation, refused):
    domain = nesting(system, generation)
    device = system.master(0x50, name="hw", hw_msi=True)
    _expect(refused, system, device, domain, "bypass the SMMU")


@pytest.mark.parametrize("generation, refused", [("G1", False), ("V8", True), ("V15", True),
                                                 ("V16", False)])
def test_a_single_doorbell(system, generation, refused):
    domain = nesting(system, generation)
    system.driver.attach(system.master(0x50, name="one", msi_domain="ITS 0"), domain)
    system.driver.attach(system.master(0x51, name="same", msi_domain="ITS 0"), domain)
    device = system.master(0x52, name="two", msi_domain="ITS 1")
    _expect(refused, system, device, domain, "different MSI doorbells")


def _expect(refused, system, device, domain, message):
    if refused:
        with pytest.raises(LinuxError, match=f"EINVAL: .*{message}"):
            system.driver.attach(device, domain)
        assert device.domain is system.driver.blocked
    else:
        system.driver.attach(device, domain)


def test_two_stages_are_needed(make):
    from smmu.params import Params
    with pytest.raises(LinuxError, match="EINVAL: this SMMU does not implement two stages"):
        NestingDomain(make(Params(s1p=0, hyp=0, had=0, ssidsize=0)).driver)
    with pytest.raises(LinuxError, match="EINVAL: generation is 'G3'"):
        NestingDomain(make().driver, generation="G3")


def test_unmap_also_removes_what_the_guests_tables_combined(system):
    """2021's Linux left stale entries of stage 1 behind; 7.0 does not."""
    domain = nesting(system)
    domain.unmap(IPA, 2 << 20)
    assert system.names() == ["S2_IPA", "SYNC", "NH_ALL", "SYNC"]
    assert not Stage2Domain(system.driver).below_stage1
