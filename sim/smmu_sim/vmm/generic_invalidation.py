"""TLB commands of a guest as requests of VFIO's CACHE_INVALIDATE (generations G1 and G2)."""

from typing import NamedTuple

from smmu.formats.commands import TLBI, CommandHeader, Opcode
from smmu.formats.core import plain
from smmu.formats.descriptors import TLBI_TG_GRANULE, bits_per_level

__all__ = ["Request", "Scope", "request_of"]

_header, _tlbi = plain(CommandHeader), plain(TLBI)


class Scope:
    """What a request is about. The numbers are those of iommu_inv_granularity (v4 and later)."""

    DOMAIN, PASID, ADDR = 0, 1, 2


class Request(NamedTuple):
    """One request about the IOTLB. ``granule_size`` in bytes."""

    scope: int
    asid: int = 0
    addr: int = 0
    granule_size: int = 0
    nb_granules: int = 0
    leaf: bool = False


def request_of(command):
    """Return the :class:`Request` that removes at least what a TLBI command must remove.

    The interface has no hint that says "any level", and no address without an ASID. So a range
    whose leaves are not all of one known size becomes its whole address space, and everything that
    names no ASID the whole domain.
    """
    opcode = _header.Op(command)
    if opcode == Opcode.CMD_TLBI_NH_ASID:
        return Request(Scope.PASID, _tlbi.ASID(command))
    if opcode != Opcode.CMD_TLBI_NH_VA:
        return Request(Scope.DOMAIN)
    granule, ttl = TLBI_TG_GRANULE.get(_tlbi.TG(command)), _tlbi.TTL(command)
    if granule is None or not ttl or not _tlbi.Leaf(command):
        return Request(Scope.PASID, _tlbi.ASID(command))
    size = (_tlbi.NUM(command) + 1 << _tlbi.SCALE(command)) << granule
    leaf, addr = 1 << granule + (3 - ttl) * bits_per_level(granule), _tlbi.Address(command) << 12
    if size % leaf or addr % leaf or addr + size > 1 << 64:  # a guest's mistake
        return Request(Scope.PASID, _tlbi.ASID(command))
    return Request(Scope.ADDR, _tlbi.ASID(command), addr, leaf, size // leaf, True)
