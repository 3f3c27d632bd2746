"""Generic invalidation: which commands each generation makes of a request."""

import pytest

from smmu_sim.driver import (
    Cache, CacheInvalidation, Given, Granularity, NestingDomain, Stage2Domain)
from smmu_sim.linux_error import LinuxError
from tests.smmu_sim.driver.guests import ASID, VMID

DOMAIN, PASID, ADDR = Granularity
IOTLB, SYNC = Cache.IOTLB, ("SYNC", {})
KIB, MIB = 1 << 10, 1 << 20
ALL = ("G1", "V8", "V15", "V16")


@pytest.fixture
def domain(system):
    """A nesting domain with a device."""
    domain = NestingDomain(system.driver, vmid=VMID)
    system.driver.attach(system.master(), domain)
    system.commands()
    return domain


def invalidate(system, domain, generation, granularity, cache=IOTLB, flags=Given.ARCHID, **values):
    system.driver.cache_invalidate(domain, CacheInvalidation(
        cache, granularity, flags, ASID, **values), generation)
    return system.commands()


def pages(**values):
    return {"addr": 0x1_0000, "granule_size": 4 * KIB, "nb_granules": 16} | values


@pytest.mark.parametrize("generation", ALL)
def test_16_pages(system, domain, generation):
    """A command for each page, or one for the range."""
    flags, tags = Given.ARCHID | Given.LEAF, {"VMID": VMID, "ASID": ASID, "Leaf": 1}
    batch = invalidate(system, domain, generation, ADDR, flags=flags, **pages())
    if generation in ("V15", "V16"):
        assert batch == [("NH_VA", tags | {"TG": 1, "SCALE": 4, "TTL": 3, "Address": 0x1_0000}),
                         SYNC]
    else:
        assert batch == [("NH_VA", tags | {"Address": at})
                         for at in range(0x1_0000, 0x2_0000, 0x1000)] + [SYNC]
    system.accept(RIL=False)
    assert len(invalidate(system, domain, generation, ADDR, flags=flags, **pages())) == 17


@pytest.mark.parametrize("generation", ALL)
def test_an_address_space(system, domain, generation):
    assert invalidate(system, domain, generation, PASID) == [
        ("NH_ASID", {"VMID": VMID, "ASID": ASID}), SYNC]


@pytest.mark.parametrize("generation", ["V15", "V16"])
def test_a_whole_domain_is_every_virtual_machine(system, domain, generation):
    assert invalidate(system, domain, generation, DOMAIN) == [("NSNH_ALL", {}), SYNC]
    assert invalidate(system, domain, generation, ADDR, flags=0, **pages()) == [
        ("NSNH_ALL", {}), SYNC], "a range without an ASID"


@pytest.mark.parametrize("generation, granularity, cache, flags, errno", [
    *((g, PASID, IOTLB, Given.PASID | Given.ARCHID, e)
      for g, e in zip(ALL, ("EINVAL", "EINVAL", "ENOENT", "ENOENT"), strict=True)),
    *((g, ADDR, IOTLB, Given.PASID | Given.ARCHID, e)
      for g, e in zip(ALL, ("EINVAL", "EINVAL", "ENOENT", "ENOENT"), strict=True)),
    *((g, PASID, IOTLB, 0, "EINVAL") for g in ALL),
    ("V8", ADDR, IOTLB, 0, "EINVAL"), ("V8", DOMAIN, IOTLB, 0, "EINVAL"),
    *((g, 3, IOTLB, Given.ARCHID, "EINVAL") for g in ALL),
    ("V15", PASID, 0, Given.ARCHID, "EINVAL"),
    *((g, PASID, Cache.DEV_IOTLB, Given.ARCHID, "ENOENT") for g in ALL),
    *((g, PASID, Cache.PASID, Given.ARCHID, "ENOENT") for g in ALL),
])
def test_requests_that_are_refused(system, domain, generation, granularity, cache, flags, errno):
    with pytest.raises(LinuxError, match=f"^{errno}: "):
        invalidate(system, domain, generation, granularity, cache, flags, **pages())
    assert system.commands() == []


