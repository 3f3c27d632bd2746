"""The scenarios with translation, on the core: several in one simulation, reset in between."""

import pytest

from smmu_sim.bench.core import run_on_core
from smmu_sim.scenarios import all_scenarios, find_scenario
from smmu_sim.scenarios.outcome import Outcome
from smmu_sim.scenarios.play import play_in_simulation, play_on_model

# By the modules that they are in; each simulation takes a while to start
GROUPS = {"host": ("boot", "host_msi", "sw_msi"), "vfio": ("guest_msi", "nested_vfio"),
          "iommufd": ("gpasid", "guest_events", "nested_iommufd", "stage2"),
          "guests": ("virtual_machines",)}
# What the memory behind the core does: answers come late and in another order
MEMORY = {"latency": (2, 30), "out_of_order": True}


def module_of(scenario):
    """Return the last part of the name of the module that a scenario is in."""
    return scenario.play.__module__.rpartition(".")[2]


def test_every_scenario_for_the_core_is_in_a_group():
    modules = {module_of(each) for each in all_scenarios() if each.rtl}
    assert modules == {module for group in GROUPS.values() for module in group}


@pytest.mark.parametrize("group", GROUPS)
def test_scenarios_hold_on_the_core(group):
    names = [each.name for each in all_scenarios() if each.rtl
             and module_of(each) in GROUPS[group]]
    outcomes, _ = run_on_core(play_in_simulation, {"names": names, "narrate": False},
                              options=MEMORY, seed=1, on_report=lambda entry: None,
                              name=f"scenarios-{group}")
    outcomes = [Outcome.from_dict(values) for values in outcomes]
    assert [outcome.name for outcome in outcomes] == names
    assert not {outcome.name: outcome.failures for outcome in outcomes if not outcome.ok}
    for outcome in outcomes:
        on_the_model = play_on_model(find_scenario(outcome.name))
        assert [check.statement for check in outcome.checks] == [
            check.statement for check in on_the_model.checks], outcome.name
