"""Shared virtual addressing: devices use the page tables of a process."""

from dataclasses import dataclass, field

from smmu_sim.driver import Stage1Domain
from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.iommu.attach import attach_handle, group_of
from smmu_sim.iommu.domain import Domain, DomainType
from smmu_sim.iommu.pasid import attach_device_pasid, detach_device_pasid
from smmu_sim.linux_error import LinuxError
from smmu_sim.pagetable import PageTable, PageTableError
from smmu_sim.process import Process
from smmu_sim.prot import Prot

__all__ = ["SVA", "AddressSpace", "SVAHandle"]


class AddressSpace(Process):
    """A process whose page tables are real, so that an SMMU can walk them.

    Parameters
    ----------
    memory
        Host physical memory.
    allocator
        Memory for the tables, in the same.
    oa_bits
        Physical address size, of the processor and of each SMMU that is to walk the tables.

    Attributes
    ----------
    table
        The stage 1 :class:`PageTable`.
    pasid
        The PASID that all devices use for it; ``None`` while none was needed.
    alive
        False after :meth:`exit`.
    domains
        The SVA :class:`Domain` of each SMMU that walks the tables.
    """

    def __init__(self, memory, allocator, name="process", *, oa_bits=48):
        super().__init__(memory, name)
        self.table = PageTable(memory, allocator, stage=1, oa_bits=oa_bits)
        self.pasid, self.alive, self.domains, self._on_drop = None, True, [], None

    def mmap(self, va, physical, size, writable=True):
        """As :meth:`Process.mmap`; devices see it at once.

        ESRCH: the process has gone. ENOMEM: no memory for tables. EINVAL also: beyond 48 bits.
        """
        if not self.alive:
            raise LinuxError("ESRCH", f"{self.name} has gone")
        super().mmap(va, physical, size, writable)
        try:
            self.table.map(va, physical, size, Prot(write=writable, execute=True))
        except OutOfMemory as error:
            super().munmap(va, size)
            self.table.release(self.table.unmap(va, size))
            raise LinuxError("ENOMEM", str(error)) from error
        except PageTableError as error:
            super().munmap(va, size)
            raise LinuxError("EINVAL", str(error)) from error
        return va

    def munmap(self, va, size):
        """As :meth:`Process.munmap`; no device sees it any more when this returns."""
        super().munmap(va, size)
        removed = self.table.unmap(va, size)
        for domain in self.domains:
            domain.hw.invalidate(va, size, leaf=not removed.tables)
        self.table.release(removed)

    def exit(self):
        """The process ends: devices cannot access anything of it, and abort silently.

        They stay bound. Linux 7.0: exit_mmap with arm_smmu_mm_release.
        """
        if not self.alive:
            return
        self.alive = False
        for domain in self.domains:
            domain.hw.quiesce()
        for mapping in self.mappings:
            super().munmap(mapping.va, mapping.size)
            self.table.release(self.table.unmap(mapping.va, mapping.size))
        self.drop()

    def use_pasid(self, pasid, on_drop):
        """Take a PASID; ``on_drop(pasid)`` has it back when the last user has gone."""
        self.pasid, self._on_drop = pasid, on_drop

    def drop(self):
        """Give back PASID and tables, once the process has gone and no device is bound.

        Linux 7.0: mm_pasid_drop.
        """
        if self.alive or self.domains:
            return
        if self.pasid is not None:
            self._on_drop(self.pasid)
            self.pasid = None
        self.table.free()


@dataclass
class SVAHandle:
    """A device bound to a process: Linux 7.0's struct iommu_sva. ``users`` counts binds."""

    device: object
    space: AddressSpace
    domain: Domain
    users: int = field(default=1)

    @property
    def pasid(self):
        """What the device has to send. Linux 7.0: iommu_sva_get_pasid."""
        return self.space.pasid


class SVA:
    """Binds processes to devices of an IOMMU core."""

    def __init__(self, iommu):
        self._iommu = iommu

    def bind(self, device, space):
        """Let a device use a process's addresses, with the PASID of the :class:`SVAHandle`.

        A second bind of the same pair counts the handle up. ENODEV: no group. ESRCH: the process
        has gone. ENOSPC: no PASID is left that the device can send. EOVERFLOW: the process has a
        PASID already, and the device cannot send that. EBUSY: the device uses the PASID for
        something else. Else as of :func:`attach_device_pasid`. Linux 7.0: iommu_sva_bind_device.
        """
        group = group_of(device)
        if not space.alive:
            raise LinuxError("ESRCH", f"{space.name} has gone")
        fresh = space.pasid is None
        if fresh:
            space.use_pasid(self._iommu.pasids.alloc(device.max_pasids), self._iommu.pasids.free)
        elif space.pasid >= device.max_pasids:
            raise LinuxError("EOVERFLOW", f"{device.name} cannot send PASID {space.pasid}")
        try:
            handle = attach_handle(group, space.pasid, DomainType.SVA)
            if handle.space is not space:
                raise LinuxError("EBUSY", f"PASID {space.pasid} is another process's")
            handle.users += 1
            return handle
        except LinuxError as error:
            if error.name != "ENOENT":
                raise
        try:
            return self._attach(device, space)
        except LinuxError:
            if fresh:
                self._iommu.pasids.free(space.pasid)
                space.use_pasid(None, None)
            raise

    def _attach(self, device, space):
        """Attach the process's domain of the device's SMMU; it is made if need be."""
        domain = next((d for d in space.domains if d.driver is device.driver), None)
        fresh = domain is None
        if fresh:
            hw = Stage1Domain(device.driver, page_table=space.table)
            domain = Domain(DomainType.SVA, hw, owner=space)
        handle = SVAHandle(device, space, domain)
        try:
            attach_device_pasid(domain, device, space.pasid, handle)
        except LinuxError:
            if fresh:
                domain.hw.free()
            raise
        if fresh:
            space.domains.append(domain)
        return handle

    def unbind(self, handle):
        """Undo one :meth:`bind`. Linux 7.0: iommu_sva_unbind_device."""
        handle.users -= 1
        if handle.users:
            return
        domain, space = handle.domain, handle.space
        detach_device_pasid(domain, handle.device, space.pasid)
        if not domain.in_use:
            space.domains.remove(domain)
            domain.hw.free()
            space.drop()
