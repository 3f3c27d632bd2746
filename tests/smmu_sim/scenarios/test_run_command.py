"""`smmu run` and `smmu scenarios` as commands: output, errors, exit status."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from smmu_sim.cli import main
from smmu_sim.scenarios import all_scenarios
from smmu_sim.scenarios.registry import SCENARIOS, scenario


def run(capsys, *arguments):
    """Return (status, lines of standard output, standard error)."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    output = capsys.readouterr()
    return end.value.code, output.out.splitlines(), output.err


def test_the_list_is_one_line_each_without_a_heading(capsys):
    status, lines, error = run(capsys, "scenarios")
    assert status == 0 and not error
    assert [re.fullmatch(r"([a-z0-9-]+)  (\S.*)", line).groups() for line in lines] == [
        (each.name, each.shows) for each in all_scenarios()]
    assert len(lines) >= 36


def test_a_scenario_is_narrated(capsys):
    status, lines, error = run(capsys, "run", "bind-guest-msi")
    text = "\n".join(lines)
    assert status == 0 and not error
    for expected in ("command   CMD_CFGI_STE StreamID=0x42", "memory    STE of 0x42 changes",
                     "Config: S2_TRANS -> NESTED",
                     "device    0x42 writes 0x5 (4 bytes) to 0xffff0040: OKAY at 0x20210040",
                     "interrupt ITS0: EventID 5 of DeviceID 0x42: LPI 8197 is pending",
                     "ok      the message is 0xffff_0040 / 5"):
        assert expected in text, expected
    assert lines[-1].startswith("7 checks, all hold (model, default")


def test_quiet_prints_the_checks_alone(capsys):
    _, lines, _ = run(capsys, "run", "host-msi", "--quiet")
    assert all(line.startswith("    ok  ") for line in lines[1:-1])


def test_a_failed_check_makes_the_status_1(capsys):
    @scenario("always-wrong", "a scenario that cannot hold")
    def wrong(world):
        world.expect("the answer", 41, 42)

    try:
        status, lines, error = run(capsys, "run", "always-wrong")
    finally:
        del SCENARIOS["always-wrong"]
    assert status == 1 and not error
    assert any("FAILED" in line and "the answer" in line for line in lines)
    assert any("expected 0x2a, found 0x29" in line for line in lines)
    assert lines[-1].startswith("1 checks, 1 FAILED")


@pytest.mark.parametrize("arguments, expected", [
    (["no-such"], ["'no-such'", "host-msi"]),
    (["host-msi", "--wave"], ["--wave", "--backend rtl"]),
    (["stall-round-trip", "--backend", "rtl"], ["stall-round-trip", "--backend model", "stall"]),
    (["smmu-reset-without-el2", "--backend", "rtl"], ["--backend model"]),
    (["pasid-rid", "--config", "small"], ["pasid-rid", "ssidsize = 0", "at least 4"]),
    (["host-msi", "--set", "oas=45"], ["oas = 45", "44"]),
    (["host-msi", "--backend", "fpga"], ["'fpga'", "rtl"]),
    ([], ["NAME"]),
])
def test_misuse_is_one_clear_error(capsys, arguments, expected):
    status, lines, error = run(capsys, "run", *arguments)
    assert status == 2 and not lines
    assert error.startswith("error: ") and error.count("\n") == 1
    for part in expected:
        assert part in error


def test_other_builds_can_be_asked_for(capsys):
    status, lines, _ = run(capsys, "run", "host-msi", "--quiet", "--config", "server", "--set",
                           "oas=40")
    assert status == 0 and "server" in lines[-1]


def test_it_ends_quietly_when_nobody_reads_on():
    command = [sys.executable, "-m", "smmu_sim.cli", "run", "fault-ring"]
    environment = {"PYTHONPATH": ":".join(str(Path(__file__).parents[3] / part)
                                          for part in ("hdl", "sim"))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment) as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(60)
        assert process.stderr.read() == b""
