"""A guest's stage 1 by iommufd: MSIs through the window, vSTEs, raw commands, isolation."""

from smmu.formats.commands import Opcode
from smmu.formats.core import plain
from smmu.formats.stream_table import STE, STEConfig

from smmu_sim.driver import commands
from smmu_sim.iommufd.constants import HWPTFlag
from smmu_sim.scenarios.guest_tables import ASID, DEVICE_MEMORY
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.iommufd_user import IOMMUFDUser
from smmu_sim.scenarios.nested_guest import NestedGuest
from smmu_sim.scenarios.registry import scenario
from smmu_sim.scenarios.vevents import read_vevents

A, B, VSID = 0x42, 0x43, 0x10
ITS0 = 0x2021_0040
WINDOW, WINDOW_SIZE = 0x0800_0000, 0x10_0000
VMID = 7
_config = plain(STE).Config


@scenario("rmr-nested", "the guest maps the MSI window one to one, stage 2 the doorbell in it")
def rmr_nested(world):
    world.step("Given a nest parent, a VIOMMU, a VDEVICE with vSID 0x10, and a guest that has the "
               "window 0x0800_0000 to 0x080f_ffff in stage 1, one to one")
    host = Host(world)
    guest = NestedGuest(host, A, VSID)
    events = guest.user.veventq(guest.viommu)
    guest.tables.map(WINDOW, WINDOW, WINDOW_SIZE, DEVICE_MEMORY)
    guest.attach()
    world.step("When the host composes the message")
    desc = host.alloc_irqs(guest.device, 6)[5]
    host.program(guest.function, desc)
    world.step("Then")
    world.expect("stage 2 has the doorbell at the window's first page",
                 (guest.stage2.iova_to_phys(WINDOW), guest.stage2.iova_to_phys(WINDOW + 0x1000)),
                 (ITS0 & -0x1000, None))
    world.expect("the message is 0x0800_0040 / 5", (desc.message.addr, desc.message.data),
                 (WINDOW + 0x40, 5))
    result = guest.function.trigger(5)
    world.expect("the write goes through both stages to the doorbell",
                 (result.pa, result.device_id), (ITS0, A))
    world.expect("LPI 8197 is pending", host.machine.its[0].take_pending(), [8197])
    world.expect("no event", (host.events(), read_vevents(events)), ([], []))

    world.step("When the guest takes the window out of its stage 1")
    guest.tables.table.unmap(WINDOW, WINDOW_SIZE)
    guest.user.invalidate(guest.viommu, [commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=ASID)])
    result = guest.function.trigger(5)
    host.events()
    world.step("Then")
    world.check("the write is aborted", not result.ok)
    world.expect("no interrupt", host.machine.its[0].take_pending(), [])
    found = read_vevents(events)
    world.expect("the guest gets F_TRANSLATION, with its own StreamID",
                 [(e.event.name, e.event.StreamID, e.event.S2, e.event.InputAddr) for e in found],
                 [("F_TRANSLATION", VSID, 0, WINDOW + 0x40)])


@scenario("replace-keeps-msi", "the doorbell is in the next HWPT before the device is switched")
def replace_keeps_msi(world):
    world.step("Given a device under HWPT A, with one doorbell in use")
    host = Host(world)
    function, device = host.add(A)
    user = IOMMUFDUser(host)
    user.bind(device)
    ioas = user.ioas()
    one, other = (user.hwpt(device, ioas, HWPTFlag.NEST_PARENT) for _ in range(2))
    user.attach(device, one)
    desc = host.alloc_irqs(device, 1)[0]
    host.program(function, desc)
    its, target = host.machine.its[0], user.iommufd.objects.get(other).domain
    world.expect("an MSI arrives", (function.trigger(0).pa, its.take_pending()),
                 (ITS0, [desc.hwirq]))
    world.expect("HWPT B of the same IOAS does not map it", target.iova_to_phys(WINDOW), None)
    seen, ste = [], host.driver.stream_table.find(A)
    world.memory.observe(range(ste, ste + 64),
                         lambda *_: seen.append(target.iova_to_phys(WINDOW)))
    world.step("When the device is attached to B")
    user.attach(device, other)
    world.step("Then")
    world.check("at each write to the STE, from the first one on, B had the doorbell",
                seen and all(phys == ITS0 & -0x1000 for phys in seen), seen)
    world.note("while the STE is invalid between the two, accesses abort: that is no matter of "
               "mappings")
    world.check("the device is on B", host.iommu.domain_of(device) is target)
    world.expect("the message in the device needs no change: the next MSI arrives",
                 (function.trigger(0).pa, its.take_pending()), (ITS0, [desc.hwirq]))
    world.expect("no event", host.events(), [])


