"""Reading the IOMMU structures that ioctls carry: the checks before a driver sees them."""

from smmu_sim.driver import Cache, CacheInvalidation, Granularity
from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.layouts import copy_from_user

__all__ = ["read_invalidation", "read_pasid_table"]

_FORMAT_SMMUV3 = 1
_CONFIGS = (1, 2, 3)
_ADDR_FLAGS, _PASID_FLAGS = 0b111, 0b011
_TYPE_DTLB, _TYPE_TLB, _TYPE_PASID = range(3)  # of RFC v3


def read_pasid_table(generation, argument, offset):
    """Return the fields of ``iommu_pasid_table_config`` at an offset of an ioctl's argument.

    V15, in this order (iommu_uapi_attach_pasid_table): EFAULT: not 24 bytes. EINVAL: argsz below
    24; version not 1; argsz without the part of its format. EFAULT: that part is not there.
    EINVAL: config is not 1 to 3. Before V15: EFAULT alone, the driver checks the rest.
    """
    layout = generation.pasid_table
    if not generation.argsz:
        return layout.unpack(copy_from_user(argument, offset, layout.size))
    minsz = layout.end("config") + 2  # with the padding after it
    fields = layout.unpack(copy_from_user(argument, offset, minsz))
    argsz = fields["argsz"]
    if argsz < minsz:
        raise LinuxError("EINVAL", f"argsz {argsz} of the table; at least {minsz}")
    if fields["version"] != 1:
        raise LinuxError("EINVAL", f"version {fields['version']} of the table; it is 1")
    if fields["format"] == _FORMAT_SMMUV3 and argsz < layout.size:
        raise LinuxError("EINVAL", f"argsz {argsz} of the table; {layout.size} for SMMUv3")
    fields = layout.unpack(copy_from_user(argument, offset, min(argsz, layout.size)))
    if fields["config"] not in _CONFIGS:
        raise LinuxError("EINVAL", f"config {fields['config']}; it is 1, 2 or 3")
    return fields


def read_invalidation(generation, argument, offset):
    """Return the :class:`CacheInvalidation` at an offset of an ioctl's argument.

    RFC v3: EFAULT; EINVAL: a type or granularity that is none, or the PASID cache by pages. V8,
    V10: EFAULT alone. V15, in this order (iommu_uapi_cache_invalidate): EFAULT: not 16 bytes.
    EINVAL: argsz below that, or without what the granularity needs. EFAULT: that is not there.
    EINVAL: version; an unknown cache, granularity or flag; a cache that does not know the
    granularity; padding that is not zero.
    """
    layout = generation.invalidate
    if generation.argsz:
        return _request(_read_v11(layout, argument, offset))
    fields = layout.unpack(copy_from_user(argument, offset, layout.size))
    if "type" not in fields:
        return _request(fields)
    by_page = fields["granularity"] == Granularity.ADDR
    if fields["type"] > _TYPE_PASID or fields["granularity"] > Granularity.ADDR \
            or fields["type"] == _TYPE_PASID and by_page:
        raise LinuxError("EINVAL", f"type {fields['type']} with granularity "
                                   f"{fields['granularity']}")
    return CacheInvalidation.from_rfc_v3(**fields)


def _read_v11(layout, argument, offset):
    minsz = layout.end("padding")
    fields = layout.unpack(copy_from_user(argument, offset, minsz))
    argsz, granularity = fields["argsz"], fields["granularity"]
    need = {Granularity.PASID: layout.end("pasid"),
            Granularity.ADDR: layout.end("nb_granules")}.get(granularity, minsz)
    if argsz < need:
        raise LinuxError("EINVAL", f"argsz {argsz} of the request; at least {need}")
    fields = layout.unpack(copy_from_user(argument, offset, min(argsz, layout.size)))
    if fields["version"] != 1:
        raise LinuxError("EINVAL", f"version {fields['version']} of the request; it is 1")
    cache = fields["cache"]
    if not 0 <= cache <= Cache.IOTLB | Cache.DEV_IOTLB | Cache.PASID:
        raise LinuxError("EINVAL", f"cache {cache:#x} has an unknown bit")
    if granularity not in set(Granularity):
        raise LinuxError("EINVAL", f"granularity {granularity}; it is 0, 1 or 2")
    flags = fields["flags"]
    if (granularity == Granularity.ADDR and (cache & Cache.PASID or flags & ~_ADDR_FLAGS)
            or granularity == Granularity.PASID and flags & ~_PASID_FLAGS
            or granularity == Granularity.DOMAIN and cache & Cache.DEV_IOTLB):
        raise LinuxError("EINVAL", f"cache {cache:#x} and flags {flags:#x} with granularity "
                                   f"{granularity}")
    if any(fields["padding"]):
        raise LinuxError("EINVAL", f"the padding is {fields['padding'].hex()}")
    return fields


def _request(fields):
    return CacheInvalidation(**{name: fields[name] for name in CacheInvalidation._fields})
