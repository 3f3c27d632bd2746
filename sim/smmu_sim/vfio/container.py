"""VFIO container: the type 1 IOMMU of some groups that share their mappings."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.attachments import Attachments
from smmu_sim.vfio.dma_mappings import READ, WRITE, DMAMappings
from smmu_sim.vfio.generations import find_generation
from smmu_sim.vfio.layouts import Layout, capability_chain, copy_from_user, copy_to_user
from smmu_sim.vfio.nesting import Nesting
from smmu_sim.vfio.numbers import IOCTL, ExtensionID

__all__ = ["IOMMU_INFO", "MAP_DMA", "UNMAP_DMA", "Container"]

IOMMU_INFO = Layout("vfio_iommu_type1_info", 24, argsz=(0, "I"), flags=(4, "I"),
                    iova_pgsizes=(8, "Q"), cap_offset=(16, "I"))
MAP_DMA = Layout("vfio_iommu_type1_dma_map", 32, argsz=(0, "I"), flags=(4, "I"), vaddr=(8, "Q"),
                 iova=(16, "Q"), size=(24, "Q"))
UNMAP_DMA = Layout("vfio_iommu_type1_dma_unmap", 24, argsz=(0, "I"), flags=(4, "I"),
                   iova=(8, "Q"), size=(16, "Q"))
_IOVA_RANGE = Layout("vfio_iova_range", 16, start=(0, "Q"), end=(8, "Q"))
_RANGES = Layout("vfio_iommu_type1_info_cap_iova_range", 8, nr_iovas=(0, "I"))
_INFO_PGSIZES, _INFO_CAPS = 1, 2
_CAP_IOVA_RANGE = 1
_API_VERSION = 0


class Container:
    """What /dev/vfio/vfio is to user space once it is open.

    Parameters
    ----------
    iommu
        The host's IOMMU core.
    process
        The :class:`Process` that has it open: its memory is mapped.
    generation
        Which version of the nested interface: "v3" (G1), "V8", "V10" or "V15" (G2).
    allow_unsafe_interrupts
        Accept devices whose interrupt controller does not tell devices apart.

    Attributes
    ----------
    type
        The :class:`ExtensionID` that SET_IOMMU chose, or None.
    groups
        The IOMMU groups in it.
    attachments
        The domains and which groups are attached to each.
    """

    def __init__(self, iommu, process, generation="V15", *, allow_unsafe_interrupts=False):
        self.iommu, self.process = iommu, process
        self.generation = find_generation(generation)
        self.allow_unsafe_interrupts = allow_unsafe_interrupts
        self.type, self.groups = None, []
        self.attachments = Attachments(self)
        self.mappings = DMAMappings(process, lambda: self.attachments.domains,
                                    self.attachments.page_size, self._valid)
        self._nesting = Nesting(self)
        self._ioctls = {IOCTL.GET_API_VERSION: lambda argument: _API_VERSION,
                        IOCTL.CHECK_EXTENSION: self._check_extension,
                        IOCTL.SET_IOMMU: self._set_iommu}
        self._type1 = {IOCTL.IOMMU_GET_INFO: self._get_info, IOCTL.IOMMU_MAP_DMA: self._map_dma,
                       IOCTL.IOMMU_UNMAP_DMA: self._unmap_dma, **self._nesting.ioctls()}

    @property
    def nesting(self):
        """Whether guests may own stage 1: the type is VFIO_TYPE1_NESTING_IOMMU."""
        return self.type == ExtensionID.TYPE1_NESTING

    def ioctl(self, number, argument=None):
        """Perform one ioctl of Linux: a ``bytearray`` is what a pointer points to.

        Returns what Linux returns. EINVAL: no IOMMU type is set yet. ENOTTY: unknown number, or
        one of another generation. Else as of the ioctl.
        """
        if number in self._ioctls:
            return self._ioctls[number](argument)
        if self.type is None:
            raise LinuxError("EINVAL", "no IOMMU type is set")
        if number not in self._type1:
            raise LinuxError("ENOTTY", f"ioctl {number:#x} is not one of {self.generation.name}")
        self._type1[number](argument)
        return 0

    # --- groups ----------------------------------------------------------------------------------

    def add_group(self, group):
        """Put an IOMMU group in: VFIO_GROUP_SET_CONTAINER. Errors as of the attach."""
        if self.type is not None:
            self.attachments.attach(group)
        self.groups.append(group)

    def remove_group(self, group):
        """Take a group out. With the last one the type and all mappings go."""
        if self.type is not None:
            self.attachments.detach(group)
        self.groups.remove(group)
        if not self.groups:
            self.type = None
            self.mappings.clear()

    def _check_extension(self, number):
        if number == ExtensionID.DMA_CC:
            devices = [device for group in self.groups for device in group.devices]
            return int(self.type is not None and all(d.cache_coherent for d in devices))
        return int(number in (ExtensionID.TYPE1, ExtensionID.TYPE1V2, ExtensionID.TYPE1_NESTING))

    def _set_iommu(self, number):
        """EINVAL: no group, or a type is set. ENODEV: unknown type. Else as of the attach."""
        if not self.groups or self.type is not None:
            raise LinuxError("EINVAL", "the container has no group, or a type already")
        if number not in (ExtensionID.TYPE1, ExtensionID.TYPE1V2, ExtensionID.TYPE1_NESTING):
            raise LinuxError("ENODEV", f"no IOMMU driver has type {number}")
        self.type, attached = ExtensionID(number), []
        try:
            for group in self.groups:
                self.attachments.attach(group)
                attached.append(group)
        except LinuxError:
            for group in reversed(attached):
                self.attachments.detach(group)
            self.type = None
            raise
        return 0

    # --- mappings --------------------------------------------------------------------------------

    def iova_ranges(self):
        """Return ``[(first, last)]`` of the addresses that may be mapped."""
        return self.attachments.ranges()

    def _valid(self, iova, size):
        # Before the capability existed, a mapping in a reserved region was user space's mistake.
        ranges = self.iova_ranges() if self.generation.iova_ranges else [(0, (1 << 64) - 1)]
        return any(first <= iova and iova + size - 1 <= last for first, last in ranges)

    def _get_info(self, argument):
        minsz = IOMMU_INFO.end("iova_pgsizes")
        info = IOMMU_INFO.unpack(copy_from_user(argument, 0, minsz))
        if info["argsz"] < minsz:
            raise LinuxError("EINVAL", f"argsz {info['argsz']}; at least {minsz}")
        pgsizes = sum(self.attachments.page_sizes())
        flags, chain, argsz, cap_offset = _INFO_PGSIZES, b"", info["argsz"], 0
        if self.generation.iova_ranges:
            ranges = self.iova_ranges()
            payload = _RANGES.pack(nr_iovas=len(ranges)) + b"".join(
                _IOVA_RANGE.pack(start=first, end=last) for first, last in ranges)
            chain = capability_chain(IOMMU_INFO.size, [(_CAP_IOVA_RANGE, 1, payload)])
            flags |= _INFO_CAPS
            if argsz < IOMMU_INFO.size + len(chain):
                argsz, chain = IOMMU_INFO.size + len(chain), b""
            else:
                cap_offset = IOMMU_INFO.size
        reply = IOMMU_INFO.pack(argsz=argsz, flags=flags, iova_pgsizes=pgsizes,
                                cap_offset=cap_offset)
        size = min(info["argsz"], len(reply)) if not chain else len(reply)
        copy_to_user(argument, reply[:size])
        copy_to_user(argument, chain, len(reply) if chain else 0)

    def _map_dma(self, argument):
        fields = MAP_DMA.unpack(copy_from_user(argument, 0, MAP_DMA.size))
        if fields["argsz"] < MAP_DMA.size or fields["flags"] & ~(READ | WRITE):
            raise LinuxError("EINVAL", f"argsz {fields['argsz']}, flags {fields['flags']:#x}")
        self.mappings.map(fields["iova"], fields["vaddr"], fields["size"], fields["flags"])

    def _unmap_dma(self, argument):
        fields = UNMAP_DMA.unpack(copy_from_user(argument, 0, UNMAP_DMA.size))
        if fields["argsz"] < UNMAP_DMA.size or fields["flags"]:
            raise LinuxError("EINVAL", f"argsz {fields['argsz']}, flags {fields['flags']:#x}")
        size = self.mappings.unmap(fields["iova"], fields["size"])
        copy_to_user(argument, UNMAP_DMA.pack(**{**fields, "size": size}))
