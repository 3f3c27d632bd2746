"""MSI-X vectors of an assigned device, as a monitor has them: an eventfd for each."""

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio import EventFD, IRQIndex, SetIRQs

__all__ = ["MSIVectors"]

_EVENTFDS = SetIRQs.DATA_EVENTFD | SetIRQs.ACTION_TRIGGER
_NONE = SetIRQs.DATA_NONE | SetIRQs.ACTION_TRIGGER


class MSIVectors:
    """Switches vectors on and off with VFIO_DEVICE_SET_IRQS, and hears of their interrupts.

    Parameters
    ----------
    process
        The monitor's process, which the eventfds belong to.
    count
        Vectors of the device.
    set_irqs
        ``set_irqs(flags, index, start, fds)`` performs the ioctl.
    """

    def __init__(self, process, count, set_irqs):
        self._process, self._count, self._set_irqs = process, count, set_irqs
        self._eventfds = {}  # vector: (descriptor, EventFD)

    def enable(self, index):
        """Let interrupts of a vector come. The first one has the host allocate all vectors.

        What the host says is passed on; the vector is off then.
        """
        if index in self._eventfds:
            return
        eventfd = EventFD()
        fd = self._process.open(eventfd)
        try:
            if self._eventfds:
                self._set_irqs(_EVENTFDS, IRQIndex.MSIX, index, [fd])
            else:
                self._set_irqs(_EVENTFDS, IRQIndex.MSIX, 0,
                               [fd if n == index else -1 for n in range(self._count)])
        except LinuxError:
            self._process.close(fd)
            raise
        self._eventfds[index] = fd, eventfd

    def disable(self, index):
        """Let no more interrupts of a vector come; with the last one all are given back."""
        if index not in self._eventfds:
            return
        if len(self._eventfds) == 1:
            self._set_irqs(_NONE, IRQIndex.MSIX, 0, [])
        else:
            self._set_irqs(_EVENTFDS, IRQIndex.MSIX, index, [-1])
        fd, _ = self._eventfds.pop(index)
        self._process.close(fd)

    def disable_all(self):
        """Switch all vectors off."""
        for index in list(self._eventfds):
            self.disable(index)

    def take(self):
        """Return the vectors that have had interrupts since the last call."""
        signalled = [index for index, (_, eventfd) in self._eventfds.items() if eventfd.readable]
        for index in signalled:
            self._eventfds[index][1].read()
        return signalled
