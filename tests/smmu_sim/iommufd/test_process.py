"""The process of iommufd: pinning, limits, fork."""

from smmu_sim.iommufd import User

VA = 0x5000_0000


def test_pinned_pages_are_counted_until_they_are_given_back(world):
    process = world.process
    physical = process.map_anonymous(VA, 0x2000)
    one = process.pin(VA, 0x2000, write=True)
    other = process.pin(VA, 0x1000, write=False)
    process.pin(VA, 0x2000, write=False)
    assert one == [(physical, 0x2000)]
    assert process.pinned == {(physical, 0x2000): 2, (physical, 0x1000): 1}
    process.unpin(one)
    process.unpin(one)
    process.unpin(other)
    assert not process.pinned


def test_pinning_needs_mapped_and_writable_memory(world, refused):
    process = world.process
    process.map_anonymous(VA, 0x1000, writable=False)
    refused("EFAULT", process.pin, VA, 0x1000, write=True)
    refused("EFAULT", process.pin, VA, 0x2000, write=False)
    assert not process.pinned


def test_copies_stop_at_bus_errors(world, refused):
    process = world.process
    process.mmap(VA, 0x10_0000_0000, 0x1000)
    refused("EFAULT", process.copy_from_user, VA, 4)
    refused("EFAULT", process.copy_to_user, VA, b"abcd")


def test_a_child_has_its_parents_memory_and_files_and_can_end(world, refused):
    process = world.process
    process.map_anonymous(VA, 0x1000)
    child = process.fork()
    child.write(VA, b"abcd")
    assert process.read(VA, 4) == b"abcd"
    assert child.file(world.iommufd.fd) is world.iommufd and child.user is process.user
    child.exit()
    refused("EFAULT", child.pin, VA, 0x1000, write=False)
    assert process.read(VA, 4) == b"abcd"


def test_anonymous_memory_is_not_lost_if_it_cannot_be_mapped(world, refused):
    used = world.machine.allocator.used
    refused("EEXIST", world.process.map_anonymous, 0x1000_0000, 0x1000)
    assert world.machine.allocator.used == used


def test_a_user_of_ones_own_or_a_shared_one(world):
    user = User()
    one, other = (world.new_process(user=user) for _ in range(2))
    assert one.user is other.user is user and world.process.user is not user
