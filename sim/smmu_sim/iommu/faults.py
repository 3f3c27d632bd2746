"""Who is told of a device's faults: handlers, page requests that wait, and their answers."""

from dataclasses import dataclass, field

from smmu_sim.iommu.fault_records import (
    FaultType, PageResponse, ResponseCode, fault_of_event, fault_of_request)
from smmu_sim.linux_error import LinuxError

__all__ = ["FaultRegistry"]


@dataclass
class _Handler:
    call: object
    pending: list = field(default_factory=list)  # page requests without an answer


class FaultRegistry:
    """The fault handlers of all devices of an IOMMU core (Linux 5.3: iommu_fault_param).

    What nobody takes is in the log of the driver.
    """

    def __init__(self, iommu):
        self._iommu, self._handlers, self._drivers = iommu, {}, []

    # --- handlers --------------------------------------------------------------------------------

    def register(self, device, handler):
        """Let ``handler(fault)`` have the faults of a device. An exception of it refuses a fault.

        EINVAL: the device is not known. EBUSY: it has a handler.
        Linux 5.3: iommu_register_device_fault_handler.
        """
        if device.group is None:
            raise LinuxError("EINVAL", f"{device.name} was not added to the IOMMU core")
        if device in self._handlers:
            raise LinuxError("EBUSY", f"{device.name} has a fault handler")
        self._handlers[device] = _Handler(handler)

    def unregister(self, device):
        """Take the handler away. None there: nothing happens. EBUSY: page requests are pending.

        EINVAL: the device is not known. Linux 5.3: iommu_unregister_device_fault_handler.
        """
        if device.group is None:
            raise LinuxError("EINVAL", f"{device.name} was not added to the IOMMU core")
        handler = self._handlers.get(device)
        if handler is not None and handler.pending:
            raise LinuxError("EBUSY", f"{len(handler.pending)} page requests of {device.name} "
                                      "have no answer")
        self._handlers.pop(device, None)

    def pending(self, device):
        """Return the page requests of a device that wait for an answer."""
        return list(self._handlers[device].pending) if device in self._handlers else []

    def drain(self, device, pasid):
        """Answer the page requests of one PASID with INVALID: nobody will any more."""
        for fault in self.pending(device):
            if fault.pasid == pasid:
                self.respond(device, PageResponse(fault.grpid, ResponseCode.INVALID, pasid))

    def forget(self, device):
        """The device goes away; what it waits for is answered with INVALID."""
        for fault in self.pending(device):
            self.respond(device, PageResponse(fault.grpid, ResponseCode.INVALID, fault.pasid))
        self._handlers.pop(device, None)

    # --- faults ----------------------------------------------------------------------------------

    def report(self, device, fault):
        """Hand a fault to the device's handler. A last page request is pending from here on.

        EINVAL: no handler. What the handler raises is passed on; then nothing is pending.
        Linux 5.3: iommu_report_device_fault.
        """
        handler = self._handlers.get(device)
        if handler is None:
            raise LinuxError("EINVAL", f"{device.name} has no fault handler")
        waits = fault.type is FaultType.PAGE_REQ and fault.last
        if waits:
            handler.pending.append(fault)
        try:
            handler.call(fault)
        except LinuxError:
            if waits:
                handler.pending.remove(fault)
            raise

    def respond(self, device, response):
        """Answer a pending page request of a device. Linux 5.3: iommu_page_response.

        ``response`` is a :class:`PageResponse` or its 24 bytes. EINVAL: malformed, or nothing of
        that group and PASID is pending.
        """
        if not isinstance(response, PageResponse):
            response = PageResponse.from_bytes(response)
        for fault in self.pending(device):
            if (fault.grpid, fault.pasid) == (response.grpid, response.pasid):
                self._handlers[device].pending.remove(fault)
                device.driver.page_response(device.master, fault.grpid, int(response.code))
                return
        raise LinuxError("EINVAL", f"no page request of group {response.grpid} of {device.name} "
                                   "is pending")

    # --- from the driver -------------------------------------------------------------------------

    def watch(self, driver):
        """Take the events and the stalls of a driver's devices."""
        if not any(known is driver for known in self._drivers):
            self._drivers.append(driver)
            driver.on_fault(self._event)
            driver.on_stall(self._stall)

    def device_of(self, master):
        """Return the device of a master, or None."""
        return next((d for d in self._iommu.devices if d.master is master), None)

    def _event(self, event, master):
        """An access of a device ended with an event. Returns whether somebody was told."""
        device, fault = self.device_of(master), fault_of_event(event)
        if device in self._handlers and fault is not None:
            try:
                self.report(device, fault)
                return True
            except LinuxError as error:
                self._iommu.warnings.append(f"a fault of {device.name} is lost: {error}")
        return False

    def _stall(self, request, master):
        """An access of a device waits. Returns False if nobody will answer: it is aborted then.

        The domain attached for its PASID is asked first, without one that of the RID; then the
        device's handler. Linux 7.0: iommu_report_device_fault, find_fault_handler.
        """
        device, fault = self.device_of(master), fault_of_request(request)
        if device is None:
            return False
        call = self._fault_handler(device, fault.pasid)
        try:
            if call is not None:
                call(device, fault)
            else:
                self.report(device, fault)
        except LinuxError as error:
            self._iommu.warnings.append(f"a page request of {device.name} is refused: {error}")
            return False
        return True

    @staticmethod
    def _fault_handler(device, pasid):
        """Return the handler of the domain that a page request is for, or None."""
        group = device.group
        attachment = group.pasids.get(pasid) if pasid else None
        domain = attachment.domain if attachment else group.domain
        return domain.fault_handler
