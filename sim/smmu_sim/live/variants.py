"""The ways in which the kernel is told to use the SMMU."""

from dataclasses import dataclass

__all__ = ["VARIANTS", "Variant"]


@dataclass(frozen=True)
class Variant:
    """One set of parameters of the kernel, and what must come of it."""

    name: str
    append: str             # for the kernel's command line
    group_types: tuple      # what /sys/kernel/iommu_groups/*/type may say for the devices
    translates: bool        # devices have page tables of their own: stray accesses fault
    lazy: bool | None       # freed addresses are invalidated later; None: as the kernel was built


VARIANTS = {variant.name: variant for variant in (
    Variant("default", "", ("DMA", "DMA-FQ"), True, None),
    Variant("strict", "iommu.passthrough=0 iommu.strict=1", ("DMA",), True, False),
    Variant("lazy", "iommu.passthrough=0 iommu.strict=0", ("DMA-FQ",), True, True),
    Variant("passthrough", "iommu.passthrough=1", ("identity",), False, None),
)}
