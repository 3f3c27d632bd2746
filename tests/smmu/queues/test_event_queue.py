"""The event queue and the interrupts inside of Control."""

import cocotb
import pytest

import smmu.payloads as payloads
from smmu.control import Control
from smmu.formats.commands import CS, Opcode
from smmu.formats.core import pack
from smmu.formats.registers import GERROR
from smmu.params import CONFIGS
from smmu_sim.bench.control import ControlBench, fault
from smmu_sim.bench.runner import run_cocotb

EVENTQ_MSI = 0xB000_0104
SYNC_MSI = 0xB000_0208


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(log2size=[0, 1, 3])
async def events_wrap_overflow_and_interrupt(dut, log2size):
    """Records in order; a full queue drops and inverts OVFLG once; interrupts when not empty."""
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up(eventq=(0xA000_0000, log2size))
    size, prod, ovflg, number = 1 << log2size, 0, 0, 0
    for turn in range(4):
        count = size + (2 if turn % 2 else 0)
        kept = []
        for place in range(count):
            record, expected = fault(number)
            number += 1
            await bench.records.send(record)
            if place < size:
                kept.append(expected)
        first, prod = prod, prod + size & 2 * size - 1
        ovflg ^= count > size
        found = await bench.poll_fields("EVENTQ_PROD", WR=prod, OVFLG=ovflg)
        assert [bench.event(first + place) for place in range(size)] == kept
        await bench.until_pulses("irq_eventq", turn + 1)
        await bench.until(lambda: bench.memory.read32(EVENTQ_MSI) == 0xE7)
        bench.memory.write32(EVENTQ_MSI, 0)
        await bench.bus.clocks(60)
        assert (await bench.fields("EVENTQ_PROD")) == found
        await bench.write("EVENTQ_CONS", RD=prod, OVACKFLG=ovflg)
    # Not acknowledged: OVFLG stays, records go on.
    for _ in range(2):
        for _ in range(size + 1):
            await bench.records.send(fault(number)[0])
        prod = prod + size & 2 * size - 1
        await bench.poll_fields("EVENTQ_PROD", WR=prod, OVFLG=ovflg ^ 1)
        await bench.bus.clocks(60)
        assert (await bench.fields("EVENTQ_PROD"))["OVFLG"] == ovflg ^ 1
        await bench.write("EVENTQ_CONS", RD=prod, OVACKFLG=ovflg)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def event_order_data_prod_interrupt(dut):
    """The record is in memory before PROD, PROD before the MSI starts."""
    bench = await ControlBench.started(dut, payloads, latency=50)
    await bench.set_up()
    seen = []

    def on_address(record):
        if record.write:
            seen.append((record.addr, record.accepted))

    bench.table.on_address.append(on_address)
    finished = []
    bench.table.on_finish.append(lambda record: finished.append((record.addr, record.finished)))
    await bench.records.send(fault(1)[0])
    while not (await bench.fields("EVENTQ_PROD"))["WR"]:
        assert len(seen) <= 1
    assert finished and finished[0][0] == 0xA000_0000
    await bench.until(lambda: len(seen) == 2)
    assert seen[1][0] == EVENTQ_MSI and seen[1][1] > finished[0][1] + 1
    assert [r.cache for r in bench.table.records if r.write] == [0b1111, 0b0001]
    assert [r.user for r in bench.table.records if r.write] == [3, 2]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def aborted_event_write(dut):
    """EVENTQ_ABT_ERR, PROD stays, records are dropped silently until the acknowledge."""
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up()
    bad = bench.memory.abort_at(range(0xA000_0020, 0xA000_0040), "write")
    for number in range(5):
        await bench.records.send(fault(number)[0])
    await bench.until_pulses("irq_gerror")
    await bench.bus.clocks(300)
    assert await bench.read("EVENTQ_PROD") == 1
    assert await bench.read("GERROR") == pack(GERROR, {"EVENTQ_ABT_ERR": 1})
    bench.memory.remove(bad)
    await bench.write("GERRORN", EVENTQ_ABT_ERR=1)
    await bench.records.send(fault(9)[0])
    await bench.poll_fields("EVENTQ_PROD", WR=2)
    assert bench.event(1) == fault(9)[1]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def disabled_event_queue_drops(dut):
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up()
    await bench.write_acknowledged("CR0", CMDQEN=1)
    for number in range(140):
        await bench.records.send(fault(number)[0])
    await bench.bus.clocks(100)
    assert await bench.read("EVENTQ_PROD") == 0
    assert not [record for record in bench.table.records if record.write]
    bench.queue_command(Opcode.CMD_SYNC)
    await bench.ring()
    await bench.consumed()
    await bench.write_acknowledged("CR0", CMDQEN=1, EVENTQEN=1)
    await bench.records.send(fault(1)[0])
    await bench.poll_fields("EVENTQ_PROD", WR=1)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def aborted_msis(dut):
    """Each source has its error; the one about GERROR's own MSI does not interrupt."""
    bench = await ControlBench.started(dut, payloads)
    await bench.set_up()
    bench.memory.abort_at(range(0xB000_0000, 0xB000_1000), "write")
    bench.queue_command(Opcode.CMD_SYNC, CS=CS.SIG_IRQ, MSIAddress=SYNC_MSI >> 2)
    await bench.ring()
    expected = pack(GERROR, {"MSI_CMDQ_ABT_ERR": 1, "MSI_GERROR_ABT_ERR": 1})
    await bench.poll("GERROR", lambda value: pack(GERROR, value) == expected)
    assert bench.bus.pulses["irq_gerror"] == 1
    await bench.records.send(fault(1)[0])
    expected |= pack(GERROR, {"MSI_EVENTQ_ABT_ERR": 1})
    await bench.poll("GERROR", lambda value: pack(GERROR, value) == expected)
    await bench.bus.clocks(200)
    assert bench.bus.pulses["irq_gerror"] == 2
    bench.queue_command(Opcode.CMD_SYNC, CS=CS.SIG_IRQ, MSIAddress=SYNC_MSI >> 2)
    await bench.ring()
    await bench.consumed()
    await bench.bus.clocks(200)
    assert await bench.read("GERROR") == expected, "an active error is not logged again"
    assert bench.bus.pulses["irq_gerror"] == 2


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def disabled_interrupts(dut):
    """No wire and no MSI; enabling replays nothing; disabling waits for the MSI under way."""
    bench = await ControlBench.started(dut, payloads, latency=100)
    await bench.set_up(irq=False)
    await bench.records.send(fault(1)[0])
    await bench.poll_fields("EVENTQ_PROD", WR=1)
    await bench.write_acknowledged("IRQ_CTRL", GERROR_IRQEN=1, EVENTQ_IRQEN=1)
    await bench.bus.clocks(300)
    assert bench.bus.pulses["irq_eventq"] == 0 and bench.table.writes == 1
    await bench.write("EVENTQ_CONS", RD=1)
    await bench.records.send(fault(2)[0])
    await bench.until_pulses("irq_eventq")
    await bench.write("IRQ_CTRL", GERROR_IRQEN=1)
    acks = 0
    while (await bench.fields("IRQ_CTRLACK"))["EVENTQ_IRQEN"]:
        acks += 1
    assert acks > 3 and bench.memory.read32(EVENTQ_MSI) == 0xE7
    assert not bench.table.outstanding()


@pytest.mark.parametrize("config", ["default", "small"])
def test_event_queue(config):
    run_cocotb(Control(CONFIGS[config]), __name__, axi=True, seed=1)
