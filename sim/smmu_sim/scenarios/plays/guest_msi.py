"""MSIs of a guest with a stage 1 of its own, by the patches of 2019 to 2021 (bind_guest_msi)."""

from smmu.formats.core import pack, plain
from smmu.formats.descriptors import S2Leaf
from smmu.formats.stream_table import STE, STEConfig

from smmu_sim.driver import NestedDomain
from smmu_sim.fields import address
from smmu_sim.iommu import Domain, DomainType, GuestMSIBinding
from smmu_sim.scenarios.guest_tables import GuestTables
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.registry import scenario
from smmu_sim.scenarios.vfio_user import VFIOUser

A, B = 0x42, 0x43
ITS0, ITS1 = 0x2021_0040, 0x2031_0040   # GITS_TRANSLATER
GIOVA, GDB = 0xFFFF_0000, 0x0809_0000   # the guest's choice, and its doorbell's page
PAGE, VMID = 0x1000, 7
EVENT = 5
_leaf = plain(S2Leaf)


class _Nested:
    """A guest with device A: stage 2 of its RAM, its own stage 1 over it, and MSI-X to come."""

    def __init__(self, world, generation="V15"):
        self.world, self.host = world, Host(world)
        self.function, self.device = self.host.add(A)
        self.user = VFIOUser(self.host, generation)
        self.user.open(self.function, self.device)
        self.guest = GuestTables(self.host)
        self.guest.map_doorbell(GIOVA, GDB)
        self.user.map_ram(self.guest.ram)
        self.user.set_pasid_table(base=self.guest.cd_ipa)
        self.domain = self.user.domain(self.device)
        world.expect("the guest has VMID 7", self.domain.hw.vmid, VMID)
        world.commands()

    def compose(self):
        """Let the host allocate six vectors and compose their messages; return eventfd 5."""
        return self.user.enable_msix(self.device, EVENT + 1)[EVENT]

    @property
    def message(self):
        vector = self.function.vectors[EVENT]
        return vector.addr, vector.data

    def send(self):
        """Let the device raise vector 5; return the result."""
        return self.function.trigger(EVENT)

    def interrupts(self):
        """Let the host's kernel take its interrupts."""
        self.host.irqs[0].service()


@scenario("nested-unbound", "what bind_guest_msi is for: the host's IOVA has no stage 1 entry")
def nested_unbound(world):
    world.step("Given a nested STE: the guest's stage 1 maps 0xffff_0000 to its doorbell, stage 2 "
               "maps the host's MSI window to the physical one")
    host = Host(world)
    function, device = host.add(A)
    parent = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nest_parent=True)
    host.iommu.get_msi_cookie(parent, 0x0800_0000)
    guest = GuestTables(host)
    guest.map_doorbell(GIOVA, GDB)
    base, size = guest.ram
    parent.map(0x4000_0000, base, size)
    vste = pack(STE, {"V": 1, "Config": STEConfig.S1_TRANS, "S1ContextPtr": address(
        STE, "S1ContextPtr", guest.cd_ipa)}) & (1 << 64) - 1
    nested = Domain(DomainType.NESTED, NestedDomain(parent.hw, (vste, 0)), parent=parent)
    host.iommu.attach_device(nested, device)
    desc = host.alloc_irqs(device, EVENT + 1)[EVENT]
    world.expect("the host's message is in its window", desc.message.addr, 0x0800_0040)
    world.expect("which stage 2 maps to the doorbell", parent.iova_to_phys(0x0800_0040), ITS0)
    host.program(function, desc)
    world.step("When the device sends it")
    result = function.trigger(EVENT)
    events = host.events()
    world.step("Then")
    world.check("the write is aborted", not result.ok)
    world.expect("F_TRANSLATION of stage 1 at 0x0800_0040",
                 [(e.name, e.S2, e.InputAddr, e.StreamID) for e in events],
                 [("F_TRANSLATION", 0, 0x0800_0040, A)])
    world.expect("no interrupt", host.machine.its[0].take_pending(), [])


