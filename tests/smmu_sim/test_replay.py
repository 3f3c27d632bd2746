"""smmu_sim.replay: every public vector and trace on the model, and what it does with bad input."""

import copy
import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.memory import Memory
from smmu_sim.player import Mismatch, Report, replay
from smmu_sim.replay import assign, main
from smmu_sim.scenario_files import (
    Scenario, ScenarioFileError, load_scenarios, settings_for, unmet_requirements,
)

TESTS = Path(__file__).parents[1]
VECTORS = sorted((TESTS / "vectors").glob("*.jsonl.gz"))
TRACES = sorted((TESTS / "traces").glob("*.jsonl.gz"))


@pytest.mark.parametrize("path", VECTORS + TRACES, ids=lambda path: path.name.split(".jsonl")[0])
def test_model_agrees(path):
    scenarios = load_scenarios(path)
    builds, skipped = assign(scenarios, "default", None)
    assert not skipped
    report = Report()
    for _, params, chosen in builds:
        report += replay(ModelBackend(params, Memory()), chosen)
    assert not report.mismatches
    assert report.scenarios == len(scenarios)
    assert report.expectations == sum(scenario.expectations for scenario in scenarios) > 0


def test_public_vectors_are_complete():
    """The totals of tests/vectors/README.md."""
    steps = [step for path in VECTORS for scenario in load_scenarios(path)
             for step in scenario.steps]
    assert sum(len(load_scenarios(path)) for path in VECTORS) == 529
    assert sum("dma" in step for step in steps) == 3347
    assert sum("read" in step for step in steps) == 401
    assert sum("cmd" in step for step in steps) == 859


# Each expectation must be able to fail.


def spoil_pa(step):
    step["expect"]["pa"] ^= 8


def spoil_ok(step):
    step["expect"] = {"ok": False}


def spoil_abort(step):
    step["expect"] = {"ok": True, "pa": 0x8000_0000}


def spoil_event(step):
    step["event"][2] = f"{int(step['event'][2], 16) ^ 1:016x}"


def spoil_event_to_none(step):
    step["event"] = None


def spoil_none_to_event(step):
    step["event"] = ["0" * 16] * 4


def spoil_read(step):
    step["expect"] ^= step["mask"] & -step["mask"]


def spoil_cons(step):
    step["expect"]["cons"] ^= 1


def spoil_cmdq_err(step):
    step["expect"]["cmdq_err"] ^= 1


def ok(step):
    return "dma" in step and step["expect"]["ok"]


def recorded(step):
    return bool(step.get("event"))


SPOILERS = [
    ("s1", ok, spoil_pa), ("s1", ok, spoil_ok), ("s1", recorded, spoil_abort),
    ("s1", recorded, spoil_event), ("s1", recorded, spoil_event_to_none),
    ("s1", ok, spoil_none_to_event), ("cmdq", lambda step: "cmd" in step, spoil_cons),
    ("cmdq", lambda step: "cmd" in step, spoil_cmdq_err),
    ("regs", lambda step: "read" in step and step["mask"], spoil_read),
]


@pytest.mark.parametrize("name, wanted, spoil", SPOILERS,
                         ids=[spoil.__name__ for _, _, spoil in SPOILERS])
def test_wrong_expectations_are_found(name, wanted, spoil):
    scenario = next(scenario for scenario in load_scenarios(TESTS / f"vectors/{name}.jsonl.gz")
                    if any(wanted(step) for step in scenario.steps))
    scenario = copy.deepcopy(scenario)
    index, step = next((index, step) for index, step in enumerate(scenario.steps) if wanted(step))
    spoil(step)
    [(_, params, _)], _ = assign([scenario], "default", None)
    report = replay(ModelBackend(params, Memory()), [scenario])
    assert [mismatch.step for mismatch in report.mismatches[:1]] == [index]
    assert report.mismatches[0].scenario == scenario.name
    assert report.mismatches[0].expected != report.mismatches[0].got


class Misdirected(ModelBackend):
    """A backend that tells the right address, but moves other data."""

    def dma(self, transaction):
        result = super().dma(transaction)
        if result.pa is not None:
            if transaction.write:
                self.memory.poke(result.pa, bytes(transaction.length))
            else:
                result.data = bytes(byte ^ 1 for byte in result.data)
        return result


@pytest.mark.parametrize("write", [False, True])
def test_data_are_compared(write):
    scenarios = load_scenarios(TESTS / "vectors/gbpa.jsonl.gz")
    report = replay(Misdirected(Params(oas=44), Memory()), scenarios)
    wrong = [mismatch for mismatch in report.mismatches if "data" in mismatch.got]
    assert any(mismatch.what.startswith("write" if write else "read") for mismatch in wrong)


def test_report_survives_a_file(tmp_path):
    report = Report(2, 30, [Mismatch("file", "name", 3, "what", "this", "that")])
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


@pytest.mark.parametrize("requirement, params, met", [
    ("GRAN4K", {}, True), ("GRAN4K", {"gran4k": 0}, False), ("OAS=44", {}, False),
    ("OAS=44", {"oas": 44}, True), ("OAS>43", {}, True), ("SIDSIZE>8", {"sidsize": 8}, False),
    ("SIDSIZE=16", {}, True), ("TERM_MODEL=1", {}, False), ("HTTU=0", {}, True),
    ("STALL_MODEL=1", {}, True), ("RESET", {}, True), ("V3.2_WRITE_IGNORED", {}, True),
    ("SOMETHING_NEW", {}, False), ("EVENTQS>=7", {"eventqs": 7}, True)])
