"""What the kernel keeps for one MSI vector."""

from typing import NamedTuple

__all__ = ["MSIDescriptor", "MSIMessage"]


class MSIMessage(NamedTuple):
    """What a device writes to raise an interrupt: 32 bits of ``data`` to ``addr``."""

    addr: int
    data: int


class MSIDescriptor:
    """One vector of a device (Linux 7.0: ``struct msi_desc``).

    Attributes
    ----------
    device
        The device of the IOMMU core that sends it.
    index
        Number of the vector in its allocation.
    iommu_msi_iova, iommu_msi_shift
        What the IOMMU core's ``prepare_msi`` leaves here: the IOVA of the doorbell's page, counted
        in pages of ``1 << iommu_msi_shift`` bytes. A shift of 0 says that the doorbell is not
        translated.
    message
        :class:`MSIMessage`, or None before it is composed.
    hwirq
        The interrupt number at the controller: an LPI or an SPI.
    """

    def __init__(self, device, index):
        self.device, self.index = device, index
        self.iommu_msi_iova = self.iommu_msi_shift = 0
        self.message = self.hwirq = None

    def __repr__(self):
        return f"MSIDescriptor(vector {self.index}, hwirq {self.hwirq}, {self.message})"
