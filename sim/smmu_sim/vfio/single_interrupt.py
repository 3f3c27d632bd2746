"""Interrupts that the kernel itself raises for user space, through an eventfd."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.eventfd import EventFD
from smmu_sim.vfio.numbers import SetIRQs

__all__ = ["SingleInterrupt", "eventfd_of"]


def eventfd_of(process, fd):
    """Return the :class:`EventFD` of a descriptor. EBADF: not open. EINVAL: another file."""
    file = process.file(fd)
    if not isinstance(file, EventFD):
        raise LinuxError("EINVAL", f"file descriptor {fd} is no eventfd")
    return file


class SingleInterrupt:
    """An interrupt of the kernel's own for user space: DMA faults.

    Attributes
    ----------
    eventfd
        What is signalled; None if user space set nothing.
    """

    count = 1

    def __init__(self, process):
        self.process, self.eventfd = process, None

    def signal(self):
        if self.eventfd is not None:
            self.eventfd.signal()

    def set(self, flags, start, count, data):
        """Perform VFIO_DEVICE_SET_IRQS; ``start`` is 0 and ``count`` 0 or 1.

        ENOTTY: no ACTION_TRIGGER. EINVAL: a test signal without an eventfd, or data without an
        item. EBADF, EINVAL: as of :func:`eventfd_of`. Linux 5.12: vfio_pci_set_ctx_trigger_single.
        """
        if not flags & SetIRQs.ACTION_TRIGGER:
            raise LinuxError("ENOTTY", f"flags {flags:#x}: the interrupt can only be triggered")
        if flags & SetIRQs.DATA_EVENTFD and count:
            self.eventfd = None if data[0] < 0 else eventfd_of(self.process, data[0])
        elif flags & SetIRQs.DATA_NONE and self.eventfd is not None:
            if count:
                self.signal()
            else:
                self.eventfd = None
        elif flags & SetIRQs.DATA_BOOL and count:
            if data[0]:
                self.signal()
        else:
            raise LinuxError("EINVAL", f"flags {flags:#x}, count {count}: nothing to do it to")

    def release(self):
        self.eventfd = None
