"""The part of the driver that the IOMMU core calls: devices, domains, faults."""

from smmu_sim.driver import raw_invalidation
from smmu_sim.driver.cache_invalidation import cache_invalidate

__all__ = ["DomainInterface"]

_ID_REGISTERS = ("IDR0", "IDR1", "IDR2", "IDR3", "IDR4", "IDR5", "IIDR", "AIDR")


class DomainInterface:
    """Methods of :class:`SMMUv3Driver` that concern devices and domains.

    Attributes
    ----------
    identity, blocked
        The two domains without tables.
    masters
        All devices; iterable.
    refused
        The last 1024 commands of guests that the SMMU found illegal, as :exc:`CommandError`.
    """

    # --- devices ---------------------------------------------------------------------------------

    def add_master(self, master):
        """Take in a :class:`Master`; its transactions abort.

        (With a StreamID of ``rmr_sids`` they go on bypassing until it is attached.) Raises
        :exc:`LinuxError`: ENODEV for a StreamID of another master, ERANGE for one outside of the
        stream table, EINVAL for none or for a master added before, ENOMEM.
        """
        self.attachments.add(master)

    def remove_master(self, master):
        """Detach a device from everything and forget it. Raises ENODEV for an unknown one."""
        self.attachments.remove(master)

    def find_master(self, sid):
        """Return the master of a StreamID, or None."""
        return self.masters.find(sid)

    # --- attaching -------------------------------------------------------------------------------

    def attach(self, master, domain):
        """Attach what a device sends without a SubstreamID; the domain before is replaced.

        If it fails, the old domain goes on translating. Raises :exc:`LinuxError`:

        ENODEV    the device is unknown
        EINVAL    the domain is another SMMU's; it enforces coherency and the device can't; the
                  MSI rules of nesting domains
        EBUSY     stage 2 or nested, while PASIDs are in use
        ENOENT    nested, translating, without a virtual StreamID
        EOPNOTSUPP  page faults for a stalling device with several StreamIDs
        ENOMEM    no memory for CDs

        Linux 7.0: ``arm_smmu_attach_dev``, ``arm_smmu_attach_dev_nested``,
        ``arm_smmu_attach_dev_ste``.
        """
        self.attachments.attach(master, domain)

    def attach_pasid(self, master, ssid, domain):
        """Attach what a device sends with a SubstreamID; a domain before is replaced.

        The RID may be on stage 1, identity or blocked; for the latter two the STE gets a CD table
        with STE.S1DSS. Attaching ``blocked`` detaches. Raises :exc:`LinuxError` as :meth:`attach`
        does, and EINVAL for SubstreamID 0 or one that is too large, a domain that is not stage 1,
        and a RID on stage 2 or nested. Linux 7.0: ``arm_smmu_set_pasid``.
        """
        self.attachments.attach_pasid(master, ssid, domain)

    def detach_pasid(self, master, ssid):
        """Let a SubstreamID abort; nothing happens if it is not attached.

        When the last one goes, an identity or blocked RID gets its plain STE back.
        """
        self.attachments.detach_pasid(master, ssid)

    # --- invalidations of guests -----------------------------------------------------------------

    def cache_invalidate(self, domain, info, generation=None):
        """See :func:`smmu_sim.driver.cache_invalidation.cache_invalidate`."""
        cache_invalidate(domain, info, generation)

    def viommu_invalidate(self, parent, commands, sid_of, mode="upstream"):
        """See :func:`smmu_sim.driver.raw_invalidation.viommu_invalidate`."""
        return raw_invalidation.viommu_invalidate(self, parent, commands, sid_of, mode)

    # --- faults ----------------------------------------------------------------------------------

    def on_event(self, sid, handler):
        """Let ``handler(event)`` have the events of a StreamID; None takes it away."""
        self.events.on_event(sid, handler)

    def on_fault(self, handler):
        """See :meth:`EventRouter.on_fault`."""
        self.events.on_fault(handler)

    def on_stall(self, handler):
        """See :meth:`EventRouter.on_stall`."""
        self.events.on_stall(handler)

    def page_response(self, master, grpid, code):
        """Answer a :class:`PageRequest`: 0 or SUCCESS, 1 or INVALID, 2 or FAILURE (CMD_RESUME).

        Raises :exc:`LinuxError` EINVAL for an unknown code, or if the request is not pending.
        """
        self.events.respond(master, grpid, code)

    @property
    def event_log(self):
        """Events that nobody took: what the host prints."""
        return self.events.log

    # --- what others want to know ----------------------------------------------------------------

    def log_commands(self):
        """Return a context that yields a list of the raw commands published inside of it."""
        return self.command_queue.log.listen()

    def take_commands(self):
        """Return the raw commands published since the last call, CMD_SYNCs included."""
        return self.command_queue.log.take()

    def id_registers(self):
        """Return ``{name: value}`` of IDR0 to IDR5, IIDR and AIDR."""
        return {name: self.registers.read(name) for name in _ID_REGISTERS}
