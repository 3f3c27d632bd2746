"""Scenarios 19 and 20: a guest's table and its invalidations; and how everything ends."""

from dataclasses import replace

import pytest
from smmu.formats.descriptors import TLBI_TG
from smmu.formats.stream_table import STEConfig

ALL = ("v3", "V8", "V10", "V15")
GIOVA, GDB = 0xFFFF_0000, 0x0809_0000
CD, ASID, BUFFER = 0x4000_1000, 0x21, 0x4400_0000


# --- 19: life cycle of the table ------------------------------------------------------------------

@pytest.mark.parametrize("generation", ALL)
def test_life_of_the_table(guest, refused, generation):
    w = guest(generation, table=False)
    function = w.vfio.function
    assert w.ste()["Config"] == STEConfig.S2_TRANS and function.read(BUFFER, 8).ok
    w.commands()
    w.table()
    names = [name for name, _ in w.commands()]
    assert names[:4] == ["CMD_CFGI_STE", "CMD_SYNC"] * 2
    assert w.ste()["Config"] == STEConfig.NESTED and w.ste()["S1ContextPtr"] == CD >> 6
    assert function.write(0x10_0000, b"12345678").ok and not function.read(BUFFER, 8).ok
    assert w.guest.memory.read(BUFFER, 8) == b"12345678"
    if generation != "v3":
        refused("EINVAL", w.table)
        refused("EINVAL", w.table, pasid_bits=4)
        assert w.ste()["Config"] == STEConfig.NESTED and function.read(0x10_0000, 8).ok
    w.table("bypass")
    assert w.ste()["Config"] == STEConfig.S2_TRANS and function.read(BUFFER, 8).ok
    w.table("abort")
    assert w.ste()["Config"] == STEConfig.ABORT and not function.read(BUFFER, 8).ok
    if generation == "v3":
        return
    w.table()
    w.unset_table()
    left = STEConfig.S2_TRANS if generation == "V15" else STEConfig.ABORT
    assert w.ste()["Config"] == left


def test_the_words_of_an_ste_in_use_are_never_mixed(guest):
    w = guest(table=False)
    addr, seen = w.driver.stream_table.find(0x42), []
    handle = w.memory.observe(range(addr, addr + 64), lambda at, data, _: seen.append(
        (at - addr, int.from_bytes(data, "little"))))
    w.table()
    w.memory.remove(handle)
    assert seen[0] == (0, 0) and seen[-1][0] == 0 and seen[-1][1] & 0xF == 0xF
    assert all(at for at, _ in seen[1:-1])


# --- 20: generic invalidation ---------------------------------------------------------------------

RANGE = {"cache": 1, "granularity": 2, "flags": 6, "archid": ASID, "addr": 0x1_0000,
         "granule_size": 0x1000, "nb_granules": 16}


@pytest.mark.parametrize("generation, ril", [("V8", 1), ("V10", 1), ("V15", 0)])
def test_one_command_for_each_page(guest, generation, ril):
    w = guest(generation)
    w.driver.features = replace(w.driver.features, RIL=bool(ril))
    w.commands()
    w.invalidate(**RANGE)
    *tlbi, (last, _) = w.commands()
    assert last == "CMD_SYNC" and [(name, fields["Address"]) for name, fields in tlbi] == [
        ("CMD_TLBI_NH_VA", page) for page in range(0x10, 0x20)]
    assert all((f["VMID"], f["ASID"], f["Leaf"]) == (w.domain.hw.vmid, ASID, 1) for _, f in tlbi)


def test_one_range_command(guest):
    w = guest("V15")
    w.commands()
    w.invalidate(**RANGE)
    (name, fields), (last, _) = w.commands()
    assert (name, last) == ("CMD_TLBI_NH_VA", "CMD_SYNC")
    assert (fields["TG"], fields["NUM"], fields["SCALE"], fields["TTL"]) == (TLBI_TG.G4K, 0, 4, 3)
    assert fields["Address"] == 0x10 and fields["VMID"] == w.domain.hw.vmid


def test_other_granularities(guest, refused):
    w = guest("V15")
    w.commands()
    w.invalidate(cache=1, granularity=1, flags=2, archid=ASID)
    assert w.commands()[0][0] == "CMD_TLBI_NH_ASID"
    refused("ENOENT", w.invalidate, **{**RANGE, "cache": 3})
    assert w.commands() == []


@pytest.mark.parametrize("generation", ALL)
def test_what_a_guest_unmaps_is_gone_after_its_invalidation(guest, generation):
    w = guest(generation)
    function = w.vfio.function
    w.guest.stage1.map(0x1_0000, BUFFER, 0x1_0000)
    assert function.read(0x1_0000, 0x1_0000).ok
    w.guest.stage1.unmap(0x1_0000, 0x1_0000)
    if generation == "v3":
        w.invalidate(type=1, granularity=2, flags=1, nr_pages=16, arch_id=ASID, addr=0x1_0000)
    else:
        w.invalidate(**RANGE)
    assert not any(function.read(0x1_0000 + n * 0x1000, 8).ok for n in range(16))


# --- the end --------------------------------------------------------------------------------------

@pytest.mark.parametrize("generation", ALL)
def test_closing_everything_leaves_nothing_behind(world, generation):
    w = world(generation)
    vfio = w.add()
    used = w.machine.allocator.used
    group = w.groups[vfio.name]
    group_fd = w.process.open(group)
    w.join(vfio)
    w.map_guest_ram()
    w.map_doorbell(GIOVA, GDB)
    w.table()
    w.bind(GIOVA, GDB)
    w.interrupts(vfio, 1)
    device_fd = next(fd for fd in range(3, 12) if w.process.file(fd) is vfio)
    w.process.close(device_fd)
    w.process.close(group_fd)
    assert w.machine.allocator.used == used
    assert vfio.device.group.domain is vfio.device.group.default_domain
    assert w.iommu.faults.pending(vfio.device) == []
    w.join(vfio)
