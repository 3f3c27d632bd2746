"""The ioctls of a container through which a guest owns stage 1: tables, TLB, doorbells."""

from smmu_sim.driver import PasidTableConfig, TableConfig
from smmu_sim.iommu import GuestMSIBinding
from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio import uapi
from smmu_sim.vfio.layouts import copy_from_user

__all__ = ["Nesting"]

_HEADER = 8                # argsz and flags of each of these ioctls
_SET, _UNSET = 1, 2        # VFIO_PASID_TABLE_FLAG_*
_BIND, _UNBIND = 1, 2      # VFIO_IOMMU_MSI_*


class Nesting:
    """What a container does for guests; the ioctls are those of its generation."""

    def __init__(self, container):
        self.container, self.generation = container, container.generation

    def ioctls(self):
        """Return ``{number: call}``."""
        calls = {"SET_PASID_TABLE": self.set_pasid_table,
                 "ATTACH_PASID_TABLE": self.attach_pasid_table,
                 "DETACH_PASID_TABLE": self.detach_pasid_table,
                 "CACHE_INVALIDATE": self.cache_invalidate,
                 "BIND_MSI": self.bind_msi, "UNBIND_MSI": self.unbind_msi,
                 "SET_MSI_BINDING": self.set_msi_binding}
        return {number: calls[name] for name, number in self.generation.numbers.items()}

    def _domains(self):
        return self.container.attachments.domains

    def _header(self, argument, minsz):
        """Copy the fixed part; return (its bytes, argsz, flags). EFAULT; EINVAL: argsz below it."""
        data = copy_from_user(argument, 0, minsz)
        argsz, flags = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
        if argsz < minsz:
            raise LinuxError("EINVAL", f"argsz {argsz}; at least {minsz}")
        return data, argsz, flags

    @staticmethod
    def _no_flags(flags):
        if flags:
            raise LinuxError("EINVAL", f"flags {flags:#x}: none is known")

    # --- the guest's table -----------------------------------------------------------------------

    def _minsz(self, layout):
        """What is copied at first: without the part that tells its own size."""
        return _HEADER if self.generation.argsz else _HEADER + layout.size

    def set_pasid_table(self, argument):
        """VFIO_IOMMU_SET_PASID_TABLE of RFC v3 (only set), and of v9 and later.

        EFAULT: short. EINVAL: argsz; flags neither SET nor UNSET (RFC v3: any flag). Then the
        checks of the IOMMU structure and of the driver. If a domain refuses, the earlier ones are
        detached again, and the guest's stage 1 is off there.
        """
        _, _, flags = self._header(argument, self._minsz(self.generation.pasid_table))
        if self.generation.core == "G1":
            self._no_flags(flags)
        elif flags not in (_SET, _UNSET):
            raise LinuxError("EINVAL", f"flags {flags:#x}: SET or UNSET alone")
        if flags == _UNSET:
            self._detach()
        else:
            self._attach(argument)

    def attach_pasid_table(self, argument):
        """VFIO_IOMMU_ATTACH_PASID_TABLE of v4 to V8; errors as of :meth:`set_pasid_table`."""
        _, _, flags = self._header(argument, self._minsz(self.generation.pasid_table))
        self._no_flags(flags)
        self._attach(argument)

    def detach_pasid_table(self, _argument):
        """VFIO_IOMMU_DETACH_PASID_TABLE of v4 to V8: no argument, no error."""
        self._detach()

    def _attach(self, argument):
        fields = uapi.read_pasid_table(self.generation, argument, _HEADER)
        self._need_nesting()
        config = PasidTableConfig(
            base_ptr=fields["base_ptr"], pasid_bits=fields["pasid_bits"],
            config=self._config(fields), s1fmt=fields["s1fmt"], s1dss=fields["s1dss"],
            version=fields["version"], format=fields["format"],
            smmuv3_version=fields.get("smmuv3_version", 1))
        done = []
        try:
            for domain in self._domains():
                before = domain.hw.config, domain.hw.abort
                domain.hw.attach_pasid_table(config)
                done.append((domain.hw, before))
        except LinuxError:
            for hw, before in reversed(done):
                self._undo(hw, before)
            raise

    def _undo(self, hw, before):
        """Take one domain's new table away."""
        if self.generation.core == "G1":
            # RFC v3 has no detach: what was there before comes back.
            old, abort = before
            hw.attach_pasid_table(old or PasidTableConfig(
                config=TableConfig.ABORT if abort else TableConfig.BYPASS))
        else:
            hw.detach_pasid_table()

    def _config(self, fields):
        if "config" in fields:
            return fields["config"]
        if fields["abort"]:
            return TableConfig.ABORT
        return TableConfig.BYPASS if fields["bypass"] else TableConfig.TRANSLATE

    def _detach(self):
        if self.container.nesting:
            for domain in self._domains():
                domain.hw.detach_pasid_table()

    def _need_nesting(self):
        if not self.container.nesting:
            raise LinuxError("EINVAL", "the container is not for nesting")

    # --- the guest's TLB -------------------------------------------------------------------------

    def cache_invalidate(self, argument):
        """VFIO_IOMMU_CACHE_INVALIDATE.

        EFAULT: short. EINVAL: argsz, any flag. Then, for each device of each group: the checks of
        the IOMMU structure and of the driver. A domain is left at its first error, the next one
        is done nevertheless, and the last one's result counts.
        """
        _, _, flags = self._header(argument, self._minsz(self.generation.invalidate))
        self._no_flags(flags)
        result = None
        for attached in self.container.attachments:
            try:
                for group in attached.groups:
                    for _device in group.devices:
                        self._invalidate(attached.domain, argument)
                result = None
            except LinuxError as error:
                result = error
        if result is not None:
            raise result

    def _invalidate(self, domain, argument):
        info = uapi.read_invalidation(self.generation, argument, _HEADER)
        self._need_nesting()
        domain.driver.cache_invalidate(domain.hw, info, self.generation.core)

    # --- the guest's doorbells -------------------------------------------------------------------

    def bind_msi(self, argument):
        """VFIO_IOMMU_BIND_MSI up to V8. EFAULT; EINVAL: argsz, any flag. Then as of the core."""
        layout = self.generation.binding
        data, _, flags = self._header(argument, layout.size)
        self._no_flags(flags)
        self._bind(layout.unpack(data))

    def unbind_msi(self, argument):
        """VFIO_IOMMU_UNBIND_MSI of v4 to V8: 16 bytes. What is not bound does not matter."""
        data, _, flags = self._header(argument, 16)
        self._no_flags(flags)
        self._unbind(self.generation.binding.unpack(data)["iova"])

    def set_msi_binding(self, argument):
        """VFIO_IOMMU_SET_MSI_BINDING of v9 and later.

        EFAULT: short of 32 bytes. EINVAL: argsz; flags neither BIND nor UNBIND. UNBIND succeeds.
        """
        layout = self.generation.binding
        data, _, flags = self._header(argument, layout.size)
        if flags not in (_BIND, _UNBIND):
            raise LinuxError("EINVAL", f"flags {flags:#x}: BIND or UNBIND alone")
        fields = layout.unpack(data)
        if flags == _UNBIND:
            self._unbind(fields["iova"])
        else:
            self._bind(fields)

    def _targets(self):
        """Yield (domain, device): for each device of each group, or once for each domain."""
        for attached in self.container.attachments:
            devices = [device for group in attached.groups for device in group.devices]
            for device in devices if self.generation.msi_per_device else devices[:1]:
                yield attached.domain, device

    def _bind(self, fields):
        binding = GuestMSIBinding(fields["iova"], fields["gpa"], fields["size"])
        iommu, done = self.container.iommu, []
        try:
            for domain, device in self._targets():
                known = self._entries(domain)
                iommu.bind_guest_msi(domain, device, binding, self.generation.core)
                done.append((domain, known))
        except LinuxError:
            self._unwind(done, fields["iova"])
            raise

    @staticmethod
    def _entries(domain):
        return list(getattr(domain.cookie, "entries", ()))

    def _unwind(self, done, iova):
        """Forget what this call bound; what was bound before stays."""
        for domain, known in reversed(done):
            if self._entries(domain) != known:
                domain.cookie.unbind(domain, iova)

    def _unbind(self, iova):
        for domain in self._domains():
            self.container.iommu.unbind_guest_msi(domain, iova, self.generation.core)
