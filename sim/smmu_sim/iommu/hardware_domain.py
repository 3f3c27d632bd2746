"""Which of the driver's domains stands behind a domain of the core."""

from smmu_sim.driver import NestedDomain, NestingDomain, Stage1Domain, Stage2Domain
from smmu_sim.iommu.domain import DomainType
from smmu_sim.linux_error import LinuxError

__all__ = ["hardware_domain"]


def hardware_domain(driver, type, *, stage=None, nest_parent=False, generation=None, parent=None,
                    vste=None, **geometry):
    """Return a domain of ``driver``. Parameters and errors as of :meth:`IOMMU.alloc_domain`.

    ``generation`` is set for a nesting domain alone.
    """
    if type is DomainType.BLOCKED:
        return driver.blocked
    if type is DomainType.IDENTITY:
        return driver.identity
    if type is DomainType.NESTED:
        if parent is None or vste is None:
            raise LinuxError("EINVAL", "a nested domain needs a parent and an STE")
        return NestedDomain(parent.hw, vste)
    if type is DomainType.SVA:
        raise LinuxError("EINVAL", "an SVA domain comes from binding an address space")
    if stage not in (None, 1, 2):
        raise LinuxError("EINVAL", f"stage is {stage}; it is 1 or 2")
    if generation and nest_parent or stage == 1 and (generation or nest_parent):
        raise LinuxError("EINVAL", "what a guest's stage 1 lies over is one kind of stage 2")
    if generation:
        return NestingDomain(driver, generation=generation, **geometry)
    if nest_parent:
        return Stage2Domain(driver, nest_parent=True, **geometry)
    stage = stage or (1 if driver.features.S1P else 2)
    return (Stage1Domain if stage == 1 else Stage2Domain)(driver, **geometry)
