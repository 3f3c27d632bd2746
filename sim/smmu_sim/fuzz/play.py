"""Host code that compares random systems on a backend with the model."""

from smmu_sim.backend import ModelBackend
from smmu_sim.fuzz.player import compare
from smmu_sim.fuzz.scenario import make_scenario
from smmu_sim.memory import Memory

__all__ = ["play_random"]


def play_random(backend, report, first, count, steps=40, mutations=2.0, aborts=0.3):
    """Compare ``count`` random systems, seeds from ``first`` on, with the model.

    Returns how often each kind of answer came. Raises :exc:`Difference` at the first disagreement.
    """
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
