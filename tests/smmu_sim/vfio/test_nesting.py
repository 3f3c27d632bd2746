"""The ioctls that give a guest stage 1: order of the checks, unwinding over domains."""

import pytest
from smmu.formats.stream_table import STEConfig

from tests.smmu_sim.vfio.world import head

ALL = ("v3", "V8", "V10", "V15")
LATE = ("V10", "V15")
CD, GIOVA, GDB = 0x4000_1000, 0xFFFF_0000, 0x0809_0000


def config(w, sid=0x42, driver=None):
    return STEConfig(w.ste(sid, driver)["Config"])


# --- the table ------------------------------------------------------------------------------------

@pytest.mark.parametrize("generation, name", [
    ("v3", "SET_PASID_TABLE"), ("V8", "ATTACH_PASID_TABLE"), ("V10", "SET_PASID_TABLE")])
def test_the_fixed_part_of_early_tables(nested, refused, generation, name):
    w = nested(generation)
    size = 8 + w.container.generation.pasid_table.size
    refused("EFAULT", w.raw, name, head(size), bytes(size - 9))
    refused("EINVAL", w.raw, name, head(size - 1), bytes(size - 8))
    refused("EINVAL", w.table, flags=3)
    assert config(w) == STEConfig.S2_TRANS


@pytest.mark.parametrize("generation", ["v3", "V8"])
def test_early_tables_have_no_flags(nested, refused, generation):
    refused("EINVAL", nested(generation).table, flags=1)


@pytest.mark.parametrize("generation", LATE)
def test_set_or_unset_alone(nested, refused, generation):
    w = nested(generation)
    for flags in (0, 3, 4, 5):
        refused("EINVAL", w.table, flags=flags)


def test_order_of_the_checks_of_v15(nested, refused):
    w = nested("V15")
    layout, set_ = w.container.generation.pasid_table, "SET_PASID_TABLE"
    good = {"argsz": 32, "version": 1, "format": 1, "config": 1, "smmuv3_version": 1,
            "base_ptr": CD}

    def table(size=32, **fields):
        return w.raw(set_, head(40, 1), layout.pack(**{**good, **fields})[:size])

    refused("EFAULT", w.raw, set_, bytes(7))
    refused("EINVAL", w.raw, set_, head(7, 1))
    refused("EINVAL", w.raw, set_, head(8, 0))
    refused("EFAULT", w.raw, set_, head(8, 1), bytes(23))
    assert "argsz 23" in refused("EINVAL", table, argsz=23, version=2).reason
    assert "version" in refused("EINVAL", table, argsz=31, version=2).reason
    assert "SMMUv3" in refused("EINVAL", table, argsz=31).reason
    refused("EFAULT", table, 31)
    assert "config" in refused("EINVAL", table, config=4, smmuv3_version=2).reason
    assert "config" in refused("EINVAL", table, config=0).reason
    refused("EINVAL", table, smmuv3_version=2)
    refused("EINVAL", table, format=2)
    refused("EINVAL", table, format=2, argsz=24)
    assert config(w) == STEConfig.S2_TRANS
    assert w.raw(set_, head(40, 1), layout.pack(**good)) == 0
    assert config(w) == STEConfig.NESTED
    assert w.raw(set_, head(8, 2)) == 0
    assert config(w) == STEConfig.S2_TRANS


@pytest.mark.parametrize("generation", ALL)
def test_what_the_driver_refuses(nested, refused, generation):
    w = nested(generation)
    refused("EINVAL", w.table, format=2)
    refused("EINVAL", w.table, version=2)
    if generation != "v3":
        refused("EINVAL", w.table, 7)
        refused("EINVAL", w.table, pasid_bits=4)
        refused("EINVAL", w.table, smmuv3_version=2)
    assert config(w) == STEConfig.S2_TRANS


@pytest.mark.parametrize("generation", ALL)
def test_a_container_without_nesting_has_no_tables(world, refused, generation):
    w = world(generation)
    w.join(w.add(), type=3)
    refused("EINVAL", w.table)
    refused("EINVAL", w.invalidate, **w.by_asid())
    refused("EINVAL", w.bind, GIOVA, GDB)
    if generation != "v3":
        assert w.unset_table() == 0 and w.unbind(GIOVA) == 0


