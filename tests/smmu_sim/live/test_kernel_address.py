"""A search through a kernel's page tables."""

import struct

import pytest
from smmu_sim.live.kernel_address import virtual_address
from smmu_sim.memory import Memory

PA = 0x5C12_0000
PAGE, TABLE = 3, 3


def kernel(granule_bits, t1sz, tg1, va):
    """A memory with tables that map ``va`` to PA; TTBR1 with an ASID, and TCR."""
    memory, index_bits = Memory(), granule_bits - 3
    va_bits = 64 - t1sz
    levels = -(-(va_bits - granule_bits) // index_bits)
    table = root = 0x4100_0000
    for level in range(levels):
        shift = granule_bits + (levels - 1 - level) * index_bits
        index = va >> shift & (1 << min(index_bits, va_bits - shift)) - 1
        last = level == levels - 1
        target = PA if last else table + (1 << granule_bits)
        memory.poke(table + 8 * index, struct.pack("<Q", target | 0x60_0000_0000_0700 | PAGE))
        if not last and index:
            memory.poke(table, struct.pack("<Q", 0x4000_0000 | 1))  # a block beside it
        table = target
    return memory, 7 << 48 | root, t1sz << 16 | tg1 << 30


@pytest.mark.parametrize("granule_bits, t1sz, tg1", [
    (12, 16, 2), (12, 25, 2), (14, 16, 1), (14, 17, 1), (16, 16, 3), (16, 22, 3)])
@pytest.mark.parametrize("place", [0x08_0123_0000, 0x1_0000])
def test_the_address_of_a_page_is_found(granule_bits, t1sz, tg1, place):
    va = (1 << 64) - (1 << 64 - t1sz) + place
    memory, ttbr1, tcr = kernel(granule_bits, t1sz, tg1, va)
    assert virtual_address(memory, ttbr1, tcr, PA) == va
    assert virtual_address(memory, ttbr1, tcr, PA + 0x1_0000) is None


def test_a_reserved_granule_is_no_kernel_of_ours():
    assert virtual_address(Memory(), 0x4100_0000, 16 << 16, PA) is None
