"""Which device a StreamID belongs to, and which StreamIDs can be added."""

import pytest

from smmu.params import Params
from smmu_sim.driver import Master
from smmu_sim.driver.entries import ABORT
from smmu_sim.linux_error import LinuxError


def test_a_master_is_found_by_each_streamid(system):
    one = system.master(0x42, 0x43, name="one")
    two = system.master(0x1000, name="two")
    driver = system.driver
    assert [driver.find_master(sid) for sid in (0x42, 0x43, 0x1000, 0x44)] == [one, one, two, None]
    assert list(driver.masters) == [one, two]
    assert one.domain is driver.blocked and one.pasids == {}
    assert driver.stream_table.find(0x1000) is not None, "the level 2 table was made"


def test_a_streamid_of_another_master_is_refused_and_nothing_is_entered(system):
    system.master(0x42)
    with pytest.raises(LinuxError, match="ENODEV: StreamID 0x42 of second belongs to device"):
        system.driver.add_master(Master("second", [0x50, 0x42]))
    assert system.driver.find_master(0x50) is None


def test_a_streamid_twice_in_one_master_counts_once(system):
    assert system.master(0x42, 0x42).sids == (0x42,)


@pytest.mark.parametrize("sid", [1 << 16, -1])
def test_a_streamid_outside_of_the_stream_table(system, sid):
    with pytest.raises(LinuxError, match="ERANGE: StreamID .* outside of the stream table of 16"):
        system.driver.add_master(Master("device", [5, sid]))
    assert system.driver.find_master(5) is None


def test_masters_that_make_no_sense(system):
    with pytest.raises(LinuxError, match="EINVAL: device has no StreamID"):
        system.driver.add_master(Master("device", []))
    master = system.master(0x42)
    with pytest.raises(LinuxError, match="EINVAL: device was added already"):
        system.driver.add_master(master)
    with pytest.raises(LinuxError, match="ENODEV: stranger is not behind this SMMU"):
        system.driver.remove_master(Master("stranger", [7]))


def test_no_memory_for_the_level_2_table(system):
    allocator = system.driver.allocator
    with pytest.raises(LinuxError, match="ENOMEM"):
        allocator.alloc, alloc = _nothing_left, allocator.alloc
        try:
            system.driver.add_master(Master("device", [0x1000]))
        finally:
            allocator.alloc = alloc
    assert system.driver.find_master(0x1000) is None
    assert system.master(0x1000).sids == (0x1000,), "it can be added later"


def _nothing_left(size):
    from smmu_sim.driver.errors import OutOfMemory
    raise OutOfMemory("nothing left")


def test_a_removed_master_aborts_and_leaves_no_memory_behind(system):
    from smmu_sim.driver import Stage1Domain
    driver = system.driver
    driver.ensure_ste(0x42)
    used = driver.allocator.used
    master = system.master(0x42, ssid_bits=12)
    rid, pasid = Stage1Domain(driver), Stage1Domain(driver)
    driver.attach(master, rid)
    driver.attach_pasid(master, 0x801, pasid)
    driver.remove_master(master)
    assert driver.stream_table.read(0x42) == ABORT
    assert driver.find_master(0x42) is None and master.driver is None
    rid.free()
    pasid.free()
    assert driver.allocator.used == used
    system.master(0x42, name="next")


def test_substreamid_bits_are_those_of_device_and_smmu(make):
    system = make(Params(ssidsize=6))
    assert system.master(0x42, ssid_bits=20).ssid_bits == 6
    assert system.master(0x43, name="b", ssid_bits=3).ssid_bits == 3
    system = make(Params(cd2l=0))
    assert system.master(0x42, ssid_bits=16).ssid_bits == 10, "a linear table has 1024 CDs"


def test_reserved_streams_bypass_from_the_first_moment(make):
    system = make(rmr_sids=[0x42, 0x1000], reset=False)
    driver = system.driver
    driver.probe()
    assert system.ste(0x42)["Config"] == 4, "before anything enables the SMMU"
    driver.reset()
    assert system.read(0x1234) == 0x1234
    assert system.read(0x1234, sid=0x1000) == 0x1234
    assert system.read(0x1234, sid=0x43) is None
    master = system.master(0x42)
    assert system.read(0x1234) == 0x1234, "until it is attached"
    driver.attach(master, driver.identity)
    assert system.read(0x1234) == 0x1234