@pytest.mark.parametrize("generation", ALL)
def test_all_domains_get_the_table(two, generation):
    w = two(generation)
    w.table()
    assert config(w) == config(w, 0x43, w.smmu[1]) == STEConfig.NESTED
    if generation != "v3":
        w.unset_table()
        left = STEConfig.ABORT if generation in ("V8", "V10") else STEConfig.S2_TRANS
        assert config(w) == config(w, 0x43, w.smmu[1]) == left


@pytest.mark.parametrize("generation", ["V8", "V10", "V15"])
def test_a_table_that_one_domain_refuses_is_detached_from_the_others(two, refused, generation):
    w = two(generation)
    second = w.container.attachments.domains[1]
    w.table("bypass")
    second.hw.config = object()  # as if its stage 1 were on: no table after a table
    refused("EINVAL", w.table)
    second.hw.config = None
    # V8 leaves an abort behind where it detaches.
    left = STEConfig.S2_TRANS if generation == "V15" else STEConfig.ABORT
    assert config(w) == left and config(w, 0x43, w.smmu[1]) == STEConfig.S2_TRANS


def test_rfc_v3_brings_the_old_table_back(two, refused, monkeypatch):
    w = two("v3")
    w.table("translate")
    second = w.container.attachments.domains[1].hw
    monkeypatch.setattr(second, "finalised", False)
    refused("EINVAL", w.table, "abort")
    assert config(w) == config(w, 0x43, w.smmu[1]) == STEConfig.NESTED


# --- doorbells ------------------------------------------------------------------------------------

def entries(w):
    return [(e.iova, e.gpa, e.phys) for e in w.container.attachments.domains[0].cookie.entries]


@pytest.mark.parametrize("generation", ALL)
def test_the_fixed_part_of_a_binding(nested, refused, generation):
    w = nested(generation)
    name = "SET_MSI_BINDING" if generation in LATE else "BIND_MSI"
    refused("EFAULT", w.raw, name, head(32, 1), bytes(23))
    refused("EINVAL", w.bind, GIOVA, GDB, argsz=31)
    for flags in (0, 3, 4) if generation in LATE else (1, 2):
        refused("EINVAL", w.bind, GIOVA, GDB, flags=flags)
    assert entries(w) == []
    assert w.bind(GIOVA, GDB) == 0 and entries(w) == [(GIOVA, GDB, 0)]


def test_the_fixed_part_of_an_unbinding_of_v8(nested, refused):
    w = nested("V8")
    refused("EFAULT", w.raw, "UNBIND_MSI", head(16), bytes(7))
    refused("EINVAL", w.raw, "UNBIND_MSI", head(15), bytes(8))
    refused("EINVAL", w.raw, "UNBIND_MSI", head(16, 1), bytes(8))


def test_rfc_v3_has_no_unbinding(nested, refused):
    w = nested("v3")
    refused("ENOTTY", w.container.ioctl, 0x3B64 + 25, bytearray(32))
    refused("ENOTTY", w.container.ioctl, 0x3B64 + 26, bytearray(32))


@pytest.mark.parametrize("generation", ["V8", "V10", "V15"])
def test_unbinding_always_succeeds(nested, generation):
    w = nested(generation)
    assert w.unbind(0x1234_5000) == 0
    w.bind(GIOVA, GDB)
    assert w.unbind(GIOVA) == 0 and entries(w) == []


@pytest.mark.parametrize("generation", ALL)
def test_a_binding_that_one_domain_refuses_is_in_none(two, refused, generation):
    w = two(generation)
    w.bind(0xEEEE_0000, 0x080B_0000)
    first, second = w.container.attachments.domains
    cookie, second.cookie = second.cookie, None
    refused("EINVAL", w.bind, GIOVA, GDB)
    refused("EINVAL", w.bind, 0xEEEE_0000, 0x080B_0000)
    assert entries(w) == [(0xEEEE_0000, 0x080B_0000, 0)], "an old binding went, or a new one stayed"
    second.cookie = cookie
    w.bind(GIOVA, GDB)
    assert len(first.cookie.entries) == len(second.cookie.entries) == 2
