"""The owner of a guest's stage 1 over iommufd (generation G3)."""

from smmu.formats.events import CLASS, EventType, pack_event
from smmu_sim.iommufd.constants import (
    DataType, HWPTFlag, InvalidateType, MapFlag, PageResponse, PGFaultFlag,
    PGFaultPerm, VEventFlag, VEventQType, VIOMMUType)
from smmu_sim.iommufd.uapi import (
    HW_INFO_ARM_SMMUV3, HWPT_ARM_SMMUV3, HWPT_PAGE_RESPONSE, HWPT_PGFAULT, VEVENT_ARM_SMMUV3,
    VEVENT_HEADER, VIOMMU_ARM_SMMUV3_INVALIDATE)
from smmu_sim.linux_error import LinuxError
from smmu_sim.vmm.features import HardwareInfo
from smmu_sim.vmm.stage1 import ABORT, BYPASS, Kind, trap

__all__ = ["IOMMUFDStage1"]

_DEPTH = 64          # events that wait in the kernel
_READ = 4096         # bytes of one read()
_WORD = (1 << 64) - 1


class IOMMUFDStage1:
    """Nested translation through VIOMMU, VDEVICE, nested HWPTs, VEVENTQ and FAULT queue.

    The order of calls is that of a monitor that boots: :meth:`map` the guest's
    memory, then :meth:`add_device` for each device, whose first one makes the parent and the
    virtual IOMMU.

    Parameters
    ----------
    client
        :class:`IOMMUFDClient`.
    trap_ipa
        IPA of a page of zeros that the guest's devices can read but not write: an invalid CD.
    stalls
        Take page faults of stalled transactions.

    ``lost`` counts how often the kernel said that it lost events. ``hardware`` is the
    :class:`HardwareInfo` of the first device.
    """

    def __init__(self, client, *, trap_ipa, stalls=True):
        self.client, self.trap_ipa = client, trap_ipa
        self.lost, self.hardware = 0, None
        self.ioas = client.call("IOAS_ALLOC").out_ioas_id
        self.parent = self.viommu = self.veventq = self.faults = None
        self._stalls = stalls
        self._fixed = {}    # Kind: HWPT id
        self._devices = {}  # vSID: (device file, device id)
        self._own = {}      # vSID: id of the nested HWPT that belongs to it alone
        self._stalled = {}  # (vSID, STAG): cookie

    # --- setting up ------------------------------------------------------------------------------

    def map(self, ipa, va, size, *, writable=True):
        """Give the guest memory of the process."""
        flags = MapFlag.FIXED_IOVA | MapFlag.READABLE | (MapFlag.WRITEABLE if writable else 0)
        self.client.call("IOAS_MAP", flags=flags, ioas_id=self.ioas, user_va=va, length=size,
                         iova=ipa)

    def unmap(self, ipa, size):
        """Take memory from the guest; stage 2 has forgotten it when this returns."""
        self.client.call("IOAS_UNMAP", ioas_id=self.ioas, iova=ipa, length=size)

    def add_device(self, vsid, file, device_id):
        """Take a device that is bound to the iommufd; it bypasses stage 1 after that."""
        if self.parent is None:
            self.hardware = self._hardware(device_id)
            self.parent = self._hwpt(device_id, self.ioas, flags=HWPTFlag.NEST_PARENT)
        file.attach(self.parent)
        if self.viommu is None:
            self._make_viommu(device_id)
        self.client.call("VDEVICE_ALLOC", viommu_id=self.viommu, dev_id=device_id, virt_id=vsid)
        self._devices[vsid] = file, device_id

    def _make_viommu(self, device_id):
        call = self.client.call
        self.viommu = call("VIOMMU_ALLOC", type=VIOMMUType.ARM_SMMUV3, dev_id=device_id,
                           hwpt_id=self.parent).out_viommu_id
        self.veventq = call("VEVENTQ_ALLOC", viommu_id=self.viommu,
                            type=VEventQType.ARM_SMMUV3, veventq_depth=_DEPTH)
        if self._stalls:
            self.faults = call("FAULT_QUEUE_ALLOC")
        for kind, vste in ((Kind.ABORT, ABORT), (Kind.BYPASS, BYPASS),
                           (Kind.FAULT, trap(self.trap_ipa))):
            self._fixed[kind] = self._nested(device_id, vste)

    def _hardware(self, device_id):
        size = HW_INFO_ARM_SMMUV3.size
        self.client.call("GET_HW_INFO", dev_id=device_id, data_len=size,
                         data_uptr=self.client.put(bytes(size)))
        info = HW_INFO_ARM_SMMUV3.unpack(self.client.take(size))
        return HardwareInfo(tuple(info.idr), info.iidr, info.aidr)

    def _hwpt(self, device_id, parent, **fields):
        return self.client.call("HWPT_ALLOC", dev_id=device_id, pt_id=parent,
                                **fields).out_hwpt_id

    def _nested(self, device_id, vste):
        data = HWPT_ARM_SMMUV3.pack(ste=vste.words)
        fault = {} if self.faults is None else {
            "flags": HWPTFlag.FAULT_ID_VALID, "fault_id": self.faults.out_fault_id}
        return self._hwpt(device_id, self.viommu, data_type=DataType.ARM_SMMUV3,
                          data_len=len(data), data_uptr=self.client.put(data), **fault)

    def close(self):
        """Close the queues' files."""
        for fd in (self.veventq and self.veventq.out_veventq_fd,
                   self.faults and self.faults.out_fault_fd):
            if fd is not None:
                self.client.process.close(fd)
        self.viommu = None

    # --- what the virtual SMMU asks for ----------------------------------------------------------

    def configure(self, vsid, vste):
        """Attach the HWPT of ``vste`` in place of the present one. See :class:`Stage1Owner`."""
        file, device_id = self._devices[vsid]
        hwpt = own = None
        if vste.kind is Kind.TRANSLATE:
            hwpt = own = self._nested(device_id, vste)
        else:
            hwpt = self._fixed[vste.kind]
        try:
            file.attach(hwpt)  # of an attached device: replace
        except LinuxError:
            if own is not None:
                self.client.call("DESTROY", id=own)
            raise
        # The kernel has answered what was stalled.
        self._stalled = {key: cookie for key, cookie in self._stalled.items() if key[0] != vsid}
        old = self._own.pop(vsid, None)
        if own is not None:
            self._own[vsid] = own
        if old is not None:
            self.client.call("DESTROY", id=old)

    def invalidate(self, commands):
        """Hand over raw commands. See :class:`Stage1Owner`."""
        try:
            self._invalidate(commands)
            return len(commands)
        except LinuxError as error:
            if error.name != "EIO":
                raise
            done = error.reply.entry_num
        # The kernel counts commands that it converted and then did not issue.
        if done:
            self._invalidate(commands[:done])
        return done

    def _invalidate(self, commands):
        data = b"".join(bytes(VIOMMU_ARM_SMMUV3_INVALIDATE.pack(
            cmd=(command & _WORD, command >> 64))) for command in commands)
        self.client.call("HWPT_INVALIDATE", hwpt_id=self.viommu, data_uptr=self.client.put(data),
                         data_type=InvalidateType.VIOMMU_ARM_SMMUV3,
                         entry_len=VIOMMU_ARM_SMMUV3_INVALIDATE.size, entry_num=len(commands))

    # --- events ----------------------------------------------------------------------------------

    def events(self):
        """Return new records. See :class:`Stage1Owner`."""
        if self.viommu is None:
            return []
        return self._vevents() + self._page_faults()

    def _file(self, fd):
        return self.client.process.file(fd)

    def _vevents(self):
        records, file = [], self._file(self.veventq.out_veventq_fd)
        while data := file.read(_READ):
            while data:
                header = VEVENT_HEADER.unpack(data[:VEVENT_HEADER.size])
                data = data[VEVENT_HEADER.size:]
                if header.flags & VEventFlag.LOST_EVENTS:
                    self.lost += 1
                    continue
                words = VEVENT_ARM_SMMUV3.unpack(data[:VEVENT_ARM_SMMUV3.size]).evt
                data = data[VEVENT_ARM_SMMUV3.size:]
                records.append(sum(word << 64 * n for n, word in enumerate(words)))
        return records

    def _page_faults(self):
        records = []
        if self.faults is None:
            return records
        file = self._file(self.faults.out_fault_fd)
        vsids = {device_id: vsid for vsid, (_, device_id) in self._devices.items()}
        while data := file.read(_READ - _READ % HWPT_PGFAULT.size):
            for at in range(0, len(data), HWPT_PGFAULT.size):
                fault = HWPT_PGFAULT.unpack(data[at:at + HWPT_PGFAULT.size])
                vsid = vsids[fault.dev_id]
                self._stalled[vsid, fault.grpid] = fault.cookie
                records.append(_stall_record(vsid, fault))
        return records

    def resume(self, vsid, stag, retry):
        """Answer a page fault. A guest's wish for RAZ/WI is answered as one for an abort."""
        cookie = self._stalled.pop((vsid, stag), None)
        if cookie is not None:
            code = PageResponse.SUCCESS if retry else PageResponse.INVALID
            self._file(self.faults.out_fault_fd).write(
                bytes(HWPT_PAGE_RESPONSE.pack(cookie=cookie, code=code)))

    def terminate_stalls(self, vsid):
        """Answer all page faults of a device: no retry."""
        for _, stag in [key for key in self._stalled if key[0] == vsid]:
            self.resume(vsid, stag, False)


def _stall_record(vsid, fault):
    """Return the event record of a page fault. Its kind is not told: F_TRANSLATION."""
    ssv = bool(fault.flags & PGFaultFlag.PASID_VALID)
    return pack_event(EventType.F_TRANSLATION, {
        "StreamID": vsid, "SSV": ssv, "SubstreamID": fault.pasid if ssv else 0, "Stall": 1,
        "STAG": fault.grpid, "InputAddr": fault.addr, "CLASS": CLASS.IN,
        "RnW": not fault.perm & PGFaultPerm.WRITE, "InD": bool(fault.perm & PGFaultPerm.EXEC),
        "PnU": bool(fault.perm & PGFaultPerm.PRIV)})