@scenario("bind-guest-msi", "the guest's IOVA is bound: stage 1 to gDB, stage 2 to hDB")
def bind_guest_msi_works(world):
    world.step("Given a guest's stage 1 over a nesting container (V15)")
    nested = _Nested(world)
    world.step("When its monitor binds IOVA 0xffff_0000 to 0x0809_0000, and the host composes")
    nested.user.bind_msi(GIOVA, GDB)
    world.expect("binding alone maps nothing", nested.domain.iova_to_phys(GDB), None)
    eventfd = nested.compose()
    world.step("Then")
    _bound(world, nested)
    result = nested.send()
    nested.interrupts()
    world.expect("the write arrives at the doorbell, as device A", (result.pa, result.device_id),
                 (ITS0, A))
    world.expect("and the monitor's eventfd is signalled once", eventfd.count, 1)


def _bound(world, nested):
    """Stage 2 has the doorbell behind the guest's, and the message is the guest's IOVA."""
    leaf = nested.domain.hw.table.lookup(GDB)
    world.expect("stage 2 gains 0x0809_0000 to 0x2021_0000, one page",
                 (leaf and leaf.size, nested.domain.iova_to_phys(GDB),
                  nested.domain.iova_to_phys(GDB + PAGE), nested.domain.iova_to_phys(GDB - 1)),
                 (PAGE, ITS0 & -PAGE, None, None))
    world.expect("write-only, Device-nGnRE", (_leaf.S2AP(leaf.raw), _leaf.MemAttr(leaf.raw)),
                 (2, 1))
    world.expect("the message is 0xffff_0040 / 5", nested.message, (GIOVA + 0x40, EVENT))


@scenario("bind-unaligned", "bindings are rounded down to the page; the first one of an IOVA stays")
def bind_unaligned(world):
    world.step("Given a guest's stage 1 over a nesting container (V15)")
    nested = _Nested(world)
    world.step("When IOVA 0xffff_0040 is bound to 0x0809_0040, and once more to 0x0900_0000")
    nested.user.bind_msi(GIOVA + 0x40, GDB + 0x40)
    second = nested.user.bind_msi(GIOVA, 0x0900_0000)
    eventfd = nested.compose()
    world.step("Then")
    world.expect("the second bind returns 0", second, 0)
    world.expect("but there is one entry, the first one",
                 [(entry.iova, entry.gpa) for entry in nested.domain.cookie.entries],
                 [(GIOVA, GDB)])
    _bound(world, nested)
    world.expect("nothing is mapped at 0x0900_0000", nested.domain.iova_to_phys(0x0900_0000), None)
    world.expect("the MSI arrives", nested.send().pa, ITS0)
    nested.interrupts()
    world.expect("and is signalled", eventfd.count, 1)


@scenario("bind-large-granule", "a guest's page above the host's: refused by V15, cut short by V8")
def bind_large_granule(world):
    world.step("Given V15 and a host with 4 KiB pages")
    nested = _Nested(world)
    world.step("When 64 KiB are bound")
    world.refused("the binding is refused", "EINVAL", nested.user.bind_msi, GIOVA, GDB, 0x1_0000)
    world.expect("and not registered", nested.domain.cookie.entries, [])

    world.start_over()
    world.step("Given V8")
    nested = _Nested(world, "V8")
    world.step("When 64 KiB are bound, and the host composes")
    world.expect("the binding is accepted", nested.user.bind_msi(GIOVA, GDB, 0x1_0000), 0)
    nested.compose()
    world.step("Then")
    world.expect("stage 2 maps one page of the host alone",
                 [nested.domain.iova_to_phys(addr) for addr in (GDB, GDB + 0xFFF, GDB + PAGE)],
                 [ITS0 & -PAGE, (ITS0 & -PAGE) + 0xFFF, None])
    world.expect("in which the doorbell is: the MSI arrives", nested.send().pa, ITS0)


@scenario("compose-before-bind", "the host composes before there is a binding: a warning, ENOMEM")
def compose_before_bind(world):
    world.step("Given a guest's stage 1 over a nesting container (V15), and no binding")
    nested = _Nested(world)
    world.step("When the host composes")
    world.refused("preparing the MSI is refused", "ENOMEM", nested.compose)
    world.step("Then")
    world.expect("the kernel warns once", len(nested.host.iommu.warnings), 1)
    world.expect("nothing is mapped", nested.domain.iova_to_phys(GDB), None)
    world.step("When the binding is there and the host tries again")
    nested.user.bind_msi(GIOVA, GDB)
    eventfd = nested.compose()
    world.step("Then")
    _bound(world, nested)
    world.expect("the MSI arrives", nested.send().pa, ITS0)
    nested.interrupts()
    world.expect("and is signalled", eventfd.count, 1)


