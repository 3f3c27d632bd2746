"""VIOMMU and VDEVICE: a guest's SMMU, and its devices by their virtual StreamIDs (5.6)."""

from smmu_sim.driver import NestedDomain
from smmu_sim.iommufd.constants import VEventQType, VIOMMUType
from smmu_sim.iommufd.device import IOMMUFDDevice
from smmu_sim.iommufd.hwpt import HWPTPaging
from smmu_sim.iommufd.objects import IOMMUFDObject
from smmu_sim.linux_error import LinuxError

__all__ = ["VDevice", "VIOMMU", "alloc_vdevice", "alloc_viommu"]

_SID = (1 << 32) - 1


class VIOMMU(IOMMUFDObject):
    """A slice of an SMMU for one guest: the VMID and stage 2 of a nest parent.

    Attributes
    ----------
    parent
        The nest parent, a :class:`HWPTPaging`.
    vdevices
        ``{virtual id: VDevice}``.
    veventqs
        ``{type: VEventQ}``.
    """

    def __init__(self, iommufd, parent):
        super().__init__()
        self.iommufd, self.parent = iommufd, parent
        self.vdevices, self.veventqs = {}, {}
        parent.users += 1

    @property
    def driver(self):
        """The driver of its SMMU."""
        return self.parent.domain.driver

    def sid_of(self, vsid):
        """Return the first StreamID of a guest's device. Raises KeyError: there is none."""
        for virt_id, vdevice in self.vdevices.items():
            if virt_id & _SID == vsid:
                return vdevice.idev.device.master.sids[0]
        raise KeyError(vsid)

    def vsid_of(self, master):
        """Return the virtual StreamID of a master, or None if it has none here."""
        for virt_id, vdevice in self.vdevices.items():
            if vdevice.idev.device.master is master:
                return virt_id & _SID
        return None

    def nested_domain(self, vste):
        """Return the driver's domain for a guest's STE. EIO: a guest must not have it."""
        return NestedDomain(self.parent.domain.hw, vste, vsid_of=self.vsid_of,
                            report=self.report)

    def report(self, event, vsid):
        """Give an event of a guest's device to its queue; return whether somebody has it."""
        queue = self.veventqs.get(VEventQType.ARM_SMMUV3)
        if queue is None:
            return False
        queue.put_event(event, vsid)
        return True

    def destroy(self):
        self.parent.users -= 1


class VDevice(IOMMUFDObject):
    """A device of a guest, with its virtual id."""

    def __init__(self, viommu, idev, virt_id):
        super().__init__()
        self.viommu, self.idev, self.virt_id = viommu, idev, virt_id
        viommu.vdevices[virt_id] = idev.vdevice = self
        viommu.users += 1

    def destroy(self):
        del self.viommu.vdevices[self.virt_id]
        self.idev.vdevice = None
        self.viommu.users -= 1


def alloc_viommu(iommufd, command):
    """IOMMU_VIOMMU_ALLOC.

    EOPNOTSUPP: flags, or a type that the SMMU cannot be: for an SMMUv3, both stages are needed,
    and a guest that cannot make accesses incoherent, by CANWBS or IDR3.FWB. ENOENT: no such
    device, or no such paging HWPT. EINVAL: that is no nest parent, or another SMMU's.
    """
    args = command.args
    if args.flags or args.type == VIOMMUType.DEFAULT:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}, type is {args.type}")
    idev = iommufd.objects.get(args.dev_id, IOMMUFDDevice)
    features = idev.device.driver.features
    if args.type != VIOMMUType.ARM_SMMUV3 or not features.nested or not (
            idev.device.master.canwbs or features.FWB):
        raise LinuxError("EOPNOTSUPP", f"the SMMU cannot be a VIOMMU of type {args.type} for "
                                       f"{idev.device.name}")
    parent = iommufd.objects.get(args.hwpt_id, HWPTPaging)
    if not parent.nest_parent:
        raise LinuxError("EINVAL", f"HWPT {args.hwpt_id} is no nest parent")
    if parent.domain.driver is not idev.device.driver:
        raise LinuxError("EINVAL", f"HWPT {args.hwpt_id} belongs to another SMMU")
    iommufd.allocations.request("a VIOMMU")
    with iommufd.objects.creating(lambda: VIOMMU(iommufd, parent)) as viommu:
        command.respond(out_viommu_id=viommu.id)


def alloc_vdevice(iommufd, command):
    """IOMMU_VDEVICE_ALLOC.

    ENOENT: no such VIOMMU or device. EINVAL: the device is behind another SMMU. EEXIST: it has a
    VDEVICE, or the VIOMMU has one with this id.
    """
    args = command.args
    viommu = iommufd.objects.get(args.viommu_id, VIOMMU)
    idev = iommufd.objects.get(args.dev_id, IOMMUFDDevice)
    if idev.device.driver is not viommu.driver:
        raise LinuxError("EINVAL", f"{idev.device.name} is behind another SMMU")
    if idev.vdevice is not None:
        raise LinuxError("EEXIST", f"{idev.device.name} is VDEVICE {idev.vdevice.id}")
    if args.virt_id in viommu.vdevices:
        raise LinuxError("EEXIST", f"virtual id {args.virt_id:#x} is in use")
    iommufd.allocations.request("a VDEVICE")
    with iommufd.objects.creating(lambda: VDevice(viommu, idev, args.virt_id)) as vdevice:
        command.respond(out_vdevice_id=vdevice.id)