def test_requirements(requirement, params, met):
    scenario = Scenario("file", 1, "name", (0, 1), [requirement], {}, [])
    assert (unmet_requirements(scenario, Params(**params)) == []) == met


def test_scenarios_get_a_build_that_plays_them():
    needs = [[], ["OAS=44"], ["OAS=40"], ["SSIDSIZE=0", "TERM_MODEL=1"], ["HTTU=2"]]
    scenarios = [Scenario("file", 1, str(each), (0, 1), each, {}, []) for each in needs]
    builds, skipped = assign(scenarios, "default", "")
    assert [(settings, [each.requires for each in chosen]) for settings, _, chosen in builds] == [
        ("", [[]]), ("oas=44 term_model=1", [["OAS=44"]]), ("oas=40", [["OAS=40"]]),
        ("ssidsize=0 term_model=1", [["SSIDSIZE=0", "TERM_MODEL=1"]])]
    assert [(each.requires, lacking) for each, lacking in skipped] == [(["HTTU=2"], ["HTTU=2"])]
    builds, skipped = assign(scenarios, "default", "oas=40")
    assert len(builds) == 1 and len(skipped) == 3
    assert settings_for(["OAS=40", "RESET", "SIDSIZE>8"]) == "oas=40"


HEADER = '{"header": {"ram": [0, 4096]}}'


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_command_line_on_good_files():
    result = run("--backend", "model", VECTORS[0], TESTS / "vectors/regs.jsonl.gz")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("replayed: ")
    assert result.stdout.splitlines()[-1].endswith(" expectations, 0 mismatches")


def test_command_line_counts_what_an_explicit_set_skips():
    result = run("--set", "oas=44", TESTS / "vectors/cd.jsonl.gz")
    assert result.exit_code == 0
    assert result.stdout.count("this build lacks TERM_MODEL=1") == 6
    assert "skipped: 6 scenarios with 50 expectations" in result.stdout


def write_file(path, *lines):
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_command_line_prints_each_mismatch(tmp_path):
    path = write_file(tmp_path / "wrong.jsonl.gz", HEADER, json.dumps({"name": "wrong", "steps": [
        {"read": ["r32", 0], "expect": 1, "mask": 3}, {"read": ["r32", 0], "expect": 3, "mask": 3},
        {"dma": {"sid": 5, "ssid": 2, "write": False, "iova": 16, "len": 4},
         "expect": {"ok": False}, "event": None}]}))
    result = run(path)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[-1] == "replayed: 4 expectations, 2 mismatches"
    assert f"{path}: wrong: step 0: r32 of 0x0, mask 0x3" in lines
    assert "    expected 0x1" in lines and "    got      0x3" in lines
    assert f"{path}: wrong: step 2: read of 4 at 0x10 by StreamID 0x5 SubstreamID 0x2" in lines


DMA = '"iova": 0, "len": 4, "write": false'


@pytest.mark.parametrize("content, message", [
    (None, "no such file"),
    (b"plain text", "expected a gzip file"),
    (gzip.compress(b"x" * 1000, mtime=0)[:-10], "expected a gzip file"),
    ([], "found an empty file"),
    (["{}"], ':1: first line: expected {"header": {...}}'),
    ([HEADER, "{"], ":2: expected one JSON object a line"),
    ([HEADER, "3"], ":2: scenario: expected an object"),
    ([HEADER, "", "{}"], ":3: name: expected a text"),
    ([HEADER, '{"name": "x"}'], ":2: steps: expected a list"),
    ([HEADER, '{"name": "x", "steps": [{"sleep": 3}]}'],
     ":2: step 0: expected one step kind of dma, mem, cmd, reg, read, poll"),
    ([HEADER, '{"name": "x", "steps": [{"reg": ["w32", 0]}]}'], "step 0 reg: expected a list of 3"),
    ([HEADER, '{"name": "x", "steps": [{"reg": ["w16", 0, 0]}]}'], 'expected ["w32" or "w64"'),
    ([HEADER, '{"name": "x", "steps": [{"mem": [[0, "zz"]]}]}'], "expected [address, hex bytes]"),
    ([HEADER, f'{{"name": "x", "steps": [{{"dma": {{{DMA}}}}}]}}'],
     "dma.sid: expected an unsigned 32-bit number"),
    ([HEADER, f'{{"name": "x", "steps": [{{"dma": {{"sid": 1, {DMA}}}, "event": ["0"]}}]}}'],
     "event: expected a list of 4"),
    ([HEADER], "the files have no scenario"),
])
def test_bad_files_give_one_clear_error(tmp_path, content, message):
    path = tmp_path / "bad.jsonl.gz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_file(path, *content)
    result = run(path)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    if "no scenario" not in message:
        assert str(path) in result.stderr
        with pytest.raises(ScenarioFileError):
            load_scenarios(path)


def test_bad_parameters_give_one_clear_error():
    result = run("--set", "oas=45", VECTORS[0])
    assert result.exit_code == 2 and "oas = 45: expected" in result.stderr
    result = run("--name", "nobody", VECTORS[0])
    assert result.exit_code == 2 and "no scenario is named nobody" in result.stderr
