"""A guest's command queue."""

import pytest
from smmu.formats.commands import CERROR, CS, Opcode, pack_command
from smmu.formats.core import fields, pack
from smmu.formats.registers import CMDQ_BASE, CR0, GERROR
from smmu_sim.driver import CommandError, commands

VSID, OTHER, UNKNOWN = 0x10, 0x11, 0x12
RAM, SIZE = 0x4000_0000, 64 << 20
VITS = 0x0808_0000
DOORBELL = VITS + 0x1_0040
CMDQ = RAM + 0x10_0000
MSI_DEVICE_ID = 0xFFFF


def test_invalidations_are_handed_over_in_order_at_the_sync(new_bench):
    bench = new_bench()
    bench.ste()
    bench.start()
    batch = [commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL),
             commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=0x21, VMID=8),
             commands.cfgi_cd(VSID, 3), commands.cfgi_cd_all(VSID)]
    bench.command(*batch, commands.cfgi_cd(UNKNOWN, 3))
    assert bench.owner.batches == []
    bench.command(commands.sync())
    assert bench.owner.batches == [batch]                  # nothing about a device that is not
    assert bench.field("CMDQ_CONS", "RD") == 6


def test_more_than_a_block_is_handed_over_without_a_sync(new_bench):
    bench = new_bench()
    bench.start()
    bench.command(*[commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=n) for n in range(70)])
    assert [len(batch) for batch in bench.owner.batches] == [63]
    bench.command(commands.sync())
    assert [len(batch) for batch in bench.owner.batches] == [63, 7]


def test_what_was_consumed_is_done_when_the_queue_is_disabled(new_bench):
    bench = new_bench()
    bench.start()
    tlbis = [commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=n) for n in range(2)]
    bench.command(*tlbis)
    bench.owner.accepted = 0                               # nobody is told of this refusal
    bench.write("CR0", 0)
    assert bench.owner.batches == [tlbis, tlbis[1:]] and bench.read("GERROR") == 0


def test_cfgi_ste_does_not_overtake_invalidations(new_bench):
    bench = new_bench()
    bench.start()
    bench.ste()
    tlbi = commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=1)
    seen = []
    bench.owner.configure = lambda vsid, vste: seen.append(list(bench.owner.batches))
    bench.command(tlbi, commands.cfgi_ste(VSID))
    assert seen == [[[tlbi]]]


@pytest.mark.parametrize("command", [
    pack_command(Opcode.CMD_TLBI_S12_VMALL, {"VMID": 7}),
    pack_command(Opcode.CMD_TLBI_S2_IPA, {"VMID": 7}),
    pack_command(Opcode.CMD_TLBI_EL2_ALL), pack_command(Opcode.CMD_ATC_INV, {"StreamID": VSID}),
    pack_command(Opcode.CMD_PRI_RESP, {"StreamID": VSID}),
    pack_command(Opcode.CMD_RESUME, {"StreamID": VSID}),
    pack_command(Opcode.CMD_STALL_TERM, {"StreamID": VSID}),
    pack_command(Opcode.CMD_SYNC, {"CS": 3}), 0xFF, 0,
    pack_command(Opcode.CMD_CFGI_STE, {"SSec": 1}),
    pack_command(Opcode.CMD_TLBI_NH_VA, {"TG": 1})])
def test_illegal_commands_stop_the_queue(new_bench, command):
    bench = new_bench()
    bench.start()
    bench.command(commands.sync(), command, commands.cfgi_all())
    assert bench.field("CMDQ_CONS", "ERR") == CERROR.CERROR_ILL
    assert bench.field("CMDQ_CONS", "RD") == 1
    assert bench.read("GERROR") == fields(GERROR)["CMDQ_ERR"].mask
    bench.memory.write(CMDQ + 16, commands.sync().to_bytes(16, "little"))
    bench.write("GERRORN", bench.read("GERROR"))
    assert bench.field("CMDQ_CONS", "RD") == 3


