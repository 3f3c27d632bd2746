"""The command queue inside of Control: reading ahead, errors, CMD_SYNC."""

import random

import cocotb
import pytest

import smmu.payloads as payloads
from smmu.control import Control
from smmu.formats.commands import CERROR, CS, Opcode
from smmu.formats.core import pack
from smmu.formats.registers import GERROR
from smmu.params import CONFIGS
from smmu_sim.bench.control import COMMAND_BYTES, ControlBench, fault
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, cycle

GERROR_MSI = 0xB000_0000
SYNC_MSI = 0xB000_0208


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(log2size=[0, 1, 2, 4, 7])
async def commands_through_wrapping_queues(dut, log2size):
    """Every command arrives once and in order, whatever the size of the queue."""
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up(cmdq=(0x9000_0000, log2size))
    sent = 0
    for _ in range(12):
        for _ in range(random.randint(1, 1 << log2size)):
            bench.queue_command(
                Opcode.CMD_TLBI_NH_ASID, VMID=sent, ASID=random.getrandbits(16))
            sent += 1
        await bench.ring()
        await bench.consumed()
    await bench.until(lambda: len(bench.invalidations) == sent)
    assert [item.vmid for _, item in bench.invalidations] == list(range(sent))
    reads = [record for record in bench.table.records if not record.write]
    assert all(r.addr // 256 == (r.addr + 8 * r.len) // 256 for r in reads), "crosses 256 bytes"
    assert all((r.cache, r.user, r.prot) == (0b1111, 3, 0b011) for r in reads)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def commands_at_full_rate(dut):
    """Two clocks for each command once the first ones have arrived."""
    bench = await ControlBench.started(dut, payloads, latency=5, pause_rate=0.0)
    await bench.set_up(cmdq=(0x9000_0000, 8))
    for number in range(200):
        bench.queue_command(Opcode.CMD_TLBI_NH_VA, Address=number)
    await bench.ring()
    await bench.until(lambda: len(bench.invalidations) == 200)
    clocks = bench.invalidations[-1][0] - bench.invalidations[0][0]
    assert clocks <= 2 * 199 * 1.1, clocks


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def sync_waits_for_everything_in_order(dut):
    """Invalidations, snapshot, caches, walks, events, earlier MSI; then CONS, MSI and wire."""
    bench = await ControlBench.started(dut, payloads, latency=40)
    await bench.set_up()
    caches, walks = Pin(dut, "caches_busy"), Pin(dut, "walks_marked")
    for finish, cache, walk in ((0, 0, 0), (60, 0, 0), (0, 90, 0), (0, 0, 120), (30, 60, 90)):
        bench.finish_in = finish
        bench.invalidations.clear()
        bench.snapshots.clear()
        bench.table.forget()
        msis = bench.bus.pulses["irq_cmdq_sync"]
        caches.set(cache > 0)
        walks.set(walk > 0)
        for number in range(3):
            bench.queue_command(Opcode.CMD_TLBI_NH_ALL, VMID=number)
        bench.queue_command(Opcode.CMD_SYNC, CS=CS.SIG_IRQ, MSIAddress=SYNC_MSI >> 2, MSIData=0x51)
        await bench.ring()
        before = bench.prod - 1 & 31
        await bench.until(lambda: bench.snapshots)
        snapshot = bench.snapshots[0]
        assert len(bench.invalidations) == 3 and bench.invalidations[-1][0] < snapshot
        for pin, wait in ((caches, cache), (walks, walk)):
            while wait and cycle() - snapshot < wait:
                assert (await bench.fields("CMDQ_CONS"))["RD"] == before
            pin.set(0)
        while finish and cycle() - snapshot < finish - 10:
            assert (await bench.fields("CMDQ_CONS"))["RD"] == before
        await bench.consumed()
        assert len(bench.snapshots) == 1
        await bench.until(lambda: bench.memory.read32(SYNC_MSI) == 0x51)
        assert bench.bus.pulses["irq_cmdq_sync"] == msis + 1
        (msi,) = [record for record in bench.table.records if record.write]
        assert msi.addr == SYNC_MSI and (msi.len, msi.size) == (0, 2)
        bench.memory.write32(SYNC_MSI, 0)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def idle_sync_takes_at_most_ten_clocks(dut):
    bench = await ControlBench.started(dut, payloads, latency=3, pause_rate=0.0)
    await bench.set_up()
    caches = Pin(dut, "caches_busy")
    caches.set(1)
    bench.queue_command(Opcode.CMD_TLBI_NSNH_ALL)
    bench.queue_command(Opcode.CMD_SYNC, CS=CS.SIG_IRQ)
    await bench.ring()
    await bench.until(lambda: bench.snapshots)
    await bench.bus.clocks(30)
    caches.set(0)
    start = cycle()
    await bench.until_pulses("irq_cmdq_sync")
    assert cycle() - start <= 10, cycle() - start


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def sync_waits_for_events_and_for_the_msi_before(dut):
    bench = await ControlBench.started(dut, payloads, latency=80, pause_rate=0.0)
    await bench.set_up(eventq=(0xA000_0000, 4))
    for number in range(5):
        await bench.records.send(fault(number)[0])
    for data in (1, 2):
        bench.queue_command(
            Opcode.CMD_SYNC, CS=CS.SIG_IRQ, MSIAddress=(SYNC_MSI >> 2) + data, MSIData=data)
    await bench.ring()
    await bench.until_pulses("irq_cmdq_sync")
    assert (await bench.fields("EVENTQ_PROD"))["WR"] == 5
    await bench.until_pulses("irq_cmdq_sync", 2)
    (first,) = [record for record in bench.table.records if record.addr == SYNC_MSI + 4]
    assert first.finished is not None, "the second CMD_SYNC did not wait for the MSI"
    await bench.until(lambda: bench.memory.read32(SYNC_MSI + 8) == 2)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def no_msi_and_no_wire_without_need(dut):
    """CS = SIG_NONE, SIG_SEV: nothing; SIG_IRQ without address: the wire alone."""
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up()
    for cs, address, pulses, msis in (
            (CS.SIG_NONE, SYNC_MSI, 0, 0), (CS.SIG_SEV, SYNC_MSI, 0, 0), (CS.SIG_IRQ, 0, 1, 0),
            (CS.SIG_IRQ, SYNC_MSI, 2, 1)):
        bench.queue_command(Opcode.CMD_SYNC, CS=cs, MSIAddress=address >> 2, MSIData=7)
        await bench.ring()
        await bench.consumed()
        await bench.bus.clocks(100)
        assert bench.bus.pulses["irq_cmdq_sync"] == pulses
        assert sum(record.write for record in bench.table.records) == msis


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def illegal_command_stops_until_acknowledged(dut):
    """Older commands act, newer ones don't; the fixed command and its successors are read again."""
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up()
    for number in range(6):
        bench.queue_command(Opcode.CMD_TLBI_NH_ALL, VMID=number)
    bench.place_command(3, 0xFF)
    await bench.ring()
    await bench.until_pulses("irq_gerror")
    cons = await bench.fields("CMDQ_CONS")
    assert (cons["RD"], cons["ERR"]) == (3, CERROR.CERROR_ILL)
    assert await bench.read("GERROR") == pack(GERROR, {"CMDQ_ERR": 1})
    await bench.until(lambda: bench.memory.read32(GERROR_MSI) == 0x6E)
    await bench.bus.clocks(200)
    assert [item.vmid for _, item in bench.invalidations] == [0, 1, 2]

    bench.place_command(3, 0x30)  # TLBI_NSNH_ALL
    bench.prod = 5                # moved back
    await bench.ring()
    await bench.bus.clocks(100)
    assert len(bench.invalidations) == 3, "it went on before the acknowledge"
    await bench.write("GERRORN", CMDQ_ERR=1)
    await bench.consumed()
    assert [(item.match_vmid, item.vmid) for _, item in bench.invalidations[3:]] == [(0, 0), (1, 4)]
    assert bench.bus.pulses["irq_gerror"] == 1


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def aborted_fetch_stops_at_the_command(dut):
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up(cmdq=(0x9000_0000, 5))
    for number in range(20):
        bench.queue_command(Opcode.CMD_TLBI_NH_ALL, VMID=number)
    bad = bench.memory.abort_at(range(0x9000_0000 + 9 * COMMAND_BYTES + 8,
                                      0x9000_0000 + 10 * COMMAND_BYTES))
    await bench.ring()
    await bench.until_pulses("irq_gerror")
    cons = await bench.fields("CMDQ_CONS")
    assert (cons["RD"], cons["ERR"]) == (9, CERROR.CERROR_ABT)
    bench.memory.remove(bad)
    await bench.write("GERRORN", CMDQ_ERR=1)
    await bench.consumed()
    assert [item.vmid for _, item in bench.invalidations] == list(range(20))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def disabling_the_command_queue_is_final(dut):
    """After the acknowledge nothing is read, CONS is right and writable; enabling goes on there."""
    bench = await ControlBench.started(dut, payloads, pause_rate=0.5)
    await bench.set_up(cmdq=(0x9000_0000, 6))
    sent = 0
    for _ in range(8):
        for _ in range(30):
            bench.queue_command(Opcode.CMD_TLBI_NH_ALL, VMID=sent)
            sent += 1
        await bench.ring()
        await bench.bus.clocks(random.randint(0, 80))
        await bench.write_acknowledged("CR0", EVENTQEN=1)
        reads, done = bench.table.reads, len(bench.invalidations)
        cons = (await bench.fields("CMDQ_CONS"))["RD"]
        assert cons == done & 127
        await bench.write("CMDQ_CONS", cons)
        await bench.bus.clocks(60)
        assert (bench.table.reads, len(bench.invalidations)) == (reads, done)
        await bench.write_acknowledged("CR0", CMDQEN=1, EVENTQEN=1)
        await bench.consumed()
    assert [item.vmid for _, item in bench.invalidations] == list(range(sent))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def impossible_command_indexes_stop(dut):
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up()
    for prod in (0x13, 0x1F):  # idx behind CONS with the same wrap, or ahead of it with another
        await bench.write_acknowledged("CR0")
        await bench.write("CMDQ_CONS", RD=0x14 if prod == 0x13 else 0)
        reads = bench.table.reads
        await bench.write("CMDQ_PROD", prod)
        await bench.write_acknowledged("CR0", CMDQEN=1)
        await bench.bus.clocks(100)
        assert bench.table.reads == reads


@pytest.mark.parametrize("config", ["default", "small"])
def test_command_queue(config):
    run_cocotb(Control(CONFIGS[config]), __name__, axi=True, seed=1)
