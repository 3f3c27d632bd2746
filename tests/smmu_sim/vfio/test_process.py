import pytest

from smmu_sim.memory import Memory
from smmu_sim.process import Process


@pytest.fixture
def process():
    process = Process(Memory())
    process.mmap(0x10_0000, 0x8000_0000, 0x2000)
    process.mmap(0x10_2000, 0x9000_0000, 0x1000, writable=False)
    process.mmap(0x10_3000, 0x9000_1000, 0x1000)
    return process


def test_pages_joins_what_is_contiguous_in_physical_memory(process):
    assert process.pages(0x10_0800, 0x3000) == [(0x8000_0800, 0x1800), (0x9000_0000, 0x1800)]


def test_reads_and_writes_reach_physical_memory(process):
    process.write(0x10_1FFC, b"abcd")
    assert process.memory.read(0x8000_1FFC, 4) == b"abcd"
    process.memory.write(0x9000_0000, b"efgh")
    assert process.read(0x10_1FFC, 8) == b"abcdefgh"


def test_what_is_not_mapped_or_not_writable_faults(process, refused):
    refused("EFAULT", process.read, 0x10_3FFF, 2)
    refused("EFAULT", process.read, 0xF_FFFF, 1)
    refused("EFAULT", process.pages, 0x10_2000, 1, write=True)
    refused("EFAULT", process.write, 0x10_1FFC, bytes(8))
    assert process.read(0x10_1FFC, 4) == bytes(4), "half of a write was stored"


def test_mmap_refuses_overlaps_and_broken_pages(process, refused):
    refused("EEXIST", process.mmap, 0xF_F000, 0, 0x2000)
    refused("EINVAL", process.mmap, 0x20_0800, 0, 0x1000)
    refused("EINVAL", process.mmap, 0x20_0000, 0x800, 0x1000)
    refused("EINVAL", process.mmap, 0x20_0000, 0, 0)


def test_munmap_takes_whole_mappings(process, refused):
    refused("EINVAL", process.munmap, 0x10_0000, 0x1000)
    refused("EINVAL", process.munmap, 0x20_0000, 0x1000)
    process.munmap(0x10_0000, 0x3000)
    refused("EFAULT", process.read, 0x10_0000, 1)
    assert len(process.mappings) == 1


class File:
    released = 0

    def release(self):
        self.released += 1


def test_the_last_descriptor_of_a_file_releases_it(process, refused):
    file = File()
    first, second = process.open(file), process.open(file)
    assert (first, second) == (3, 4) and process.file(4) is file
    process.close(first)
    assert file.released == 0
    assert process.open(object()) == 3
    process.close(second)
    assert file.released == 1
    refused("EBADF", process.file, second)
    refused("EBADF", process.close, second)
