"""An IOMMU group as one iommufd has it."""

from dataclasses import dataclass, field

from smmu_sim.iommufd.constants import MAX

__all__ = ["AttachHandle", "Attachment", "IGroup"]


@dataclass
class Attachment:
    """What is attached for one PASID of a group, 0 being none."""

    hwpt: object
    devices: list = field(default_factory=list)


class AttachHandle:
    """What the IOMMU core keeps of an attachment: whom its interrupts and page faults belong to."""

    def __init__(self, idev, hwpt):
        self.idev, self.hwpt = idev, hwpt


class IGroup:
    """A group with devices that are bound to one iommufd.

    Attributes
    ----------
    group
        The core's group.
    devices
        The bound ones.
    attachments
        ``{pasid: Attachment}``.
    sw_msi_start
        Where the window for its doorbells begins; 2**64 - 1: none.
    required_sw_msi
        Bit n: its interrupts use doorbell page n.
    """

    def __init__(self, group):
        self.group, self.devices, self.attachments = group, [], {}
        self.sw_msi_start, self.required_sw_msi = MAX, 0
