"""Which input addresses of a container may be mapped: apertures without reserved regions."""

__all__ = ["exclude", "intersect", "valid_ranges"]


def intersect(ranges, first, last):
    """Return the parts of ``[(first, last)]`` that lie in one range, both ends included."""
    return [(max(a, first), min(b, last)) for a, b in ranges if a <= last and first <= b]


def exclude(ranges, first, last):
    """Return ``[(first, last)]`` without one range."""
    left = []
    for a, b in ranges:
        if b < first or a > last:
            left.append((a, b))
            continue
        if a < first:
            left.append((a, first - 1))
        if b > last:
            left.append((last + 1, b))
    return left


def valid_ranges(apertures, reserved):
    """Return ``[(first, last)]`` that is in all apertures and in no reserved region."""
    ranges = [(0, (1 << 64) - 1)]
    for first, last in apertures:
        ranges = intersect(ranges, first, last)
    for region in reserved:
        ranges = exclude(ranges, region.start, region.start + region.length - 1)
    return ranges
