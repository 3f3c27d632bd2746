"""Stage 2 under guests, reserved regions, and two guests side by side (iommufd)."""

from smmu.formats.commands import Opcode
from smmu.formats.descriptors import TLBI_TG

from smmu_sim.driver import CommandError, commands
from smmu_sim.iommu import ReservedRegion, ResvType
from smmu_sim.scenarios.guest_tables import DEVICE_MEMORY
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.iommufd_user import IOMMUFDUser
from smmu_sim.scenarios.nested_guest import NestedGuest
from smmu_sim.scenarios.registry import scenario

A, B, VSID = 0x42, 0x43, 0x10
ITS0, WINDOW = 0x2021_0040, 0x0800_0000
WINDOW_SIZE, BLOCK, VMID = 0x10_0000, 0x20_0000, 7
_EVERYTHING = [(0, (1 << 64) - 1)]


@scenario("reserved-conflict", "mappings, allowed ranges and reserved regions that meet")
def reserved_conflict(world):
    host = Host(world)
    _, device = host.add(A)
    user = IOMMUFDUser(host)
    user.bind(device)
    page = host.machine.allocator.alloc(0x1000)
    world.step("Given an IOAS with a mapping at 0x0800_0000, where the device has its MSI window")
    ioas = user.ioas()
    user.map(ioas, WINDOW, page, 0x1000)
    world.refused("attaching the device", "EADDRINUSE", user.attach, device, ioas)
    world.expect("no reservation stays behind", user.iova_ranges(ioas), _EVERYTHING)
    world.check("and its DMA is still blocked", not world.read(A, WINDOW).ok)

    world.step("Given an IOAS that the device is attached to")
    ioas = user.ioas()
    user.attach(device, ioas)
    world.refused("mapping at 0x0800_0000", "EINVAL", user.map, ioas, WINDOW, page, 0x1000)
    user.map(ioas, 0x0700_0000, page, 0x1000)
    world.expect("elsewhere it works", world.read(A, 0x0700_0000).pa, page)
    user.detach(device)

    world.step("Given an IOAS that allows 0 to 0x0fff_ffff")
    ioas = user.ioas()
    user.allow(ioas, (0, 0x0FFF_FFFF))
    world.refused("attaching the device", "EADDRINUSE", user.attach, device, ioas)
    world.check("and its DMA is blocked", not world.read(A, 0x0700_0000).ok)

    world.step("Given a device with a region of type MSI and one of type SW_MSI")
    regions = [ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI),
               ReservedRegion(WINDOW, WINDOW_SIZE, ResvType.SW_MSI)]
    _, device = host.add(B, resv_regions=regions)
    user.bind(device)
    world.refused("attaching it", "EINVAL", user.attach, device, user.ioas())


@scenario("stage2-unmap", "the host takes memory from a guest: which commands, and in which order")
def stage2_unmap(world):
    world.step("Given a guest with 2 MiB of memory at IPA 0x8000_0000, which stage 1 maps and the "
               "device has read")
    host = Host(world)
    guest = NestedGuest(host, A, VSID)
    physical = host.machine.allocator.alloc(BLOCK)
    guest.user.map(guest.ioas, 0x8000_0000, physical, BLOCK)
    guest.tables.map(0x10_0000, 0x8000_0000, 0x1000)
    guest.tables.map(0x11_0000, guest.tables.buffer())
    guest.attach()
    world.expect("it comes from host memory", world.read(A, 0x10_0008).pa, physical + 8)
    world.step("When the host unmaps the 2 MiB")
    world.expect("2 MiB are unmapped", guest.user.unmap(guest.ioas, 0x8000_0000, BLOCK), BLOCK)
    issued = world.commands(syncs=True)
    world.step("Then")
    world.expect("TLBI_S2_IPA, CMD_SYNC, TLBI_NH_ALL, CMD_SYNC; and no ATC_INV, as there is no ATS",
                 [command.name for command in issued],
                 ["CMD_TLBI_S2_IPA", "CMD_SYNC", "CMD_TLBI_NH_ALL", "CMD_SYNC"])
    first = issued[0]
    world.expect("the first is a range: VMID 7, 0x8000_0000, 512 granules of 4 KiB",
                 (first.VMID, first.Address, first.TG, (first.NUM + 1) << first.SCALE),
                 (VMID, 0x8000_0000, TLBI_TG.G4K, BLOCK >> 12))
    world.expect("the second is for VMID 7", issued[2].VMID, VMID)
    result = world.read(A, 0x10_0008)
    host.events()
    event = host.driver.event_log[-1]
    world.expect("the guest's address misses now: F_TRANSLATION of stage 2, in the host's log",
                 (result.ok, event.name, event.S2, event.IPA),
                 (False, "F_TRANSLATION", 1, 0x8000_0000))
    world.check("other memory of the guest is there", world.read(A, 0x11_0000).ok)

    world.step("When the driver tells the device's own TLB nevertheless")
    try:
        host.driver.issue(commands.atc_inv([A], 0, 0, 0))
        refused = None
    except CommandError as error:
        refused = error
    world.check("the SMMU finds CMD_ATC_INV illegal (IDR0.ATS is 0), CERROR_ILL; a CMD_SYNC takes "
                "its place", refused and refused.code.name == "CERROR_ILL"
                and host.driver.command_queue.decode(refused.index)[0] == Opcode.CMD_SYNC, refused)
    world.check("and the queue goes on", world.read(A, 0x11_0000).ok)


@scenario("two-guests-one-doorbell", "two iommufds, one ITS: the same IOVA and EventID, kept apart")
def two_guests_one_doorbell(world):
    world.step("Given two guests, each with an iommufd and a device at the same ITS")
    host = Host(world)
    its, vectors = host.machine.its[0], []
    guests = [NestedGuest(host, sid, VSID, number) for number, sid in enumerate((A, B))]
    for guest in guests:
        guest.tables.map(WINDOW, WINDOW, WINDOW_SIZE, DEVICE_MEMORY)
        guest.attach()
        desc = host.alloc_irqs(guest.device, 1)[0]
        host.program(guest.function, desc)
        vectors.append(desc)
    world.expect("both messages are 0x0800_0040 / 0", [tuple(desc.message) for desc in vectors],
                 [(WINDOW + 0x40, 0)] * 2)
    world.expect("each list has the doorbell as its first page",
                 [[(page.iova, page.doorbell) for page in guest.user.iommufd.sw_msi.pages]
                  for guest in guests], [[(WINDOW, ITS0 & -0x1000)]] * 2)
    world.expect("each stage 2 maps it", [guest.stage2.iova_to_phys(WINDOW) for guest in guests],
                 [ITS0 & -0x1000] * 2)
    world.check("and they are two", guests[0].stage2 is not guests[1].stage2)
    for guest, desc in zip(guests, vectors, strict=True):
        world.step(f"When the device of VMID {guest.stage2.vmid} raises its vector")
        result = guest.function.trigger(0)
        world.step("Then")
        world.expect("it arrives with its own DeviceID", (result.pa, result.device_id),
                     (ITS0, guest.sid))
        world.expect("and its own LPI alone is pending", its.take_pending(), [desc.hwirq])
    world.check("the LPIs differ", vectors[0].hwirq != vectors[1].hwirq)
