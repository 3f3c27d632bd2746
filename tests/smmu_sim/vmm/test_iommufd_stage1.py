"""A guest's stage 1 over iommufd: which objects there are, and what becomes of commands."""

import pytest
from smmu.formats.commands import CommandHeader, Opcode
from smmu.formats.core import plain
from smmu.formats.events import EventType
from smmu_sim.driver import commands
from smmu_sim.linux_error import LinuxError
from smmu_sim.vmm.stage1 import VSTE, Kind

SID, VSID = 0x42, 0x10


@pytest.fixture(params=["upstream", "strict"])
def mode(request):
    return request.param


def objects(twins):
    """Return how many objects the VM's iommufd has."""
    found = 0
    for n in range(1, 64):
        try:
            twins.vms[0].interface.iommufd.objects.get(n)
        except LinuxError:
            continue
        found += 1
    return found


def test_an_old_hwpt_goes_when_a_new_one_is_attached(new_twins):
    twins = new_twins(guests=1)
    guest, = twins.guests
    device, core = next(iter(guest.devices.items()))
    before = objects(twins)
    for _ in range(3):
        guest.driver.attach(core.master, guest.driver.blocked)
        assert objects(twins) == before - 1                # the fixed one for aborts
        guest.driver.attach(core.master, core.group.domain.hw)
        assert objects(twins) == before


def test_a_hwpt_that_cannot_be_attached_does_not_stay(new_twins):
    twins = new_twins(guests=1)
    owner = twins.vms[0].smmu.owner
    file, device_id = owner._devices[VSID]
    before, old = objects(twins), twins.host.devices[twins.vms[0].devices[0].function].group.domain

    class Refusing:
        def attach(self, hwpt):
            raise LinuxError("ENOMEM", "as the test wants")

    owner._devices[VSID] = Refusing(), device_id
    with pytest.raises(LinuxError, match="ENOMEM"):
        owner.configure(VSID, VSTE(Kind.TRANSLATE, (0b1011 | 0x4000_1000, 0)))
    assert objects(twins) == before
    assert twins.host.devices[twins.vms[0].devices[0].function].group.domain is old
    owner._devices[VSID] = file, device_id


def test_what_comes_before_a_refused_command_is_done(new_twins, mode):
    twins = new_twins(guests=1)
    twins.vms[0].interface.iommufd.invalidate_mode = mode
    owner = twins.vms[0].smmu.owner
    tlbi = commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=0x21)
    twins.host.driver.take_commands()
    assert owner.invalidate([tlbi, tlbi, commands.cfgi_ste(VSID), tlbi]) == 2
    done = [plain(CommandHeader).Op(raw) for raw in twins.host.driver.take_commands()]
    assert done.count(Opcode.CMD_TLBI_NH_ASID) >= 2 and Opcode.CMD_CFGI_STE not in done
    assert owner.invalidate([commands.cfgi_cd(0x11, 0)]) == 0
    assert owner.invalidate([tlbi] * 63) == 63


def test_lost_events_are_counted(new_twins):
    twins = new_twins(guests=1)
    guest, = twins.guests
    function = next(iter(guest.devices)).function
    owner = twins.vms[0].smmu.owner
    for _ in range(100):
        function.read(0x1000, 8)
        twins.host.service()
    assert len(owner.events()) == 64 and owner.lost == 1
    function.read(0x1000, 8)
    twins.host.service()
    record, = owner.events()
    assert plain(CommandHeader).Op(record) == EventType.F_TRANSLATION


def test_memory_that_is_taken_away_is_gone_for_the_device(new_twins):
    twins = new_twins(guests=1)
    guest, = twins.guests
    device = next(iter(guest.devices))
    phys = guest.alloc(0x1000)
    iova = guest.dma(device).map_page(phys, 0x1000)
    assert device.function.read(iova, 8).ok
    twins.vms[0].smmu.owner.unmap(guest.memory.base, guest.memory.size)
    assert not device.function.read(iova, 8).ok
    twins.service()
    assert [event.stage for event in twins.host.driver.event_log] == [2] and not guest.events
