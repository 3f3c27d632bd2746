"""Groups: the devices that cannot be told apart, or protected from each other."""

from dataclasses import dataclass

__all__ = ["Attachment", "Group"]


@dataclass
class Attachment:
    """What is attached for one PASID of a group, and the handle that its owner gave."""

    domain: object
    handle: object = None


class Group:
    """Devices that always share one domain.

    Attributes
    ----------
    devices
        In the order in which they were added.
    default_domain
        What the DMA API uses; ``None`` until the first device is added.
    blocking_domain
        What an owner without a domain has.
    domain
        What all devices' RIDs are attached to now.
    pasids
        ``{pasid: Attachment}``. PASID 0 stands for the RID if it was attached with a handle.
    owner, owner_count
        Who claimed DMA, and how often. A count without an owner: kernel drivers use the default
        domain.
    resetting
        A reset of its device is under way: nothing may be attached.
    """

    def __init__(self, number, name=None):
        self.number, self.name = number, name
        self.devices = []
        self.default_domain = self.blocking_domain = self.domain = None
        self.pasids = {}
        self.owner, self.owner_count = None, 0
        self.resetting = False

    @property
    def first(self):
        """Its first device."""
        return self.devices[0]

    def __repr__(self):
        return f"Group({self.number}, {self.devices})"
