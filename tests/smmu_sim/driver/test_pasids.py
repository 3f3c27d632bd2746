"""PASIDs beside each kind of RID: STE.S1DSS, CDs, and the way back to a plain STE."""

import itertools

import pytest

from smmu.formats.stream_table import S1DSS, SHCFG, STEConfig
from tests.smmu_sim.driver.attached import SID, config, stage1


@pytest.mark.parametrize("kind, s1dss, rid", [
    ("identity", S1DSS.BYPASS, 0x1000), ("blocked", S1DSS.TERMINATE, None)])
def test_pasids_beside_a_rid_without_tables(system, kind, s1dss, rid):
    driver, master = system.driver, system.master(ssid_bits=4)
    static = getattr(driver, kind)
    driver.attach(master, static)
    plain = system.ste()
    driver.attach_pasid(master, 5, stage1(system))
    driver.attach_pasid(master, 6, stage1(system, 0x9000_0000))
    assert config(system) == (STEConfig.S1_TRANS, s1dss)
    assert system.ste().get("SHCFG", 0) == (SHCFG.INCOMING if rid else 0)
    assert [system.read(0x1000, ssid) for ssid in (5, 6)] == [0x8000_0000, 0x9000_0000]
    assert system.read(0x1000) == rid
    driver.detach_pasid(master, 5)
    assert config(system) == (STEConfig.S1_TRANS, s1dss) and system.read(0x1000, 5) is None
    driver.detach_pasid(master, 6)
    assert system.ste() == plain, "the last one is gone"
    assert master.pasids == {} and system.read(0x1000) == rid


def test_the_rid_changes_while_pasids_are_in_use(system):
    driver, master = system.driver, system.master(ssid_bits=4)
    pasid, rid = stage1(system), stage1(system, 0x9000_0000)
    driver.attach_pasid(master, 5, pasid)
    answers = {driver.blocked: (None, S1DSS.TERMINATE), driver.identity: (0x1000, S1DSS.BYPASS),
               rid: (0x9000_0000, S1DSS.SSID0)}
    for before, after in itertools.permutations(answers, 2):
        driver.attach(master, before)
        driver.attach(master, after)
        assert (system.read(0x1000), config(system)[1]) == answers[after]
        assert system.read(0x1000, 5) == 0x8000_0000
    assert [stage for stage in system.events() if stage != "F_STREAM_DISABLED"] == []


def test_s1dss_changes_alone_in_one_step(system):
    driver, master = system.driver, system.master(ssid_bits=4)
    driver.attach(master, stage1(system))
    driver.attach_pasid(master, 5, stage1(system))
    system.commands()
    driver.attach(master, driver.identity)
    assert system.names()[:2] == ["CFGI_STE", "SYNC"]
    driver.attach(master, driver.blocked)
    assert system.names().count("CFGI_STE") == 1


def test_pasid_0_and_no_pasid_with_a_stage_1_rid(system):
    driver, master = system.driver, system.master(ssid_bits=4)
    driver.attach(master, stage1(system))
    driver.attach_pasid(master, 5, stage1(system, 0x9000_0000))
    assert (system.read(0x1000), system.read(0x1000, 5)) == (0x8000_0000, 0x9000_0000)
    assert [system.read(0x1000, ssid) for ssid in (0, 6, 16)] == [None] * 3
    assert system.events() == ["F_STREAM_DISABLED", "C_BAD_CD", "C_BAD_SUBSTREAMID"]


def test_a_pasid_gets_another_domain(system):
    driver, master = system.driver, system.master(ssid_bits=4)
    old, new = stage1(system), stage1(system, 0x9000_0000)
    driver.attach_pasid(master, 5, old)
    driver.attach_pasid(master, 5, new)
    assert system.read(0x1000, 5) == 0x9000_0000
    assert (old.users, new.users, master.pasids) == ([], [(master, 5)], {5: new})
    driver.attach_pasid(master, 5, driver.blocked)
    assert system.read(0x1000, 5) is None and master.pasids == {}
    driver.detach_pasid(master, 5)  # nothing there


def test_leaf_tables_of_cds_are_made_when_a_pasid_needs_one(system):
    driver, master = system.driver, system.master(ssid_bits=16)
    driver.attach_pasid(master, 0x8001, stage1(system))
    assert system.commands()[0] == ("CFGI_CD", {"StreamID": SID, "SubstreamID": 0x8001})
    assert system.read(0x1000, 0x8001) == 0x8000_0000


