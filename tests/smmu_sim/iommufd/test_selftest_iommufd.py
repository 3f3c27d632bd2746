"""Linux's selftest of iommufd, fixtures iommufd and change_process."""

import pytest
from smmu_sim.iommufd import MemoryFile
from smmu_sim.iommufd.uapi import LAYOUTS, NUMBERS
from smmu_sim.iommufd.vfio_uapi import INFO, MAP_DMA, UNMAP_DMA
from smmu_sim.iommufd.vfio_uapi import NUMBERS as VFIO

RLIMIT_MODE, HUGE_PAGES, SET, GET = 0, 1, 0, 1
PAGE, VA = 0x1000, 0x7F00_0000_0000
LENGTHS = ["IOMMU_DESTROY", "IOMMU_GET_HW_INFO", "IOMMU_HWPT_ALLOC", "IOMMU_HWPT_INVALIDATE",
           "IOMMU_IOAS_ALLOC", "IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_ALLOW_IOVAS",
           "IOMMU_IOAS_MAP", "IOMMU_IOAS_COPY", "IOMMU_IOAS_UNMAP", "IOMMU_OPTION",
           "IOMMU_VFIO_IOAS", "IOMMU_IOAS_MAP_FILE", "IOMMU_VIOMMU_ALLOC", "IOMMU_VDEVICE_ALLOC",
           "IOMMU_IOAS_CHANGE_PROCESS"]


def test_simple_close(world):
    world.process.close(world.iommufd.fd)
    assert len(world.iommufd.objects) == 0


def test_cmd_fail(world, refused):
    refused("ENOENT", world.destroy, 0)
    refused("EFAULT", world.iommufd.ioctl, NUMBERS["IOMMU_DESTROY"], None)
    refused("ENOTTY", world.iommufd.ioctl, NUMBERS["IOMMU_DESTROY"] - 1, bytearray(8))


@pytest.mark.parametrize("name", LENGTHS)
def test_cmd_length(make, refused, name):
    layout, number = LAYOUTS[name], NUMBERS[name]

    def outcome(data):
        try:
            return make().iommufd.ioctl(number, data)
        except OSError as error:
            return error.name

    assert outcome(layout.pack(size=layout.min_size - 1)) == "EINVAL"
    assert outcome(layout.pack(size=layout.size + 1) + b"\xFF") == "E2BIG"
    assert outcome(layout.pack(size=layout.size + 1) + b"\0") == outcome(layout.pack())


def test_cmd_ex_fail(world, refused):
    for flags in (1, 1 << 31):
        refused("EOPNOTSUPP", world.call, "IOMMU_IOAS_ALLOC", flags=flags)
    refused("ENOENT", world.call, "IOMMU_IOAS_UNMAP", ioas_id=0, length=PAGE)
    refused("ENOENT", world.call, "IOMMU_IOAS_MAP", ioas_id=0, flags=4, length=PAGE)


def test_global_options(make, refused):
    world = make(capabilities=["CAP_SYS_RESOURCE"])
    assert world.option(RLIMIT_MODE, GET) == 0
    world.option(RLIMIT_MODE, SET, 1)
    assert world.option(RLIMIT_MODE, GET) == 1
    refused("EINVAL", world.option, RLIMIT_MODE, SET, 2)
    refused("ENOENT", world.option, HUGE_PAGES, SET, 1)
    refused("ENOENT", world.option, HUGE_PAGES, GET)


def test_simple_ioctls(world):
    assert world.iommufd.ioctl(VFIO["VFIO_GET_API_VERSION"], None) == 0
    assert world.iommufd.ioctl(VFIO["VFIO_CHECK_EXTENSION"], 3) == 1


@pytest.mark.parametrize("name, layout", [
    ("VFIO_IOMMU_UNMAP_DMA", UNMAP_DMA), ("VFIO_IOMMU_MAP_DMA", MAP_DMA)])
def test_unmap_cmd_and_map_cmd(world, refused, name, layout):
    fields = {"iova": 0x4000_0000, "size": PAGE}
    ioctl, number = world.iommufd.ioctl, VFIO[name]
    refused("EINVAL", ioctl, number, layout.pack(argsz=1, **fields))
    refused("EINVAL", ioctl, number, layout.pack(flags=1 << 31, **fields))
    refused("ENODEV", ioctl, number, layout.pack(
        flags=3 if layout is MAP_DMA else 0, **fields))


def test_info_cmd(world, refused):
    refused("EINVAL", world.iommufd.ioctl, VFIO["VFIO_IOMMU_GET_INFO"], INFO.pack(argsz=1))
    refused("ENODEV", world.iommufd.ioctl, VFIO["VFIO_IOMMU_GET_INFO"], INFO.pack())


def test_set_iommu_cmd(world, refused):
    for kind in (1, 3):
        refused("ENODEV", world.iommufd.ioctl, VFIO["VFIO_SET_IOMMU"], kind)


def test_vfio_ioas(world, refused):
    ioas = world.ioas()
    refused("ENODEV", world.call, "IOMMU_VFIO_IOAS", op=0)
    refused("ENOENT", world.call, "IOMMU_VFIO_IOAS", op=1, ioas_id=99)
    world.call("IOMMU_VFIO_IOAS", op=1, ioas_id=ioas)
    assert world.call("IOMMU_VFIO_IOAS", op=0).ioas_id == ioas
    world.call("IOMMU_VFIO_IOAS", op=2)
    refused("ENODEV", world.call, "IOMMU_VFIO_IOAS", op=0)


@pytest.mark.parametrize("account", ["none", "user", "mm"])
def test_change_process_basic(make, refused, account):
    capabilities = ["CAP_SYS_RESOURCE"] + (["CAP_IPC_LOCK"] if account == "none" else [])
    world = make(capabilities=capabilities, memlock=64 * PAGE)
    world.option(RLIMIT_MODE, SET, int(account == "mm"))
    device, ioas = world.add(), world.ioas()
    device.attach(ioas)
    world.map(ioas, 0x10000)
    child = world.process.fork()
    refused("EINVAL", world.call, "IOMMU_IOAS_CHANGE_PROCESS", process=child)
    world.unmap(ioas, 0x10000, PAGE)
    fd = world.process.open(MemoryFile([world.machine.allocator.alloc(PAGE) for _ in range(4)]))
    world.call("IOMMU_IOAS_MAP_FILE", ioas_id=ioas, fd=fd, length=4 * PAGE, flags=7, iova=0x10000)

    def paid():
        return world.process.user.locked_pages, world.process.locked_pages, child.locked_pages

    before = {"none": (0, 0, 0), "user": (4, 0, 0), "mm": (0, 4, 0)}[account]
    after = {"none": (0, 0, 0), "user": (4, 0, 0), "mm": (0, 0, 4)}[account]
    assert paid() == before
    world.call("IOMMU_IOAS_CHANGE_PROCESS", process=child)
    assert paid() == after
    world.unmap(ioas, 0x10000, 4 * PAGE)
    assert paid() == (0, 0, 0)
