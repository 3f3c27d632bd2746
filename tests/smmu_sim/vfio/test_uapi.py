"""CACHE_INVALIDATE: order of the checks, the walk over devices and domains."""

import pytest

from tests.smmu_sim.vfio.world import head

ALL = ("v3", "V8", "V10", "V15")


@pytest.mark.parametrize("generation", ALL)
def test_an_asid_is_invalidated_with_the_hosts_vmid(nested, generation):
    w = nested(generation)
    w.table()
    w.commands()
    assert w.invalidate(**w.by_asid()) == 0
    (name, fields), (last, _) = w.commands()
    assert (name, last) == ("CMD_TLBI_NH_ASID", "CMD_SYNC")
    assert fields["ASID"] == 0x21 and fields["VMID"] == w.domain.hw.vmid != 0


@pytest.mark.parametrize("generation", ALL)
def test_the_fixed_part_of_an_invalidation(nested, refused, generation):
    w = nested(generation)
    w.table()
    size = {"v3": 64, "V8": 56, "V10": 56, "V15": 8}[generation]
    refused("EFAULT", w.raw, "CACHE_INVALIDATE", bytes(size - 1))
    refused("EINVAL", w.invalidate, 0, size - 1, **w.by_asid())
    refused("EINVAL", w.invalidate, 1, **w.by_asid())
    refused("EINVAL", w.invalidate, **{**w.by_asid(), "version": 2})


def test_order_of_the_checks_of_an_invalidation_of_v15(nested, refused):
    w = nested("V15")
    w.table()
    layout = w.container.generation.invalidate

    def call(size=56, **fields):
        values = {"argsz": 56, "version": 1, "cache": 1, "granularity": 1, "flags": 2}
        return w.raw("CACHE_INVALIDATE", head(64), layout.pack(**{**values, **fields})[:size])

    refused("EFAULT", call, 15)
    refused("EINVAL", call, argsz=15)
    refused("EINVAL", call, argsz=31)
    refused("EINVAL", call, argsz=55, granularity=2)
    refused("EFAULT", call, 55)
    assert "version" in refused("EINVAL", call, version=2, cache=8).reason
    assert "unknown bit" in refused("EINVAL", call, cache=8, granularity=3).reason
    assert "0, 1 or 2" in refused("EINVAL", call, granularity=3, padding=b"x").reason
    refused("EINVAL", call, granularity=2, cache=4)
    refused("EINVAL", call, granularity=2, flags=8)
    refused("EINVAL", call, flags=6)
    refused("EINVAL", call, granularity=0, cache=2)
    assert "padding" in refused("EINVAL", call, padding=b"\0\0\0\0\0\1", cache=2).reason
    refused("ENOENT", call, cache=2)
    refused("ENOENT", call, cache=4)
    refused("ENOENT", call, flags=3)
    refused("EINVAL", call, flags=0)
    refused("EINVAL", call, cache=0)
    assert call(argsz=32) == 0 and call(16, argsz=16, granularity=0) == 0


def test_a_whole_domain_is_invalidated_since_v14(nested, refused):
    w = nested("V15")
    w.table()
    w.commands()
    w.invalidate(cache=1, granularity=0)
    assert [name for name, _ in w.commands()] == ["CMD_TLBI_NSNH_ALL", "CMD_SYNC"]
    w = nested("V8")
    w.table()
    refused("EINVAL", w.invalidate, cache=1, granularity=0)


def test_v8_invalidates_the_tlb_before_it_refuses_the_rest(nested, refused):
    w = nested("V8")
    w.table()
    w.commands()
    refused("ENOENT", w.invalidate, **{**w.by_asid(), "cache": 3})
    assert [name for name, _ in w.commands()] == ["CMD_TLBI_NH_ASID", "CMD_SYNC"]
    assert w.invalidate(**{**w.by_asid(), "cache": 0}) == 0


def test_what_rfc_v3_knows(nested, refused):
    w = nested("v3")
    w.table()
    w.commands()
    w.invalidate(type=1, granularity=2, flags=1, size=0, nr_pages=3, arch_id=0x21, addr=0x1_0000)
    found = w.commands()
    assert [(name, fields.get("Address"), fields.get("Leaf")) for name, fields in found] == [
        ("CMD_TLBI_NH_VA", page, 1) for page in (0x10, 0x11, 0x12)] + [("CMD_SYNC", None, None)]
    refused("ENOENT", w.invalidate, type=0, granularity=1, arch_id=0x21)
    for fields in ({"type": 3}, {"type": 1, "granularity": 3}, {"type": 2, "granularity": 2}):
        refused("EINVAL", w.invalidate, **fields)


@pytest.mark.parametrize("generation", ALL)
def test_an_invalidation_is_done_once_for_each_device(world, generation):
    w = world(generation)
    w.join(w.add(0x42), w.add(0x43))
    w.table()
    w.commands()
    w.invalidate(**w.by_asid())
    assert [name for name, _ in w.commands()] == ["CMD_TLBI_NH_ASID", "CMD_SYNC"] * 2


def test_a_domain_in_error_does_not_keep_the_next_from_its_invalidation(two, refused):
    w = two("V15")
    w.table()
    first, second = (domain.hw for domain in w.container.attachments.domains)
    w.commands(w.smmu[1])
    first.finalised = False
    assert w.invalidate(**w.by_asid()) == 0, "the last result counts"
    assert len(w.commands(w.smmu[1])) == 2
    first.finalised, second.finalised = True, False
    refused("EINVAL", w.invalidate, **w.by_asid())