@scenario("vste-validation", "which STEs a guest may have, and what the device gets")
def vste_validation(world):
    world.step("Given a guest with a VIOMMU and no VDEVICE")
    host = Host(world)
    guest = NestedGuest(host, A, VSID)
    user, device, viommu = guest.user, guest.device, guest.viommu
    guest.tables.map(0x1_0000, guest.tables.buffer())
    good, eats = 0x4000_100B, 1 << 28

    def alloc(word0, word1=0, **options):
        return user.nested(device, viommu, word0, word1, **options)

    full = alloc(good, eats)
    world.check("V, Config 5, S1ContextPtr 0x4000_1000, EATS 1: taken", full)
    for text, error, word0, word1, options in (
            ("Config 6", "EIO", good & ~0xE | 6 << 1, 0, {}),
            ("S2FWB (word 1, bit 25)", "EIO", good, 1 << 25, {}),
            ("EATS 2", "EIO", good, 2 << 28, {}),
            ("8 bytes of data", "EINVAL", good, 0, {"length": 8}),
            ("the PASID flag", "EOPNOTSUPP", good, 0, {"flags": HWPTFlag.PASID})):
        world.refused(text, error, alloc, word0, word1, **options)
    world.refused("attaching a translating one before there is a VDEVICE", "ENOENT", user.attach,
                  device, full)
    world.expect("the device keeps stage 2 alone", _config(host.ste(device)), STEConfig.S2_TRANS)
    garbage = alloc(0xFFFF_FFFF_FFFF_FFFE, 0xFFFF_FFFF_FFFF_FFFF)
    world.check("V = 0 with garbage: taken", garbage)
    user.attach(device, garbage)
    world.expect("its STE aborts", _config(host.ste(device)), STEConfig.ABORT)
    world.expect("accesses abort without an event",
                 (world.read(A, 0x1_0000).ok, host.events()), (False, []))
    world.step("When there is a VDEVICE")
    user.vdevice(device, viommu, VSID)
    user.attach(device, full)
    world.expect("the first one can be attached: nested", _config(host.ste(device)),
                 STEConfig.NESTED)
    world.check("and EATS is off, as the SMMU has no ATS", not plain(STE).EATS(host.ste(device)))
    world.check("the guest's IOVA is translated", world.read(A, 0x1_0000).ok)
    user.attach(device, alloc(1 | 4 << 1))
    world.expect("Config 4 is stage 2 alone", _config(host.ste(device)), STEConfig.S2_TRANS)


