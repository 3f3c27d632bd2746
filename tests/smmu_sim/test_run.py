"""The main job, on the model; and what it makes of results."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from smmu.params import Params
from smmu_sim.backend import ModelBackend, Result, Resp
from smmu_sim.memory import Memory
from smmu_sim.run import msi, report, traces
from smmu_sim.run.__main__ import main
from smmu_sim.run.measured import Measured

TRACES = Path(__file__).parents[1] / "traces"


def run(*arguments):
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def part1(backend, count=50):
    return msi.play(backend, transactions=count)


def test_part_1_on_the_model():
    steps = []
    outcome = msi.play(ModelBackend(Params(), Memory()),
                       lambda text, share=None: steps.append((text, share)), 200)
    assert [check.what for check in outcome.checks if not check.ok] == []
    texts = {check.what: check.found for check in outcome.checks}
    assert texts["A: gIOVA, stage 1 to gDB, stage 2 to hDB1"] \
        == "EventID 5 of DeviceID 0x42 at 0x20210040"
    assert texts["B bound to its own doorbell"] == "EventID 9 of DeviceID 0x43 at 0x20310040"
    assert texts["B after unbinding"] == "EventID 9 of DeviceID 0x43 at 0x20210040"
    assert sum(row["transactions"] for row in outcome.traffic.values()) == 200 + 9
    assert outcome.counters["transactions"] == 200
    assert outcome.events["F_UUT"] == 1 and outcome.events["F_TRANSLATION"] >= 2
    assert steps[0] == ("host: probe, reset, stage 2", None)
    shares = [share for _, share in steps if share is not None]
    assert shares == sorted(shares) and shares[0] == 0 and 0.9 < shares[-1] < 1


@pytest.mark.parametrize("config", ["small", "default", "server"])
def test_part_1_of_each_configuration(config):
    outcome = part1(ModelBackend(Params.from_settings(config, ""), Memory()))
    assert all(check.ok for check in outcome.checks)


class Broken(ModelBackend):
    """The model; ``spoil(transaction, result)`` changes its results."""

    def __init__(self, spoil):
        super().__init__(Params(), Memory())
        self.spoil = spoil

    def dma(self, transaction):
        return self.spoil(transaction, super().dma(transaction)) or super().dma(transaction)


def test_wrong_data_are_found():
    def spoil(transaction, result):
        if result.data and transaction.length >= 16:
            result.data = bytes(transaction.length)
        return result

    wrong = [check for check in part1(Broken(spoil)).checks if not check.ok]
    assert [check.what for check in wrong] == ["50 transactions at random"]
    assert wrong[0].found.endswith(" wrong")


def test_lost_and_doubled_msis_are_found():
    lost = part1(Broken(lambda t, r: r if t.length != 4 or not t.write else None))
    assert {check.what for check in lost.checks if not check.ok} >= {
        "A: gIOVA, stage 1 to gDB, stage 2 to hDB1", "B bound to its own doorbell"}


def test_a_fault_that_does_not_come_is_found():
    passed = Result(resp=Resp.OKAY, data=bytes(8), pa=0)
    wrong = part1(Broken(lambda t, r: passed if r.resp == Resp.SLVERR else r)).checks
    assert {"no stage 1 mapping", "no stage 2 mapping", "write to a read-only page"} \
        <= {check.what for check in wrong if not check.ok}


def test_one_msi_knows_what_it_reads():
    times = iter((100, 250))
    outcome = msi.play_one_msi(ModelBackend(Params(), Memory()), lambda: next(times))
    assert outcome.window == [100, 250] and all(check.ok for check in outcome.checks)
    names = set(outcome.structures.values())
    assert {"L1STD", "STE", "CD"} <= names
    assert {f"stage 1 level {level}" for level in range(4)} <= names
    assert {f"stage 2 level {level}" for level in (1, 2, 3)} <= names
    again = msi.Outcome.from_dict(json.loads(json.dumps(outcome.as_dict())))
    assert again.checks == outcome.checks


def test_part_1_on_the_rtl():
    from smmu_sim.bench.core import run_on_core
    told = []
    values, _ = run_on_core("smmu_sim.run.rtl:play_in_simulation", {
        "parts": ["msi"], "transactions": 200, "folder": ""}, on_report=told.append, name="run")
    outcome = msi.Outcome.from_dict(values["msi"])
    assert [check for check in outcome.checks if not check.ok] == []
    assert outcome.counters["transactions"] == 200
    assert outcome.counters["tlb_hit"] > 0 < outcome.counters["table_reads"]
    translated = sum(row["translated"] for row in outcome.traffic.values())
    assert len(outcome.latencies) == translated and min(outcome.latencies) >= 2
    assert ["MSIs of device B", None] in told


def test_replay_counts_what_linux_did():
    backend = ModelBackend(Params(), Memory())
    (boot,) = traces.play(backend, traces.load(TRACES, traces.TRACES[:1]))
    assert (boot.commands, boot.accesses, boot.mismatches) == (722, 350 + 1398 + 676, [])
    assert boot.counters["transactions"] == boot.accesses and boot.counters["faults"] == 676


def test_traces_that_the_build_cannot_play_are_named():
    result = run("--backend", "model", "--config", "small", "--transactions", "5")
    assert result.exit_code == 0
    assert "not played" in result.output and "SIDSIZE=16" in result.output
    outcomes = traces.play(ModelBackend(Params.from_settings("small", ""), Memory()),
                           traces.load(TRACES))
    assert all(outcome.lacking and not outcome.steps for outcome in outcomes)


def test_command_line_on_the_model(tmp_path):
    result = run("--backend", "model", "--transactions", "40", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "all as expected" in result.output and "DeviceID 0x43" in result.output
    assert "7.2.13 nested-a" in result.output
    assert not (tmp_path / "out").exists(), "the model has no waveforms"


def test_only_one_part():
    result = run("--backend", "model", "--part", "traces")
    assert result.exit_code == 0 and "EventID" not in result.output
    result = run("--backend", "model", "--part", "msi", "--transactions", "5")
    assert result.exit_code == 0 and "Recorded Linux" not in result.output


def test_wrong_expectations_fail_the_run(tmp_path):
    for name in traces.TRACES:
        shutil.copy(TRACES / name, tmp_path)
    path = tmp_path / traces.TRACES[2]
    header, scenario = (json.loads(line) for line in gzip.open(path, "rt"))
    step = next(step for step in scenario["steps"] if step.get("expect", {}).get("ok"))
    step["expect"]["pa"] ^= 0x1000
    with gzip.open(path, "wt") as file:
        file.write(f"{json.dumps(header)}\n{json.dumps(scenario)}\n")
    result = run("--backend", "model", "--part", "traces", "--traces", str(tmp_path))
    assert result.exit_code == 1
    assert "1 WRONG" in result.output and "expected passes to" in result.output


@pytest.mark.parametrize("arguments, message", [
    (["--traces", "/nowhere"], "no such file"),
    (["--set", "oas=41"], "oas"),
    (["--set", "nonsense=1"], "nonsense"),
    (["--config", "huge"], "'huge' is not one of"),
    (["--transactions", "0"], "0 is not in the range"),
    (["--part", "everything"], "'everything' is not one of"),
])
def test_bad_arguments(arguments, message):
    result = run("--backend", "model", *arguments)
    assert result.exit_code == 2
    assert message in result.output + result.stderr
    assert "Traceback" not in result.output + result.stderr


def test_percentiles_and_histogram():
    values = sorted([3] * 90 + [20] * 9 + [400])
    assert [report.percentile(values, p) for p in (50, 90, 91, 99, 100)] == [3, 3, 20, 20, 400]
    assert report.percentile([7], 50) == 7
    from rich.console import Console
    console = Console(width=100, record=True, file=open("/dev/null", "w"))
    console.print(report.latency_table("latency", values))
    text = console.export_text()
    assert "50 % 3, 90 % 3, 99 % 20, maximum 400 clocks" in text
    assert "1 - 8" in text and "90" in text


def test_counters_table_without_misses():
    counters = dict.fromkeys(
        ["transactions", "table_reads", "faults", *(f"{cache}_{what}" for cache in
         ("utlb", "tlb", "cfg", "s1_walk_cache", "s2_walk_cache") for what in ("hit", "miss"))], 0)
    from rich.console import Console
    console = Console(width=100, record=True, file=open("/dev/null", "w"))
    console.print(report.counters_table({"none": counters, "some": {
        **counters, "tlb_hit": 3, "tlb_miss": 1, "table_reads": 2}}))
    text = console.export_text()
    assert "75.0 % of 4" in text and "2.00" in text


def test_latencies_are_those_of_transactions_that_left():
    class Transfer:
        def __init__(self, latency):
            self.latency = latency

    class Backend:
        params = "params"

        def submit_all(self, transactions):
            return [Transfer(latency) for latency in transactions]

        def finish(self, transfers):
            self.finished = len(transfers)

        def result(self, transfer):
            return transfer.latency

    measured = Measured(Backend())
    assert measured.dma_all([3, None, 4]) == [3, None, 4]
    assert measured.dma(9) == 9
    assert measured.latencies == [3, 4, 9] and measured.params == "params"
