"""MSI vectors at an ITS, as the kernel allocates them."""

from smmu_sim.irq.irq_domain import IRQDomain
from smmu_sim.irq.its_driver import ITSDriver
from smmu_sim.linux_error import LinuxError

__all__ = ["ITSDomain"]


class ITSDomain(IRQDomain):
    """Allocate vectors of devices at one ITS (Linux 7.0: ``its_irq_domain_alloc``).

    Parameters
    ----------
    its
        An :class:`ITS` that has an :class:`ITSDriver`.
    iommu
        What maps doorbells: ``prepare_msi(desc, addr)`` and ``compose_msi(desc, addr)``. None:
        there is no IOMMU, messages carry the physical address.
    allocator
        Memory for an :class:`ITSDriver`, if the ITS has none yet.
    """

    def __init__(self, its, iommu=None, allocator=None):
        super().__init__(its, iommu, its.translater)
        self.its, self._events = its, {}
        if its.driver is None and allocator is not None:
            ITSDriver(its, allocator)

    @property
    def driver(self):
        if self.its.driver is None:
            raise LinuxError("ENODEV", f"{self.its.name} has no driver")
        return self.its.driver

    def alloc(self, device, device_id, count, *, minimum=1):
        """Allocate ``count`` vectors and return their :class:`MSIDescriptor`, messages composed.

        ``minimum`` is how many events a new DeviceID gets at least; platform devices have 32.
        Errors: EINVAL for no vector, ENOMEM if DeviceID, LPIs or memory do not suffice, ENOSPC if
        the events of the DeviceID are all taken, and what ``prepare_msi`` raises. After an error
        nothing is allocated.
        """
        if count < 1:
            raise LinuxError("EINVAL", f"{count} vectors")
        known = self.driver.devices.get(device_id)
        was_shared = known is not None and known.shared
        owner = self.driver.get_device(device_id, count, minimum)
        try:
            return self._alloc(device, count, lambda desc: self._take(owner, desc))
        except BaseException:
            owner.shared = was_shared
            self.driver.put_device(owner)
            raise

    def _take(self, owner, desc):
        event = self.driver.alloc_event(owner)
        desc.hwirq = owner.lpi_base + event
        self._events[desc] = owner, event
        return event

    def _activate(self, desc):
        self.driver.activate(*self._events[desc])

    def _release(self, desc, active):
        owner, event = self._events.pop(desc)
        if active:
            self.driver.deactivate(owner, event)
        owner.used.discard(event)
        self.driver.put_device(owner)
