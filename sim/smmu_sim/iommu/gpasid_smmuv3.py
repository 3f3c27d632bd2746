"""Guest PASID bind on an SMMUv3: a CD table of the host, over the guest's stage 2.

SMMUv3 leaves the whole CD table to the guest; this engine keeps it with the host instead, so that
single PASIDs can be bound. The table lies at IPAs, since the SMMU reads it through stage 2; there
it is read-only and at addresses that the guest's memory does not have.
"""

from smmu.formats.commands import Opcode
from smmu.formats.context_descriptor import CD
from smmu.formats.core import pack
from smmu.formats.descriptors import SH, SIZE_CODES, TG0
from smmu.formats.stream_table import S1DSS, STE, STEConfig

from smmu_sim.driver import (
    ContextDescriptorTable, MemoryWindow, NestedDomain, PageAllocator, commands, entries)
from smmu_sim.driver.errors import DriverError, OutOfMemory
from smmu_sim.fields import address
from smmu_sim.iommu.attach import set_group_domain
from smmu_sim.iommu.domain import Domain, DomainType
from smmu_sim.iommu.gpasid_data import VTDFlag
from smmu_sim.iommu.gpasid_vtd import check_nested
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot

__all__ = ["SMMUv3Engine"]

_READ_ONLY = Prot(write=False)
_WORD = (1 << 64) - 1
_WIDTHS = (48,)
_FIRST_ASID = 1


class _Table:
    """One device's CD table: its memory, the domain that puts it in force, its ASIDs."""

    def __init__(self, memory, physical, cds, nested):
        self.memory, self.physical, self.cds, self.nested = memory, physical, cds, nested
        self.asids = {}  # {hpasid: ASID}


class _GuestRoot:
    """A guest's page table, as a CD names it."""

    def __init__(self, gpgd, oas):
        self._gpgd, self._oas = gpgd, oas

    def cd_fields(self):
        return {"T0SZ": 64 - _WIDTHS[0], "TG0": TG0["G4K"], "IR0": 1, "OR0": 1, "SH0": SH.ISH,
                "TTB0": address(CD, "TTB0", self._gpgd), "IPS": SIZE_CODES[self._oas], "AA64": 1}


