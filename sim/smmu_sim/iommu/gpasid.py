"""Guest PASID bind: a guest's page tables for one PASID of the host (Linux 5.5 to 5.17)."""

from smmu_sim.iommu.gpasid_data import GuestPASIDBinding
from smmu_sim.linux_error import LinuxError

__all__ = ["GuestPASIDs"]


class GuestPASIDs:
    """The calls, and which guest PASID is which host PASID.

    Parameters
    ----------
    engine
        What fills in PASID entries: :class:`VTDEngine`, :class:`SMMUv3Engine`, or None for a
        driver that cannot. It has ``check_device(device)``, ``max_pasids(device)``,
        ``set_up(domain, device, binding)`` and ``tear_down(domain, device, hpasid)``.
    """

    def __init__(self, engine=None):
        self.engine = engine
        self._bound = {}  # {(device, hpasid): binding}

    def bind(self, domain, device, data, layout="5.9"):
        """Let host PASID ``hpasid`` of a device use a guest's table over ``domain``.

        ``data`` is a :class:`GuestPASIDBinding`, or the struct's bytes: see
        :meth:`GuestPASIDBinding.from_bytes` for their errors, which come first. Then, in this
        order: ENODEV: no engine. EINVAL: format, argsz or flags. What the engine has against the
        device. EINVAL: ``hpasid`` is 0 or too large, or the device has no domain. EBUSY: the
        device has that PASID bound. What the engine has against the rest; nothing has changed
        then. Linux 5.17: intel_svm_bind_gpasid.
        """
        binding = data if isinstance(data, GuestPASIDBinding) \
            else GuestPASIDBinding.from_bytes(data, layout)
        engine = self._engine()
        binding.check()
        engine.check_device(device)
        self._check_pasid(device, binding.hpasid)
        if device.group is None or device.group.domain is None:
            raise LinuxError("EINVAL", f"{device.name} has no domain")
        if (device, binding.hpasid) in self._bound:
            raise LinuxError("EBUSY", f"PASID {binding.hpasid} of {device.name} is bound")
        engine.set_up(domain, device, binding)
        self._bound[device, binding.hpasid] = binding

    def unbind(self, domain, device, pasid):
        """Undo :meth:`bind`: no access with the PASID succeeds when this returns.

        ENODEV: no engine. EINVAL: the PASID is 0 or too large. Not bound: nothing happens. The
        number is its owner's to free. Linux 5.17: intel_svm_unbind_gpasid.
        """
        engine = self._engine()
        self._check_pasid(device, pasid)
        if self._bound.pop((device, pasid), None) is not None:
            engine.tear_down(domain, device, pasid)

    def unbind_data(self, domain, device, data):
        """As :meth:`unbind`, with the bytes of the struct of 5.9, of which ``hpasid`` counts."""
        self.unbind(domain, device, GuestPASIDBinding.from_bytes(data).hpasid)

    def host_pasid(self, device, gpasid):
        """Return the host PASID to program into a device, for one that its guest wrote.

        A binding without a guest PASID is for guests that use the host's numbers. ENOENT: no
        binding.
        """
        for (bound, hpasid), binding in self._bound.items():
            if bound is device and gpasid == (hpasid if binding.gpasid is None
                                              else binding.gpasid):
                return hpasid
        raise LinuxError("ENOENT", f"guest PASID {gpasid} of {device.name} is not bound")

    def _engine(self):
        if self.engine is None:
            raise LinuxError("ENODEV", "this driver does not bind guest PASIDs")
        return self.engine

    def _check_pasid(self, device, pasid):
        limit = self.engine.max_pasids(device)
        if not 0 < pasid < limit:
            raise LinuxError("EINVAL", f"PASID {pasid} is not one from 1 to {limit - 1}")
