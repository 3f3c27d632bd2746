"""An iommufd in the place of a VFIO type 1 container: the ioctls below 0x80 (iommufd/main.c)."""

from smmu_sim.iommufd.constants import MAX, PAGE_SIZE, VFIOIOASOp
from smmu_sim.iommufd.ioas import IOAS
from smmu_sim.iommufd.ioas_ioctls import map_pages
from smmu_sim.iommufd.vfio_uapi import (
    CAP_DMA_AVAIL, CAP_IOVA_RANGE, INFO, INFO_CAPS, INFO_PGSIZES, IOVA_RANGE, MAP_DMA,
    NUMBERS, UNMAP_ALL, UNMAP_DMA, Extension, MapDMAFlag)
from smmu_sim.linux_error import LinuxError

__all__ = ["ioctl", "vfio_ioas"]

_API_VERSION = 0
_TYPES = (Extension.TYPE1_IOMMU, Extension.TYPE1V2_IOMMU)
_CAP_IOVA_RANGE, _CAP_DMA_AVAIL, _CAP_VERSION = 1, 3, 1
_DMA_AVAIL = 0xFFFF   # nothing limits the number of mappings; type 1 had 64 Ki entries


def vfio_ioas(iommufd, command):
    """IOMMU_VFIO_IOAS: which IOAS the ioctls of VFIO act on.

    EOPNOTSUPP: reserved, or an unknown op. GET: ENODEV if there is none. SET: ENOENT.
    """
    args = command.args
    if args.reserved:
        raise LinuxError("EOPNOTSUPP", f"reserved is {args.reserved:#x}")
    if args.op == VFIOIOASOp.GET:
        command.respond(ioas_id=_compat_ioas(iommufd).id)
    elif args.op == VFIOIOASOp.SET:
        iommufd.vfio_ioas = iommufd.objects.get(args.ioas_id, IOAS)
    elif args.op == VFIOIOASOp.CLEAR:
        iommufd.vfio_ioas = None
    else:
        raise LinuxError("EOPNOTSUPP", f"op is {args.op}")


def _compat_ioas(iommufd):
    ioas = iommufd.vfio_ioas
    if ioas is None:
        raise LinuxError("ENODEV", "no IOAS stands for the container")
    return ioas


def ioctl(iommufd, number, argument, buffer, process):
    """Carry out an ioctl of a type 1 container; return what it returns.

    ENOTTY: unknown. ENODEV: no IOAS was set. EINVAL: an argument. The values of CHECK_EXTENSION
    and SET_IOMMU are ``argument`` itself, a number.
    """
    if number == NUMBERS["VFIO_GET_API_VERSION"]:
        return _API_VERSION
    if number == NUMBERS["VFIO_CHECK_EXTENSION"]:
        return _check_extension(iommufd, argument)
    if number == NUMBERS["VFIO_SET_IOMMU"]:
        return _set_iommu(iommufd, argument)
    execute = {NUMBERS["VFIO_IOMMU_GET_INFO"]: _get_info, NUMBERS["VFIO_IOMMU_MAP_DMA"]: _map,
               NUMBERS["VFIO_IOMMU_UNMAP_DMA"]: _unmap}.get(number)
    if execute is None:
        raise LinuxError("ENOTTY", f"ioctl {number:#x} is unknown")
    execute(iommufd, buffer, process)
    return 0


def _check_extension(iommufd, extension):
    if extension == Extension.DMA_CC_IOMMU:
        return int(all(hwpt.domain.hw.enforces_coherency for hwpt in _compat_ioas(iommufd).hwpts))
    return int(extension in (*_TYPES, Extension.UNMAP_ALL))


def _set_iommu(iommufd, kind):
    if kind not in _TYPES:
        raise LinuxError("EINVAL", f"type {kind} of IOMMU is not there")
    ioas = _compat_ioas(iommufd)
    if kind == Extension.TYPE1_IOMMU:
        # Its UNMAP may cut a mapping, which takes leaves of one page.
        ioas.set_huge_pages(False)
    return 0


def _read(layout, buffer):
    data = buffer.read(layout.min_size)
    args = layout.unpack(data)
    if args.argsz < layout.min_size:
        raise LinuxError("EINVAL", f"{layout.name}: argsz is {args.argsz}, less than "
                                   f"{layout.min_size}")
    return args


def _map(iommufd, buffer, process):
    args = _read(MAP_DMA, buffer)
    access = args.flags & (MapDMAFlag.READ | MapDMAFlag.WRITE)
    if args.flags != access or not access:
        raise LinuxError("EINVAL", f"flags is {args.flags:#x}")
    map_pages(iommufd, _compat_ioas(iommufd), process, args.vaddr, args.size, iova=args.iova,
              readable=bool(access & MapDMAFlag.READ), writable=bool(access & MapDMAFlag.WRITE))


def _unmap(iommufd, buffer, process):
    args = _read(UNMAP_DMA, buffer)
    if args.flags & ~UNMAP_ALL:
        raise LinuxError("EINVAL", f"flags is {args.flags:#x}")
    ioas = _compat_ioas(iommufd)
    if args.flags & UNMAP_ALL:
        if args.iova or args.size:
            raise LinuxError("EINVAL", f"iova {args.iova:#x}, size {args.size:#x}, and all")
        removed = ioas.unmap_all()
    else:
        if not ioas.huge_pages:
            for at in (args.iova, args.iova + args.size):
                ioas.cut(at)
        removed = ioas.unmap(args.iova, args.size)
    buffer.write(removed.to_bytes(8, "little"), UNMAP_DMA.fields["size"].offset)


def _get_info(iommufd, buffer, process):
    """Page sizes, usable IOVAs, and how many mappings there can be.

    If ``argsz`` is too small for the capabilities it becomes what they need.
    """
    args = _read(INFO, buffer)
    ioas = _compat_ioas(iommufd)
    caps = _capabilities(ioas)
    fields = {"flags": INFO_PGSIZES | INFO_CAPS, "iova_pgsizes": _page_sizes(ioas),
              "argsz": max(args.argsz, INFO.size + len(caps))}
    if args.argsz >= INFO.size + len(caps):
        fields["cap_offset"], fields["argsz"] = INFO.size, args.argsz
        buffer.write(caps, INFO.size)
    buffer.write(bytes(INFO.pack(**fields)[:min(args.argsz, INFO.size)]))


def _page_sizes(ioas):
    """Every size from a page on that all domains have; no domain excludes any."""
    sizes = MAX & -PAGE_SIZE
    for domain in ioas.domains:
        sizes &= sum(domain.page_sizes)
    return sizes | PAGE_SIZE


def _capabilities(ioas):
    ranges = ioas.space.usable()
    first = CAP_IOVA_RANGE.size + len(ranges) * IOVA_RANGE.size
    data = CAP_IOVA_RANGE.pack(id=_CAP_IOVA_RANGE, version=_CAP_VERSION, next=INFO.size + first,
                               nr_iovas=len(ranges))
    for start, last in ranges:
        data += IOVA_RANGE.pack(start=start, end=last)
    return bytes(data + CAP_DMA_AVAIL.pack(id=_CAP_DMA_AVAIL, version=_CAP_VERSION,
                                           avail=_DMA_AVAIL))
