"""Where iommufd maps doorbells: the window, the options to move it, its limits."""

from smmu_sim.iommu import ReservedRegion, ResvType
from smmu_sim.iommufd.constants import MAX, Option
from smmu_sim.irq import MSIDescriptor
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.iommufd_user import IOMMUFDUser
from smmu_sim.scenarios.registry import scenario

ITS0 = 0x2021_0040
START, SIZE = Option.SW_MSI_START, Option.SW_MSI_SIZE
WINDOW, OTHER = 0x0800_0000, 0x9000_0000


def _attached(host, sid, **options):
    """Return (user, device) of a new iommufd, whose device is bound but not attached."""
    user = IOMMUFDUser(host, f"user of {sid:#x}", **options)
    _, device = host.add(sid)
    user.bind(device)
    return user, device


def _message(host, device):
    return host.alloc_irqs(device, 1, room=2)[0].message


@scenario("sw-msi-default", "without options doorbells are in the driver's window at 0x0800_0000")
def sw_msi_default(world):
    world.step("Given a new iommufd with the options of the first posting")
    host = Host(world)
    user, device = _attached(host, 0x42, sw_msi_options="seed")
    world.expect("GET START is 2**64 - 1", user.get_option(START), MAX)
    world.expect("GET SIZE is 0", user.get_option(SIZE), 0)
    world.refused("object_id 1", "EOPNOTSUPP", user.get_option, START, 1)
    world.refused("op 2", "EOPNOTSUPP", user.call, "OPTION", option_id=START, op=2)
    world.step("When the device is attached to an IOAS and a message is composed")
    user.attach(device, user.ioas())
    message = _message(host, device)
    world.step("Then")
    world.expect("it goes to 0x0800_0040", message.addr, WINDOW + 0x40)
    world.expect("from where the device's write reaches the doorbell",
                 world.msi(0x42, message.addr, message.data).pa, ITS0)


@scenario("sw-msi-override", "START and SIZE move the window, but nothing reserves it (seed)")
def sw_msi_override(world):
    world.step("Given START 0x9000_0000 and SIZE 1")
    host = Host(world)
    user, device = _attached(host, 0x42, sw_msi_options="seed")
    user.set_option(START, OTHER)
    user.set_option(SIZE, 1)
    ioas = user.ioas()
    world.step("When the device is attached and a message is composed")
    user.attach(device, ioas)
    message = _message(host, device)
    world.step("Then")
    world.expect("it goes to 0x9000_0040", message.addr, OTHER + 0x40)
    world.expect("and arrives", world.msi(0x42, message.addr, message.data).pa, ITS0)
    _, last = host.iommu.domain_of(device).aperture
    world.expect("IOVA_RANGES leaves out the driver's window alone, not that at 0x9000_0000",
                 user.iova_ranges(ioas), [(0, WINDOW - 1), (WINDOW + 0x10_0000, last)])

    world.step("When another user maps at 0x9000_0000 before there is a vector")
    user, device = _attached(host, 0x43, sw_msi_options="seed")
    user.set_option(START, OTHER)
    user.set_option(SIZE, 1)
    ioas = user.ioas()
    user.attach(device, ioas)
    page = host.machine.allocator.alloc(0x1000)
    user.map(ioas, OTHER, page, 0x1000)
    world.step("Then")
    world.expect("the IOAS accepts it, and the device reads it",
                 world.read(0x43, OTHER).pa, page)
    world.refused("but then the doorbell does not fit: no vector", "EEXIST", host.alloc_irqs,
                  device, 1)
    world.expect("and the mapping is still the user's", world.read(0x43, OTHER).pa, page)


@scenario("sw-msi-half-set", "START or SIZE alone change nothing; START 0 with SIZE is address 0")
def sw_msi_half_set(world):
    host = Host(world)
    for sid, text, options, expected in (
            (0x42, "START 0x9000_0000 alone", {START: OTHER}, WINDOW + 0x40),
            (0x43, "SIZE 1 alone", {SIZE: 1}, WINDOW + 0x40),
            (0x44, "START 0 and SIZE 1", {START: 0, SIZE: 1}, 0x40)):
        world.step(f"Given {text}")
        user, device = _attached(host, sid, sw_msi_options="seed")
        for option, value in options.items():
            user.set_option(option, value)
        user.attach(device, user.ioas())
        message = _message(host, device)
        world.expect(f"the message goes to {expected:#x}", message.addr, expected)
        world.expect("and arrives", world.msi(sid, message.addr, message.data).pa, ITS0)


