"""Scenarios by name: what host systems do around nested SMMUv3 and its MSIs, played and checked."""

import importlib
import pkgutil

from smmu_sim.scenarios.registry import SCENARIOS, Scenario, scenario

__all__ = ["Scenario", "all_scenarios", "find_scenario", "scenario"]


def all_scenarios():
    """Return every :class:`Scenario`, by name."""
    from smmu_sim.scenarios import plays

    for module in pkgutil.iter_modules(plays.__path__):
        importlib.import_module(f"{plays.__name__}.{module.name}")
    return [SCENARIOS[name] for name in sorted(SCENARIOS)]


def find_scenario(name):
    """Return the :class:`Scenario` of a name, or None."""
    return next((each for each in all_scenarios() if each.name == name), None)
