"""A recorded run, played again."""

import gzip
import json

import pytest
from smmu.formats.registers import BY_NAME
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.driver import PageAllocator, SMMUv3Driver, entries
from smmu_sim.live.errors import LiveError
from smmu_sim.live.memory_image import MemoryImage
from smmu_sim.live.recorder import Recorder
from smmu_sim.live.waveform import bring, moments, repeat
from smmu_sim.memory import Memory
from smmu_sim.replay import replay
from smmu_sim.scenario_files import load_scenarios, unmet_requirements

SID, ASID, SYNC = 0x42, 5, 0x46


class Recorded:
    """A backend whose software is recorded as the bridge records a guest."""

    def __init__(self, memory, layout, path):
        self.recorder = Recorder(memory, layout, path)
        self.backend = ModelBackend(Params(), memory)
        self.backend.model = type(self.backend.model)(Params(), self.recorder.tables, 0)
        self.backend.reset()

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def write32(self, offset, value):
        self.recorder.begin()
        self.backend.write32(offset, value)
        self.recorder.register_written(offset, value, self.backend)

    def write64(self, offset, value):
        self.write32(offset, value & 0xFFFF_FFFF)
        self.write32(offset + 4, value >> 32)

    def dma(self, *, write=False, **where):
        transaction = Transaction(sid=SID, write=write, data=bytes(8) if write else None,
                                  length=8, **where)
        return self.recorder.perform(self.backend, [transaction])[0]


@pytest.fixture
def trace(memory, layout, tmp_path):
    """A driver maps a page, unmaps it, maps another there; a device goes along, and astray."""
    path = tmp_path / "trace.jsonl.gz"
    recorded = Recorded(memory, layout, path)
    base = layout.ram_base
    driver = SMMUv3Driver(recorded, PageAllocator(memory, base, 1 << 24))
    driver.reset()
    table = driver.page_table()
    contexts = driver.context_table()
    table.map(0x10_0000, base + (32 << 20), 0x1000)
    driver.set_cd(contexts, entries.cd(table, asid=ASID))
    driver.set_ste(SID, entries.stage1_ste(contexts))
    assert recorded.dma(addr=0x10_0000, write=True).ok
    driver.unmap(table, 0x10_0000, 0x1000, asid=ASID)
    assert not recorded.dma(addr=0x10_0000).ok
    driver.service()
    table.map(0x10_0000, base + (33 << 20), 0x1000)
    assert recorded.dma(addr=0x10_0000).pa == base + (33 << 20)
    count = recorded.recorder.save(Params())
    assert count["transactions"] == 3
    return path


def test_a_recorded_run_plays_without_a_mismatch(trace):
    scenario, = load_scenarios(trace)
    assert not unmet_requirements(scenario, Params())
    report = replay(ModelBackend(Params(), Memory()), [scenario])
    assert report.mismatches == [] and report.expectations > 10


def test_the_replay_notices_a_page_table_that_is_not_as_it_was(trace):
    scenario, = load_scenarios(trace)
    last = [step for step in scenario.steps if "mem" in step][-1]
    last["mem"] = [[addr, "00" * (len(octets) // 2)] for addr, octets in last["mem"]]
    report = replay(ModelBackend(Params(), Memory()), [scenario])
    assert report.mismatches


def test_each_outcome_is_in_the_trace(trace, layout):
    scenario, = load_scenarios(trace)
    good, bad, other = [step for step in scenario.steps if "dma" in step]
    assert good["expect"] == {"ok": True, "pa": layout.ram_base + (32 << 20)}
    assert bad["expect"] == {"ok": False} and int(bad["event"][0], 16) & 0xFF == 0x10
    assert other["expect"]["pa"] == layout.ram_base + (33 << 20) and other["event"] is None


def test_what_a_device_wrote_is_told_again_if_the_smmu_reads_it(memory, layout, tmp_path):
    path, place = tmp_path / "trace.jsonl.gz", layout.ram_base + 0x1000
    recorded = Recorded(memory, layout, path)
    recorded.recorder.tables.read(place, 8)        # zero, as in the replay: nothing to tell
    recorded.dma(addr=place, write=True)           # the replay writes other data than zeros
    recorded.recorder.tables.read(place, 8)
    recorded.dma(addr=place)
    recorded.recorder.save(Params())
    scenario, = load_scenarios(path)
    assert [list(step)[0] for step in scenario.steps] == ["dma", "mem", "dma"]
    assert scenario.steps[1]["mem"] == [[place, "00" * 8]]


def test_a_build_with_less_cannot_play_it(trace):
    scenario, = load_scenarios(trace)
    assert unmet_requirements(scenario, Params.from_settings("default", "oas=44"))


def test_moments_are_the_first_sync_and_the_first_fault(trace):
    found = moments(trace)
    assert found.keys() == {"cmd-sync", "fault"}
    assert found["cmd-sync"]["step"]["reg"][1] == BY_NAME["CMDQ_PROD"].offset
    assert found["fault"]["step"]["dma"]["iova"] == 0x10_0000
    assert found["fault"]["regs"][-1][0] == BY_NAME["CR0"].offset


def test_a_fault_that_an_msi_tells_of_is_called_so(trace):
    header, text = gzip.open(trace, "rt").read().splitlines()
    scenario = json.loads(text)
    written, = [step for step in scenario["steps"]
                if step.get("reg", [0, 0])[1] == BY_NAME["EVENTQ_IRQ_CFG0"].offset]
    written["reg"][2] = 0x0802_0040
    with gzip.open(trace, "wt") as file:
        file.write(f"{header}\n{json.dumps(scenario)}\n")
    assert moments(trace).keys() == {"cmd-sync", "fault-msi"}


@pytest.mark.parametrize("name", ["cmd-sync", "fault"])
def test_a_moment_is_repeated_on_a_model(trace, layout, name):
    moment = moments(trace)[name]
    backend = ModelBackend(Params(), Memory())
    backend.reset()
    bring(backend, moment, layout.windows)
    repeat(backend, moment["step"])
    assert not backend.dma(Transaction(sid=SID, addr=0, length=8)).ok


@pytest.mark.parametrize("name, message", [("cmd-sync", "CMDQ_CONS is"), ("fault", "event record")])
def test_a_moment_that_goes_otherwise_is_no_waveform(trace, layout, name, message):
    moment = moments(trace)[name]
    backend = ModelBackend(Params(), Memory())
    backend.reset()
    bring(backend, moment | {"mem": []}, layout.windows)
    with pytest.raises(LiveError, match=message):
        repeat(backend, moment["step"])


def test_the_file_has_header_and_one_scenario(trace, layout):
    header, scenario = gzip.open(trace, "rt").read().splitlines()
    assert json.loads(header)["header"]["class"] == "linux"
    assert json.loads(scenario)["name"] == "live-linux"


def test_memory_is_known_to_be_zero_until_it_is_forgotten():
    image = MemoryImage()
    assert image.holds(0xFFC, bytes(8)) and not image.holds(0xFFC, b"\0\0\0\0\0\1\0\0")
    image.put(0xFFE, b"abcd")
    assert image.holds(0xFFD, b"\0abcd\0")
    image.forget(0x1000, 1)
    assert image.holds(0xFFE, b"ab") and not image.holds(0xFFE, b"abc")
    assert image.holds(0x1001, b"d")
