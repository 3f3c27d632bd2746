"""TLB commands as requests of CACHE_INVALIDATE: at least what the command says must go."""

import pytest
from smmu.formats.commands import Opcode
from smmu.formats.descriptors import Granule
from smmu_sim.driver import commands
from smmu_sim.vmm.generic_invalidation import Request, Scope, request_of

ASID = 0x21
VA, VAA = Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_VAA
WHOLE = Request(Scope.PASID, ASID)


def ranged(size, *, granule=Granule.G4K, leaf=True, leaf_size=None, ril=True, addr=0x4000_0000):
    command, *more = commands.tlbi_range(
        VA, addr, size, granule=granule, ril=ril, leaf=leaf, leaf_size=leaf_size, ASID=ASID)
    assert ril is False or not more
    return request_of(command)


def test_an_address_space_and_everything():
    assert request_of(commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=ASID)) == WHOLE
    for command in (commands.tlbi(Opcode.CMD_TLBI_NH_ALL), commands.tlbi(VAA, Address=1),
                    commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)):
        assert request_of(command) == Request(Scope.DOMAIN)


@pytest.mark.parametrize("granule, leaf_size", [
    (Granule.G4K, 0x1000), (Granule.G4K, 0x20_0000), (Granule.G16K, 0x4000),
    (Granule.G64K, 0x1_0000), (Granule.G64K, 0x2000_0000)])
def test_a_range_of_leaves_of_one_size(granule, leaf_size):
    assert ranged(8 * leaf_size, granule=granule, leaf_size=leaf_size) == Request(
        Scope.ADDR, ASID, 0x4000_0000, leaf_size, 8, True)


@pytest.mark.parametrize("options", [
    {"size": 0x8000}, {"size": 0x8000, "leaf": False, "leaf_size": 0x1000},
    {"size": 0x1000, "ril": False}])
def test_without_the_size_of_the_leaves_the_address_space_goes(options):
    assert ranged(**options) == WHOLE


@pytest.mark.parametrize("fields", [
    {"Address": 0x4000_1, "TTL": 2}, {"Address": (1 << 52) - 1, "TTL": 3, "NUM": 1},
    {"Address": 0, "TTL": 2, "NUM": 0, "SCALE": 0}])
def test_a_range_that_makes_no_sense_becomes_the_address_space(fields):
    command = commands.tlbi(VA, ASID=ASID, TG=1, Leaf=1, **fields)
    assert request_of(command) == WHOLE
