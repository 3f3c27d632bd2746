"""What a guest does wrong is seen by that guest alone."""

import random

import pytest
from smmu.formats.commands import COMMANDS, CERROR, Opcode, pack_command
from smmu.formats.registers import BY_NAME
from smmu.formats.stream_table import STEConfig
from smmu_sim.driver import CommandError, commands, entries
from smmu_sim.linux_error import LinuxError
from smmu_sim.vmm import Kind

SID, VSID = 0x42, 0x10
PAGE = 0x1000
WAYS = pytest.mark.parametrize("msi", ["rmr", "bind"])


class Neighbour:
    """The second guest, at work before and after: :meth:`check` finds it undisturbed."""

    def __init__(self, twins):
        self.twins, self.guest = twins, twins.guests[1]
        self.device = next(iter(self.guest.devices))
        self.phys = self.guest.alloc(PAGE)
        self.iova = self.guest.dma(self.device).map_page(self.phys, PAGE)
        self.interrupts, self.sent = [], 0
        self.guest.request_irqs(self.device, 1, lambda *which: self.interrupts.append(which))

    def check(self):
        function = self.device.function
        self.guest.memory.write(self.phys, b"undisturbed")
        assert function.read(self.iova, 11).data == b"undisturbed"
        assert function.trigger(0).ok
        self.sent += 1
        self.twins.service()
        assert self.interrupts == [(self.device, 0)] * self.sent and self.guest.events == []
        assert self.guest.driver.registers.read("GERROR") == 0
        assert self.twins.host.driver.registers.read("GERROR") == 0
        assert not self.twins.host.driver.event_log


def twins_of(new_twins, msi):
    twins = new_twins(msi=msi)
    guest = twins.guests[0]
    return twins, guest, next(iter(guest.devices)), Neighbour(twins)


def vste(guest, **fields):
    """Return the guest's STE for its device, with some fields changed."""
    master = next(iter(guest.devices.values())).master
    return entries.stage1_ste(master.cd_table, **fields)


@WAYS
@pytest.mark.parametrize("fields", [
    {"Config": STEConfig.S2_TRANS}, {"Config": STEConfig.NESTED, "S2AA64": 1}, {"V": 0},
    {"S1CDMax": 31}, {"S1STALLD": 1}])
def test_an_illegal_vste_gives_its_guest_c_bad_ste_for_each_access(new_twins, msi, fields):
    twins, guest, device, neighbour = twins_of(new_twins, msi)
    guest.driver.set_ste(VSID, vste(guest, **fields))
    twins.service()
    assert guest.events == []                       # nothing has been accessed
    assert not device.function.read(0x1000, 8).ok
    assert not device.function.write(0x2000, b"x", pasid=3).ok
    twins.service()
    assert [(e.name, e.StreamID, e.SubstreamID) for e in guest.events] == [
        ("C_BAD_STE", VSID, None), ("C_BAD_STE", VSID, 3)]
    neighbour.check()
    guest.driver.set_ste(VSID, vste(guest))
    phys = guest.alloc(PAGE)
    assert device.function.read(guest.dma(device).map_page(phys, PAGE), 8).ok


@WAYS
def test_a_cd_table_outside_of_its_memory_faults_in_the_host_alone(new_twins, msi):
    twins, guest, device, neighbour = twins_of(new_twins, msi)
    outside = guest.memory.base + guest.memory.size
    guest.driver.set_ste(VSID, vste(guest, S1ContextPtr=outside >> 6))
    assert not device.function.read(0x1000, 8).ok
    twins.service()
    event, = twins.host.driver.event_log
    assert (event.name, event.StreamID, event.stage) == ("F_TRANSLATION", SID, 2)
    assert guest.events == []
    twins.host.driver.event_log.clear()
    neighbour.check()


@WAYS
def test_a_guests_tables_cannot_lead_to_memory_that_is_not_its_own(new_twins, msi):
    twins, guest, device, neighbour = twins_of(new_twins, msi)
    stage1 = guest.devices[device].group.domain
    targets = [twins.machine.guest_ram(1)[0], twins.machine.HOST_RAM[0],
               guest.memory.base + guest.memory.size, guest.memory.target]
    for n, target in enumerate(targets):
        stage1.map(0x10_0000 + n * PAGE, target, PAGE)
    reads = [device.function.read(0x10_0000 + n * PAGE, 8) for n in range(len(targets))]
    # The first physical address of the host's RAM is the guest's first IPA.
    assert [result.ok for result in reads] == [False, True, False, False]
    assert reads[1].pa == guest.memory.target
    twins.service()
    assert [event.stage for event in twins.host.driver.event_log] == [2, 2, 2]
    twins.host.driver.event_log.clear()
    neighbour.check()


@WAYS
def test_the_page_behind_an_illegal_vste_cannot_be_written_by_the_guest(new_twins, msi):
    twins, guest, device, neighbour = twins_of(new_twins, msi)
    trap = twins.vms[0].trap_ipa
    guest.devices[device].group.domain.map(0x10_0000, trap, PAGE)
    assert not device.function.write(0x10_0000, bytes(8)).ok
    assert device.function.read(0x10_0000, 64).data == bytes(64)
    twins.service()
    event, = twins.host.driver.event_log
    assert (event.name, event.stage) == ("F_PERMISSION", 2)
    twins.host.driver.event_log.clear()
    neighbour.check()


