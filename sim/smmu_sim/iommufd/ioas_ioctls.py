"""The ioctls of IOASes (iommufd/ioas.c). Each takes the iommufd and the :class:`Command`."""

from smmu_sim.iommufd.accounting import AccountMode
from smmu_sim.iommufd.constants import MAX, MapFlag
from smmu_sim.iommufd.ioas import IOAS, Piece
from smmu_sim.iommufd.pages import MemoryFile, Pages
from smmu_sim.iommufd.uapi import IOVA_RANGE
from smmu_sim.linux_error import LinuxError

__all__ = ["allow_iovas", "alloc", "change_process", "copy", "iova_ranges", "map_file",
           "map_user", "unmap"]

_MAP_FLAGS = MapFlag.FIXED_IOVA | MapFlag.WRITEABLE | MapFlag.READABLE


def alloc(iommufd, command):
    """IOMMU_IOAS_ALLOC. EOPNOTSUPP: flags."""
    if command.args.flags:
        raise LinuxError("EOPNOTSUPP", f"flags is {command.args.flags:#x}")
    with iommufd.objects.creating(lambda: IOAS(iommufd.allocations)) as ioas:
        command.respond(out_ioas_id=ioas.id)


def iova_ranges(iommufd, command):
    """IOMMU_IOAS_IOVA_RANGES. EOPNOTSUPP: reserved. EMSGSIZE: there are more; some were stored."""
    args = command.args
    _refuse_reserved(args.reserved)
    space = iommufd.objects.get(args.ioas_id, IOAS).space
    ranges = space.usable()
    for n, (start, last) in enumerate(ranges[:args.num_iovas]):
        command.process.copy_to_user(args.allowed_iovas + n * IOVA_RANGE.size,
                                     IOVA_RANGE.pack(start=start, last=last))
    command.respond(num_iovas=len(ranges), out_iova_alignment=space.alignment)
    if len(ranges) > args.num_iovas:
        raise LinuxError("EMSGSIZE", f"{len(ranges)} ranges, and room for {args.num_iovas}")


def allow_iovas(iommufd, command):
    """IOMMU_IOAS_ALLOW_IOVAS. EOPNOTSUPP: reserved. Else as :meth:`IOVASpace.set_allowed`."""
    args = command.args
    _refuse_reserved(args.reserved)
    space = iommufd.objects.get(args.ioas_id, IOAS).space
    ranges = []
    for n in range(args.num_iovas):
        iommufd.allocations.request("an allowed range")
        item = IOVA_RANGE.unpack(command.process.copy_from_user(
            args.allowed_iovas + n * IOVA_RANGE.size, IOVA_RANGE.size))
        ranges.append((item.start, item.last))
    space.set_allowed(ranges)


def _refuse_reserved(value):
    if value:
        raise LinuxError("EOPNOTSUPP", f"reserved is {value:#x}")


def _check_mapping(args, *addresses):
    """Errors that MAP, MAP_FILE and COPY share."""
    if args.flags & ~_MAP_FLAGS:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}")
    for value in (args.length, *addresses):
        if value >= MAX:
            raise LinuxError("EOVERFLOW", f"length or iova is {value:#x}")
    if not args.flags & (MapFlag.READABLE | MapFlag.WRITEABLE):
        raise LinuxError("EINVAL", "neither READABLE nor WRITEABLE")


def _access(args):
    return {"readable": bool(args.flags & MapFlag.READABLE),
            "writable": bool(args.flags & MapFlag.WRITEABLE)}


def _fixed(args, iova):
    return iova if args.flags & MapFlag.FIXED_IOVA else None


def map_user(iommufd, command):
    """IOMMU_IOAS_MAP. EOPNOTSUPP, EOVERFLOW, EINVAL: the arguments. Else as :meth:`IOAS.map`."""
    args = command.args
    if args.reserved:
        _refuse_reserved(args.reserved)
    _check_mapping(args, args.iova)
    ioas = iommufd.objects.get(args.ioas_id, IOAS)
    iova = map_pages(iommufd, ioas, command.process, args.user_va, args.length,
                     iova=_fixed(args, args.iova), **_access(args))
    command.respond(iova=iova)


def map_pages(iommufd, ioas, process, start, length, *, iova, readable, writable, file=None):
    """Map user memory or part of a file, and return the IOVA."""
    if not length and iova is None:
        raise LinuxError("EOVERFLOW", "length is 0")
    iommufd.allocations.request("pages")
    mode = AccountMode.NONE if "CAP_IPC_LOCK" in process.capabilities else iommufd.account_mode
    pages = Pages(process, start, length, writable, mode, file=file)
    return ioas.map([Piece(pages, pages.offset, length)], iova=iova, readable=readable,
                    writable=writable)


def map_file(iommufd, command):
    """IOMMU_IOAS_MAP_FILE. EBADF: no such file. EINVAL: not one of pages. Else as MAP."""
    args = command.args
    _check_mapping(args, args.iova)
    ioas = iommufd.objects.get(args.ioas_id, IOAS)
    file = command.process.file(args.fd)
    if not isinstance(file, MemoryFile):
        raise LinuxError("EINVAL", f"file descriptor {args.fd} is a {type(file).__name__}")
    iova = map_pages(iommufd, ioas, command.process, args.start, args.length, file=file,
                     iova=_fixed(args, args.iova), **_access(args))
    command.respond(iova=iova)


def copy(iommufd, command):
    """IOMMU_IOAS_COPY. As MAP; and EINVAL, EOVERFLOW, ENOENT of :meth:`IOVASpace.covering`."""
    args = command.args
    _check_mapping(args, args.dst_iova)
    source = iommufd.objects.get(args.src_ioas_id, IOAS)
    pieces = source.pieces(args.src_iova, args.length)
    target = iommufd.objects.get(args.dst_ioas_id, IOAS)
    iova = target.map(pieces, iova=_fixed(args, args.dst_iova), **_access(args))
    command.respond(dst_iova=iova)


def unmap(iommufd, command):
    """IOMMU_IOAS_UNMAP. EOVERFLOW: iova or length is 2**64 - 1. Else as :meth:`IOAS.unmap`.

    iova 0 and length 2**64 - 1 unmap everything.
    """
    args = command.args
    ioas = iommufd.objects.get(args.ioas_id, IOAS)
    if args.iova == 0 and args.length == MAX:
        removed = ioas.unmap_all()
    elif args.iova >= MAX or args.length >= MAX:
        raise LinuxError("EOVERFLOW", f"iova is {args.iova:#x}, length is {args.length:#x}")
    else:
        removed = ioas.unmap(args.iova, args.length)
    command.respond(length=removed)


def change_process(iommufd, command):
    """IOMMU_IOAS_CHANGE_PROCESS: the caller pays for all that is mapped from now on.

    EOPNOTSUPP: reserved. EINVAL: something is mapped that is not a file. ENOMEM: it may not.
    """
    _refuse_reserved(command.args.reserved)
    pages = {id(area.pages): area.pages for ioas in iommufd.objects if isinstance(ioas, IOAS)
             for area in ioas.space.areas}
    for item in pages.values():
        if item.file is None:
            raise LinuxError("EINVAL", f"user memory at {item.start:#x} is mapped")
    moved = []
    try:
        for item in pages.values():
            old = item.process
            item.change_process(command.process)
            moved.append((item, old))
    except LinuxError:
        for item, old in moved:
            item.change_process(old)
        raise
