"""The owner of a guest's stage 1 over VFIO containers (generations G1 and G2)."""

from smmu.formats.commands import CommandHeader, Opcode
from smmu.formats.context_descriptor import CD
from smmu.formats.core import plain
from smmu_sim.linux_error import LinuxError
from smmu_sim.memory import BusAbort
from smmu_sim.vfio.container import MAP_DMA, UNMAP_DMA
from smmu_sim.vfio.nested_calls import ABORT, BYPASS, TRANSLATE, NestedCalls
from smmu_sim.vfio.numbers import IOCTL
from smmu_sim.vmm.fault_regions import FaultReader
from smmu_sim.vmm.generic_invalidation import Request, Scope, request_of
from smmu_sim.vmm.stage1 import Kind

__all__ = ["VFIOStage1"]

_header, _cd = plain(CommandHeader), plain(CD)
_OF_CDS = {Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL}
_READ, _WRITE = 1, 2                       # flags of MAP_DMA
_IOTLB, _TYPE_TLB = 1, 1                   # cache; type of RFC v3
_PASID_ARCHID, _ADDR_ARCHID, _ADDR_LEAF = 2, 2, 4
_V3_GRANULARITY = {Scope.DOMAIN: 0, Scope.PASID: 1, Scope.ADDR: 2}
_V3_LEAF = 1


class VFIOStage1:
    """Nested translation through SET_PASID_TABLE, CACHE_INVALIDATE, MSI binding and fault region.

    These interfaces have one stage 1 for all devices of a container, so each device has a
    container of its own; all of them map the same memory.

    Parameters
    ----------
    memory
        :class:`GuestMemory`: CDs are read there for their ASIDs.
    trap_ipa
        IPA of a page of zeros that the guest's devices can read but not write: an invalid CD.
    """

    def __init__(self, memory, *, trap_ipa):
        self.memory, self.trap_ipa = memory, trap_ipa
        self._links = {}     # vSID: _Link
        self._mappings = []  # (ipa, va, size, flags)

    def add_device(self, vsid, container, file):
        """Take a device: its container, of type VFIO_TYPE1_NESTING_IOMMU, and its open file."""
        link = self._links[vsid] = _Link(container, FaultReader(file, container.generation))
        for mapping in self._mappings:
            link.map(*mapping)

    def map(self, ipa, va, size, *, writable=True):
        """Give the guest memory of the process."""
        self._mappings.append((ipa, va, size, _READ | (_WRITE if writable else 0)))
        for link in self._links.values():
            link.map(*self._mappings[-1])

    def unmap(self, ipa, size):
        """Take memory from the guest."""
        self._mappings = [m for m in self._mappings if not ipa <= m[0] < ipa + size]
        for link in self._links.values():
            link.unmap(ipa, size)

    # --- what the virtual SMMU asks for ----------------------------------------------------------

    def configure(self, vsid, vste):
        """See :class:`Stage1Owner`. A stage 1 is turned off before another one comes."""
        link = self._links[vsid]
        if vste.kind is Kind.TRANSLATE and vste.cdmax:
            raise LinuxError("EINVAL", f"{1 << vste.cdmax} CDs; these interfaces know one")
        if vste.kind is Kind.TRANSLATE:
            link.set_table(vste.context_ptr)
            self._note_asid(link)
        elif vste.kind is Kind.FAULT:
            link.set_table(self.trap_ipa)
        else:
            link.clear_table(ABORT if vste.kind is Kind.ABORT else BYPASS)

    def _note_asid(self, link):
        """Remember which ASID the device's entries are tagged with."""
        try:
            raw = int.from_bytes(self.memory.read(link.table, 64), "little")
        except BusAbort:
            return
        if _cd.V(raw):
            link.asids.add(_cd.ASID(raw))

    def invalidate(self, commands):
        """See :class:`Stage1Owner`."""
        for done, command in enumerate(commands):
            opcode = _header.Op(command)
            try:
                if opcode in _OF_CDS:
                    self._forget_cd(_header.StreamID(command))
                elif opcode != Opcode.CMD_ATC_INV:  # never offered
                    for link in self._links.values():
                        link.invalidate(request_of(command))
            except LinuxError as error:
                if error.name != "EINVAL":
                    raise
                return done
        return len(commands)

    def _forget_cd(self, vsid):
        link = self._links[vsid]
        if link.table not in (None, self.trap_ipa):
            link.set_table(link.table)  # CFGI_STE takes the CDs along
            self._note_asid(link)

    def events(self):
        """See :class:`Stage1Owner`."""
        return [record for vsid, link in self._links.items() for record in link.faults.take(vsid)]

    def resume(self, vsid, stag, retry):
        """Stalls are not offered with these generations: nothing waits."""

    def terminate_stalls(self, vsid):
        """As :meth:`resume`."""

    # --- doorbells -------------------------------------------------------------------------------

    def bind_doorbell(self, vsid, giova, gpa, size):
        """Tell the host where the guest maps its doorbell (``bind_guest_msi``)."""
        self._links[vsid].bind(giova, gpa, size)

    def unbind_doorbell(self, vsid, giova):
        """Undo :meth:`bind_doorbell`. RFC v3 can't, and keeps it."""
        self._links[vsid].unbind(giova)


