"""What all MSI domains have in common: the order of steps, undoing them, and handlers."""

from smmu_sim.irq.msi import MSIDescriptor, MSIMessage
from smmu_sim.linux_error import LinuxError

__all__ = ["IRQDomain"]


class IRQDomain:
    """Vectors at one controller. Subclasses say how an interrupt number is taken and given back.

    Parameters
    ----------
    controller
        Has ``take_pending(hwirqs)``.
    iommu
        What maps doorbells, or None.
    doorbell
        Physical address that messages are for.
    """

    def __init__(self, controller, iommu, doorbell):
        self.controller, self.iommu, self.doorbell = controller, iommu, doorbell
        self._handlers, self._active = {}, set()

    def _alloc(self, device, count, take):
        """Make ``count`` descriptors. ``take(desc)`` sets hwirq and returns the message's data."""
        made = []
        try:
            for index in range(count):
                desc = MSIDescriptor(device, index)
                data = take(desc)
                made.append(desc)
                self._compose(desc, data)
        except BaseException:
            self.free(made)
            raise
        return made

    def _compose(self, desc, data):
        """Let the IOMMU core map the doorbell, start the interrupt, and compose its message."""
        address = self.doorbell
        if self.iommu is not None:
            self.iommu.prepare_msi(desc, self.doorbell)
        self._activate(desc)
        self._active.add(desc)
        if self.iommu is not None:
            address = self.iommu.compose_msi(desc, self.doorbell)
        desc.message = MSIMessage(address, data)

    def _activate(self, desc):
        """Make the controller deliver ``desc``."""

    def _release(self, desc, active):
        raise NotImplementedError

    def free(self, descs):
        """Give vectors back. Their handlers are gone, a pending interrupt is dropped."""
        for desc in reversed(list(descs)):
            self._handlers.pop(desc.hwirq, None)
            self.controller.take_pending({desc.hwirq})
            self._release(desc, desc in self._active)
            self._active.discard(desc)
            desc.message = None

    # Handlers

    def request_irq(self, desc, handler):
        """Let ``handler(desc)`` have the interrupts of a vector, at :meth:`service`.

        Errors: EINVAL if the vector is not allocated here, EBUSY if it has a handler.
        """
        if desc not in self._active:
            raise LinuxError("EINVAL", f"{desc} is not allocated in this domain")
        if desc.hwirq in self._handlers:
            raise LinuxError("EBUSY", f"{desc} has a handler")
        self._handlers[desc.hwirq] = desc, handler

    def free_irq(self, desc):
        """Take the handler of a vector away; nothing if it has none."""
        self._handlers.pop(desc.hwirq, None)

    def service(self):
        """Acknowledge the pending interrupts that have handlers, and call these; return how many.

        Nothing runs by itself: this is what a processor does when it is interrupted.
        """
        taken = self.controller.take_pending(set(self._handlers))
        for hwirq in taken:
            desc, handler = self._handlers.get(hwirq, (None, None))
            if handler is not None:
                handler(desc)
        return len(taken)