@WAYS
def test_streams_that_the_guest_does_not_have_are_nobodys(new_twins, msi):
    twins, guest, device, neighbour = twins_of(new_twins, msi)
    before = twins.vms[1].smmu.state(VSID)
    for vsid in (0, 0x11, SID, 0x52, 0xFFFF):
        guest.driver.issue([commands.cfgi_ste(vsid), commands.cfgi_cd(vsid, 3),
                            commands.cfgi_cd_all(vsid)])
    assert twins.vms[1].smmu.state(VSID) == before
    assert not twins.vms[0].smmu.refusals
    neighbour.check()


@WAYS
def test_commands_for_stage_2_are_illegal(new_twins, msi):
    twins, guest, _, neighbour = twins_of(new_twins, msi)
    twins.host.driver.take_commands()
    for opcode in (Opcode.CMD_TLBI_S12_VMALL, Opcode.CMD_TLBI_S2_IPA, Opcode.CMD_TLBI_EL2_ALL):
        with pytest.raises(CommandError, match=CERROR.CERROR_ILL.name):
            guest.driver.issue([pack_command(opcode, {"VMID": 0xFFFF})])
    assert twins.host.driver.take_commands() == []
    neighbour.check()


@WAYS
@pytest.mark.parametrize("seed", range(4))
def test_garbage_in_the_queue_harms_nobody_else(new_twins, msi, seed):
    twins, guest, _, neighbour = twins_of(new_twins, msi)
    numbers = random.Random(seed)
    queue, registers = guest.driver.command_queue.queue, guest.driver.registers
    opcodes = [opcode for opcode in COMMANDS if opcode != Opcode.CMD_SYNC]
    for _ in range(200):
        raw = numbers.getrandbits(128)
        if numbers.random() < 0.7:                   # something that looks like a command
            raw = raw & ~0xFFF | numbers.choice(opcodes)
        queue.write(queue.prod, raw)
        queue.prod = queue.advance(queue.prod)
        registers.write("CMDQ_PROD", WR=queue.prod)
        raised = registers.read("GERROR")
        if raised != registers.read("GERRORN"):      # skip it, as the driver does
            queue.write(registers.fields("CMDQ_CONS")["RD"], commands.sync())
            registers.write("GERRORN", raised)
    assert not twins.host.driver.refused
    neighbour.check()


@WAYS
@pytest.mark.parametrize("seed", range(4))
def test_garbage_in_registers_and_tables_harms_nobody_else(new_twins, msi, seed):
    twins, guest, device, neighbour = twins_of(new_twins, msi)
    numbers = random.Random(seed)
    table = guest.driver.stream_table
    writable = [register for register in BY_NAME.values() if register.access == "RW"
                and register.offset < 0x4_0000]
    for _ in range(150):
        register = numbers.choice(writable)
        write = guest.driver.registers._backend.write64 if register.width == 64 \
            else guest.driver.registers._backend.write32
        write(register.offset, numbers.getrandbits(register.width))
        guest.memory.write(table.find(VSID), numbers.randbytes(64))
        device.function.read(numbers.getrandbits(32), 8)
    twins.service()
    twins.host.driver.event_log.clear()              # stage 2 faults are for the host to see
    neighbour.check()


def test_what_the_host_refuses_becomes_an_illegal_ste(new_twins):
    twins, guest, device, neighbour = twins_of(new_twins, "rmr")
    owner, smmu = twins.vms[0].smmu.owner, twins.vms[0].smmu
    allocated = owner.client.call

    def refuse(name, **fields):
        if name == "HWPT_ALLOC":
            raise LinuxError("ENOMEM", "as the test wants")
        return allocated(name, **fields)

    owner.client.call = refuse
    guest.driver.set_ste(VSID, vste(guest, S1CIR=0, S1COR=0))
    assert [error.name for error in smmu.refusals] == ["ENOMEM"]
    assert smmu.state(VSID).kind is Kind.FAULT
    assert not device.function.read(0x1000, 8).ok
    twins.service()
    assert [event.name for event in guest.events] == ["C_BAD_STE"]
    neighbour.check()


@WAYS
def test_an_msi_address_that_is_no_doorbell_brings_no_interrupt(new_twins, msi):
    twins, guest, device, neighbour = twins_of(new_twins, msi)
    phys = guest.alloc(PAGE)
    iova = guest.dma(device).map_page(phys, PAGE)
    for addr in (0xDEAD_0000, iova):
        device.write_vector(0, addr, 0x55, masked=False)
        device.function.trigger(0)
        twins.service()
        device.write_vector(0, 0, 0, masked=True)
    assert twins.vms[0].its.pending == [] and guest.memory.read(phys, PAGE) == bytes(PAGE)
    twins.host.driver.event_log.clear()
    neighbour.check()