class SMMUv3Engine:
    """CDs for guest PASIDs. ``domain`` of each call is a nest parent.

    Transactions without a PASID go on through stage 2 alone.

    Parameters
    ----------
    iommu
        The :class:`IOMMU` core.
    table_ipa, table_bytes
        IPAs for CD tables, which nothing else is mapped at. Each device takes ``table_bytes``.
    """

    def __init__(self, iommu, *, table_ipa=0x0A00_0000, table_bytes=0x20_0000):
        self._iommu, self._ipa, self._bytes = iommu, table_ipa, table_bytes
        self._tables = {}  # {device: _Table}
        self._slots = {}   # {device: number of its area of IPAs}

    def check_device(self, device):
        """EINVAL: the device has no PASIDs, or shares its group."""
        if not device.max_pasids or not device.master.ssid_bits:
            raise LinuxError("EINVAL", f"{device.name} has no PASIDs")
        if device.group is not None and len(device.group.devices) != 1:
            raise LinuxError("EINVAL", f"{device.name} is not alone in its group")

    def max_pasids(self, device):
        return min(device.max_pasids, 1 << device.master.ssid_bits)

    # --- bind ------------------------------------------------------------------------------------

    def set_up(self, domain, device, binding):
        """Write CD[hpasid]; with the first one, put the CD table in force.

        EINVAL: the domain is no nest parent, or not the device's; an address width, root or flag
        that an SMMUv3 cannot do. EEXIST, ENOMEM: the table finds no place.
        """
        if not domain.type.is_paging or not domain.nesting or domain.generation is not None:
            raise LinuxError("EINVAL", "the domain is no nest parent")
        table = self._table_of(device)
        if device.group.domain is not (table.nested if table else domain) or \
                table and table.nested.parent is not domain:
            raise LinuxError("EINVAL", f"{device.name} is not attached to the domain")
        check_nested(domain, binding, widths=_WIDTHS)
        if binding.gpgd % (1 << 12):
            raise LinuxError("EINVAL", f"gpgd {binding.gpgd:#x} is not the root of a table")
        if binding.vtd_flags & (VTDFlag.SRE | VTDFlag.EAFE):
            raise LinuxError("EINVAL", "supervisor requests and access flags are VT-d's")
        fresh = table is None
        table = table or self._new_table(domain, device)
        asid = min(set(range(_FIRST_ASID, len(table.asids) + _FIRST_ASID + 1))
                   - set(table.asids.values()))
        root = _GuestRoot(binding.gpgd, device.driver.features.oas)
        try:
            table.cds.write(entries.cd(root, asid=asid), binding.hpasid,
                            lambda ssid, leaf: self._invalidate(device, ssid, leaf))
            if fresh:
                set_group_domain(device.group, table.nested)
        except OutOfMemory as error:
            self._drop_if(fresh, domain, device)
            raise LinuxError("ENOMEM", str(error)) from error
        except (DriverError, LinuxError):
            self._drop_if(fresh, domain, device)
            raise
        table.asids[binding.hpasid] = asid

    def _new_table(self, domain, device):
        driver = device.driver
        ipa = self._ipa + self._slot(device) * self._bytes
        try:
            physical = driver.allocator.alloc(self._bytes)
        except OutOfMemory as error:
            raise LinuxError("ENOMEM", str(error)) from error
        try:
            domain.map(ipa, physical, self._bytes, _READ_ONLY)
            window = MemoryWindow(driver.memory, ipa, physical, self._bytes)
            cds = ContextDescriptorTable(window, PageAllocator(window, ipa, self._bytes),
                                         device.master.ssid_bits)
            nested = Domain(DomainType.NESTED, NestedDomain(domain.hw, self._vste(cds)),
                            owner=self, parent=domain)
        except (DriverError, LinuxError):
            if domain.iova_to_phys(ipa) == physical:
                domain.unmap(ipa, self._bytes)
            driver.allocator.free(physical, self._bytes)
            raise
        self._tables[device] = _Table(ipa, physical, cds, nested)
        return self._tables[device]

    def _slot(self, device):
        used = {self._slots[other] for other in self._tables}
        self._slots[device] = next(n for n in range(len(used) + 1) if n not in used)
        return self._slots[device]

    @staticmethod
    def _vste(cds):
        raw = pack(STE, {"V": 1, "Config": STEConfig.S1_TRANS, **cds.ste_fields(),
                         "S1DSS": S1DSS.BYPASS})
        return raw & _WORD, raw >> 64 & _WORD

    @staticmethod
    def _invalidate(device, ssid, leaf):
        device.driver.issue([commands.cfgi_cd(sid, ssid, leaf) for sid in device.master.sids])

    # --- unbind ----------------------------------------------------------------------------------

    def tear_down(self, domain, device, hpasid):
        """Clear CD[hpasid] and flush what is cached of it; with the last one the table goes."""
        table = self._table_of(device)
        if table is None:
            return
        driver, master = device.driver, device.master
        table.cds.write(0, hpasid, lambda ssid, leaf: self._invalidate(device, ssid, leaf))
        asid = table.asids.pop(hpasid)
        vmid = table.nested.parent.hw.vmid
        driver.issue([commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=asid, VMID=vmid)])
        if master.ats_enabled:
            driver.issue(commands.atc_inv(master.sids, hpasid, 0, 0))
        self._iommu.faults.drain(device, hpasid)
        if not table.asids:
            set_group_domain(device.group, table.nested.parent)
            self._drop_if(True, table.nested.parent, device)

    def _table_of(self, device):
        """The table of a device, or None; one that somebody else's domain replaced is freed."""
        table = self._tables.get(device)
        if table is not None and not table.nested.groups and table.asids:
            self._drop_if(True, table.nested.parent, device)
            return None
        return table

    def _drop_if(self, fresh, domain, device):
        """Free a table that no STE points to."""
        if fresh:
            table = self._tables.pop(device)
            table.nested.hw.free()
            domain.unmap(table.memory, self._bytes)
            device.driver.allocator.free(table.physical, self._bytes)
