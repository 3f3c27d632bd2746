"""The reference for guest PASID bind: the rules of VT-d, with its PASID table as plain data."""

from typing import NamedTuple

from smmu_sim.iommu.gpasid_data import VTDFlag
from smmu_sim.linux_error import LinuxError

__all__ = ["MEMORY_TYPE_FLAGS", "PASIDEntry", "VTDEngine", "check_nested"]

_PASIDS = 1 << 20
_FOUR_LEVELS, _FIVE_LEVELS = 48, 57
MEMORY_TYPE_FLAGS = VTDFlag.PCD | VTDFlag.PWT | VTDFlag.EMTE | VTDFlag.CD


class PASIDEntry(NamedTuple):
    """A present entry of type NESTED."""

    first_level: int      # guest physical address of the guest's root
    second_level: object  # the domain
    levels: int


def check_nested(domain, binding, *, widths):
    """Apply the checks of a nested entry that do not depend on the engine.

    EINVAL: an address width that the engine cannot walk; a root beyond what the domain can map;
    memory types. Linux 5.17: intel_pasid_setup_nested.
    """
    if binding.addr_width not in widths:
        raise LinuxError("EINVAL", f"addr_width is {binding.addr_width}; it is one of {widths}")
    if binding.gpgd > domain.aperture[1]:
        raise LinuxError("EINVAL", f"gpgd {binding.gpgd:#x} is beyond {domain.aperture[1]:#x}")
    if binding.vtd_flags & MEMORY_TYPE_FLAGS:
        raise LinuxError("EINVAL", f"memory types in {binding.vtd_flags:#x} are not supported")


class VTDEngine:
    """PASID entries as VT-d's driver makes them.

    Parameters
    ----------
    nesting, five_levels, supervisor, extended_access
        What the hardware can: ecap NEST, cap FL5LP, ecap SRS and EAFS.

    Attributes
    ----------
    entries
        ``{(device, hpasid): PASIDEntry}``.
    flushes
        What was invalidated, as ``(what, device, hpasid)`` in order: "PASID cache", "IOTLB",
        "device TLB".
    """

    def __init__(self, *, nesting=True, five_levels=False, supervisor=False,
                 extended_access=False):
        self.nesting, self.five_levels = nesting, five_levels
        self._capable = {VTDFlag.SRE: supervisor, VTDFlag.EAFE: extended_access}
        self.entries, self.flushes = {}, []

    def check_device(self, device):
        """ENOTSUPP: not PCI. EINVAL: fewer than 20 bits of PASIDs."""
        if not device.is_pci:
            raise LinuxError("ENOTSUPP", f"{device.name} is not a PCI device")
        if device.max_pasids != _PASIDS:
            raise LinuxError("EINVAL", f"{device.name} has {device.max_pasids} PASIDs, not "
                                       f"{_PASIDS}")

    def max_pasids(self, device):
        return _PASIDS

    def set_up(self, domain, device, binding):
        """Write the entry.

        EINVAL: no nesting, in hardware or domain; as of :func:`check_nested`; or a flag that the
        hardware has no capability for. EBUSY: the entry is present.
        """
        if not self.nesting or not domain.type.is_paging or not domain.nesting:
            raise LinuxError("EINVAL", "the hardware, or the domain, does not nest")
        if (device, binding.hpasid) in self.entries:
            raise LinuxError("EBUSY", f"the entry of PASID {binding.hpasid} is present")
        widths = (_FOUR_LEVELS, _FIVE_LEVELS) if self.five_levels else (_FOUR_LEVELS,)
        check_nested(domain, binding, widths=widths)
        for flag, capable in self._capable.items():
            if binding.vtd_flags & flag and not capable:
                raise LinuxError("EINVAL", f"the hardware lacks what flag {flag:#x} asks for")
        levels = 5 if binding.addr_width == _FIVE_LEVELS else 4
        self.entries[device, binding.hpasid] = PASIDEntry(binding.gpgd, domain, levels)
        self._flush(device, binding.hpasid)

    def tear_down(self, domain, device, hpasid):
        """Remove the entry and flush what was cached of it."""
        del self.entries[device, hpasid]
        self._flush(device, hpasid)

    def _flush(self, device, hpasid):
        self.flushes += [(what, device, hpasid) for what in ("PASID cache", "IOTLB",
                                                             "device TLB")]
