"""Which domains a container has, and which groups are attached to each."""

from dataclasses import dataclass, field

from smmu_sim.iommu import DomainType, ResvType
from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.iova_ranges import valid_ranges
from smmu_sim.vfio.numbers import PAGE

__all__ = ["AttachedDomain", "Attachments"]


@dataclass
class AttachedDomain:
    """One domain of a container with its groups."""

    domain: object
    groups: list = field(default_factory=list)


class Attachments:
    """The domains of one container. Groups share a domain where the driver lets them.

    Iterating yields :class:`AttachedDomain` in the order in which they came.
    """

    def __init__(self, container):
        self.container = container
        self._list = []

    def __iter__(self):
        return iter(self._list)

    @property
    def domains(self):
        """The IOMMU domains."""
        return [attached.domain for attached in self._list]

    def find(self, group):
        """Return the :class:`AttachedDomain` of a group, or None."""
        return next((a for a in self._list if group in a.groups), None)

    def page_sizes(self):
        """Return the page sizes that all domains have, ascending."""
        common = set.intersection(*(set(domain.page_sizes) for domain in self.domains))
        return sorted(common)

    def page_size(self):
        """Return the smallest page that can be mapped."""
        return min(self.page_sizes(), default=PAGE)

    def ranges(self):
        """Return the ``[(first, last)]`` that no aperture and no reserved region forbids."""
        return valid_ranges((domain.aperture for domain in self.domains), self._reserved(
            group for attached in self._list for group in attached.groups))

    def _reserved(self, groups):
        return [region for group in groups for device in group.devices
                for region in self.container.iommu.get_resv_regions(device)
                if region.type != ResvType.DIRECT_RELAXABLE]

    # --- attach ----------------------------------------------------------------------------------

    def attach(self, group):
        """Attach a group. Linux 5.12: vfio_iommu_type1_attach_group; checks in this order.

        EINVAL: it is attached. What the driver says to a new domain and to its attach. EINVAL:
        mappings lie outside of its aperture, or in a reserved region of a device. EPERM: its
        interrupts are not isolated. What an earlier mapping meets in the new domain, and what the
        MSI cookie says. After an error the group is as before.
        """
        if self.find(group):
            raise LinuxError("EINVAL", f"{group} is attached")
        iommu = self.container.iommu
        domain = self._new_domain(group)
        try:
            iommu.attach_group(domain, group)
        except LinuxError:
            iommu.free_domain(domain)
            raise
        try:
            self._check(group, domain)
            shared = self._share(group, domain)
            if shared is None:
                self._complete(group, domain)
        except LinuxError:
            if group.domain is domain:
                iommu.detach_group(domain, group)
            iommu.free_domain(domain)
            raise
        if shared is not None:
            iommu.free_domain(domain)
            shared.groups.append(group)

    def _new_domain(self, group):
        flags = {}
        if self.container.nesting:
            flags = {"nesting": True, "generation": self.container.generation.core}
        return self.container.iommu.alloc_domain(group.devices[0], DomainType.UNMANAGED, **flags)

    def _check(self, group, domain):
        first, last = domain.aperture
        reserved = self._reserved([group])
        for mapping in self.container.mappings:
            if mapping.iova < first or mapping.iova + mapping.size - 1 > last:
                raise LinuxError("EINVAL", f"the mapping at {mapping.iova:#x} is outside of the "
                                           f"aperture {first:#x}..{last:#x}")
        for region in reserved:
            if self.container.mappings.overlapping(region.start, region.length):
                raise LinuxError("EINVAL", f"a mapping lies in the reserved region "
                                           f"{region.start:#x} + {region.length:#x}")
        if not self.container.allow_unsafe_interrupts and not all(
                device.isolated_msi for device in group.devices):
            raise LinuxError("EPERM", f"the interrupts of {group} are not isolated")

    def _share(self, group, domain):
        """Move the group to a domain that is there already, if one takes it, and return that."""
        iommu = self.container.iommu
        for attached in self._list:
            if attached.domain.driver is not domain.driver:
                continue
            iommu.detach_group(domain, group)
            try:
                iommu.attach_group(attached.domain, group)
                return attached
            except LinuxError:
                iommu.attach_group(domain, group)
        return None

    def _complete(self, group, domain):
        """Fill a new domain and take its MSI cookie."""
        self.container.mappings.replay(domain)
        window = next((region for device in group.devices
                       for region in self.container.iommu.get_resv_regions(device)
                       if region.type == ResvType.SW_MSI), None)
        try:
            if window is not None:
                self.container.iommu.get_msi_cookie(domain, window.start)
        except LinuxError:
            self.container.mappings.remove_from(domain)
            raise
        self._list.append(AttachedDomain(domain, [group]))

    def detach(self, group):
        """Detach a group; a domain without groups goes, with its mappings and doorbells."""
        attached = self.find(group)
        attached.groups.remove(group)
        iommu, domain = self.container.iommu, attached.domain
        iommu.detach_group(domain, group)
        if not attached.groups:
            self._list.remove(attached)
            self.container.mappings.remove_from(domain)
            iommu.free_domain(domain)
