"""Ranges of LPIs."""

import pytest

from smmu_sim.irq import LPIPool
from smmu_sim.linux_error import LinuxError


def test_the_lowest_range_that_fits_is_taken():
    pool = LPIPool()
    first, second, third = pool.alloc(32), pool.alloc(8), pool.alloc(32)
    assert (first, second, third) == (8192, 8224, 8232)
    pool.free(second, 8)
    assert pool.alloc(16) == 8264 and pool.alloc(8) == 8224


def test_free_ranges_merge():
    pool = LPIPool(14)                           # 8192 LPIs
    ranges = [pool.alloc(4096), pool.alloc(4096)]
    for first in reversed(ranges):
        pool.free(first, 4096)
    assert pool.alloc(8192) == 8192


def test_enospc_when_no_range_is_large_enough():
    pool = LPIPool(14)
    first, second, _ = pool.alloc(2048), pool.alloc(4096), pool.alloc(2048)
    pool.free(first, 2048)
    with pytest.raises(LinuxError, match="ENOSPC"):
        pool.alloc(4096)
    pool.free(second, 4096)
    assert pool.alloc(4096) == 8192


def test_freeing_twice_is_an_error():
    pool = LPIPool()
    first = pool.alloc(8)
    pool.free(first, 8)
    with pytest.raises(ValueError, match="free already"):
        pool.free(first, 8)
