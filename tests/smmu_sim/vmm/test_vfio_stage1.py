"""A guest's stage 1 over VFIO: one container for each device, and what the host is told."""

import pytest
from smmu.formats.commands import TLBI, CommandHeader, Opcode
from smmu.formats.core import plain
from smmu_sim.driver import commands
from smmu_sim.linux_error import LinuxError
from smmu_sim.vmm.stage1 import VSTE, Kind

SIDS, VSIDS = (0x42, 0x43), (0x10, 0x11)
GENERATIONS = ("v3", "V8", "V10", "V15")
every_generation = pytest.mark.parametrize("generation", GENERATIONS)
MORE_THAN_A_RING = 520
BY_ASID, BY_VA = Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_NH_VA


@pytest.fixture
def twins(new_twins, generation):
    return new_twins(guests=1, devices=2, msi="bind", generation=generation)


def issued(twins, *opcodes):
    """Return the host's commands since the last call, those of some opcodes."""
    return [raw for raw in twins.host.driver.take_commands()
            if plain(CommandHeader).Op(raw) in opcodes]


def vmids(twins):
    return {core.group.domain.hw.vmid for core in twins.host.devices.values()}


def asids(twins):
    return {core.group.domain.hw.asid for core in twins.guests[0].devices.values()}


@every_generation
def test_an_invalidation_reaches_the_domains_of_all_devices(twins):
    assert len(vmids(twins)) == 2
    issued(twins)
    twins.guests[0].driver.issue([commands.tlbi(BY_ASID, ASID=0x21, VMID=0x99)])
    found = issued(twins, BY_ASID)
    assert {plain(TLBI).VMID(raw) for raw in found} == vmids(twins)
    assert {plain(TLBI).ASID(raw) for raw in found} == {0x21}


@every_generation
def test_all_means_every_address_space_that_there_was(twins):
    issued(twins)
    twins.guests[0].driver.issue([commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])
    if twins.vms[0].interface.generation == "V15":
        assert issued(twins, Opcode.CMD_TLBI_NSNH_ALL)
    else:
        found = issued(twins, BY_ASID)
        assert {plain(TLBI).VMID(raw) for raw in found} == vmids(twins)
        assert {plain(TLBI).ASID(raw) for raw in found} == asids(twins)


@every_generation
def test_a_cd_is_forgotten_with_the_ste(twins):
    guest = twins.guests[0]
    core = next(iter(guest.devices.values()))
    domain = core.group.domain.hw
    issued(twins)
    asid = domain.renumber()                               # changes the CD: CMD_CFGI_CD
    assert {plain(CommandHeader).StreamID(raw)
            for raw in issued(twins, Opcode.CMD_CFGI_STE)} == {SIDS[0]}
    assert twins.host.devices[twins.vms[0].devices[0].function].group.domain.hw.config.base_ptr \
        == core.master.cd_table.base
    guest.driver.issue([commands.tlbi(Opcode.CMD_TLBI_NH_ALL)])
    if twins.vms[0].interface.generation != "V15":
        assert asid in {plain(TLBI).ASID(raw) for raw in issued(twins, BY_ASID)}


@every_generation
def test_the_ring_of_faults_does_not_run_full(twins):
    guest = twins.guests[0]
    functions = [device.function for device in guest.devices]
    for n in range(MORE_THAN_A_RING):
        for function in functions:
            function.read(0x1000 * n, 8)
        twins.service()
    assert [(e.StreamID, e.InputAddr) for e in guest.events] == [
        (vsid, 0x1000 * n) for n in range(MORE_THAN_A_RING) for vsid in VSIDS]


@pytest.mark.parametrize("generation", ["V15"])
def test_several_cds_are_refused_and_the_old_one_stays(twins):
    owner = twins.vms[0].smmu.owner
    hw = twins.host.devices[twins.vms[0].devices[0].function].group.domain.hw
    before = hw.config
    with pytest.raises(LinuxError, match="EINVAL"):
        owner.configure(VSIDS[0], VSTE(Kind.TRANSLATE, (0b1011 | 0x4000_1000 | 4 << 59, 0)))
    assert hw.config == before
    assert not twins.guests[0].driver.features.SSIDSIZE


@every_generation
def test_memory_comes_and_goes_in_all_containers(twins):
    guest, owner = twins.guests[0], twins.vms[0].smmu.owner
    domains = [core.group.domain for core in twins.host.devices.values()]
    base, size = guest.memory.base, guest.memory.size
    assert [domain.iova_to_phys(base) for domain in domains] == [guest.memory.target] * 2
    owner.unmap(base, size)
    assert [domain.iova_to_phys(base) for domain in domains] == [None] * 2


@every_generation
def test_a_leaf_is_invalidated_by_its_address(twins):
    issued(twins)
    twins.guests[0].driver.issue([commands.tlbi(
        BY_VA, ASID=3, Address=0x4000_0000 >> 12, TG=1, TTL=3, NUM=3, Leaf=1)])
    found = issued(twins, BY_VA)
    assert {plain(TLBI).VMID(raw) for raw in found} == vmids(twins)
    assert min(plain(TLBI).Address(raw) for raw in found) == 0x4000_0000 >> 12
    by_range = twins.vms[0].interface.generation == "V15"  # the others have one for each page
    assert len(found) == (2 if by_range else 8)
