"""The IOMMU core of one kernel: which devices there are, and what translates them."""

from smmu_sim.driver.generations import check_generation
from smmu_sim.iommu import attach, guest_msi, pasid
from smmu_sim.iommu.cookies import MSICookie
from smmu_sim.iommu.direct import map_direct_regions, require_direct, unmap_direct_regions
from smmu_sim.iommu.dma_api import DMAOps
from smmu_sim.iommu.dma_cookie import DMACookie
from smmu_sim.iommu.domain import Domain, DomainType
from smmu_sim.iommu.faults import FaultRegistry
from smmu_sim.iommu.group import Group
from smmu_sim.iommu.hardware_domain import hardware_domain
from smmu_sim.iommu.msi import MSIMapper
from smmu_sim.iommu.reserved import merge_regions, regions_text
from smmu_sim.linux_error import LinuxError

__all__ = ["IOMMU"]


class IOMMU:
    """The IOMMU core. Its calls have the names and the rules of Linux 7.0.

    Parameters
    ----------
    msi
        How doorbells get into messages: one of :data:`smmu_sim.iommu.msi.MODES`.
    default_type
        :class:`DomainType` of default domains: DMA, DMA_FQ or IDENTITY.
    page_size
        The kernel's page, bytes.

    Attributes
    ----------
    devices, groups
        In the order in which they came.
    warnings
        What the kernel would log as a warning, as text.
    pasids
        :class:`PASIDAllocator`.
    faults
        :class:`FaultRegistry`.
    """

    def __init__(self, *, msi="6.15", default_type=DomainType.DMA, page_size=4096):
        self.default_type, self.page_size = DomainType(default_type), page_size
        self.devices, self.groups, self.warnings = [], [], []
        self.pasids = pasid.PASIDAllocator()
        self.faults = FaultRegistry(self)
        self._msi = MSIMapper(msi)
        self._numbers = 0

    # --- devices and groups ----------------------------------------------------------------------

    def add_device(self, device, group=None):
        """Make a device known, alone in a new group or in ``group``; return its group.

        The group gets its default domain with its first device. EBUSY: the device is known.
        EINVAL: the group's domain is another SMMU's. What the driver refuses is passed on; then
        nothing has changed. Linux 7.0: iommu_probe_device.
        """
        if device.group is not None:
            raise LinuxError("EBUSY", f"{device.name} is in group {device.group.number}")
        group = Group(self._numbers) if group is None else group
        device.driver.add_master(device.master)
        group.devices.append(device)
        device.group, device.require_direct = group, require_direct(device)
        try:
            if group.default_domain is None:
                self._set_up_default(group)
            else:
                self._join(group, device)
        except LinuxError:
            group.devices.remove(device)
            device.group = None
            device.driver.remove_master(device.master)
            raise
        if group not in self.groups:
            self._numbers = max(self._numbers, group.number + 1)
            self.groups.append(group)
        self.devices.append(device)
        self.faults.watch(device.driver)
        return group

    @staticmethod
    def _join(group, device):
        """Attach one more device to what its group is attached to."""
        default = group.default_domain
        mapped = map_direct_regions(default, device)
        try:
            attach.set_device_domain(device, group.domain)
        except LinuxError:
            unmap_direct_regions(default, mapped)
            raise
        if default.type.is_dma:
            default.cookie.reserve(device)

    def remove_device(self, device):
        """Forget a device: it is blocked, and with the last one of a group its domains go.

        EBUSY: the group has an owner, or PASIDs are attached. EINVAL: the device is not known.
        Linux 7.0: iommu_release_device.
        """
        group = device.group
        if device not in self.devices:
            raise LinuxError("EINVAL", f"{device.name} is not known")
        if group.owner is not None or group.pasids or device.aux is not None:
            raise LinuxError("EBUSY", f"group {group.number} is in use")
        self.faults.forget(device)
        device.driver.remove_master(device.master)
        group.devices.remove(device)
        self.devices.remove(device)
        device.group = None
        if not group.devices:
            self.groups.remove(group)
            group.domain.groups.remove(group)
            default = group.default_domain
            group.domain = group.default_domain = group.blocking_domain = None
            self.free_domain(default)

    def _set_up_default(self, group, type=None):
        """Give a group a default domain of a type, in place of the one it has."""
        device, old = group.first, group.default_domain
        domain = self.alloc_domain(device, type or self.default_type)
        try:
            for member in group.devices:
                map_direct_regions(domain, member)
                if domain.type.is_dma:
                    domain.cookie.reserve(member)
            blocking = group.blocking_domain or self.alloc_domain(device, DomainType.BLOCKED)
            attach.set_group_domain(group, domain)
        except LinuxError:
            self.free_domain(domain)
            raise
        group.default_domain, group.blocking_domain = domain, blocking
        if old is not None:
            self.free_domain(old)

    def set_default_type(self, group, type):
        """Change what a group's default domain is: sysfs ``type``.

        EINVAL: not DMA, DMA_FQ or IDENTITY. EPERM: the group is in use, unless it goes from DMA
        to DMA_FQ, which kernel drivers need not notice. Linux 7.0: iommu_group_store_type.
        """
        type = DomainType(type)
        if not (type.is_dma or type is DomainType.IDENTITY):
            raise LinuxError("EINVAL", f"{type.value} is no type of a default domain")
        default = group.default_domain
        if default.type is type:
            return
        if (default.type, type) == (DomainType.DMA, DomainType.DMA_FQ) and group.owner is None:
            default.type = type
            default.cookie.use_flush_queue(default)
            return
        if group.owner_count or group.pasids or group.domain is not default:
            raise LinuxError("EPERM", f"group {group.number} is in use")
        self._set_up_default(group, type)

    # --- domains ---------------------------------------------------------------------------------

    def alloc_domain(self, device, type, *, owner=None, stage=None, nest_parent=False,
                     nesting=False, generation="V15", parent=None, vste=None, **geometry):
        """Return a new :class:`Domain` for the SMMU of a device.

        Parameters
        ----------
        stage
            UNMANAGED, DMA: 1 or 2; by default 1 if the SMMU has it.
        nest_parent
            UNMANAGED: stage 2, under NESTED domains.
        nesting, generation
            UNMANAGED: stage 2 under a guest's stage 1, as G1 and G2 have it.
        parent, vste
            NESTED: the parent, and the guest's STE as two words.
        geometry
            ``granule`` and ``ia_bits`` of the driver's domain.

        EINVAL: these do not belong together; or ``nesting``, and the SMMU lacks a stage.
        EOPNOTSUPP: it lacks a stage otherwise. EIO: the guest's STE is refused. Else as of the
        driver's domains.
        """
        type = DomainType(type)
        generation = check_generation(generation) if nesting else None
        hw = hardware_domain(device.driver, type, stage=stage, nest_parent=nest_parent,
                             generation=generation, parent=parent, vste=vste, **geometry)
        domain = Domain(type, hw, owner=owner, parent=parent, generation=generation)
        if type.is_dma:
            domain.cookie = DMACookie(domain)
            if type is DomainType.DMA_FQ:
                domain.cookie.use_flush_queue(domain)
        return domain

    def free_domain(self, domain):
        """Free a domain and what its cookie keeps. EBUSY: it is attached."""
        if domain.in_use:
            raise LinuxError("EBUSY", f"the domain of type {domain.type.value} is attached")
        self.put_cookie(domain)
        if domain.type not in (DomainType.BLOCKED, DomainType.IDENTITY):
            domain.hw.free()

    def domain_of(self, device):
        """Return what translates the RID of a device. Linux 7.0: iommu_get_domain_for_dev."""
        return None if device.group is None else device.group.domain

    # --- attach: see the functions ---------------------------------------------------------------

    attach_device = staticmethod(attach.attach_device)
    detach_device = staticmethod(attach.detach_device)
    attach_group = staticmethod(attach.attach_group)
    detach_group = staticmethod(attach.detach_group)
    attach_group_handle = staticmethod(attach.attach_group_handle)
    replace_group_handle = staticmethod(attach.replace_group_handle)
    detach_group_handle = staticmethod(attach.detach_group_handle)
    attach_handle = staticmethod(attach.attach_handle)
    claim_dma_owner = staticmethod(attach.claim_dma_owner)
    release_dma_owner = staticmethod(attach.release_dma_owner)
    claim_device_dma_owner = staticmethod(attach.claim_device_dma_owner)
    release_device_dma_owner = staticmethod(attach.release_device_dma_owner)
    use_default_domain = staticmethod(attach.use_default_domain)
    unuse_default_domain = staticmethod(attach.unuse_default_domain)
    reset_prepare = staticmethod(attach.reset_prepare)
    reset_done = staticmethod(attach.reset_done)
    attach_device_pasid = staticmethod(pasid.attach_device_pasid)
    replace_device_pasid = staticmethod(pasid.replace_device_pasid)
    detach_device_pasid = staticmethod(pasid.detach_device_pasid)

    # --- reserved regions ------------------------------------------------------------------------

    def get_resv_regions(self, device):
        """Return the :class:`ReservedRegion` of a device, the driver's window included."""
        return list(device.resv_regions)

    def get_group_resv_regions(self, group):
        """Return the regions of all devices of a group, sorted and merged by type."""
        return merge_regions(region for device in group.devices for region in device.resv_regions)

    def resv_regions_text(self, group):
        """Return what sysfs shows as ``reserved_regions`` of a group."""
        return regions_text(self.get_group_resv_regions(group))

    # --- MSIs ------------------------------------------------------------------------------------

    def get_msi_cookie(self, domain, base):
        """Let doorbells be mapped into an UNMANAGED domain, from ``base`` on.

        In a nesting domain, where the guest's bindings say: ``base`` is not used then. EINVAL:
        not UNMANAGED. EEXIST: it has a cookie. Linux: iommu_get_msi_cookie.
        """
        if domain.type is not DomainType.UNMANAGED:
            raise LinuxError("EINVAL", f"the domain is of type {domain.type.value}")
        if domain.cookie is not None:
            raise LinuxError("EEXIST", "the domain has a cookie")
        if guest_msi.nests(domain):
            domain.cookie = guest_msi.NestedMSICookie(domain.generation, self.page_size,
                                                      self.warnings.append)
        else:
            domain.cookie = MSICookie(base, self.page_size)

    def put_cookie(self, domain):
        """Take the cookie of a domain away, whatever its kind."""
        if domain.cookie is not None:
            domain.cookie.put(domain)
            domain.cookie = None

    def prepare_msi(self, desc, doorbell):
        """See :meth:`MSIMapper.prepare`."""
        self._msi.prepare(desc, doorbell)

    def compose_msi(self, desc, doorbell):
        """See :meth:`MSIMapper.compose`."""
        return self._msi.compose(desc, doorbell)

    bind_guest_msi = staticmethod(guest_msi.bind_guest_msi)
    unbind_guest_msi = staticmethod(guest_msi.unbind_guest_msi)

    # --- the DMA API -----------------------------------------------------------------------------

    def dma(self, device):
        """Return the :class:`DMAOps` of a device. ENODEV: it has no group."""
        attach.group_of(device)
        return DMAOps(device)
