"""IOVA allocation: from the top, aligned, never twice."""

import random

from smmu_sim.iommu.iova import IOVASpace

TOP = (1 << 32) - 1


def test_ranges_come_from_the_top_and_are_aligned_to_their_size():
    space = IOVASpace(0x1000, 0, TOP)
    assert space.alloc(1) == 0xFFFF_F000
    assert space.alloc(0x3000) == 0xFFFF_8000       # four pages, aligned to four, below the first
    assert space.alloc(0x1000) == 0xFFFF_E000       # the hole between them
    assert space.used == 0x6000


def test_large_ranges_are_aligned_but_not_rounded_up():
    space = IOVASpace(0x1000, 0, TOP)
    size = 33 * 0x1000
    assert space.alloc(size) == 0xFFFC_0000 and space.used == size


def test_a_limit_holds_for_the_last_address():
    space = IOVASpace(0x1000, 0, (1 << 48) - 1)
    assert space.alloc(0x1000, 0x1FFFF) == 0x1F000
    assert space.alloc(0x1000, 0x1FFFE) == 0x1E000
    space.alloc(0x1000)
    assert space.alloc(0x1000, 0x1FFFF) == 0x1D000


def test_page_0_is_never_handed_out(fails):
    space = IOVASpace(0x1000, 0, 0x1FFF)
    assert space.alloc(0x1000) == 0x1000
    fails("ENOSPC", space.alloc, 0x1000)


def test_reserved_ranges_may_overlap_and_are_left_out(fails):
    space = IOVASpace(0x1000, 0, 0xFFFF)
    space.reserve(0x8000, 0xFFFF)
    space.reserve(0x7000, 0x8FFF)
    space.reserve(0x6FFF, 0x6FFF)
    assert space.alloc(0x1000) == 0x5000
    fails("ENOSPC", space.alloc, 0x8000)


def test_a_freed_range_is_handed_out_again(fails):
    space = IOVASpace(0x1000, 0, TOP)
    first = space.alloc(0x1000)
    space.alloc(0x1000)
    space.free(first)
    fails("EINVAL", space.free, first)
    assert space.alloc(0x1000) == first


def test_addresses_can_be_taken_that_are_free(fails):
    space = IOVASpace(0x1000, 0, TOP)
    space.take(0x1_0800, 0x1000)
    assert space.holds(0x1_0000, 0x2000) and not space.holds(0x1_0000, 0x3000)
    for start, size in ((0x1_1FFF, 1), (0xF000, 0x1001), (0, 0x10_0000)):
        fails("EEXIST", space.take, start, size)
    space.take(0xF000, 0x1000)
    space.free(0x1_0000)
    space.take(0x1_0000, 1)


def test_random_ranges_never_overlap(fails):
    random.seed(5)
    space, held, most = IOVASpace(0x1000, 0, 0x7F_FFFF), {}, 0
    for _ in range(3000):
        if held and random.random() < 0.4:
            iova = random.choice(list(held))
            del held[iova]
            space.free(iova)
            continue
        size = random.randrange(1, 40) * 0x1000
        try:
            iova = space.alloc(size)
        except OSError:
            continue
        rounded = 1 << (size // 0x1000 - 1).bit_length()
        assert iova % (rounded * 0x1000) == 0 and iova >= 0x1000
        assert all(iova + size <= other or other + length <= iova
                   for other, length in held.items())
        held[iova], most = size, max(most, len(held))
    assert most > 40
