"""A guest's stage 1 by VFIO's nesting containers: tables, invalidations, faults."""

import struct
from dataclasses import replace

from smmu.formats.core import plain
from smmu.formats.descriptors import TLBI_TG
from smmu.formats.stream_table import STE, STEConfig

from smmu_sim.driver.cache_invalidation import Cache, Granularity
from smmu_sim.fields import address_of
from smmu_sim.scenarios.guest_tables import ASID, GuestTables
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.registry import scenario
from smmu_sim.scenarios.vfio_user import ABORT, BYPASS, TRANSLATE, VFIOUser

A, VMID, CD = 0x42, 7, 0x4000_1000
_CONFIG, _V = plain(STE).Config, plain(STE).V
_ARCHID, _LEAF = 2, 4          # flags of addr_info and pasid_info
_READ, _PTE_FETCH, _ADDR_VALID, _DMA_UNRECOV = 1, 5, 2, 1
_RECORD = struct.Struct("<II4IQQ")  # iommu_fault with an unrecoverable event in it


class _Nested:
    """Device A in a nesting container with a guest's RAM; the guest's tables are ready."""

    def __init__(self, world, generation="V15"):
        self.host = Host(world)
        self.function, self.device = self.host.add(A)
        self.user = VFIOUser(self.host, generation)
        self.user.open(self.function, self.device)
        self.guest = GuestTables(self.host)
        self.user.map_ram(self.guest.ram)
        world.commands()

    @property
    def ste(self):
        return self.host.ste(self.device)


@scenario("pasid-table", "SET_PASID_TABLE from stage 2 to nested and back, step by step")
def pasid_table(world):
    world.step("Given device A on stage 2 alone (V15)")
    nested = _Nested(world)
    user, guest = nested.user, nested.guest
    iova, ipa = 0x1_0000, guest.buffer()
    guest.map(iova, ipa)
    world.expect("STE.Config is S2_TRANS", _CONFIG(nested.ste), STEConfig.S2_TRANS)
    world.expect("the guest's CD is at 0x4000_1000", guest.cd_ipa, CD)

    world.step("When the table is set with TRANSLATE")
    states, words = [], []
    _watch_ste(world, nested, words)
    world.backend.on_command.append(lambda command: command.name == "CMD_CFGI_STE"
                                    and states.append(_V(nested.ste)))
    user.set_pasid_table(TRANSLATE, guest.cd_ipa)
    issued = world.commands(syncs=True)
    world.step("Then")
    world.expect("word 0 is written first and last, with CFGI_STE and CMD_SYNC each time",
                 (words[0], words[-1], sorted(words[1:-1])), (0, 0, [1, 2, 3, 4, 5, 6, 7]))
    world.expect("first the STE is invalid, then valid", states, [0, 1])
    world.expect("the commands", [c.name for c in issued if c.name != "CMD_PREFETCH_CONFIG"],
                 ["CMD_CFGI_STE", "CMD_SYNC"] * 2)
    world.expect("Config is NESTED, S1ContextPtr 0x4000_1000",
                 (_CONFIG(nested.ste), address_of(STE, "S1ContextPtr", nested.ste)),
                 (STEConfig.NESTED, CD))
    world.expect("the guest's IOVA is translated by both stages", world.read(A, iova).pa,
                 guest.physical(ipa))

    world.refused("TRANSLATE a second time", "EINVAL", user.set_pasid_table, TRANSLATE,
                  guest.cd_ipa)
    world.expect("which goes on translating", world.read(A, iova).pa, guest.physical(ipa))
    world.step("When it is set to BYPASS, ABORT, unset")
    user.set_pasid_table(BYPASS)
    world.expect("BYPASS: stage 2 alone", _CONFIG(nested.ste), STEConfig.S2_TRANS)
    world.expect("an IPA is translated", world.read(A, ipa).pa, guest.physical(ipa))
    user.set_pasid_table(ABORT)
    world.expect("ABORT", (_CONFIG(nested.ste), _V(nested.ste)), (STEConfig.ABORT, 1))
    world.check("accesses are aborted", not world.read(A, ipa).ok)
    world.expect("without an event", nested.host.events(), [])
    user.unset_pasid_table()
    world.expect("UNSET since V14: stage 2 alone", _CONFIG(nested.ste), STEConfig.S2_TRANS)
    world.refused("four PASID bits", "EINVAL", user.set_pasid_table, TRANSLATE, guest.cd_ipa, 4)

    world.start_over()
    world.step("Given the same with V8")
    nested = _Nested(world, "V8")
    nested.user.set_pasid_table(TRANSLATE, nested.guest.cd_ipa)
    nested.user.unset_pasid_table()
    world.expect("DETACH leaves an aborting STE", _CONFIG(nested.ste), STEConfig.ABORT)


