"""The traffic generator."""

from collections import Counter

import pytest

from smmu_sim.devices import Frame, TrafficGenerator


def test_the_same_seed_makes_the_same_traffic():
    one, other, third = (TrafficGenerator(seed) for seed in (1, 1, 2))
    bursts = [one.burst() for _ in range(20)]
    assert bursts == [other.burst() for _ in range(20)] != [third.burst() for _ in range(20)]


def test_sizes_flows_and_bursts_are_mixed_as_promised():
    generator = TrafficGenerator(3, flows=4, burst=8)
    bursts = [generator.burst() for _ in range(500)]
    frames = [frame for burst in bursts for frame in burst]
    sizes = Counter(len(frame.data) for frame in frames)
    assert set(sizes) == {60, 590, 1514}
    assert 0.5 < sizes[60] / len(frames) < 0.66 and 0.05 < sizes[1514] / len(frames) < 0.12
    assert 6 < len(frames) / len(bursts) < 10
    flows = Counter(frame.flow for frame in frames)
    assert flows[0] > flows[1] > flows[2] > flows[3] > 0
    assert [frame.number for frame in frames] == list(range(len(frames)))


def test_a_frame_knows_whose_it_is_and_notices_changes():
    frame = TrafficGenerator(1, source=7).frame(flow=3, size=100)
    assert (frame.source, frame.number, frame.flow, len(frame.data)) == (7, 0, 3, 100)
    assert frame.intact
    for place in (0, 50, 99):
        changed = bytearray(frame.data)
        changed[place] ^= 1
        assert not Frame(bytes(changed)).intact
    assert not Frame(b"short").intact


@pytest.mark.parametrize("call", [
    lambda: TrafficGenerator(1, flows=0), lambda: TrafficGenerator(1, burst=0),
    lambda: TrafficGenerator(1).frame(size=59)])
def test_impossible_traffic_is_refused(call):
    with pytest.raises(ValueError):
        call()
