"""AXI agents against each other, through a register slice."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from smmu.formats.axi import Burst, Resp
from tests.smmu_sim.bench.axi_slice import AxiSlice, Fault
from smmu_sim.bench.axi_lite import AxiLiteMaster
from smmu_sim.bench.axi_master import AxiMaster
from smmu_sim.bench.axi_memory import AxiMemory
from smmu_sim.bench.bus import Bus, IrqMonitor
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.memory import Memory

FAULT_WORD = 15 * 8


class Bench:
    """All agents of the slice."""

    def __init__(self, dut, *, strict=True, memory=None, master=None, **slave):
        self.bus = Bus(dut, strict=strict)
        self.memory = memory or Memory()
        self.slave = AxiMemory(self.bus, "m0_axi", self.memory, **slave)
        self.device = AxiMaster(self.bus, "s0_axi", downstream=self.slave, **(master or {}))
        self.registers = AxiLiteMaster(self.bus, "s_axil")
        self.irq = IrqMonitor(self.bus)


def random_burst(rng):
    """Options of a legal burst: address, bytes, size and type."""
    size = rng.randrange(4)
    step = 1 << size
    burst = rng.choice(list(Burst))
    if burst == Burst.WRAP:
        beats = rng.choice([2, 4, 8, 16])
        addr = rng.randrange(0, 64) * step
    elif burst == Burst.FIXED:
        beats, addr = rng.randint(1, 16), rng.randrange(64) * step
    else:
        beats = rng.randint(1, 20)
        addr = rng.randrange(0, 1024)
        beats = min(beats, (4096 - addr) // step)
        return addr, beats * step - addr % step, size, burst
    return addr, beats * step, size, burst


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def registers_by_both_sizes(dut):
    bench = Bench(dut)
    await bench.bus.reset()
    regs = bench.registers
    await regs.write64(40, 0x1122_3344_5566_7788)
    assert await regs.read32(40) == 0x5566_7788
    assert await regs.read32(44) == 0x1122_3344
    await regs.write32(44, 0xAABB_CCDD)
    assert await regs.read64(40) == 0xAABB_CCDD_5566_7788
    assert await regs.write(40, 0xEE << 16, 0b100) == 0
    assert await regs.read64(40) == 0xAABB_CCDD_55EE_7788
    for delay in (-3, 3):
        regs.w_delay = delay
        await regs.write64(48, 77 + delay)
        assert await regs.read64(48) == 77 + delay


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def pulses_are_counted_while_the_bus_sleeps(dut):
    bench = Bench(dut)
    await bench.bus.reset()
    for count in range(1, 4):
        await bench.registers.write64(0, 0)
        await bench.irq.wait("eventq", count)
        await bench.bus.clocks(100)
    await bench.registers.write64(40, 0)
    await bench.bus.clocks(10)
    assert bench.irq.counts["eventq"] == 3
    await bench.bus.reset()
    assert not any(bench.irq.counts.values())


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def clock_numbers_agree_with_edges(dut):
    bench = Bench(dut)
    await bench.bus.reset()
    for count in (1, 2, 7, 50):
        await bench.registers.write64(0, 0)
        before = bench.bus.now
        await bench.bus.clocks(count)
        transfer = await bench.device.read(0, 8)
        assert transfer.offered >= before + count
        edges = 0
        task = bench.device.submit(0, length=8)
        while task.finished is None:
            await RisingEdge(dut.clk)
            edges += 1
        assert task.response_latency == transfer.response_latency == 3
        assert task.latency == 1
        assert edges <= 6


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(latency=[1, 2, 5, 40])
async def latency_is_counted_in_clocks(dut, latency):
    bench = Bench(dut, latency=latency)
    await bench.bus.reset()
    read = await bench.device.read(0x40, 8)
    write = await bench.device.write(0x40, bytes(8))
    # One register for AR (AW), one for R (B), the memory between them.
    assert read.latency == write.latency == 1
    assert read.downstream.accepted - read.accepted == 1
    assert read.downstream.finished - read.downstream.accepted == latency
    assert read.response_latency == write.response_latency == latency + 2


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_transaction_a_clock(dut):
    bench = Bench(dut, latency=20)
    await bench.bus.reset()
    reads = [bench.device.submit(8 * n, length=8, id=n % 16) for n in range(200)]
    writes = [bench.device.submit(4096 + 8 * n, write=True, data=bytes([n] * 8))
              for n in range(200)]
    for transfer in reads + writes:
        await transfer.wait()
    assert reads[-1].accepted - reads[0].accepted == 199
    assert reads[-1].finished - reads[0].finished == 199
    assert writes[-1].finished - writes[0].finished == 199
    assert bench.memory.peek(4096 + 8 * 77, 8) == bytes([77] * 8)


SLAVES = [
    {},
    {"latency": 30},
    {"latency": (1, 40), "out_of_order": True},
    {"latency": (1, 40), "interleave": True, "pause_rate": 0.4},
    {"latency": (1, 20), "out_of_order": True, "interleave": True, "pause_rate": 0.2,
     "gap_rate": 0.3},
]


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(slave=range(len(SLAVES)))
async def random_traffic(dut, slave):
    """Reads see the memory, writes of one ID land in order, everything arrives as it was sent."""
    rates = {"pause_rate": random.choice([0, 0.3]), "gap_rate": random.choice([0, 0.3])}
    bench = Bench(dut, master=rates, **SLAVES[slave])
    bench.memory.poke(0, random.randbytes(8192))
    await bench.bus.reset()
    expected = bytearray(bench.memory.peek(0, 16 * 8192))
    transfers = []
    for _ in range(150):
        addr, count, size, burst = random_burst(random)
        ident, skew = random.randrange(16), random.choice([0, 0, -5, 4])
        options = {"size": size, "burst": burst, "id": ident, "user": random.getrandbits(56),
                   "cache": random.getrandbits(4), "prot": random.getrandbits(3)}
        if random.random() < 0.5:
            # Reads stay in the first 8 KB, writes of each ID have a range of their own above.
            transfer = bench.device.submit(addr, length=count, **options)
            transfers.append((transfer, options, None, None))
            continue
        addr += (1 + ident) * 4096 + 8192
        data = random.randbytes(count)
        strobes = random.choice([None, random.getrandbits(count)])
        transfer = bench.device.submit(addr, write=True, data=data, strobes=strobes, skew=skew,
                                       **options)
        transfers.append((transfer, options, data, strobes))
        place = 0
        for at in transfer.address:
            for byte in range(at, at - at % (1 << size) + (1 << size)):
                if strobes is None or strobes >> place & 1:
                    expected[byte:byte + 1] = data[place:place + 1]
                place += 1
    for transfer, options, data, strobes in transfers:
        await transfer.wait()
        record = transfer.downstream
        assert record is not None and transfer.ok
        assert record.addr == transfer.addr and record.len + 1 == len(transfer.address)
        for name, value in options.items():
            assert getattr(record, name) == value, name
        assert transfer.latency >= 1 and record.accepted >= record.valid_at
        if data is None:
            image, step = bench.memory.peek(0, 8192), 1 << options["size"]
            assert transfer.data == b"".join(
                image[at:at - at % step + step] for at in transfer.address)
            assert record.data == transfer.data
        else:
            assert record.data == data
            assert record.strobes == ((1 << len(data)) - 1 if strobes is None else strobes)
    assert bench.memory.peek(0, len(expected)) == expected
    reads = [record for record in bench.slave.records if not record.write]
    if "out_of_order" in SLAVES[slave]:
        assert [r.id for r in sorted(reads, key=lambda r: r.finished)] != [r.id for r in reads]
    for ident in range(16):
        own = [record.finished for record in reads if record.id == ident]
        assert own == sorted(own)
    assert not bench.bus.violations and not bench.device.outstanding()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def aborts_become_slverr_on_the_beats_concerned(dut):
    bench = Bench(dut, memory=Memory(windows=[(0, 4096)]))
    await bench.bus.reset()
    bench.memory.abort_at(range(0x108, 0x110))
    bench.memory.poke(0x100, bytes(range(32)))
    read = await bench.device.read(0x100, 32)
    assert read.resps == [0, 2, 0, 0] and read.resp == Resp.SLVERR and not read.ok
    assert read.data[:8] == bytes(range(8)) and read.data[16:] == bytes(range(16, 32))
    assert (await bench.device.read(0x1000, 8)).resp == Resp.SLVERR
    assert (await bench.device.write(0x1000, bytes(8))).resp == Resp.SLVERR
    assert (await bench.device.write(0x100, bytes(8))).ok
    assert bench.slave.records[0].resp == Resp.SLVERR


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_doorbell_rings_with_its_device(dut):
    bench = Bench(dut, device_ids=True)
    rung = []
    bench.memory.observe(range(0x800, 0x804), lambda *args: rung.append(args))
    await bench.bus.reset()
    await bench.device.write(0x800, (1234).to_bytes(4, "little"), user=0x1_0000_0042)
    await bench.device.write(0x804, bytes(4), user=7)
    assert rung == [(0x800, (1234).to_bytes(4, "little"), 0x42)]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_the_middle_of_traffic(dut):
    bench = Bench(dut, latency=(1, 30), out_of_order=True)
    await bench.bus.reset()
    for _ in range(20):
        for n in range(20):
            bench.device.submit(8 * n, length=32, id=n % 16)
            bench.device.submit(8 * n, write=True, data=bytes(32))
        await bench.bus.clocks(random.randrange(1, 30))
        await bench.bus.reset()
    bench.memory.poke(0x20, b"whatever")
    assert (await bench.device.read(0x20, 8)).data == b"whatever"
    await bench.bus.quiet(10, limit=1000)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def quiet_waits_for_the_memory(dut):
    bench = Bench(dut, latency=100)
    await bench.bus.reset()
    transfer = bench.device.submit(0, length=8)
    await bench.bus.clocks(3)
    await bench.bus.quiet(20, limit=1000)
    assert transfer.finished is not None and bench.bus.now - transfer.finished <= 60
    with pytest.raises(TimeoutError):
        bench.device.submit(0, length=8)
        await bench.bus.clocks(3)
        await bench.bus.quiet(10, limit=30)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_terminated_read_has_nothing_downstream(dut):
    bench = Bench(dut)
    await bench.bus.reset()
    await bench.registers.write64(FAULT_WORD, Fault.TERMINATE.value)
    read = await bench.device.read(0, 8, id=3)
    assert read.resp == Resp.SLVERR and read.downstream is None and read.latency is None
    await bench.registers.write64(FAULT_WORD, Fault.NONE.value)
    for _ in range(300):  # tags come round
        assert (await bench.device.read(0, 8, id=3)).downstream is not None


async def provoke(dut, fault, **slave):
    """Traffic while a rule is broken; returns what was reported."""
    bench = Bench(dut, strict=False, **slave)
    await bench.bus.reset()
    await bench.registers.write64(FAULT_WORD, fault.value)
    for n in range(4):
        bench.device.submit(0x100, length=16, id=2 * n)
        bench.device.submit(0x100, write=True, data=bytes(16), id=2 * n)
        bench.device.submit(0x204, write=True, data=bytes(4), id=2 * n)
    await bench.bus.clocks(200)
    return "\n".join(bench.bus.violations)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(fault_and_text=[
    (Fault.UNSTABLE_AR, "m0_axi__ar: changed or fell"),
    (Fault.AW_FALLS, "m0_axi__aw: changed or fell"),
    (Fault.WLAST_EARLY, "WLAST on beat 1 of"),
    (Fault.NO_WLAST, "no WLAST on beat 2"),
    (Fault.WRONG_RID, "R response with ID 1, which waits for none"),
    (Fault.WRONG_BID, "B response with ID 1, which waits for none"),
    (Fault.RLAST_EARLY, "RLAST 1 on beat 1 of"),
    (Fault.STRAY_STRB, "a strobe outside the lanes"),
])
async def broken_rules_are_reported(dut, fault_and_text):
    fault, text = fault_and_text
    found = await provoke(dut, fault, pause_rate=0.5, latency=3)
    assert text in found, found


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def valid_after_reset_is_reported(dut):
    bench = Bench(dut, strict=False)
    await bench.bus.reset()
    assert not bench.bus.violations
    await bench.registers.write64(FAULT_WORD, Fault.AR_IN_RESET.value)
    await bench.bus.reset()
    await bench.bus.clocks(3)
    found = "\n".join(bench.bus.violations)
    assert "m0_axi__ar: VALID in the clock after reset" in found, found
    await bench.registers.write64(FAULT_WORD, Fault.NONE.value)


@cocotb.test(timeout_time=1, timeout_unit="ms", expect_error=AssertionError)
async def a_strict_bus_fails_the_test(dut):
    bench = Bench(dut)
    await bench.bus.reset()
    await bench.registers.write64(FAULT_WORD, Fault.WRONG_RID.value)
    await bench.device.read(0, 8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_axi(seed):
    run_cocotb(AxiSlice(), __name__, seed=seed, axi=True)
