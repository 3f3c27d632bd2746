"""SMMUEN, GBPA and the remap inside of Control."""

import cocotb
import pytest

import smmu.payloads as payloads
from smmu.control import Control
from smmu.formats.commands import Opcode
from smmu.params import CONFIGS
from smmu_sim.bench.control import ControlBench
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, cycle


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def smmuen_and_gbpa_wait_for_decisions(dut):
    """The new value is out before the snapshot; the acknowledge comes after the last decision."""
    bench = await ControlBench.started(dut, payloads)
    smmuen, abort = Pin(dut, "smmuen"), Pin(dut, "gbpa_abort")
    bench.decide_in, bench.finish_in = 150, 5000
    for value in (1, 0, 1):
        bench.snapshots.clear()
        await bench.write("CR0", SMMUEN=value)
        assert smmuen.get() == value
        assert (await bench.fields("CR0"))["SMMUEN"] == value
        await bench.write("CR0", SMMUEN=1 - value)  # ignored: the update is under way
        while (await bench.fields("CR0ACK"))["SMMUEN"] != value:
            pass
        assert cycle() - bench.snapshots[0] >= 150
        assert (await bench.fields("CR0"))["SMMUEN"] == value and smmuen.get() == value
    bench.snapshots.clear()
    await bench.write("GBPA", ABORT=1, SHCFG=3)  # without Update: ignored
    assert await bench.fields("GBPA") == await bench.fields("GBPA") and not abort.get()
    await bench.write("GBPA", ABORT=1, SHCFG=3, Update=1)
    assert abort.get()
    await bench.write("GBPA", SHCFG=2, Update=1)  # ignored: the update is under way
    found = await bench.fields("GBPA")
    assert (found["ABORT"], found["SHCFG"], found["Update"]) == (1, 3, 1)
    await bench.poll("GBPA", lambda value: not value["Update"])
    assert cycle() - bench.snapshots[0] >= 150


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def remap_flushes_all_of_el1(dut):
    """A commit is busy until its invalidation was taken and the caches have carried it out."""
    bench = await ControlBench.started(dut, payloads, pause_rate=0.0)
    await bench.set_up()
    for opcode in (Opcode.CMD_CFGI_CD, Opcode.CMD_TLBI_EL2_ASID, Opcode.CMD_TLBI_NH_VA):
        bench.queue_command(opcode, Leaf=1)  # what it matches must not narrow the flush
    await bench.ring()
    await bench.consumed()
    await bench.until(lambda: len(bench.invalidations) == 3)
    bench.invalidations.clear()
    caches = Pin(dut, "caches_busy")
    caches.set(1)
    entry, ctrl = 0x4_1000 + 32 * 1, 0x4_000C
    await bench.software.write64(entry + 8, 0x0800_0000)
    await bench.software.write64(entry + 16, 0x9_8765_4040)
    assert await bench.software.read32(ctrl) == 0 and not bench.invalidations
    await bench.software.write64(entry, 1 << 63 | 0x21)
    assert await bench.software.read32(ctrl) == 2
    await bench.until(lambda: bench.invalidations)
    (_, item), = bench.invalidations
    assert (item.cfg, item.el2, item.va, item.ipa) == (0, 0, 1, 1)
    assert not any((item.match_vmid, item.match_asid, item.match_addr, item.keep_global, item.leaf))
    await bench.bus.clocks(50)
    assert await bench.software.read32(ctrl) == 2
    caches.set(0)
    assert await bench.software.read32(ctrl) == 0
    await bench.software.write32(ctrl, 1)
    await bench.until(lambda: len(bench.invalidations) == 2)
    query, answer = Pin(dut, "remap_query"), Pin(dut, "remap_answer")
    query.set(0x21 | 0x0800_0000 >> 12 << 32)
    await bench.bus.clocks(4)
    assert answer.get() == 0b111 | 0x9_8765_4040 >> 2 << 3


@pytest.mark.parametrize("config", ["default", "small"])
def test_control(config):
    run_cocotb(Control(CONFIGS[config]), __name__, axi=True, seed=1)