def test_a_driver_skips_an_illegal_command(new_bench):
    bench = new_bench()
    driver = bench.driver()
    driver.reset()
    with pytest.raises(CommandError, match="CERROR_ILL"):
        driver.issue([0xFF, commands.cfgi_all()])
    driver.sync()


def test_a_command_queue_outside_of_the_guests_memory_gives_cerror_abt(new_bench):
    bench = new_bench()
    bench.write("CMDQ_BASE", RAM + SIZE | pack(CMDQ_BASE, {"LOG2SIZE": 7}))
    bench.write("CR0", pack(CR0, {"CMDQEN": 1}))
    bench.write("CMDQ_PROD", 1)
    assert bench.field("CMDQ_CONS", "ERR") == CERROR.CERROR_ABT
    assert bench.field("CMDQ_CONS", "RD") == 0 and bench.field("GERROR", "CMDQ_ERR") == 1


def test_a_command_that_the_host_refuses_stops_the_queue_at_that_command(new_bench):
    bench = new_bench()
    bench.start()
    tlbis = [commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=n) for n in range(4)]
    bench.owner.accepted = 2
    bench.command(*tlbis, commands.sync())
    assert bench.field("CMDQ_CONS", "ERR") == CERROR.CERROR_ILL
    assert bench.field("CMDQ_CONS", "RD") == 2
    bench.memory.write(CMDQ + 32, commands.sync().to_bytes(16, "little"))
    bench.write("GERRORN", bench.read("GERROR"))
    assert bench.owner.batches[-1] == tlbis[3:] and bench.field("CMDQ_CONS", "RD") == 5


def test_a_refusal_of_the_monitors_own_command_does_not_stop_the_guests(new_bench):
    bench = new_bench()
    bench.ste()
    bench.start()
    bench.owner.accepted = 0
    tlbi = commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=1)
    bench.command(commands.cfgi_ste(VSID), tlbi, commands.sync())  # the vSTE is unchanged
    assert bench.owner.batches == [[commands.cfgi_cd_all(VSID), tlbi], [tlbi]]
    assert bench.field("CMDQ_CONS", "RD") == 3 and bench.read("GERROR") == 0


def test_illegal_indexes_stop_the_queue_without_an_error(new_bench):
    bench = new_bench()
    bench.start()
    bench.write("CMDQ_PROD", 0xF_FFFF)
    assert bench.field("CMDQ_CONS", "RD") == 0 and bench.read("GERROR") == 0


def test_a_sync_can_end_with_an_msi_and_the_wire_pulses(new_bench):
    bench = new_bench()
    bench.start()
    arrivals = []
    bench.memory.mmio.observe(range(DOORBELL, DOORBELL + 4),
                              lambda *arrival: arrivals.append(arrival))
    bench.command(pack_command(Opcode.CMD_SYNC, {
        "CS": CS.SIG_IRQ, "MSIAddress": DOORBELL >> 2, "MSIData": 0x55}))
    assert arrivals == [(DOORBELL, b"\x55\0\0\0", MSI_DEVICE_ID)]
    assert bench.smmu.interrupts().cmdq_sync == 1
    bench.command(pack_command(Opcode.CMD_SYNC, {
        "CS": CS.SIG_IRQ, "MSIAddress": RAM + SIZE >> 2}))
    assert bench.field("GERROR", "MSI_CMDQ_ABT_ERR") == 1


@pytest.mark.parametrize("retry", [True, False])
def test_stalled_transactions_are_answered(new_bench, retry):
    bench = new_bench(stalls=True)
    bench.start()
    bench.command(pack_command(Opcode.CMD_RESUME, {
        "StreamID": VSID, "STAG": 0x77, "Ac": retry}),
        pack_command(Opcode.CMD_STALL_TERM, {"StreamID": OTHER}))
    assert bench.owner.resumed == [(VSID, 0x77, retry)] and bench.owner.terminated == [OTHER]