def _watch_ste(world, nested, words):
    """Note which words of the STE are written, in order."""
    start = nested.host.driver.stream_table.find(A)
    world.memory.observe(range(start, start + 64),
                         lambda addr, data, _: words.append((addr - start) // 8))


@scenario("generic-invalidate", "CACHE_INVALIDATE: what becomes of it with and without ranges")
def generic_invalidate(world):
    world.step("Given a guest's stage 1 that maps 16 pages from 0x1_0000")
    nested = _Nested(world)
    user, guest, driver = nested.user, nested.guest, nested.host.driver
    ipa = guest.buffer(0x1_0000)
    guest.map(0x1_0000, ipa, 0x1_0000)
    user.set_pasid_table(TRANSLATE, guest.cd_ipa)
    world.expect("a page in the middle is translated", world.read(A, 0x1_5000).pa,
                 guest.physical(ipa) + 0x5000)
    request = {"cache": Cache.IOTLB, "granularity": Granularity.ADDR, "flags": _ARCHID | _LEAF,
               "archid": ASID, "addr": 0x1_0000, "granule_size": 0x1000, "nb_granules": 16}

    world.step("When the host uses no range commands")
    driver.features = replace(driver.features, RIL=False)
    world.commands()
    user.invalidate(**request)
    issued = world.commands(syncs=True)
    world.step("Then")
    world.expect("16 CMD_TLBI_NH_VA and a CMD_SYNC", [command.name for command in issued],
                 ["CMD_TLBI_NH_VA"] * 16 + ["CMD_SYNC"])
    world.expect("VMID 7, ASID 0x21, one page after the other, the last level alone",
                 [(c.VMID, c.ASID, c.Address, c.TG, c.Leaf) for c in issued[:16]],
                 [(VMID, ASID, 0x1_0000 + n * 0x1000, 0, 1) for n in range(16)])

    world.step("When the guest unmaps the pages, and the host uses range commands")
    driver.features = replace(driver.features, RIL=True)
    guest.table.unmap(0x1_0000, 0x1_0000)
    user.invalidate(**request)
    issued = world.commands(syncs=True)
    world.step("Then")
    world.expect("one CMD_TLBI_NH_VA and a CMD_SYNC", [command.name for command in issued],
                 ["CMD_TLBI_NH_VA", "CMD_SYNC"])
    first = issued[0]
    world.expect("TG 4K, NUM 0, SCALE 4, TTL 3",
                 (first.VMID, first.ASID, first.Address, first.TG, first.NUM, first.SCALE,
                  first.TTL), (VMID, ASID, 0x1_0000, TLBI_TG.G4K, 0, 4, 3))
    world.check("and a page in the middle is not translated any more",
                not world.read(A, 0x1_5000).ok)
    nested.host.events()

    world.step("When it is by ASID, and of the device's own TLB")
    world.commands()
    user.invalidate(cache=Cache.IOTLB, granularity=Granularity.PASID, flags=_ARCHID, archid=ASID)
    issued = world.commands()
    world.expect("PASID granularity with ARCHID: CMD_TLBI_NH_ASID",
                 [(c.name, c.VMID, c.ASID) for c in issued], [("CMD_TLBI_NH_ASID", VMID, ASID)])
    world.refused("DEV_IOTLB", "ENOENT", user.invalidate, **request | {"cache": Cache.DEV_IOTLB})
    world.expect("for which no command is issued", world.commands(), [])


@scenario("fault-ring", "the mmappable fault region: 511 faults fit, the 512th is lost")
def fault_ring(world):
    world.step("Given a guest's stage 1 without mappings, and an eventfd for faults (V15)")
    nested = _Nested(world)
    user, device = nested.user, nested.device
    user.set_pasid_table(TRANSLATE, nested.guest.cd_ipa)
    eventfd = user.on_faults(device)
    faults = user.files[device].faults
    ring = user.fault_ring(device)
    world.expect("the header: 512 entries of 64 bytes, a page behind it",
                 (ring.nb_entries, ring.entry_size, ring.offset), (512, 64, 0x1000))
    world.step("When 512 accesses fault, and nobody reads")
    with world.quietly("512 reads at 0xdead_0000 and after"):
        for number in range(512):
            world.read(A, 0xDEAD_0000 + number * 8)
            if number % 64 == 63:
                nested.host.events()
    world.step("Then")
    world.expect("511 are stored: head is 511", user.fault_ring(device).head, 511)
    world.expect("the 512th is refused with -ENOSPC", [error.name for error in faults.lost],
                 ["ENOSPC"])
    world.expect("the eventfd counts 511", eventfd.count, 511)
    world.step("When user space has read 100")
    user.set_fault_tail(device, 100)
    with world.quietly("101 more reads"):
        for number in range(101):
            world.read(A, 0xBEEF_0000 + number * 8)
            if number % 64 == 63:
                nested.host.events()
        nested.host.events()
    world.step("Then")
    world.expect("100 fit, the next one is lost", (user.fault_ring(device).head,
                                                   [error.name for error in faults.lost]),
                 (99, ["ENOSPC"] * 2))
    world.expect("the ring goes on at its end and then at its beginning",
                 [_RECORD.unpack_from(user.fault_records(device, index, 1)[0])[6]
                  for index in (510, 511, 0, 98)],
                 [0xDEAD_0000 + 510 * 8, 0xBEEF_0000, 0xBEEF_0008, 0xBEEF_0000 + 99 * 8])
    world.refused("a tail of 512", "EINVAL", user.set_fault_tail, device, 512)
    world.expect("which changes nothing", user.fault_ring(device).tail, 100)


@scenario("fault-record", "a fault of stage 1 becomes a record for the guest, one of stage 2 not")
def fault_record(world):
    world.step("Given a guest's stage 1 (V15), in which one page points beyond its RAM")
    nested = _Nested(world)
    user, device, guest = nested.user, nested.device, nested.guest
    guest.map(0x30_0000, 0x7000_0000)
    user.set_pasid_table(TRANSLATE, guest.cd_ipa)
    world.step("When the device reads at 0xdead_0000, which stage 1 does not map")
    world.read(A, 0xDEAD_0000)
    nested.host.events()
    world.step("Then")
    world.expect("there is one record", user.fault_ring(device).head, 1)
    kind, _, reason, flags, pasid, perm, addr, _ = _RECORD.unpack_from(
        user.fault_records(device, 0, 1)[0])
    world.expect("type DMA_UNRECOV, reason PTE_FETCH, ADDR_VALID, READ, the address",
                 (kind, reason, flags, perm, addr),
                 (_DMA_UNRECOV, _PTE_FETCH, _ADDR_VALID, _READ, 0xDEAD_0000))
    world.expect("no PASID", pasid, 0)
    world.step("When the device reads where stage 2 has nothing")
    world.read(A, 0x30_0000)
    nested.host.events()
    world.step("Then")
    world.expect("there is no other record", user.fault_ring(device).head, 1)
    event = nested.host.driver.event_log[-1]
    world.expect("the host logs it: F_TRANSLATION of stage 2, IPA 0x7000_0000",
                 (event.name, event.S2, event.InputAddr, event.IPA),
                 ("F_TRANSLATION", 1, 0x30_0000, 0x7000_0000))
