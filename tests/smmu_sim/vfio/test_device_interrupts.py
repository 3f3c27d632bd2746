"""VFIO_DEVICE_SET_IRQS: MSI-X vectors, the fault interrupt, order of the checks."""

from smmu_sim.vfio import IOCTL, IRQIndex, SetIRQs
from smmu_sim.vfio.device_interrupts import IRQ_SET

NONE, BOOL, EVENTFD = SetIRQs.DATA_NONE, SetIRQs.DATA_BOOL, SetIRQs.DATA_EVENTFD
TRIGGER = SetIRQs.ACTION_TRIGGER


def set_irqs(vfio, flags, index, start, count, data=b"", argsz=None):
    argument = IRQ_SET.pack(argsz=20 + len(data) if argsz is None else argsz, flags=flags,
                            index=index, start=start, count=count) + data
    return vfio.ioctl(IOCTL.DEVICE_SET_IRQS, bytearray(argument))


def test_each_vector_has_its_eventfd(plain):
    vfio, eventfds = plain.vfio, plain.interrupts(plain.vfio, 3)
    for vector in (0, 2, 2):
        assert plain.fire(vfio, vector).ok
    assert [eventfd.count for eventfd in eventfds] == [1, 0, 2]
    assert [d.message.data for d in vfio.msix.descriptors] == [0, 1, 2]


def test_order_of_the_checks_of_set_irqs(plain, refused):
    vfio, msix = plain.vfio, IRQIndex.MSIX
    fd = b"\x63\0\0\0"
    refused("EFAULT", vfio.ioctl, IOCTL.DEVICE_SET_IRQS, bytearray(19))
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, msix, 0, 0, argsz=19)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, 5, 0, 0)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, msix, 5, 0xFFFF_FFFA)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER | 64, msix, 0, 0)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, msix, 8, 0)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, msix, 4, 5)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, IRQIndex.INTX, 0, 0)
    refused("EINVAL", set_irqs, vfio, TRIGGER, msix, 0, 1)
    refused("EINVAL", set_irqs, vfio, NONE | BOOL | TRIGGER, msix, 0, 1)
    refused("EINVAL", set_irqs, vfio, EVENTFD | TRIGGER, msix, 0, 1, fd, argsz=23)
    refused("EFAULT", set_irqs, vfio, EVENTFD | TRIGGER, msix, 0, 2, fd, argsz=28)
    refused("ENOTTY", set_irqs, vfio, NONE, msix, 0, 1)
    refused("ENOTTY", set_irqs, vfio, NONE | SetIRQs.ACTION_MASK, msix, 0, 1)
    refused("ENOTTY", set_irqs, vfio, NONE | TRIGGER | SetIRQs.ACTION_MASK, msix, 0, 1)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, msix, 0, 1)
    refused("EINVAL", set_irqs, vfio, EVENTFD | TRIGGER, msix, 0, 0)
    refused("EBADF", set_irqs, vfio, EVENTFD | TRIGGER, msix, 0, 1, fd)
    other = plain.container_fd.to_bytes(4, "little")
    refused("EINVAL", set_irqs, vfio, EVENTFD | TRIGGER, msix, 0, 1, other)
    assert not vfio.msix.enabled and not vfio.function.msix.enabled


def test_vectors_cannot_be_added_while_enabled(plain, refused):
    vfio = plain.vfio
    plain.interrupts(vfio, 2)
    fds, _ = plain.eventfds(1)
    refused("EINVAL", plain.set_irqs, vfio, fds, start=2)
    plain.set_irqs(vfio, fds, start=1)


def test_a_bad_descriptor_changes_no_vector(plain, refused):
    vfio, old = plain.vfio, plain.interrupts(plain.vfio, 2)
    fds, _ = plain.eventfds(1)
    refused("EBADF", plain.set_irqs, vfio, [*fds, 99])
    plain.fire(vfio, 0)
    assert old[0].count == 1


def test_a_vector_without_an_eventfd_is_masked(plain):
    vfio, eventfds = plain.vfio, plain.interrupts(plain.vfio, 2)
    plain.set_irqs(vfio, [-1], start=1)
    assert plain.fire(vfio, 1) is None and vfio.function.vectors[1].pending
    fds, (again,) = plain.eventfds(1)
    plain.set_irqs(vfio, fds, start=1)
    plain.service()
    assert again.count == 1 and eventfds[1].count == 0


def test_software_can_trigger_enabled_vectors(plain):
    vfio, eventfds = plain.vfio, plain.interrupts(plain.vfio, 3)
    set_irqs(vfio, NONE | TRIGGER, IRQIndex.MSIX, 1, 2)
    set_irqs(vfio, BOOL | TRIGGER, IRQIndex.MSIX, 0, 3, b"\x01\x00\x01")
    assert [eventfd.count for eventfd in eventfds] == [1, 1, 2]


def test_msix_off_gives_everything_back(plain):
    vfio, its = plain.vfio, plain.machine.its[0]
    plain.interrupts(vfio, 2)
    assert 0x42 in its.driver.devices
    set_irqs(vfio, NONE | TRIGGER, IRQIndex.MSIX, 0, 0)
    assert 0x42 not in its.driver.devices and not vfio.function.msix.enabled
    assert vfio.function.trigger(0) is None
    (eventfd,) = plain.interrupts(vfio, 1)
    plain.fire(vfio)
    assert eventfd.count == 1


def test_release_turns_everything_off(plain, refused):
    vfio = plain.vfio
    plain.interrupts(vfio, 1)
    plain.process.close(next(fd for fd in range(3, 9) if plain.process.file(fd) is vfio))
    assert 0x42 not in plain.machine.its[0].driver.devices
    refused("EBADF", vfio.ioctl, IOCTL.DEVICE_RESET)
    for call in (vfio.read, vfio.write, vfio.mmap):
        refused("EBADF", call, 0, b"")


def test_a_device_without_interrupt_controller(world, refused):
    w = world()
    vfio = w.add(its=None)
    w.join(vfio, type=3)
    refused("ENODEV", w.interrupts, vfio, 1)


def test_the_host_can_ask_for_the_device(plain):
    fds, (eventfd,) = plain.eventfds(1)
    plain.set_irqs(plain.vfio, fds, index=IRQIndex.REQ)
    plain.vfio.ask_back()
    assert eventfd.count == 1


def test_the_fault_interrupt_is_a_single_one(world, refused):
    w = world()
    vfio = w.add()
    w.join(vfio)
    fds, (eventfd,) = w.eventfds(1)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, 5, 0, 1)
    refused("EINVAL", w.set_irqs, vfio, fds * 2, index=5)
    refused("EINVAL", w.set_irqs, vfio, fds, index=5, start=1)
    refused("ENOTTY", set_irqs, vfio, NONE | SetIRQs.ACTION_MASK, 5, 0, 1)
    refused("EBADF", w.set_irqs, vfio, [99], index=5)
    w.set_irqs(vfio, fds, index=5)
    set_irqs(vfio, NONE | TRIGGER, 5, 0, 1)
    set_irqs(vfio, BOOL | TRIGGER, 5, 0, 1, b"\1")
    set_irqs(vfio, BOOL | TRIGGER, 5, 0, 1, b"\0")
    assert eventfd.count == 2
    w.set_irqs(vfio, [-1], index=5)
    refused("EINVAL", set_irqs, vfio, NONE | TRIGGER, 5, 0, 1)
    w.set_irqs(vfio, fds, index=5)
    set_irqs(vfio, NONE | TRIGGER, 5, 0, 0)
    assert vfio.faults.interrupt.eventfd is None
