"""Every scenario on the reference model, and that none is missing."""

import re

import pytest

from smmu_sim.scenarios import all_scenarios, find_scenario
from smmu_sim.scenarios.play import play_on_model

# The numbered scenarios of the host side, and the name under which each is played
NAMES = {
    1: "host-msi", 2: "vfio-unmanaged", 3: "nested-unbound", 4: "bind-guest-msi",
    5: "bind-unaligned", 6: "bind-large-granule", 7: "compose-before-bind", 8: "unbind-mapped",
    9: "bind-device-handle", 10: "hw-msi-region", 11: "sw-msi-default", 12: "sw-msi-override",
    13: "sw-msi-half-set", 14: "sw-msi-late", 15: "sw-msi-per-device", 16: "sw-msi-limit",
    17: "rmr-nested", 18: "replace-keeps-msi", 19: "pasid-table", 20: "generic-invalidate",
    21: "fault-ring", 22: "fault-record", 23: "vste-validation", 24: "raw-commands",
    25: "vmid-isolation", 26: "vevent-overflow", 27: "stall-round-trip",
    28: "reserved-conflict", 29: "pasid-rid", 30: "irq-attach-order", 31: "gpasid-bind",
    32: "smmu-reset", 33: "command-error", 34: "hitless", 35: "stage2-unmap",
    36: "two-guests-one-doorbell"}
# What has no translation in it, or needs an SMMU that the core is not
MODEL_ALONE = {"stall-round-trip", "smmu-reset-without-el2"}


@pytest.mark.parametrize("name", [each.name for each in all_scenarios()])
def test_scenario(name):
    outcome = play_on_model(find_scenario(name))
    assert outcome.checks, "it checks nothing"
    assert outcome.ok, outcome.failures


def test_all_numbered_scenarios_are_there():
    assert sorted(NAMES) == list(range(1, 37))
    assert set(NAMES.values()) <= {each.name for each in all_scenarios()}


def test_all_but_a_few_run_on_the_core():
    assert {each.name for each in all_scenarios() if not each.rtl} == MODEL_ALONE


def test_names_and_texts_are_fit_for_a_list():
    for each in all_scenarios():
        assert re.fullmatch("[a-z0-9-]+", each.name)
        assert each.shows and "\n" not in each.shows and each.shows.strip() == each.shows


@pytest.mark.parametrize("name", ["host-msi", "rmr-nested", "bind-guest-msi", "generic-invalidate"])
@pytest.mark.parametrize("settings", ["oas=36", "ttendian=0 term_model=1", "cohacc=0 asid16=0",
                                      "vmid16=0 remap_entries=1"])
def test_other_builds(name, settings):
    outcome = play_on_model(find_scenario(name), settings=settings)
    assert outcome.ok, outcome.failures