@scenario("raw-commands", "a guest's commands by HWPT_INVALIDATE: rewritten, refused, counted")
def raw_commands(world):
    world.step("Given a guest with device A as vSID 0x10")
    host = Host(world)
    guest = NestedGuest(host, A, VSID)
    guest.attach()
    batch = [commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL),
             commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=ASID),
             commands.cfgi_cd(VSID, 3),
             *commands.atc_inv([VSID], 0, 0, 0)]
    world.step("When it sends NSNH_ALL, NH_ASID, CFGI_CD, ATC_INV")
    error, done = guest.user.invalidate(guest.viommu, batch)
    issued = world.commands(syncs=True)
    world.step("Then")
    world.expect("all four are done", (error, done), (None, 4))
    world.expect("the SMMU sees", [command.name for command in issued[:5]],
                 ["CMD_TLBI_NH_ALL", "CMD_TLBI_NH_ASID", "CMD_CFGI_CD", "CMD_ATC_INV", "CMD_SYNC"])
    world.expect("with VMID 7 in place of any other", [c.VMID for c in issued[:2]], [VMID, VMID])
    world.expect("the guest's ASID", issued[1].ASID, ASID)
    world.expect("and StreamID 0x42 in place of 0x10",
                 [(c.StreamID, c.SubstreamID) for c in issued[2:4]],
                 [(A, 3), (A, 0)])
    refused = host.driver.refused
    world.check("as this SMMU has no ATS, it finds ATC_INV illegal: the driver puts a CMD_SYNC in "
                "its place, and the guest does not hear of it",
                [error.code.name for error in refused] == ["CERROR_ILL"]
                and refused[0].command == issued[3].raw, refused)

    world.step("When element 2 is CFGI_STE, which a guest must not send")
    bad = [*batch[:2], commands.cfgi_ste(VSID), batch[2]]
    answer = guest.user.invalidate(guest.viommu, bad)
    world.step("Then")
    world.expect("EIO, two done", answer, ("EIO", 2))
    world.expect("though none was issued (upstream)", world.commands(), [])
    guest.user.iommufd.invalidate_mode = "strict"
    world.expect("strict: EIO, two done", guest.user.invalidate(guest.viommu, bad), ("EIO", 2))
    world.expect("and two were issued", [command.name for command in world.commands()],
                 ["CMD_TLBI_NH_ALL", "CMD_TLBI_NH_ASID"])
    world.expect("vSID 0x11, which it does not have: EIO, none done",
                 guest.user.invalidate(guest.viommu, [commands.cfgi_cd(0x11, 0)]), ("EIO", 0))


@scenario("vmid-isolation", "guests with the same ASIDs and IOVAs: invalidations stay inside")
def vmid_isolation(world):
    world.step("Given guests with VMIDs 7 and 8, each with ASID 0x21 and IOVA 0x1000")
    host = Host(world)
    guests = [NestedGuest(host, sid, VSID, number) for number, sid in enumerate((A, B))]
    world.expect("their VMIDs", [guest.stage2.vmid for guest in guests], [7, 8])
    places = []
    for guest in guests:
        ipa = guest.tables.buffer()
        guest.tables.map(0x1000, ipa)
        guest.attach()
        places.append(guest.tables.physical(ipa))
    world.expect("the same IOVA is another page for each",
                 [world.read(guest.sid, 0x1000).pa for guest in guests], places)
    world.step("When guest 7 unmaps it, and sends NSNH_ALL and NH_ASID with VMID 8")
    guests[0].tables.table.unmap(0x1000, 0x1000)
    world.commands()
    error, done = guests[0].user.invalidate(guests[0].viommu, [
        commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL),
        commands.tlbi(Opcode.CMD_TLBI_NH_ASID, VMID=8, ASID=ASID)])
    issued = world.commands()
    world.step("Then")
    world.expect("both are done", (error, done), (None, 2))
    world.expect("with its own VMID alone", [(c.name, c.VMID) for c in issued],
                 [("CMD_TLBI_NH_ALL", 7), ("CMD_TLBI_NH_ASID", 7)])
    world.check("guest 7 lost its translation", not world.read(A, 0x1000).ok)
    before = host.driver.counters()["table_reads"]
    world.expect("guest 8 kept its own", world.read(B, 0x1000).pa, places[1])
    world.expect("also in the TLB: no table was read for it (the model has no TLB)",
                 host.driver.counters()["table_reads"] - before, 0)
    host.events()
