"""Random systems, with garbage in every structure and bus errors: RTL against the model."""

import pytest

from smmu_sim.bench.core import run_on_core
from smmu_sim.fuzz.play import play_random

# A short slice; `make fuzz` goes on for as long as one likes.
RUNS = {
    "default": ("default", "", {}),
    "disorder": ("default", "", {
        "latency": (1, 60), "pause_rate": 0.3, "gap_rate": 0.2, "out_of_order": True,
        "interleave": True}),
    "small": ("small", "", {"latency": 3}),
    "mixed-endian": ("small", "ports=2 ttendian=0 oas=44 term_model=1", {"latency": 1}),
}


@pytest.mark.parametrize("name", RUNS)
def test_random_systems(name):
    config, settings, options = RUNS[name]
    seen, _ = run_on_core(
        play_random, {"first": 1000 * list(RUNS).index(name), "count": 30},
        config=config, settings=settings, options=options, seed=1)
    assert seen["translated"] > 100
    assert len(seen) > 8, f"only these answers came: {seen}"