def test_several_caches(system, domain):
    with pytest.raises(LinuxError, match="ENOENT"):
        invalidate(system, domain, "V8", PASID, IOTLB | Cache.DEV_IOTLB)
    assert system.names() == ["NH_ASID", "SYNC"], "V8 does the TLB first"
    with pytest.raises(LinuxError, match="ENOENT"):
        invalidate(system, domain, "V15", PASID, IOTLB | Cache.DEV_IOTLB)
    assert system.names() == []
    assert invalidate(system, domain, "V8", PASID, 0) == [], "no TLB is no error in V8"


@pytest.mark.parametrize("generation, values, errno", [
    ("V15", {"granule_size": 0}, "EINVAL"), ("V15", {"granule_size": 0x3000}, "EINVAL"),
    ("V15", {"granule_size": 0x2000}, None), ("V15", {"nb_granules": 0}, None),
    ("V16", {"granule_size": 0x2000}, "EINVAL"), ("V16", {"nb_granules": 0}, "EINVAL"),
    ("V8", {"granule_size": 0x3000}, None), ("V8", {"granule_size": 0}, "EINVAL"),
    ("V15", {"addr": (1 << 64) - 0x1000, "nb_granules": 2}, "EINVAL")])
def test_granules(system, domain, generation, values, errno):
    if errno:
        with pytest.raises(LinuxError, match=errno):
            invalidate(system, domain, generation, ADDR, **pages(**values))
        assert system.commands() == []
    else:
        assert invalidate(system, domain, generation, ADDR, **pages(**values))[-1] == SYNC


@pytest.mark.parametrize("size, tg, ttl", [
    (4 * KIB, 1, 3), (2 * MIB, 1, 2), (1 << 30, 1, 1), (16 * KIB, 2, 3), (32 * MIB, 2, 2),
    (64 * KIB, 3, 3), (512 * MIB, 3, 2)])
def test_the_guests_granule_decides_about_granule_and_level(system, domain, size, tg, ttl):
    (_, fields), _ = invalidate(system, domain, "V15", ADDR, flags=Given.ARCHID | Given.LEAF,
                                addr=1 << 40, granule_size=size, nb_granules=1)
    assert (fields["TG"], fields["TTL"], fields["Address"]) == (tg, ttl, 1 << 40)


def test_a_range_that_is_not_aligned_is_covered(system, domain):
    batch = invalidate(system, domain, "V15", ADDR, addr=0x1_0800, granule_size=4 * KIB,
                       nb_granules=2, flags=Given.ARCHID | Given.LEAF)
    assert [fields.get("NUM") for _, fields in batch] == [2, None], "three pages"


def test_domains_that_have_no_guest(system):
    for domain in (Stage2Domain(system.driver), NestingDomain(system.driver)):
        with pytest.raises(LinuxError, match="EINVAL"):
            invalidate(system, domain, "V15", PASID)


def test_versions_and_asids(system, domain):
    with pytest.raises(LinuxError, match="EINVAL: version is 2"):
        invalidate(system, domain, "V15", PASID, version=2)
    with pytest.raises(LinuxError, match="EINVAL: ASID 0x10000 does not fit"):
        system.driver.cache_invalidate(domain, CacheInvalidation(1, PASID, 2, 0x1_0000))


def test_requests_of_rfc_v3():
    request = CacheInvalidation.from_rfc_v3(
        type=1, granularity=2, flags=1, size=9, nr_pages=3, arch_id=ASID, addr=0x20_0000)
    assert request == CacheInvalidation(IOTLB, ADDR, Given.ARCHID | Given.LEAF, ASID, 0, 0x20_0000,
                                        2 * MIB, 3)
    assert [CacheInvalidation.from_rfc_v3(type=t, granularity=1).cache for t in range(4)] \
        == [Cache.DEV_IOTLB, IOTLB, Cache.PASID, 0]
