from smmu_sim.iommu import ReservedRegion, ResvType
from smmu_sim.vfio.iova_ranges import exclude, intersect, valid_ranges


def test_excluding_at_the_edges_leaves_no_empty_range():
    whole = [(0x1000, 0x8FFF)]
    assert exclude(whole, 0x3000, 0x3FFF) == [(0x1000, 0x2FFF), (0x4000, 0x8FFF)]
    assert exclude(whole, 0x1000, 0x1FFF) == [(0x2000, 0x8FFF)]
    assert exclude(whole, 0x8000, 0x8FFF) == [(0x1000, 0x7FFF)]
    assert exclude(whole, 0, 0xFFFF) == [] and exclude(whole, 0x9000, 0x9FFF) == whole


def test_intersecting_includes_both_ends():
    ranges = [(0, 0xFFF), (0x2000, 0x2FFF)]
    assert intersect(ranges, 0xFFF, 0x2000) == [(0xFFF, 0xFFF), (0x2000, 0x2000)]
    assert intersect(ranges, 0x1000, 0x1FFF) == []


def test_apertures_and_reserved_regions_together():
    region = ReservedRegion(0x3000, 0x1000, ResvType.RESERVED)
    assert valid_ranges([(0x1000, 0xFFFF), (0, 0x5FFF)], [region]) == [
        (0x1000, 0x2FFF), (0x4000, 0x5FFF)]
