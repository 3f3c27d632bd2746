"""ASIDs and VMIDs."""

import pytest

from smmu.params import Params
from smmu_sim.driver import Stage1Domain, Stage2Domain
from smmu_sim.driver.tags import TagAllocator
from smmu_sim.linux_error import LinuxError


def test_the_lowest_free_tag_comes_first():
    tags = TagAllocator("ASID", 8, "EBUSY")
    assert [tags.alloc() for _ in range(3)] == [1, 2, 3]
    tags.free(2)
    assert tags.alloc() == 2
    assert tags.alloc(200) == 200


@pytest.mark.parametrize("name, errno", [("ASID", "EBUSY"), ("VMID", "ENOSPC")])
def test_tags_run_out(name, errno):
    tags = TagAllocator(name, 8, errno)
    assert [tags.alloc() for _ in range(255)] == list(range(1, 256))
    with pytest.raises(LinuxError, match=f"{errno}: all 255 {name}s are in use"):
        tags.alloc()
    tags.free(17)
    assert tags.alloc() == 17


def test_a_wanted_tag_can_be_in_use_or_impossible():
    tags = TagAllocator("VMID", 8, "ENOSPC")
    tags.alloc(7)
    with pytest.raises(LinuxError, match="EBUSY: VMID 7 is in use"):
        tags.alloc(7)
    for wanted in (0, 256):
        with pytest.raises(LinuxError, match="EINVAL"):
            tags.alloc(wanted)


def test_domains_take_and_return_their_tags(make):
    driver = make(Params(asid16=0, vmid16=0)).driver
    first, second = Stage1Domain(driver), Stage1Domain(driver)
    guest = Stage2Domain(driver, vmid=7)
    assert (first.asid, second.asid, guest.vmid) == (1, 2, 7)
    first.free()
    guest.free()
    assert driver.asids.used == {2} and driver.vmids.used == set()
    with pytest.raises(LinuxError, match="EINVAL"):
        Stage2Domain(driver, ia_bits=99)
    assert driver.vmids.used == set(), "a domain that was not made keeps no tag"
