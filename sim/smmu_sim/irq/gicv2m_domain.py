"""MSI vectors that are SPIs, as the kernel allocates them."""

from smmu_sim.irq.irq_domain import IRQDomain
from smmu_sim.linux_error import LinuxError

__all__ = ["GICv2mDomain", "MBIDomain"]


class GICv2mDomain(IRQDomain):
    """Allocate vectors of devices at one GICv2m frame (Linux 7.0: ``gicv2m_irq_domain_alloc``).

    Parameters
    ----------
    frame
        The :class:`GICv2m`.
    iommu
        As for :class:`ITSDomain`.
    """

    def __init__(self, frame, iommu=None):
        super().__init__(frame, iommu, frame.setspi)
        self.frame, self._used = frame, set()

    def alloc(self, device, device_id, count):
        """Allocate ``count`` SPIs and return their :class:`MSIDescriptor`, messages composed.

        ``device_id`` plays no role: SPIs belong to nobody. Errors: EINVAL for no vector, ENOSPC if
        there is no SPI left, and what ``prepare_msi`` raises. After an error nothing is allocated.
        """
        if count < 1:
            raise LinuxError("EINVAL", f"{count} vectors")
        return self._alloc(device, count, self._take)

    def _take(self, desc):
        spis = range(self.frame.spi_base, self.frame.spi_base + self.frame.spi_count)
        desc.hwirq = next((spi for spi in spis if spi not in self._used), None)
        if desc.hwirq is None:
            raise LinuxError("ENOSPC", f"all {self.frame.spi_count} SPIs are taken")
        self._used.add(desc.hwirq)
        return desc.hwirq

    def _release(self, desc, active):
        self._used.discard(desc.hwirq)


class MBIDomain(GICv2mDomain):
    """The same at a distributor's message registers (Linux 7.0: ``mbi_irq_domain_alloc``)."""
