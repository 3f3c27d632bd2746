"""FAULT queue: page faults that wait for an answer of user space (iommufd/eventq.c)."""

from collections import deque
from dataclasses import dataclass

from smmu_sim.iommufd.constants import NO_PASID, PageResponse
from smmu_sim.iommufd.objects import IOMMUFDObject
from smmu_sim.iommufd.queue_file import QueueFile
from smmu_sim.iommufd.uapi import HWPT_PAGE_RESPONSE, HWPT_PGFAULT
from smmu_sim.linux_error import LinuxError

__all__ = ["FaultQueue", "alloc"]


@dataclass(eq=False)
class _Group:
    """A page fault: a stall is a group of its own."""

    handle: object   # AttachHandle
    device: object
    fault: object

    def answer(self, success):
        self.device.driver.page_response(self.device.master, self.fault.grpid,
                                         PageResponse.SUCCESS if success else PageResponse.INVALID)


class FaultQueue(IOMMUFDObject):
    """Page faults of all HWPTs that name it."""

    def __init__(self, allocations):
        super().__init__()
        self._allocations = allocations
        self._waiting, self._answers = deque(), {}   # to be read; read, by cookie

    def destroy(self):
        """Nothing is in it: a HWPT that had faults would hold it."""

    def put(self, device, fault):
        """Queue a page fault of a device, as the IOMMU core reports it. ENOMEM: no memory."""
        self._allocations.request("a page fault")
        group = device.group
        pasid = fault.pasid if fault.pasid in group.pasids else NO_PASID
        self._waiting.append(_Group(group.pasids[pasid].handle, device, fault))

    def answer_all(self, handle):
        """Answer everything of an attachment that ends with INVALID."""
        for group in [group for group in self._waiting if group.handle is handle]:
            self._waiting.remove(group)
            group.answer(False)
        for cookie in [cookie for cookie, group in self._answers.items()
                       if group.handle is handle]:
            self._answers.pop(cookie).answer(False)

    @property
    def readable(self):
        return bool(self._waiting)

    def read(self, count):
        """Return the faults that fit into ``count`` bytes. ESPIPE: not whole records.

        Each has a cookie, by which it is answered.
        """
        if count % HWPT_PGFAULT.size:
            raise LinuxError("ESPIPE", f"{count} bytes are not whole records of "
                                       f"{HWPT_PGFAULT.size}")
        found = bytearray()
        while self._waiting and len(found) < count:
            self._allocations.request("a cookie")
            group = self._waiting.popleft()
            cookie = next(n for n in range(1, len(self._answers) + 2) if n not in self._answers)
            self._answers[cookie] = group
            fault = group.fault
            found += HWPT_PGFAULT.pack(
                flags=int(fault.flags), dev_id=group.handle.idev.id, pasid=fault.pasid or 0,
                grpid=fault.grpid, perm=int(fault.perm), addr=fault.addr, cookie=cookie)
        return bytes(found)

    def write(self, data):
        """Answer faults; return the bytes taken, which may be fewer than all.

        ESPIPE: not whole records. EINVAL: the first one has an unknown code or cookie.
        """
        if len(data) % HWPT_PAGE_RESPONSE.size:
            raise LinuxError("ESPIPE", f"{len(data)} bytes are not whole records of "
                                       f"{HWPT_PAGE_RESPONSE.size}")
        for done in range(0, len(data), HWPT_PAGE_RESPONSE.size):
            response = HWPT_PAGE_RESPONSE.unpack(data[done:done + HWPT_PAGE_RESPONSE.size])
            known = response.code in set(PageResponse)
            group = self._answers.pop(response.cookie, None) if known else None
            if group is None:
                if done:
                    return done
                raise LinuxError("EINVAL", f"code is {response.code}, cookie is {response.cookie}")
            group.answer(response.code == PageResponse.SUCCESS)
        return len(data)


def alloc(iommufd, command):
    """IOMMU_FAULT_QUEUE_ALLOC. EOPNOTSUPP: flags."""
    if command.args.flags:
        raise LinuxError("EOPNOTSUPP", f"flags is {command.args.flags:#x}")
    iommufd.allocations.request("a FAULT queue")
    with iommufd.objects.creating(lambda: FaultQueue(iommufd.allocations)) as queue:
        iommufd.respond_with_file(command, QueueFile(iommufd, queue), "out_fault_fd",
                                  out_fault_id=queue.id)