class _Link:
    """One device's container."""

    def __init__(self, container, faults):
        self.container, self.generation, self.faults = container, container.generation, faults
        self.calls = NestedCalls(container)
        self.table = None   # IPA of the CD, while stage 1 is on
        self.asids = set()  # that its TLB entries may have

    def map(self, ipa, va, size, flags):
        self.container.ioctl(IOCTL.IOMMU_MAP_DMA, bytearray(MAP_DMA.pack(
            argsz=MAP_DMA.size, flags=flags, vaddr=va, iova=ipa, size=size)))

    def unmap(self, ipa, size):
        self.container.ioctl(IOCTL.IOMMU_UNMAP_DMA, bytearray(UNMAP_DMA.pack(
            argsz=UNMAP_DMA.size, iova=ipa, size=size)))

    # The guest's table

    def set_table(self, base):
        if self.table is not None:
            self.clear_table(ABORT)
        self.calls.set_pasid_table(TRANSLATE, base)
        self.table = base

    def clear_table(self, config):
        self.calls.set_pasid_table(config)
        self.table = None

    # The guest's TLB entries

    def invalidate(self, request):
        if request.scope == Scope.DOMAIN and self.generation.name in ("v3", "V8", "V10"):
            # They cannot invalidate all: each address space that there has been.
            for asid in self.asids:
                self.invalidate(Request(Scope.PASID, asid))
            return
        if self.generation.name == "v3":
            values = {"type": _TYPE_TLB, "granularity": _V3_GRANULARITY[request.scope],
                       "arch_id": request.asid}
            if request.scope == Scope.ADDR:
                values |= {"addr": request.addr, "nr_pages": request.nb_granules,
                           "flags": _V3_LEAF * request.leaf,
                           "size": (request.granule_size >> 12).bit_length() - 1}
        else:
            values = {"cache": _IOTLB, "granularity": request.scope}
            if request.scope == Scope.PASID:
                values |= {"flags": _PASID_ARCHID, "archid": request.asid}
            elif request.scope == Scope.ADDR:
                values |= {"flags": _ADDR_ARCHID | _ADDR_LEAF * request.leaf,
                           "archid": request.asid, "addr": request.addr,
                           "granule_size": request.granule_size,
                           "nb_granules": request.nb_granules}
        self.calls.invalidate(**values)

    # Doorbells

    def bind(self, giova, gpa, size):
        self.calls.bind_msi(giova, gpa, size)

    def unbind(self, giova):
        if self.generation.name != "v3":
            self.calls.unbind_msi(giova)
