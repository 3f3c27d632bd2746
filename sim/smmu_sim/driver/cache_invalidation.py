"""A guest's invalidations as the Linux series of 2019 to 2021 passed them: generic, not raw."""

from enum import IntEnum, IntFlag
from typing import NamedTuple

from smmu.formats.commands import Opcode
from smmu.formats.descriptors import BLOCK_LEVELS, level_shift

from smmu_sim.driver import commands, invalidation
from smmu_sim.driver.generations import check_generation
from smmu_sim.driver.nesting_domain import NestingDomain
from smmu_sim.linux_error import LinuxError

__all__ = ["Cache", "CacheInvalidation", "Granularity", "Given", "cache_invalidate"]


class Cache(IntFlag):
    """Which caches (``IOMMU_CACHE_INV_TYPE_*``)."""

    IOTLB = 1
    DEV_IOTLB = 2
    PASID = 4


class Granularity(IntEnum):
    """How much of them (``IOMMU_INV_GRANU_*``)."""

    DOMAIN = 0
    PASID = 1
    ADDR = 2


class Given(IntFlag):
    """Which values of the request count (``IOMMU_INV_ADDR_FLAGS_*``)."""

    PASID = 1
    ARCHID = 2
    LEAF = 4


class CacheInvalidation(NamedTuple):
    """``iommu_cache_invalidate_info`` without its layout, which differs by generation."""

    cache: int
    granularity: int
    flags: int = 0
    archid: int = 0         # an ASID
    pasid: int = 0
    addr: int = 0
    granule_size: int = 0   # bytes
    nb_granules: int = 0
    version: int = 1

    @classmethod
    def from_rfc_v3(cls, *, type, granularity, flags=0, size=0, nr_pages=0, pasid=0, arch_id=0,
                    addr=0, version=1):
        """Return the request that a structure of RFC v3 means.

        Its ``type`` is 0 device TLB, 1 TLB, 2 PASID cache; ``size`` the logarithm of a number of
        4 KiB units; ``arch_id`` always counts.
        """
        cache = {0: Cache.DEV_IOTLB, 1: Cache.IOTLB, 2: Cache.PASID}.get(type, 0)
        return cls(cache, granularity, Given.ARCHID | (Given.LEAF if flags & 1 else 0), arch_id,
                   pasid, addr, 0x1000 << size, nr_pages, version)


def cache_invalidate(domain, info, generation=None):
    """Do what a guest asked for, and wait for it (V15: ``arm_smmu_cache_invalidate``).

    Parameters
    ----------
    domain
        A :class:`NestingDomain`.
    info
        A :class:`CacheInvalidation`.
    generation
        By default that of the domain.

    Raises :exc:`LinuxError`: EINVAL for a domain without a guest or a request that makes no sense,
    ENOENT for caches and tags that this driver doesn't handle (V8 does the TLB first).
    """
    if not isinstance(domain, NestingDomain):
        raise LinuxError("EINVAL", f"{domain!r} is not a nesting domain")
    generation = check_generation(generation or domain.generation)
    if not domain.finalised:
        raise LinuxError("EINVAL", "no device was attached to the domain yet")
    if info.version != 1:
        raise LinuxError("EINVAL", f"version is {info.version}; it is 1")
    early = generation in ("G1", "V8")
    if not early:
        _refuse_other_caches(info)
        if not info.cache & Cache.IOTLB:
            raise LinuxError("EINVAL", f"cache {info.cache:#x} names no cache of the SMMU")
    if info.cache & Cache.IOTLB:
        domain.driver.issue(_tlb_commands(domain, info, generation, early))
    if early:
        _refuse_other_caches(info)


def _refuse_other_caches(info):
    others = info.cache & (Cache.DEV_IOTLB | Cache.PASID)
    if others:
        raise LinuxError("ENOENT", f"cache {info.cache:#x}: only the IOTLB can be invalidated")


def _tlb_commands(domain, info, generation, early):
    """Return the commands for the IOTLB part."""
    if info.granularity not in set(Granularity):
        raise LinuxError("EINVAL", f"granularity is {info.granularity}; it is 0, 1 or 2")
    by_asid = info.granularity != Granularity.DOMAIN
    if by_asid and info.flags & Given.PASID:
        raise LinuxError("EINVAL" if early else "ENOENT", "a PASID is given; ASIDs count here")
    has_asid = bool(info.flags & Given.ARCHID)
    if by_asid and not has_asid and (early or info.granularity == Granularity.PASID):
        raise LinuxError("EINVAL", "ARCHID, the ASID, is not given")
    if early and not by_asid:
        raise LinuxError("EINVAL", "a whole domain can't be invalidated")
    if not by_asid or not has_asid:
        # All VMIDs: the command has no VMID, as Linux's authors found out later.
        return [commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)]
    if info.archid >> domain.driver.features.asid_bits:
        raise LinuxError("EINVAL", f"ASID {info.archid:#x} does not fit "
                                   f"{domain.driver.features.asid_bits} bits")
    if info.granularity == Granularity.PASID:
        return invalidation.all_of_asid(info.archid, domain.vmid)
    return _range_commands(domain, info, generation)


def _range_commands(domain, info, generation):
    """Return the commands for a range of input addresses of stage 1."""
    features, size = domain.driver.features, info.granule_size
    shape = _leaf_shapes(features.granules).get(size)
    power = size > 0 and not size & size - 1
    if generation == "V16" and (shape is None or not info.nb_granules):
        raise LinuxError("EINVAL", f"{info.nb_granules} granules of {size:#x}: the SMMU has no "
                                   "such granule, or there are none")
    if generation == "V15" and not power or not size:
        raise LinuxError("EINVAL", f"granule_size is {size:#x}; it is a power of two")
    end = info.addr + info.nb_granules * size
    if end > 1 << 64:
        raise LinuxError("EINVAL", f"{info.addr:#x} to {end:#x} leaves the address space")
    # RFC v3 and v8 know no range commands.
    ril = features.RIL and generation in ("V15", "V16")
    granule, leaf_size = shape or (domain.table.granule, None)
    unit = leaf_size or 1 << granule
    start = info.addr & -unit
    return invalidation.stage1_range(
        start, (end + unit - 1 & -unit) - start, granule=granule, ril=ril,
        asid=info.archid, vmid=domain.vmid, leaf=bool(info.flags & Given.LEAF), leaf_size=leaf_size)


def _leaf_shapes(granules):
    """Return ``{size of a leaf: (granule, the size again)}``."""
    return {1 << level_shift(level, granule): (granule, 1 << level_shift(level, granule))
            for granule in reversed(granules) for level in (*BLOCK_LEVELS[granule], 3)}
