"""Random systems, with garbage in every structure and bus errors: RTL against the model."""

import pytest

from smmu_sim.backend import ModelBackend
from smmu_sim.bench.core import run_on_core
from smmu_sim.fuzz.player import compare
from smmu_sim.fuzz.scenario import make_scenario
from smmu_sim.memory import Memory

# A short slice; `make fuzz` goes on for as long as one likes.
RUNS = {
    "default": ("default", "", {}),
    "disorder": ("default", "", {
        "latency": (1, 60), "pause_rate": 0.3, "gap_rate": 0.2, "out_of_order": True,
        "interleave": True}),
    "small": ("small", "", {"latency": 3}),
    "mixed-endian": ("small", "ports=2 ttendian=0 oas=44 term_model=1", {"latency": 1}),
}


def play_random(backend, report, first, count, steps=40, mutations=2.0, aborts=0.3):
    """Host code: compare ``count`` random systems with the model; how often each answer came."""
    seen = {}
    for seed in range(first, first + count):
        scenario = make_scenario(
            backend.params, seed, steps=steps, mutations=mutations, aborts=aborts)
        for outcome in compare(scenario, ModelBackend(backend.params, Memory()), backend):
            kind = f"event {outcome['events'][0] & 0xFF:#x}" if outcome["events"] else (
                "translated" if "pa" in outcome else "terminated")
            seen[kind] = seen.get(kind, 0) + 1
        report(seed)
    return seen


@pytest.mark.parametrize("name", RUNS)
def test_random_systems(name):
    config, settings, options = RUNS[name]
    seen, _ = run_on_core(
        f"{__name__}:play_random", {"first": 1000 * list(RUNS).index(name), "count": 30},
        config=config, settings=settings, options=options, seed=1)
    assert seen["translated"] > 100
    assert len(seen) > 8, f"only these answers came: {seen}"