@scenario("unbind-mapped", "a binding in use is taken away: stage 2 forgets the doorbell")
def unbind_mapped(world):
    world.step("Given a bound doorbell in use")
    nested = _Nested(world)
    nested.user.bind_msi(GIOVA, GDB)
    eventfd = nested.compose()
    world.expect("an MSI arrives", nested.send().pa, ITS0)
    nested.interrupts()
    world.commands()
    world.step("When IOVA 0xffff_0000 is unbound")
    nested.user.unbind_msi(GIOVA)
    issued = world.commands(syncs=True)
    world.step("Then")
    world.expect("the page is unmapped in stage 2", nested.domain.iova_to_phys(GDB), None)
    world.expect("TLBI_S2_IPA and CMD_SYNC, and then, as stage 1 entries may hold the result of "
                 "both stages, TLBI_NH_ALL and CMD_SYNC (Linux 7.0)",
                 [command.name for command in issued],
                 ["CMD_TLBI_S2_IPA", "CMD_SYNC", "CMD_TLBI_NH_ALL", "CMD_SYNC"])
    world.expect("for VMID 7, IPA 0x0809_0000", (issued[0].VMID, issued[0].Address), (VMID, GDB))
    result = nested.send()
    nested.host.events()
    nested.interrupts()
    world.check("the next MSI is aborted", not result.ok)
    event = nested.host.driver.event_log[-1]
    world.expect("with F_TRANSLATION of stage 2, IPA 0x0809_0000, in the host's log",
                 (event.name, event.S2, event.IPA), ("F_TRANSLATION", 1, GDB))
    world.expect("and not in the guest's fault ring", nested.user.fault_ring(nested.device).head, 0)
    world.expect("no interrupt", eventfd.count, 1)


@scenario("bind-device-handle", "RFC v3 binds for each device: two doorbells in one domain")
def bind_device_handle(world):
    world.step("Given devices A (first ITS) and B (second ITS) in one nesting domain of RFC v3")
    host = Host(world)
    (_, a), (_, b) = host.add(A), host.add(B, its=1)
    iommu = host.iommu
    domain = iommu.alloc_domain(a, DomainType.UNMANAGED, nesting=True, generation="G1")
    iommu.get_msi_cookie(domain, 0)
    for device in (a, b):
        iommu.attach_device(domain, device)
    iommu.bind_guest_msi(domain, a, GuestMSIBinding(GIOVA, GDB, PAGE), "G1")
    iommu.bind_guest_msi(domain, b, GuestMSIBinding(0xFFFE_0000, 0x080B_0000, PAGE), "G1")
    world.step("When B composes first")
    desc = host.alloc_irqs(b, 1, its=1)[0]
    world.step("Then")
    world.expect("B's entry is mapped: 0x080b_0000 to 0x2031_0000",
                 domain.iova_to_phys(0x080B_0000), ITS1 & -PAGE)
    world.expect("A's is not", domain.iova_to_phys(GDB), None)
    world.expect("B's message has B's IOVA", desc.message.addr, 0xFFFE_0040)
    world.step("When A composes")
    desc = host.alloc_irqs(a, 1)[0]
    world.step("Then")
    world.expect("A's entry is mapped as well", domain.iova_to_phys(GDB), ITS0 & -PAGE)
    world.expect("A's message has A's IOVA", desc.message.addr, GIOVA + 0x40)
    world.expect("B's DMA to its gDB reaches its doorbell (stage 1 is off)",
                 world.msi(B, 0x080B_0040, 0).pa, ITS1)

    world.step("Given the same devices with V8")
    for device in (a, b):
        iommu.detach_device(domain, device)
    domain = iommu.alloc_domain(a, DomainType.UNMANAGED, nesting=True, generation="V8")
    iommu.attach_device(domain, a)
    world.step("When B is attached to A's domain")
    world.refused("it is refused, as the doorbells differ", "EINVAL", iommu.attach_device, domain,
                  b)
    world.check("and B keeps its default domain",
                iommu.domain_of(b) is b.group.default_domain)
