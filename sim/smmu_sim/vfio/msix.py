"""MSI-X of a passed-through function: vectors of the host, delivered to eventfds."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.numbers import SetIRQs
from smmu_sim.vfio.single_interrupt import eventfd_of

__all__ = ["MSIXInterrupts"]


class MSIXInterrupts:
    """The MSI-X vectors of one function.

    Enabling allocates them in the host's irq domain, which lets the IOMMU core map the doorbell;
    the message goes into the physical table, which user space never reaches.

    Parameters
    ----------
    process
        Whose descriptors the eventfds are.
    device, device_id
        The IOMMU core's device, and its DeviceID at the interrupt controller.
    irq_domain
        ``alloc(device, device_id, count)``, ``free(descriptors)``, ``request_irq(descriptor,
        handler)`` and ``free_irq(descriptor)``.
    function
        Has the physical table: ``vectors``, ``set_message(n, message)``, ``config.set_msix(on)``.

    Attributes
    ----------
    descriptors
        What the host allocated; empty while the interrupts are off.
    """

    def __init__(self, process, device, device_id, irq_domain, function):
        self.process, self.device, self.device_id = process, device, device_id
        self.irq_domain, self.function = irq_domain, function
        self.descriptors, self._eventfds = [], []

    @property
    def count(self):
        """Vectors of the function."""
        return len(self.function.vectors)

    @property
    def enabled(self):
        return bool(self.descriptors)

    def set(self, flags, start, count, data):
        """Perform VFIO_DEVICE_SET_IRQS. Linux 5.12: vfio_pci_set_msi_trigger.

        ENOTTY: no ACTION_TRIGGER. EINVAL: vectors beyond those enabled, or none to enable. EBADF,
        EINVAL: as of :func:`eventfd_of`; then all vectors are as before. What the irq domain says
        is passed on.
        """
        if not flags & SetIRQs.ACTION_TRIGGER:
            raise LinuxError("ENOTTY", f"flags {flags:#x}: MSI-X vectors can only be triggered")
        if not count and flags & SetIRQs.DATA_NONE:
            self.release()
        elif flags & SetIRQs.DATA_EVENTFD:
            self._set_eventfds(start, data)
        else:
            self._check_enabled(start, count)
            for n in range(start, start + count):
                if self._eventfds[n] and (flags & SetIRQs.DATA_NONE or data[n - start]):
                    self._eventfds[n].signal()

    def _check_enabled(self, start, count):
        if start + count > len(self.descriptors):
            raise LinuxError("EINVAL", f"vectors {start} + {count}; {len(self.descriptors)} are "
                                       "enabled")

    def _set_eventfds(self, start, fds):
        if not self.enabled:
            if not fds:
                raise LinuxError("EINVAL", "no vector to enable")
            if self.irq_domain is None:
                raise LinuxError("ENODEV", f"{self.device.name} has no interrupt controller")
            eventfds = self._eventfds_of(fds)
            self.descriptors = self.irq_domain.alloc(self.device, self.device_id,
                                                     start + len(fds))
            self._eventfds = [None] * len(self.descriptors)
        else:
            self._check_enabled(start, len(fds))
            eventfds = self._eventfds_of(fds)
        for n, eventfd in enumerate(eventfds, start):
            self._set_eventfd(n, eventfd)

    def _eventfds_of(self, fds):
        return [None if fd < 0 else eventfd_of(self.process, fd) for fd in fds]

    def _set_eventfd(self, n, eventfd):
        descriptor = self.descriptors[n]
        if self._eventfds[n] is not None:
            self.irq_domain.free_irq(descriptor)
        self._eventfds[n] = eventfd
        if eventfd is None:
            self.function.vectors[n].masked = True
            return
        self.irq_domain.request_irq(descriptor, lambda _: eventfd.signal())
        self.function.set_message(n, descriptor.message)

    def restore(self):
        """Program the table again after a reset of the function."""
        for n, eventfd in enumerate(self._eventfds):
            if eventfd is not None:
                self.function.set_message(n, self.descriptors[n].message)

    def release(self):
        """Turn the interrupts off and give the vectors back."""
        if not self.enabled:
            return
        for n in range(len(self.descriptors)):
            self._set_eventfd(n, None)
        self.function.config.set_msix(False)
        self.irq_domain.free(self.descriptors)
        self.descriptors, self._eventfds = [], []
