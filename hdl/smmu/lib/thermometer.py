"""Comparison of a short number with every constant."""

from amaranth import *

__all__ = ["at_most"]

SPLIT = 3  # low bits: a digit is a function that one look-up table holds


def at_most(value, count):
    """Return ``count`` bits; bit k says whether ``value`` is at most k.

    Two levels of logic for up to 6 bits, where comparators would each take a carry chain.
    """
    low, high = value[:SPLIT], value[SPLIT:]
    digits = 1 << SPLIT
    low_at_most = [Cat(low == digit for digit in range(limit + 1)).any()
                   for limit in range(digits)]
    if not len(high):
        return Cat(low_at_most[min(bit, digits - 1)] for bit in range(count))
    below = [Cat(high == digit for digit in range(limit)).any() if limit else C(0)
             for limit in range((count - 1) // digits + 1)]
    return Cat(below[bit // digits] | (high == bit // digits) & low_at_most[bit % digits]
               for bit in range(count))
