"""Reading, writing and mapping regions: MSI-X table, BARs, configuration space."""

import struct

import pytest

from smmu_sim.vfio import IOCTL, OFFSET_SHIFT

CONFIG, BAR0, BAR4 = 7 << OFFSET_SHIFT, 0, 4 << OFFSET_SHIFT


def test_the_physical_msix_table_is_out_of_reach(plain, refused):
    vfio, (eventfd,) = plain.vfio, plain.interrupts(plain.vfio, 1)
    before = vfio.function.vectors[0].message
    assert vfio.write(BAR4, struct.pack("<QII", 0xDEAD_0000, 7, 0)) == 16
    assert vfio.function.vectors[0].message == before
    assert vfio.read(BAR4, 16) == b"\xff" * 16
    assert vfio.read(BAR4 + 124, 8) == b"\xff" * 4 + bytes(4)
    refused("EINVAL", vfio.mmap, BAR4, 0x1000)
    refused("EINVAL", vfio.mmap, BAR4 + 0x1000, 0x10000)
    refused("EINVAL", vfio.mmap, BAR4 + 0x1000, 0x800)
    refused("EINVAL", vfio.mmap, CONFIG, 0x1000)
    refused("EINVAL", vfio.mmap, 5 << OFFSET_SHIFT, 0x1000)
    assert plain.fire(vfio).ok and eventfd.count == 1


def test_the_pending_bits_can_be_mapped(plain):
    vfio = plain.vfio
    plain.interrupts(vfio, 2)
    area = vfio.mmap(BAR4 + 0x8000, 0x1000)
    vfio.function.vectors[1].masked = True
    vfio.function.trigger(1)
    assert area.read(0, 1) == b"\x02"


class Registers:
    def __init__(self):
        self.octets = bytearray(0x10000)
        self.resets = 0

    def read(self, offset, size):
        return bytes(self.octets[offset : offset + size])

    def write(self, offset, data):
        self.octets[offset : offset + len(data)] = data

    def reset(self):
        self.resets += 1


def test_the_other_bar_is_the_devices(plain, refused):
    vfio = plain.vfio
    vfio.function.registers = Registers()
    assert vfio.write(BAR0 + 0x10, b"abcd") == 4
    area = vfio.mmap(BAR0, 0x1000, writable=True)
    area.write(0x14, b"efgh")
    assert vfio.read(BAR0 + 0x10, 8) == b"abcdefgh"
    assert vfio.read(BAR0 + 0xFFFC, 8) == bytes(4)
    refused("EINVAL", vfio.read, BAR0 + 0x10000, 4)
    refused("EINVAL", vfio.write, BAR0 + 0x10000, b"x")
    refused("EINVAL", vfio.read, 6 << OFFSET_SHIFT, 4)
    refused("EFAULT", vfio.mmap(BAR0, 0x1000).write, 0, b"x")


def test_bus_mastering_is_user_spaces_choice(world):
    w = world()
    vfio = w.add()
    w.groups[vfio.name].ioctl(IOCTL.GROUP_SET_CONTAINER, w.container_fd)
    w.container.ioctl(IOCTL.SET_IOMMU, 3)
    fd = w.groups[vfio.name].ioctl(IOCTL.GROUP_GET_DEVICE_FD, vfio.name)
    w.map(0x4000_0000, 0x7F00_0000_0000, 0x1000)
    assert not vfio.function.read(0x4000_0000, 8).ok
    vfio.write(CONFIG + 4, b"\x06\x00")
    assert vfio.function.read(0x4000_0000, 8).ok
    w.process.close(fd)
    assert not vfio.function.config.bus_master


def test_configuration_space_lets_little_through(plain, refused):
    vfio, config = plain.vfio, plain.vfio.function.config
    assert vfio.read(CONFIG, 4) == config.read(0, 4)
    vfio.write(CONFIG, bytes(4))
    assert vfio.read(CONFIG, 4) == config.read(0, 4) != bytes(4)
    vfio.write(CONFIG + 0x10, b"\xff" * 8)
    assert vfio.read(CONFIG + 0x10, 8) == struct.pack("<Q", (1 << 64) - 0x10000 | 4)
    assert config.read(0x10, 8) == struct.pack("<Q", 4), "the BAR is the host's"
    plain.interrupts(vfio, 1)
    vfio.write(CONFIG + 0x82, b"\0\0")
    assert vfio.function.msix.enabled, "user space turned MSI-X off behind the host's back"
    refused("EFAULT", vfio.read, CONFIG + 0xFFE, 4)
    refused("EFAULT", vfio.write, CONFIG + 0xFFE, bytes(4))


def test_of_the_command_register_two_bits_reach_the_function(plain, monkeypatch):
    written = []
    monkeypatch.setattr(plain.vfio.function.config, "write",
                        lambda offset, data: written.append((offset, bytes(data))))
    plain.vfio.write(CONFIG + 4, b"\xff\xff")
    assert written == [(4, b"\x06")]


def test_extended_capabilities_are_hidden(plain):
    plain.vfio.function.config.octets[0x100:0x104] = b"abcd"
    assert plain.vfio.read(CONFIG + 0xFE, 6) == bytes(6)


@pytest.mark.parametrize("by_flr", [False, True])
def test_reset_keeps_interrupts_and_configuration(plain, by_flr):
    vfio = plain.vfio
    vfio.function.registers = Registers()
    (eventfd,) = plain.interrupts(vfio, 1)
    if by_flr:
        vfio.write(CONFIG + 0x48, b"\x00\x80")
    else:
        vfio.ioctl(IOCTL.DEVICE_RESET)
    assert vfio.function.registers.resets == 1
    assert plain.fire(vfio).ok and eventfd.count == 1
