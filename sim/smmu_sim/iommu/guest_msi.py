"""Doorbells of a guest with a stage 1 of its own: bindings of its IOVAs.

Linux's series "SMMUv3 Nested Stage Setup" of 2019 to 2021: RFC v3 (G1), V8, V15 and V16.
"""

from dataclasses import dataclass
from typing import NamedTuple

from smmu_sim.driver.generations import check_generation
from smmu_sim.iommu.cookies import MSIPage
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot

__all__ = ["GuestMSIBinding", "NestedMSICookie", "bind_guest_msi", "nests", "unbind_guest_msi"]

_PROT = {"G1": Prot(read=False, execute=True, memory="device"),
         "V8": Prot(read=False, execute=True, memory="device"),
         "V15": Prot(read=False, execute=False, memory="device")}
_STRUCT = ((0, 8), (8, 8), (16, 4))  # offset and bytes of the fields
_STRUCT_BYTES = 24


class GuestMSIBinding(NamedTuple):
    """``struct iommu_guest_msi_binding`` of RFC v3; the later calls have the same in arguments."""

    iova: int      # of the doorbell, by the guest's choice
    gpa: int       # IPA of the virtual doorbell
    granule: int   # bytes of the page that the guest maps it with

    @classmethod
    def from_bytes(cls, data):
        """Read the 24 bytes of the uapi struct. EINVAL: fewer."""
        if len(data) < _STRUCT_BYTES:
            raise LinuxError("EINVAL", f"a binding has {_STRUCT_BYTES} bytes, not {len(data)}")
        return cls(*(int.from_bytes(data[at : at + size], "little") for at, size in _STRUCT))

    def to_bytes(self):
        """Return the 24 bytes of the uapi struct."""
        return b"".join(value.to_bytes(size, "little")
                        for value, (_, size) in zip(self, _STRUCT, strict=True)) + bytes(4)


@dataclass
class _Entry:
    iova: int
    gpa: int
    granule: int
    device: object = None  # G1: whose doorbell it is
    phys: int = 0          # the physical doorbell page behind it; 0 as long as there is none


class NestedMSICookie:
    """Doorbell bindings of a nesting domain (NESTED_MSI).

    An entry is REGISTERED by :meth:`bind`, MAPPED in stage 2 when the host first composes a
    message for a doorbell, and gone after :meth:`unbind` or :meth:`put`.

    Parameters
    ----------
    generation
        One of :data:`smmu_sim.driver.generations.GENERATIONS`.
    page_size
        The host's.
    warn
        ``warn(text)``, for the kernel log.
    """

    def __init__(self, generation, page_size, warn):
        self.generation, self.page_size, self._warn = generation, page_size, warn
        self.entries = []  # the latest first

    def bind(self, binding, device=None):
        """Register a binding; nothing is mapped yet. Linux: iommu_dma_bind_guest_msi.

        EINVAL: V15, and the guest's page is larger than the host's. An IOVA that is registered
        keeps what it has, and that is no error. With G1 this counts for each device.
        """
        size = binding.granule
        if size <= 0 or size & size - 1:
            raise LinuxError("EINVAL", f"granule {size:#x} is not a power of two")
        if self.generation == "V15" and size > self.page_size:
            raise LinuxError("EINVAL", f"granule {size:#x} is larger than the host's page "
                                       f"{self.page_size:#x}")
        iova, gpa = binding.iova & -size, binding.gpa & -size
        device = device if self.generation == "G1" else None
        if not any((entry.iova, entry.device) == (iova, device) for entry in self.entries):
            self.entries.insert(0, _Entry(iova, gpa, size, device))

    def unbind(self, domain, iova):
        """Forget the binding of an IOVA, and unmap its doorbell. Unknown: nothing happens."""
        for entry in self.entries:
            if entry.iova == iova & -entry.granule:
                self.entries.remove(entry)
                self._unmap(domain, entry)
                return

    def page(self, domain, device, doorbell):
        """Return the :class:`MSIPage` through which ``device`` reaches a doorbell.

        ENOMEM: no binding is free for it, or stage 2 cannot map it; the log has a warning.
        """
        phys = doorbell & -self.page_size
        usable = [entry for entry in self.entries if entry.device in (None, device)]
        entry = next((e for e in usable if e.phys == phys), None)
        if entry is None:
            entry = next((e for e in usable if not e.phys), None)
            if entry is None:
                self._warn(f"no usable S1 mapping for the doorbell {phys:#x} of {device.name}")
                raise LinuxError("ENOMEM", f"no guest binding is free for doorbell {phys:#x}")
            self._map(domain, entry, phys)
        return MSIPage(phys, entry.iova, min(entry.granule, self.page_size))

    def _map(self, domain, entry, phys):
        # G1: devices with IOVAs of their own may share the virtual and the physical doorbell.
        if not any((e.gpa, e.phys) == (entry.gpa, phys) for e in self.entries):
            try:
                domain.map(entry.gpa, phys, self.page_size, _PROT[self.generation])
            except LinuxError as error:
                self._warn(f"MSI S2 mapping failed: {error}")
                raise LinuxError("ENOMEM", f"doorbell {phys:#x} at {entry.gpa:#x}: {error}"
                                 ) from error
        entry.phys = phys

    def _unmap(self, domain, entry):
        if entry.phys and not any((e.gpa, e.phys) == (entry.gpa, entry.phys)
                                  for e in self.entries):
            size = domain.unmap(entry.gpa, self.page_size)
            if size != self.page_size:
                self._warn(f"unmapped {size:#x} bytes of the doorbell at {entry.gpa:#x}")

    def put(self, domain):
        """Unmap what was mapped, and forget all bindings."""
        while self.entries:
            self._unmap(domain, self.entries.pop())


def nests(domain):
    """Whether a guest's stage 1 can lie over this domain by the calls of G1 and G2."""
    return domain.generation is not None


def _cookie(domain, generation):
    if generation is not None:
        generation = check_generation(generation)
    if generation in (None, "V16"):
        raise LinuxError("ENODEV", "this kernel does not bind guest MSIs")
    if not domain.finalised:
        raise LinuxError("EINVAL", "the domain is not attached to an SMMU")
    if not nests(domain):
        raise LinuxError("EINVAL", f"the domain of type {domain.type.value} does not nest")
    if not isinstance(domain.cookie, NestedMSICookie):
        raise LinuxError("EINVAL", "the domain has no cookie for guest MSIs")
    return domain.cookie


def bind_guest_msi(domain, device, binding, generation=None):
    """Tell the host how a guest reaches its doorbell. Linux RFC v3: iommu_bind_guest_msi.

    ``device`` matters to G1 alone. ``generation`` is the domain's by default. ENODEV: this kernel
    has no such call (none of the series, or V16). EINVAL: the domain is not attached, does not
    nest, or has no NESTED_MSI cookie; else as of :meth:`NestedMSICookie.bind`.
    """
    cookie = _cookie(domain, generation or domain.generation)
    cookie.bind(GuestMSIBinding(*binding), device)


def unbind_guest_msi(domain, iova, generation=None):
    """Undo :func:`bind_guest_msi`; since v4 of the series.

    ENODEV: this kernel has no such call. What is not bound, or has no cookie, does not matter.
    """
    generation = generation or domain.generation
    if generation is None or check_generation(generation) in ("G1", "V16"):
        raise LinuxError("ENODEV", "this kernel does not unbind guest MSIs")
    try:
        cookie = _cookie(domain, generation)
    except LinuxError:
        return
    cookie.unbind(domain, iova)
