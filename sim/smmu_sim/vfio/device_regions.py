"""The regions of a passed-through function, and what VFIO_DEVICE_GET_REGION_INFO says of them."""

from dataclasses import dataclass

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.layouts import Layout, capability_chain, copy_from_user, copy_to_user
from smmu_sim.vfio.numbers import OFFSET_SHIFT, RegionFlag, RegionIndex

__all__ = ["CAP_DMA_FAULT", "CAP_DMA_FAULT_RESPONSE", "CAP_SPARSE_MMAP", "CAP_TYPE",
           "DeviceRegions", "REGION_INFO", "Region"]

CAP_SPARSE_MMAP, CAP_TYPE, CAP_DMA_FAULT, CAP_DMA_FAULT_RESPONSE = 1, 2, 6, 7
REGION_INFO = Layout("vfio_region_info", 32, argsz=(0, "I"), flags=(4, "I"), index=(8, "I"),
                     cap_offset=(12, "I"), size=(16, "Q"), offset=(24, "Q"))
_SPARSE = Layout("vfio_region_info_cap_sparse_mmap", 8, nr_areas=(0, "I"))
_AREA = Layout("vfio_region_sparse_mmap_area", 16, offset=(0, "Q"), size=(8, "Q"))
_TYPE = Layout("vfio_region_info_cap_type", 8, type=(0, "I"), subtype=(4, "I"))
_FAULT = Layout("vfio_region_info_cap_fault", 4, version=(0, "I"))
_FAULT_ABI = 1


@dataclass
class Region:
    """One region: what it is, and how user space may use it.

    ``contents`` has ``size``, ``mappable``, ``read``, ``write`` and ``mmap``. ``type`` is
    (type, subtype) of a region that is not PCI's; ``capability`` the id of one that only tells
    the ABI version of the region.
    """

    contents: object
    flags: RegionFlag
    type: tuple | None = None
    capability: int | None = None

    def capabilities(self):
        """Return ``[(id, version, payload)]``."""
        chain = []
        if self.type is not None:
            chain.append((CAP_TYPE, 1, _TYPE.pack(type=self.type[0], subtype=self.type[1])))
        if self.flags & RegionFlag.MMAP and self.contents.mappable != (0, self.contents.size):
            offset, size = self.contents.mappable
            chain.append((CAP_SPARSE_MMAP, 1, _SPARSE.pack(nr_areas=1)
                          + _AREA.pack(offset=offset, size=size)))
        if self.capability is not None:
            chain.append((self.capability, 1, _FAULT.pack(version=_FAULT_ABI)))
        return chain


class DeviceRegions:
    """All regions by index: PCI's, then others in the order in which they are added.

    Parameters
    ----------
    bars
        ``{number: BAR}``.
    config
        :class:`VirtualConfigSpace`.
    """

    def __init__(self, bars, config):
        both = RegionFlag.READ | RegionFlag.WRITE
        self._regions = {
            number: Region(bar, both | (RegionFlag.MMAP if bar.mappable else RegionFlag(0)))
            for number, bar in bars.items()}
        self._regions[RegionIndex.CONFIG] = Region(config, both)
        self.count = int(RegionIndex.COUNT)

    def add(self, region):
        """Append a :class:`Region`; return its index."""
        self._regions[self.count] = region
        self.count += 1
        return self.count - 1

    def find(self, index):
        """Return the :class:`Region` of an index, or None."""
        return self._regions.get(index)

    # --- what a file descriptor offers -----------------------------------------------------------

    def _at(self, offset):
        index, position = offset >> OFFSET_SHIFT, offset & (1 << OFFSET_SHIFT) - 1
        region = self.find(index)
        if region is None:
            raise LinuxError("EINVAL", f"there is no region {index}")
        return region, position

    def read(self, offset, count):
        """pread: return bytes of the region in bits 63:40 of ``offset``. EINVAL: no such."""
        region, position = self._at(offset)
        return region.contents.read(position, count)

    def write(self, offset, data):
        """pwrite: write bytes to a region; return how many it took. EINVAL: no such."""
        region, position = self._at(offset)
        return region.contents.write(position, bytes(data))

    def mmap(self, offset, size, writable=False):
        """Return a :class:`MappedArea`. EINVAL: no such region, or it cannot be mapped there."""
        region, position = self._at(offset)
        if not region.flags & RegionFlag.MMAP:
            raise LinuxError("EINVAL", f"the region at {offset:#x} cannot be mapped")
        return region.contents.mmap(position, size, writable)

    def get_info(self, argument):
        """VFIO_DEVICE_GET_REGION_INFO. EINVAL: argsz below 32, or no such index.

        If argsz has no room for the capabilities, it tells how much they need and cap_offset is 0.
        """
        fields = REGION_INFO.unpack(copy_from_user(argument, 0, REGION_INFO.size))
        index, argsz = fields["index"], fields["argsz"]
        if argsz < REGION_INFO.size:
            raise LinuxError("EINVAL", f"argsz {argsz}; at least {REGION_INFO.size}")
        if index >= self.count:
            raise LinuxError("EINVAL", f"region {index}; there are {self.count}")
        region, chain, cap_offset, flags, size = self.find(index), b"", 0, RegionFlag(0), 0
        if region is not None:
            flags, size = region.flags, region.contents.size
            chain = capability_chain(REGION_INFO.size, region.capabilities())
        if chain:
            flags |= RegionFlag.CAPS
            if argsz < REGION_INFO.size + len(chain):
                argsz, chain = REGION_INFO.size + len(chain), b""
            else:
                cap_offset = REGION_INFO.size
        copy_to_user(argument, REGION_INFO.pack(
            argsz=argsz, flags=flags, index=index, cap_offset=cap_offset, size=size,
            offset=index << OFFSET_SHIFT) + chain)
        return 0
