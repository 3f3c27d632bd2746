"""Geometry of translation tables (DDI 0487: D8.2) as flat logic: sums of products, no adders."""

from amaranth.hdl import C, Cat, Mux

from smmu.formats.descriptors import (
    BLOCK_LEVELS, SIZE_BITS, Granule, bits_per_level, level_shift, s1_start_level)
from smmu.payloads import PAGE_SHIFTS, TABLE_SHIFTS
from smmu.payloads import Granule as GranuleCode

__all__ = [
    "any_of", "at_least", "less", "granule_is", "start_level", "index_bits_sum", "table_mask",
    "leaf_sizes", "pointer_class", "level_after_pointer", "block_allowed", "index_of",
    "merge_page", "pages_of", "pointers_of", "one_hot", "encode", "beyond_mask", "beyond_size",
    "CONCATENATED_BITS", "CODES"]

CONCATENATED_BITS = 4  # further index bits of concatenated stage-2 start tables
ADDRESS_BITS = 48
MIN_INPUT_BITS = 25    # TxSZ is at most 39
CODES = {Granule.G4K: GranuleCode.G4K, Granule.G16K: GranuleCode.G16K,
         Granule.G64K: GranuleCode.G64K}


def any_of(terms):
    """OR of a list, 0 for an empty one."""
    return Cat(*terms).any() if terms else C(0, 1)


def at_least(value, bound):
    """``value >= bound`` for a constant, in LUTs (a comparison would become a carry chain)."""
    if bound >= 1 << len(value):
        return C(0, 1)
    result = C(1, 1)
    for bit in range(len(value)):
        result = value[bit] & result if bound >> bit & 1 else value[bit] | result
    return result


def less(one, other):
    """``one < other`` for two short values, in LUTs."""
    result = C(0, 1)
    for a, b in zip(one, other):
        result = ~a & b | ~(a ^ b) & result
    return result


def one_hot(value, count):
    """``value`` decoded."""
    return Cat(value == number for number in range(count))


def encode(bits):
    """The number of the only bit that is set."""
    width = max(1, (len(bits) - 1).bit_length())
    return Cat(any_of([bits[n] for n in range(len(bits)) if n >> bit & 1])
               for bit in range(width))


def granule_is(code, granule):
    """Whether a `payloads.Granule` code stands for ``granule``."""
    return code.as_value() == CODES[granule].value


def start_level(TxSZ, granule_code, granules):
    """Start level of stage 1. ``TxSZ`` is legal (16 to 39)."""
    level = C(0, 2)
    for granule in granules:
        for number in range(1, 4):
            sizes = [n for n in range(16, 40) if s1_start_level(n, granule) == number]
            if sizes:
                here = granule_is(granule_code, granule) & at_least(TxSZ, sizes[0])
                if sizes[-1] != 39:
                    here &= ~at_least(TxSZ, sizes[-1] + 1)
                level = level | Mux(here, C(number, 2), 0)
    return level


def index_bits_sum(TxSZ, level, granule_code, granules):
    """TxSZ + shift of ``level``: 64 minus the index bits of the start table."""
    shift = C(0, 6)
    for granule in granules:
        for number in range(4):
            if level_shift(number, granule) < ADDRESS_BITS:
                here = granule_is(granule_code, granule) & (level == number)
                shift = shift | Mux(here, C(level_shift(number, granule), 6), 0)
    return TxSZ + shift


def table_mask(total):
    """Address bits [47:4] that are part of a table's base, given its `index_bits_sum`."""
    # A table of 2**n entries is aligned to 2**(n + 3) bytes; n = 64 - total.
    return Cat(at_least(total, 67 - bit) if bit <= 19 else C(1, 1)
               for bit in range(4, ADDRESS_BITS))


def leaf_sizes(level, granule_code, granules):
    """Size of a leaf at ``level``, one-hot in the order of `PageSize`."""
    sizes = [[] for _ in PAGE_SHIFTS]
    for granule in granules:
        for number in (*BLOCK_LEVELS[granule], 3):
            size = PAGE_SHIFTS.index(level_shift(number, granule))
            sizes[size].append(granule_is(granule_code, granule) & (level == number))
    return Cat(any_of(terms) for terms in sizes)


