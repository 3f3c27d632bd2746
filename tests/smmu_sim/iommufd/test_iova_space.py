"""The bookkeeping of IOVAs, at its boundaries and against a slow model."""

import random

import pytest
from smmu_sim.iommufd.iova_space import Area, IOVASpace

MAX, PAGE = 2**64 - 1, 0x1000


def area(iova, length):
    return Area(iova, length, None, 0, True, True)


@pytest.mark.parametrize("length", [0, 1 << 63])
def test_lengths_that_no_iova_has(refused, length):
    refused("EOVERFLOW", IOVASpace().find_free, length, 0)


def test_a_range_is_covered_to_its_last_byte(refused):
    space = IOVASpace()
    space.insert(area(0x1000, 0x1000))
    space.insert(area(0x2000, 0xFFF))
    assert [found.iova for found in space.covering(0x1FFF, 0x1000)] == [0x1000, 0x2000]
    refused("ENOENT", space.covering, 0x1FFF, 0x1001)
    refused("ENOENT", space.covering, 0xFFF, 2)
    refused("ENOENT", space.covering, 0x2FFF, 1)


def test_the_last_byte_of_all_can_be_covered(refused):
    space = IOVASpace()
    space.insert(area(MAX, 1))
    assert len(space.covering(MAX, 1)) == 1
    refused("EOVERFLOW", space.covering, MAX, 2)


def test_reserved_ranges_include_their_last_address(refused):
    space = IOVASpace()
    space.reserve(0x1000, 0x1FFF, "owner")
    space.check_fixed(0xFFF, 1)
    space.check_fixed(0x2000, 1)
    for iova in (0x1000, 0x1FFF):
        refused("EINVAL", space.check_fixed, iova, 1)
    assert space.usable() == [(0, 0xFFF), (0x2000, MAX)]
    space.reserve(0x2000, MAX, "other")
    space.reserve(0, 0x2FFF, "third")
    assert space.usable() == []
    space.release("other")
    space.release("third")
    assert space.usable() == [(0, 0xFFF), (0x2000, MAX)]


@pytest.mark.parametrize("seed", range(20))
def test_automatic_iovas_are_the_first_that_fit(seed):
    """Pages 0 … 63: what is free is known page by page."""
    rng, space, taken = random.Random(seed), IOVASpace(), {0}
    space.set_allowed([(0, 64 * PAGE - 1)])
    for _ in range(6):
        first, count = rng.randrange(64), rng.randrange(1, 4)
        pages = set(range(first, min(first + count, 64)))
        if pages & (taken - {0}):
            continue
        taken |= pages
        space.insert(area(first * PAGE, len(pages) * PAGE))
    for _ in range(20):
        count = rng.choice([1, 1, 2, 3, 4, 8])
        step = 1 << (count - 1).bit_length()
        expected = next((at for at in range(0, 64, step) if at + count <= 64
                         and not taken & set(range(at, at + count))), None)
        try:
            found = space.find_free(count * PAGE, 0)
        except OSError as error:
            assert error.name == "ENOSPC" and expected is None
            continue
        assert found == expected * PAGE
        taken |= set(range(expected, expected + count))
        space.insert(area(found, count * PAGE))
