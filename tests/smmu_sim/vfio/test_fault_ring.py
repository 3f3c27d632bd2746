import pytest

from smmu_sim.vfio.fault_queue_v8 import ConsumerRegion, FaultQueue, ProducerRegion
from smmu_sim.vfio.fault_ring import FaultRegion
from smmu_sim.vfio.response_ring import ResponseRegion


def words(region, count=5):
    data = region.read(0, 4 * count)
    return [int.from_bytes(data[n : n + 4], "little") for n in range(0, len(data), 4)]


def record(n, size=64):
    return n.to_bytes(2, "little") * (size // 2)


def index(value):
    return value.to_bytes(4, "little")


def test_the_region_of_v9():
    region = FaultRegion(64)
    assert region.size == 36864 and region.mappable == (4096, 32768)
    assert words(region) == [0, 64, 512, 4096, 0]
    region.produce(record(1))
    assert words(region) == [0, 64, 512, 4096, 1]
    assert region.read(4096, 64) == record(1)


def test_511_records_fit(refused):
    region = FaultRegion(64)
    for n in range(511):
        region.produce(record(n))
    refused("ENOSPC", region.produce, record(511))
    assert region.kernel_index == 511
    region.write(0, index(100))
    for n in range(100):
        region.produce(record(1000 + n))
    refused("ENOSPC", region.produce, record(0))
    assert region.kernel_index == 99
    assert region.read(4096, 64) == record(1001), "the ring did not wrap"
    assert region.read(4096 + 511 * 64, 64) == record(1000)


def test_only_the_tail_can_be_written(refused):
    region = FaultRegion(64)
    refused("EINVAL", region.write, 4, index(1))
    refused("EINVAL", region.write, 0, bytes(8))
    refused("EINVAL", region.write, 0, index(512))
    assert region.write(0, index(511)) == 4 and region.user_index == 511
    refused("EINVAL", region.read, 36864, 4)
    assert region.read(36862, 8) == bytes(2)


def test_the_header_page_cannot_be_mapped(refused):
    region = FaultRegion(64)
    for offset, size in ((0, 4096), (4096, 36864), (4097, 4096), (4096, 0), (36864, 4096)):
        refused("EINVAL", region.mmap, offset, size)
    area = region.mmap(8192, 4096)
    for n in range(66):
        region.produce(record(n))
    assert area.read(64, 64) == record(65)
    refused("EFAULT", area.read, 4095, 2)
    refused("EFAULT", area.write, 0, b"x")
    writable = region.mmap(8192, 4096, writable=True)
    writable.write(0, b"xy")
    assert area.read(0, 2) == b"xy"


def test_responses_are_handed_on_in_order(refused):
    taken = []
    region = ResponseRegion(taken.append)
    assert region.size == 4096 + 12288 and words(region) == [0, 24, 512, 4096, 0]
    area = region.mmap(4096, 12288, writable=True)
    area.write(0, record(1, 24) + record(2, 24))
    assert taken == []
    region.write(0, index(2))
    assert taken == [record(1, 24), record(2, 24)] and region.kernel_index == 2
    refused("EINVAL", region.write, 0, index(512))
    assert len(taken) == 2


def test_responses_wrap():
    taken = []
    region = ResponseRegion(taken.append)
    region.write(0, index(511))
    region.write(0, index(1))
    assert len(taken) == 513 and region.kernel_index == 1


# --- V8 -------------------------------------------------------------------------------------------

@pytest.fixture
def v8():
    queue = FaultQueue(48)
    return queue, ProducerRegion(queue), ConsumerRegion(queue)


def test_v8_takes_nothing_before_the_version_is_chosen(v8, refused):
    queue, producer, consumer = v8
    refused("EINVAL", queue.produce, record(1, 48))
    refused("EINVAL", producer.read, 0, 4)
    assert int.from_bytes(queue.pages[:4], "little") == 0xFFFF_FFFF
    assert consumer.write(0, index(1) + index(0)) == 8
    assert words(producer) == [1, 512, 48, 4096, 0]
    queue.produce(record(7, 48))
    assert producer.read(4096, 48) == record(7, 48) and words(producer)[4] == 1


def test_v8_versions_and_indexes(v8, refused):
    queue, _, consumer = v8
    refused("EINVAL", consumer.write, 0, index(2) + index(0))
    refused("EINVAL", consumer.write, 4, index(3))
    assert queue.version is None
    consumer.write(0, index(1))
    refused("EINVAL", consumer.write, 0, index(2))
    refused("EINVAL", consumer.write, 4, index(512))
    refused("EINVAL", consumer.write, 8, index(0))
    consumer.write(4, index(9))
    assert queue.cons == 9 and queue.version == 1


def test_v8_ring_full(v8, refused):
    queue, producer, consumer = v8
    consumer.write(0, index(1))
    for n in range(511):
        queue.produce(record(n, 48))
    refused("EINVAL", queue.produce, record(0, 48))
    consumer.write(4, index(1))
    queue.produce(record(511, 48))
    assert queue.prod == 0


def test_v8_directions(v8, refused):
    queue, producer, consumer = v8
    consumer.write(0, index(1))
    assert producer.write(0, index(1)) == 0 and consumer.read(0, 8) == b""
    refused("EINVAL", producer.read, producer.size, 4)
    refused("EINVAL", producer.mmap, 0, 4096)
    refused("EINVAL", producer.mmap, 4096, producer.size)
    refused("EINVAL", producer.mmap, 4096, 4096, writable=True)
    refused("EINVAL", consumer.mmap, 0, 4096)
    area = producer.mmap(4096, 4096)
    queue.produce(record(3, 48))
    assert area.read(0, 48) == record(3, 48)
