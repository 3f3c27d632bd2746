"""``struct iommu_gpasid_bind_data`` in the layouts of Linux 5.5 and of 5.9 to 5.17."""

import struct
from typing import NamedTuple

from smmu_sim.linux_error import LinuxError

__all__ = ["BIND_DATA_BYTES", "GuestPASIDBinding", "VTDFlag"]

BIND_DATA_BYTES = 72
_MIN_BYTES = 56              # up to the vendor's part
_VERSION, _INTEL_VTD, _FORMATS = 1, 1, 2
_GPASID_VAL = 1
_LAYOUTS = {
    # version, format, flags, gpgd, hpasid, gpasid, addr_width, padding, vtd
    "5.5": struct.Struct("<IIQQQQI12sQII"),
    # argsz, version, format, addr_width, flags, gpgd, hpasid, gpasid, padding, vtd
    "5.9": struct.Struct("<IIIIQQQQ8sQII")}


class VTDFlag:
    """Flags of the VT-d part."""

    SRE, EAFE, PCD, PWT, EMTE, CD, WPE = (1 << n for n in range(7))
    KNOWN = (1 << 7) - 1


class GuestPASIDBinding(NamedTuple):
    """What a guest wants at one PASID.

    ``gpgd`` is the root of its page table, a guest physical address; ``addr_width`` the bits that
    the table translates. ``gpasid`` is None if the guest uses the host's numbers.
    """

    gpgd: int
    hpasid: int
    addr_width: int
    gpasid: int | None = None
    vtd_flags: int = 0
    pat: int = 0
    emt: int = 0
    format: int = _INTEL_VTD
    argsz: int = BIND_DATA_BYTES

    @classmethod
    def from_bytes(cls, data, layout="5.9"):
        """Read the struct, with the checks of the layout's kernel.

        "5.5" copies and checks nothing. "5.9": EFAULT: fewer than 56 bytes, or than argsz says.
        EINVAL: argsz below 56; version; format; unknown flags; padding that is not zero.
        Linux 5.9: iommu_uapi_sva_bind_gpasid.
        """
        if layout == "5.5":
            if len(data) < BIND_DATA_BYTES:
                raise LinuxError("EFAULT", f"{len(data)} bytes of {BIND_DATA_BYTES}")
            (_, form, flags, gpgd, hpasid, gpasid, width, _, *vtd) = \
                _LAYOUTS[layout].unpack_from(data)
            return cls(gpgd, hpasid, width, gpasid if flags & _GPASID_VAL else None, *vtd, form)
        if len(data) < _MIN_BYTES:
            raise LinuxError("EFAULT", f"{len(data)} bytes of {_MIN_BYTES} at least")
        argsz = int.from_bytes(data[:4], "little")
        if argsz < _MIN_BYTES:
            raise LinuxError("EINVAL", f"argsz is {argsz}; {_MIN_BYTES} is the least")
        wanted = min(argsz, BIND_DATA_BYTES)
        if len(data) < wanted:
            raise LinuxError("EFAULT", f"{len(data)} bytes of the {wanted} that argsz says")
        (_, version, form, width, flags, gpgd, hpasid, gpasid, padding, *vtd) = \
            _LAYOUTS["5.9"].unpack(bytes(data[:wanted]).ljust(BIND_DATA_BYTES, b"\0"))
        for name, value, good in (("version", version, version == _VERSION),
                                  ("format", form, form < _FORMATS),
                                  ("flags", flags, not flags & ~_GPASID_VAL),
                                  ("padding", padding.hex(), not any(padding))):
            if not good:
                raise LinuxError("EINVAL", f"{name} is {value}")
        return cls(gpgd, hpasid, width, gpasid if flags & _GPASID_VAL else None, *vtd, form, argsz)

    def to_bytes(self, layout="5.9"):
        """Return the 72 bytes."""
        flags, gpasid = (0, 0) if self.gpasid is None else (_GPASID_VAL, self.gpasid)
        vtd = self.vtd_flags, self.pat, self.emt
        if layout == "5.5":
            return _LAYOUTS[layout].pack(_VERSION, self.format, flags, self.gpgd, self.hpasid,
                                         gpasid, self.addr_width, bytes(12), *vtd)
        return _LAYOUTS["5.9"].pack(self.argsz, _VERSION, self.format, self.addr_width, flags,
                                    self.gpgd, self.hpasid, gpasid, bytes(8), *vtd)

    def check(self):
        """Apply the checks that all engines share. EINVAL: format, argsz, or flags.

        Linux 5.17: intel_svm_bind_gpasid.
        """
        if self.format != _INTEL_VTD:
            raise LinuxError("EINVAL", f"format is {self.format}; only {_INTEL_VTD} exists")
        if self.argsz < BIND_DATA_BYTES:
            raise LinuxError("EINVAL", f"argsz is {self.argsz}; the format has {BIND_DATA_BYTES}")
        if self.vtd_flags & ~VTDFlag.KNOWN:
            raise LinuxError("EINVAL", f"unknown flags in {self.vtd_flags:#x}")
