"""The conformance vectors about translation, given to the walk table alone."""

import gzip
import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import cocotb
import pytest
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.memory import Memory

from smmu.formats.registers import BY_NAME
from smmu.params import CONFIGS
from smmu.payloads import PAGE_SHIFTS, Verdict
from smmu.tcu.walk.walk_table import WalkTable

sys.path.insert(0, str(Path(__file__).parent))
from walk_bench import WalkBench, event_words  # noqa: E402

VECTORS = Path(os.environ.get("SMMU_VECTORS", Path(__file__).parents[3] / "vectors"))
CLASSES = ("s1", "s2", "nested", "nested_tt", "nested_cd", "ste", "cd", "strtab", "eabt")
PARAMS = replace(CONFIGS["default"], oas=44, ssidsize=0, term_model=1)
UNMET = {"Hyp=0", "SIDSIZE=32"}


def scenarios(name):
    with gzip.open(VECTORS / f"{name}.jsonl.gz", "rt") as file:
        header, *lines = [json.loads(line) for line in file]
    return header["header"]["ram"], [line for line in lines if not UNMET & set(line["requires"])]


def registers_of(setup):
    """Values of the registers that configure translation, by name."""
    values = {}
    for access, offset, value in setup["regs"]:
        for name in ("STRTAB_BASE", "STRTAB_BASE_CFG", "CR1", "CR2"):
            if offset == BY_NAME[name].offset:
                keep = values.get(name, 0) >> 32 << 32 if access == "w32" else 0
                values[name] = keep | value
            elif offset == BY_NAME[name].offset + 4 and name == "STRTAB_BASE":
                values[name] = values.get(name, 0) & 0xFFFF_FFFF | value << 32
    return values


def request_of(dma):
    return {"sid": dma["sid"], "ssv": int(dma["ssid"] is not None), "ssid": dma["ssid"] or 0,
            "addr": dma["iova"], "rnw": int(not dma["write"]), "priv": int(dma.get("priv", False)),
            "inst": int(dma.get("instr", False) and not dma["write"])}


async def play(dut, scenario, ram, **options):
    """Play the transactions of a scenario; return how many were judged."""
    memory = Memory([ram])
    for addr, octets in scenario["setup"]["mem"]:
        memory.poke(addr, bytes.fromhex(octets))
    bench = WalkBench(dut, memory, PARAMS, **options)
    await bench.start(registers_of(scenario["setup"]))
    judged = 0
    for step in scenario["steps"]:
        for addr, octets in step.get("mem", ()):
            memory.poke(addr, bytes.fromhex(octets))
        if "dma" not in step:
            continue
        judged += 1
        dma, expect = step["dma"], step.get("expect")
        about = f"{scenario['name']} {dma}"
        bench.events.clear()
        result = await bench.walk(request_of(dma), walk=bench.random.randrange(PARAMS.walks))
        if expect is not None:
            assert (result.verdict == Verdict.OK) == expect["ok"], f"{about}: {result}"
            if expect["ok"]:
                translation = result.translation
                below = (1 << PAGE_SHIFTS[translation.size.value]) - 1
                pa = (translation.page << 12) & ~below | dma["iova"] & below
                assert pa == expect["pa"], f"{about}: {pa:#x} not {expect['pa']:#x}"
        if "event" in step:
            if step["event"] is None:
                assert not bench.events, f"{about}: {bench.events}"
            else:
                assert len(bench.events) == 1, f"{about}: {bench.events}, expected {step['event']}"
                for got, word, mask in zip(event_words(bench.events[0]), step["event"],
                                           step["event_mask"]):
                    assert not (got ^ int(word, 16)) & int(mask, 16), (
                        f"{about}: {bench.events[0]}, expected {step['event']}")
    bench.stop()
    return judged


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def every_scenario(dut):
    ram, played = scenarios(os.environ["WALK_CLASS"])
    judged, failures = 0, []
    for number, scenario in enumerate(played):
        caching, pause_rate = [(False, 0.0), (True, 0.0), (True, 0.4)][number % 3]
        try:
            judged += await play(dut, scenario, ram, caching=caching, pause_rate=pause_rate,
                                 latency=(1, 10) if pause_rate else (2, 2),
                                 seed=random.getrandbits(32))
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{len(failures)} of {len(played)}:\n" + "\n".join(failures)
    assert judged > len(played), "too few transactions"


@pytest.mark.parametrize("vectors", CLASSES)
def test_walk_vectors(vectors):
    run_cocotb(WalkTable(PARAMS), __name__, seed=1, extra_env={"WALK_CLASS": vectors})
