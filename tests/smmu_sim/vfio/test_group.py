from smmu_sim.vfio import IOCTL, EventFD
from smmu_sim.vfio.group import GROUP_STATUS

SET, UNSET = IOCTL.GROUP_SET_CONTAINER, IOCTL.GROUP_UNSET_CONTAINER
OPEN = IOCTL.GROUP_GET_DEVICE_FD


def status(group):
    argument = bytearray(GROUP_STATUS.pack(argsz=8))
    group.ioctl(IOCTL.GROUP_GET_STATUS, argument)
    return GROUP_STATUS.unpack(argument)["flags"]


def test_status_follows_the_life_of_a_group(world, refused):
    w = world()
    vfio = w.add()
    group = w.groups[vfio.name]
    assert status(group) == 1
    w.iommu.use_default_domain(vfio.device)
    assert status(group) == 0, "a driver of the kernel has the device"
    refused("EPERM", group.ioctl, SET, w.container_fd)
    w.iommu.unuse_default_domain(vfio.device)
    group.ioctl(SET, w.container_fd)
    assert status(group) == 3
    group.ioctl(UNSET)
    assert status(group) == 1
    refused("EINVAL", group.ioctl, IOCTL.GROUP_GET_STATUS, bytearray(8))
    refused("EFAULT", group.ioctl, IOCTL.GROUP_GET_STATUS, bytearray(7))
    refused("ENOTTY", group.ioctl, IOCTL.GET_API_VERSION)


def test_set_and_unset_container(world, refused):
    w = world()
    vfio = w.add()
    group = w.groups[vfio.name]
    refused("EINVAL", group.ioctl, UNSET)
    refused("EBADF", group.ioctl, SET, 99)
    refused("EINVAL", group.ioctl, SET, w.process.open(EventFD()))
    assert vfio.device.group.owner is None
    group.ioctl(SET, w.container_fd)
    refused("EINVAL", group.ioctl, SET, w.container_fd)
    w.container.ioctl(IOCTL.SET_IOMMU, 3)
    fd = group.ioctl(OPEN, vfio.name)
    refused("EBUSY", group.ioctl, UNSET)
    w.process.close(fd)
    group.ioctl(UNSET)
    assert vfio.device.group.domain is vfio.device.group.default_domain


def test_get_device_fd(world, refused):
    w = world()
    vfio = w.add()
    group = w.groups[vfio.name]
    refused("EINVAL", group.ioctl, OPEN, vfio.name)
    group.ioctl(SET, w.container_fd)
    refused("EINVAL", group.ioctl, OPEN, vfio.name)
    w.container.ioctl(IOCTL.SET_IOMMU, 3)
    refused("ENODEV", group.ioctl, OPEN, "0000:00:1f.0")
    fd = group.ioctl(OPEN, vfio.name.encode() + b"\0")
    assert w.process.file(fd) is vfio
    refused("EBUSY", group.ioctl, OPEN, vfio.name)


def test_dma_is_blocked_between_container_and_type(world):
    w = world()
    vfio = w.add()
    w.groups[vfio.name].ioctl(SET, w.container_fd)
    assert vfio.device.group.domain is vfio.device.group.blocking_domain


def test_the_container_goes_with_the_last_file_of_the_group(world):
    w = world()
    vfio = w.add()
    group = w.groups[vfio.name]
    group_fd = w.process.open(group)
    group.ioctl(SET, w.container_fd)
    w.container.ioctl(IOCTL.SET_IOMMU, 3)
    device_fd = group.ioctl(OPEN, vfio.name)
    w.process.close(group_fd)
    assert group.container is w.container
    w.process.close(device_fd)
    assert group.container is None and w.container.type is None
    assert vfio.device.group.owner is None