def block_allowed(level, granule_code, granules):
    """Whether a block descriptor is valid at ``level``."""
    return any_of([granule_is(granule_code, granule) & (level == number)
                   for granule in granules for number in BLOCK_LEVELS[granule]])


def pointer_class(level, granule_code, granules):
    """Walk cache class of what a table descriptor of ``level`` points to."""
    classes = [[] for _ in TABLE_SHIFTS]
    for granule in granules:
        for number in range(3):
            if level_shift(number, granule) in TABLE_SHIFTS:
                classes[TABLE_SHIFTS.index(level_shift(number, granule))].append(
                    granule_is(granule_code, granule) & (level == number))
    return encode(Cat(any_of(terms) for terms in classes))


def level_after_pointer(size):
    """Level of the table that a walk cache's answer of class ``size`` points to."""
    levels = {level_shift(level, granule): level + 1
              for granule in Granule for level in range(3)
              if level_shift(level, granule) in TABLE_SHIFTS}
    result = C(0, 2)
    for number, shift in enumerate(TABLE_SHIFTS):
        result = result | Mux(size == number, C(levels[shift], 2), 0)
    return result


def pointers_of(start, granule_code, granules):
    """Walk cache classes that can hold pointers for a walk that starts at level ``start``."""
    classes = [C(0, 1)] * len(TABLE_SHIFTS)
    for granule in granules:
        for number in range(3):
            shift = level_shift(number, granule)
            if shift in TABLE_SHIFTS:
                index = TABLE_SHIFTS.index(shift)
                classes[index] = classes[index] | (
                    granule_is(granule_code, granule) & ~at_least(start, number + 1))
    return Cat(*classes)


def pages_of(granule_code, granules):
    """TLB classes that results of this granule can have; 4K always, see `RemapAnswer.near`."""
    classes = [C(0, 1)] * len(PAGE_SHIFTS)
    classes[0] = C(1, 1)
    for granule in granules:
        for number in (*BLOCK_LEVELS[granule], 3):
            index = PAGE_SHIFTS.index(level_shift(number, granule))
            classes[index] = classes[index] | granule_is(granule_code, granule)
    return Cat(*classes)


def index_of(address, level, granule_code, start, granules):
    """Byte offset [19:3] of the descriptor of ``level`` in its table.

    ``address`` is [47:3]. At the start level (``start``) the index may be longer, as concatenated
    tables demand; there the address is within its range.
    """
    width = max(bits_per_level(granule) for granule in Granule) + CONCATENATED_BITS
    result = C(0, width)
    for granule in granules:
        bits = bits_per_level(granule)
        for number in range(4):
            shift = level_shift(number, granule)
            if shift >= ADDRESS_BITS:
                continue
            here = granule_is(granule_code, granule) & (level == number)
            low = address[shift - 3:][:bits] & here.replicate(bits)
            more = address[shift - 3 + bits:][:CONCATENATED_BITS]
            more = more & (here & start).replicate(len(more))
            result = result | (Cat(low, more) if len(low) == bits else low)
    return result[:width]


def merge_page(target, address, sizes):
    """Output page [47:12]: ``target`` above the page size, the input ``address`` [47:3] below.

    ``sizes`` is one-hot in the order of `PageSize`.
    """
    result = []
    for bit in range(12, ADDRESS_BITS):
        larger = [sizes[n] for n, shift in enumerate(PAGE_SHIFTS) if shift > bit]
        if larger:
            result.append(Mux(any_of(larger), address[bit - 3], target[bit - 12]))
        else:
            result.append(target[bit - 12])
    return Cat(*result)


def beyond_mask(TxSZ):
    """Bits [47:25] that lie beyond an input size of 64 - TxSZ bits."""
    return Cat(at_least(TxSZ, 64 - bit) for bit in range(MIN_INPUT_BITS, ADDRESS_BITS))


def beyond_size(high, limit):
    """Whether address bits ``high`` = [47:32] exceed the size of code ``limit`` (IPS, S2PS)."""
    sizes = [size for size in SIZE_BITS.values() if size <= ADDRESS_BITS]
    # Code n has the bits below sizes[n], so those of the step from n to n + 1 need a larger limit.
    return any_of([high[low - 32:top - 32].any() & ~at_least(limit, code + 1)
                   for code, (low, top) in enumerate(zip(sizes, sizes[1:]))])
