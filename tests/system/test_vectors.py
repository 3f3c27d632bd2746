"""All public vectors and traces on the RTL, each on a build that has what it requires."""

from pathlib import Path

import pytest

from smmu_sim.bench.replay_rtl import run
from smmu_sim.replay import SECOND_BUILD, assign
from smmu_sim.scenario_files import load_scenarios

TESTS = Path(__file__).resolve().parents[1]
FILES = [str(file) for folder in ("vectors", "traces")
         for file in sorted((TESTS / folder).glob("*.jsonl.gz"))]


@pytest.fixture(scope="module")
def builds():
    """The scenarios of each build, by its settings; none may be left over."""
    scenarios = [scenario for file in FILES for scenario in load_scenarios(file)]
    found, skipped = assign(scenarios, "default", None)
    assert not skipped
    assert sum(len(part) for _, _, part in found) == len(scenarios) == 532
    return {settings: part for settings, _, part in found}


def test_two_builds_do(builds):
    assert set(builds) == {"", SECOND_BUILD}


@pytest.mark.parametrize("settings", ["", SECOND_BUILD], ids=["default", "oas44"])
def test_vectors_on_the_rtl(builds, settings, tmp_path):
    names = [scenario.name for scenario in builds[settings]]
    report = run(("default", settings), FILES, names, tmp_path / "report.json")
    assert report.expectations > 1000
    assert not report.mismatches, "\n".join(map(str, report.mismatches[:20]))