@scenario("sw-msi-late", "options set after an attach count for groups that come later")
def sw_msi_late(world):
    world.step("Given a device that is attached, with a message in the driver's window")
    host = Host(world)
    user, device = _attached(host, 0x42, sw_msi_options="seed")
    ioas = user.ioas()
    user.attach(device, ioas)
    first = _message(host, device)
    world.step("When START and SIZE are set, and a device of another group is attached")
    user.set_option(START, OTHER)
    user.set_option(SIZE, 1)
    _, later = host.add(0x43)
    user.bind(later)
    user.attach(later, ioas)
    second = _message(host, later)
    world.step("Then")
    world.expect("the second one's message is in the new window", second.addr, OTHER + 0x40)
    world.expect("the first keeps its own, also for another vector",
                 (first.addr, _message(host, device).addr), (WINDOW + 0x40,) * 2)
    world.expect("the doorbell has two entries, each the first of its window",
                 [(page.start, page.doorbell, page.pgoff, page.id)
                  for page in user.iommufd.sw_msi.pages],
                 [(WINDOW, ITS0 & -0x1000, 0, 0), (OTHER, ITS0 & -0x1000, 0, 1)])
    world.expect("both arrive", [world.msi(0x42, first.addr, first.data).pa,
                                 world.msi(0x43, second.addr, second.data).pa], [ITS0, ITS0])


@scenario("sw-msi-per-device", "the options of the last posting: for each device, and checked")
def sw_msi_per_device(world):
    reserved = ReservedRegion(0x8000_0000, 0x100_0000, ResvType.RESERVED)
    world.step("Given a device with a reserved region 0x8000_0000 to 0x80ff_ffff")
    host = Host(world)
    user = IOMMUFDUser(host, sw_msi_options="strict")
    _, device = host.add(0x42, resv_regions=[reserved])
    number = user.bind(device)
    world.refused("object_id 0", "ENOENT", user.set_option, START, OTHER)
    world.refused("START 0x7fff_0000, not in MiB", "EINVAL", user.set_option, START, 0x7FFF_0000,
                  number)
    world.refused("START 0x8040_0000, in the region", "EADDRINUSE", user.set_option, START,
                  0x8040_0000, number)
    user.set_option(START, 0x7FF0_0000, number)
    world.expect("START 0x7ff0_0000 is taken", user.get_option(START, number), 0x7FF0_0000)
    world.refused("SIZE 2 then meets the region", "EADDRINUSE", user.set_option, SIZE, 2, number)
    user.set_option(SIZE, 1, number)
    world.step("When the device is attached and a message is composed")
    ioas = user.ioas()
    user.attach(device, ioas)
    message = _message(host, device)
    world.step("Then")
    world.expect("it goes to 0x7ff0_0040", message.addr, 0x7FF0_0040)
    world.expect("and arrives", world.msi(0x42, message.addr, message.data).pa, ITS0)
    page = host.machine.allocator.alloc(0x1000)
    world.refused("nothing can be mapped in the window", "EINVAL", user.map, ioas, 0x7FF0_0000,
                  page, 0x1000)
    for option in (START, SIZE):
        world.refused(f"{option.name} of an attached device", "EBUSY", user.set_option, option, 1,
                      number)
        world.refused("and to ask for it", "EBUSY", user.get_option, option, number)


@scenario("sw-msi-limit", "one iommufd has room for 64 doorbell pages")
def sw_msi_limit(world):
    world.step("Given a device that is attached to an IOAS, and 65 doorbells in host memory")
    host = Host(world)
    user, device = _attached(host, 0x42)
    user.attach(device, user.ioas())
    doorbells = [0x5000_0040 + n * 0x1000 for n in range(65)]
    world.step("When the messages for 64 of them are composed")
    addresses = []
    for doorbell in doorbells[:64]:
        desc = MSIDescriptor(device, 0)
        host.iommu.prepare_msi(desc, doorbell)
        addresses.append(host.iommu.compose_msi(desc, doorbell))
    pages = user.iommufd.sw_msi.pages
    world.step("Then")
    world.expect("they have the ids 0 to 63", [page.id for page in pages], list(range(64)))
    world.expect("and the pages from 0x0800_0000 to 0x0803_f000",
                 [addr & -0x1000 for addr in addresses],
                 [WINDOW + n * 0x1000 for n in range(64)])
    with world.quietly("the device writes to each"):
        places = [world.msi(0x42, addr, n).pa for n, addr in enumerate(addresses)]
    world.expect("and each write arrives at its doorbell", places, doorbells[:64])
    world.refused("the 65th", "EOVERFLOW", host.iommu.prepare_msi, MSIDescriptor(device, 0),
                  doorbells[64])
    desc = MSIDescriptor(device, 0)
    host.iommu.prepare_msi(desc, doorbells[5])
    world.expect("a known one is found again", host.iommu.compose_msi(desc, doorbells[5]),
                 addresses[5])
