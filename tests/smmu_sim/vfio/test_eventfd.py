from smmu_sim.vfio import EventFD


def test_signals_add_up_and_a_read_takes_them_all():
    eventfd = EventFD(2)
    eventfd.signal()
    eventfd.signal(3)
    assert eventfd.readable and eventfd.read() == (6).to_bytes(8, "little")
    assert not eventfd.readable


def test_a_semaphore_gives_one_at_a_time():
    eventfd = EventFD(2, semaphore=True)
    assert [eventfd.read(), eventfd.read()] == [(1).to_bytes(8, "little")] * 2
    assert eventfd.count == 0


def test_user_space_adds_eight_bytes():
    eventfd = EventFD()
    assert eventfd.write((5).to_bytes(8, "little")) == 8 and eventfd.count == 5


def test_refusals(refused):
    eventfd = EventFD()
    refused("EAGAIN", eventfd.read)
    refused("EINVAL", eventfd.read, 7)
    refused("EINVAL", eventfd.write, bytes(7))
    refused("EINVAL", eventfd.write, b"\xff" * 8)
    eventfd.write((2**64 - 2).to_bytes(8, "little"))
    refused("EAGAIN", eventfd.write, (1).to_bytes(8, "little"))
    assert eventfd.count == 2**64 - 2


def test_the_kernel_stops_at_the_largest_value():
    eventfd = EventFD(2**64 - 2)
    eventfd.signal(9)
    assert eventfd.read() == b"\xff" * 8
