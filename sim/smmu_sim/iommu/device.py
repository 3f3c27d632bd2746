"""A device as the IOMMU core knows it."""

from smmu_sim.iommu.reserved import ResvType, device_regions

__all__ = ["Device"]


class Device:
    """One device behind one SMMU.

    Parameters
    ----------
    name
        For messages.
    master
        The driver's view of it: ``smmu_sim.driver.Master``.
    driver
        The driver of its SMMU, in service.
    resv_regions
        :class:`ReservedRegion` that firmware or its bus declare; the driver's SW_MSI window is
        added unless there is an MSI region of either kind.
    max_pasids
        How many PASIDs it can send: they are below this number. 0: none.
    msi_domain
        What delivers its interrupts, an ITS for example; devices are compared by it.
    isolated_msi
        Whether the interrupt controller tells devices apart.
    is_vf
        A PCI virtual function.
    pri
        Its page faults come as PCI page requests.
    cache_coherent
        Its accesses snoop processor caches.
    rid
        PCI requester ID; ``None`` if it is no PCI device.
    dma_mask
        The largest address it can send. It may change later.

    Attributes
    ----------
    group
        Its :class:`Group`, ``None`` until it is added to an IOMMU core.
    """

    def __init__(self, name, master, driver, *, resv_regions=(), max_pasids=0, msi_domain=None,
                 isolated_msi=True, is_vf=False, pri=False, cache_coherent=True, rid=None,
                 dma_mask=(1 << 64) - 1):
        self.name, self.master, self.driver = name, master, driver
        self.resv_regions = device_regions(resv_regions)
        self.max_pasids = max_pasids
        self.msi_domain, self.isolated_msi = msi_domain, isolated_msi
        master.msi_domain = msi_domain
        master.hw_msi = any(region.type is ResvType.MSI for region in self.resv_regions)
        self.is_vf, self.pri, self.cache_coherent = is_vf, pri, cache_coherent
        self.rid, self.dma_mask = rid, dma_mask
        self.group = None
        self.require_direct = False  # one of its regions must stay mapped one to one
        self.aux = None  # its aux domains, once the feature is enabled

    @property
    def is_pci(self):
        return self.rid is not None or getattr(self.master, "pci", False)

    def __repr__(self):
        return f"Device({self.name!r})"
