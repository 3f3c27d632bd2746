"""Guests that run the driver on a virtual SMMU: boot, DMA, faults, three ways for their MSIs."""

from smmu_sim.scenarios.registry import scenario
from smmu_sim.vmm import Twins

A, VSID = 0x42, 0x10
ITS0, ITS1 = 0x2021_0040, 0x2031_0040
GUEST_DOORBELL, WINDOW = 0x0809_0040, 0x0800_0000
PAGE = 0x1000


def _guests(world, **options):
    with world.quietly("the host resets the SMMU; the monitor starts; the guest boots"):
        twins = Twins(world.backend, **options)
    world.commands(), world.writes()
    return twins


@scenario("guest-dma", "a guest with its own driver: DMA, unmap and faults through both stages")
def guest_dma(world):
    world.step("Given a guest that has booted on a virtual SMMU (iommufd)")
    twins = _guests(world, guests=1)
    guest, = twins.guests
    device, = guest.devices
    function = device.function
    world.step("When its driver maps a page for the device")
    phys = guest.alloc(PAGE)
    iova = guest.dma(device).map_page(phys, PAGE)
    result = function.write(iova + 0x10, b"to the guest")
    world.step("Then")
    world.expect("the device's data are in the guest's memory",
                 guest.memory.read(phys + 0x10, 12), b"to the guest")
    base, _ = twins.machine.guest_ram()
    world.expect("at the host's place for it", result.pa, base + phys - 0x4000_0000 + 0x10)
    world.step("When the guest unmaps it")
    world.commands()
    guest.dma(device).unmap_page(iova, PAGE)
    issued = world.commands()
    world.step("Then")
    domain = guest.devices[device].group.domain.hw
    parent = twins.host.devices[function].group.domain.parent.hw
    world.expect("its invalidation is issued with the host's VMID and its own ASID",
                 [(c.VMID, c.ASID) for c in issued if c.name == "CMD_TLBI_NH_VA"],
                 [(parent.vmid, domain.asid)])
    world.check("the device cannot read it any more", not function.read(iova, 8).ok)
    twins.service()
    world.expect("and the guest gets the event, with its own StreamID",
                 [(e.name, e.StreamID, e.InputAddr) for e in guest.events],
                 [("F_TRANSLATION", VSID, iova)])
    world.expect("which the host does not log", list(twins.host.driver.event_log), [])


def _msis(world, way, text, **options):
    """Three vectors of a guest's device, requested and raised; return the parts for more."""
    world.step(f"Given a guest whose MSIs go {text}")
    twins = _guests(world, guests=1, msi=way, **options)
    guest, = twins.guests
    device, *_ = guest.devices
    function, interrupts = device.function, []
    world.step("When its driver requests three vectors, and the device raises 2, 0, 1")
    descs = guest.request_irqs(device, 3, lambda _, vector: interrupts.append(vector))
    results = []
    for vector in (2, 0, 1):
        results.append(function.trigger(vector))
        twins.service()
    world.step("Then")
    world.expect("each arrives at the first ITS, as the device", [
        (result.pa, result.device_id) for result in results], [(ITS0, A)] * 3)
    world.expect("and in the guest's handler of that vector", interrupts, [2, 0, 1])
    stage1 = guest.devices[device].group.domain
    addr = function.vectors[0].addr
    return twins, guest, stage1.iova_to_phys(addr), addr, descs[0].message.addr, results


@scenario("guest-msi-bind", "a guest's MSIs by bind_guest_msi: its IOVA, its gDB, the host's hDB")
def guest_msi_bind(world):
    _, _, ipa, addr, wanted, results = _msis(world, "bind", "by bind_guest_msi (VFIO, V15)")
    world.expect("the device has the guest's IOVA", addr, wanted)
    world.expect("which stage 1 maps to the guest's doorbell", ipa, GUEST_DOORBELL)
    world.check("and stage 2 to the physical one, without the remap unit",
                not any(result.msi for result in results))


@scenario("guest-msi-rmr", "a guest's MSIs by the window that it maps one to one")
def guest_msi_rmr(world):
    _, _, ipa, addr, _, _ = _msis(world, "rmr", "by the window that firmware describes (iommufd)")
    world.expect("the device has an address in the window", addr, WINDOW + 0x40)
    world.expect("which stage 1 maps one to one", ipa, WINDOW + 0x40)


@scenario("guest-msi-remap", "a guest's MSIs by the remap unit: one gDB, a doorbell per device",
          needs={"remap_entries": 2})
def guest_msi_remap(world):
    twins, guest, ipa, addr, wanted, results = _msis(
        world, "remap", "by the doorbell remap of this SMMU (iommufd); its second device is at "
        "another ITS", devices=2, several_its=True)
    world.expect("the device has the guest's IOVA", addr, wanted)
    world.expect("which stage 1 maps to the guest's doorbell", ipa, GUEST_DOORBELL)
    world.check("each write was sent on by the remap unit", all(result.msi for result in results))
    world.step("When the second device raises a vector")
    second, interrupts = list(guest.devices)[1], []
    guest.request_irqs(second, 1, lambda _, vector: interrupts.append(vector))
    stage1 = guest.devices[second].group.domain
    world.expect("its IOVA is mapped to the same doorbell of the guest",
                 stage1.iova_to_phys(second.function.vectors[0].addr), GUEST_DOORBELL)
    result = second.function.trigger(0)
    twins.service()
    world.expect("yet it arrives at its own ITS", (result.pa, result.msi), (ITS1, True))
    world.expect("and in the guest's handler", interrupts, [0])


@scenario("twin-guests", "two guests with the same ASIDs, IOVAs and doorbells, side by side")
def twin_guests(world):
    world.step("Given two guests that are alike, each with one device")
    twins = _guests(world, guests=2)
    places, interrupts = [], []
    base = [twins.machine.guest_ram(number)[0] for number in range(2)]
    for guest in twins.guests:
        device, = guest.devices
        iova = guest.dma(device).map_page(guest.alloc(PAGE), PAGE)
        guest.request_irqs(device, 1, lambda which, vector: interrupts.append(which))
        places.append((device, guest.devices[device].group.domain.hw.asid, iova,
                       device.function.vectors[0].addr))
    world.expect("their ASIDs, IOVAs and MSI addresses are the same", places[0][1:], places[1][1:])
    world.step("When both devices write, and both raise an interrupt")
    results = [device.function.write(iova, bytes([number] * 8))
               for number, (device, _, iova, _) in enumerate(places)]
    for device, *_ in places:
        device.function.trigger(0)
        twins.service()
    world.step("Then")
    world.expect("each wrote to the same place of its own guest's memory",
                 results[0].pa - base[0], results[1].pa - base[1])
    world.expect("and its own data are there",
                 [world.memory.peek(result.pa, 8) for result in results],
                 [bytes([number] * 8) for number in range(2)])
    world.expect("each interrupt is that of its own guest", interrupts,
                 [device for device, *_ in places])
    world.step("When the first guest unmaps the page")
    guest, (device, _, iova, _) = twins.guests[0], places[0]
    guest.dma(device).unmap_page(iova, PAGE)
    world.step("Then")
    world.check("its device cannot access it", not device.function.read(iova, 8).ok)
    other = places[1][0].function.read(iova, 8)
    world.expect("the other guest's device still can", other.data, bytes([1] * 8))
    twins.service()
    world.expect("and the first guest alone gets an event",
                 [[event.name for event in each.events] for each in twins.guests],
                 [["F_TRANSLATION"], []])
