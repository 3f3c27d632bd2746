"""MSIs of devices that the host's kernel uses itself, or gives to a user without stage 1."""

from smmu.formats.core import plain
from smmu.formats.stream_table import STE, S1DSS

from smmu_sim.iommu import AuxPrimary, DomainType, ReservedRegion, ResvType
from smmu_sim.process import Process
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.iommufd_user import IOMMUFDUser
from smmu_sim.scenarios.registry import scenario
from smmu_sim.vfio import IOCTL, Container, ExtensionID, VFIOGroup

DEVICE = 0x42
ITS0, ITS1 = 0x2021_0040, 0x2031_0040     # GITS_TRANSLATER
WINDOW = 0x0800_0000
LPI_OF_EVENT_5 = 8197
CONFIG, S1DSS_OF = plain(STE).Config, plain(STE).S1DSS


@scenario("host-msi", "a kernel driver's MSI: stage 1 maps the doorbell at the top of the IOVAs")
def host_msi(world):
    world.step("Given a device that a kernel driver uses, with six vectors at the first ITS")
    host = Host(world)
    function, device = host.add(DEVICE)
    desc = host.alloc_irqs(device, 6)[5]
    domain = host.iommu.domain_of(device)
    world.expect("its domain is the DMA API's", domain.type, DomainType.DMA)
    world.expect("which maps the top page of the IOVAs to the doorbell's page",
                 domain.iova_to_phys(0xFFFF_F040), ITS0)
    world.expect("the message of vector 5 says so", (desc.message.addr, desc.message.data),
                 (0xFFFF_F040, 5))
    world.step("When the device raises vector 5: 32 bits to 0xffff_f040")
    host.program(function, desc)
    result = function.trigger(5)
    world.step("Then")
    world.expect("the write leaves at the doorbell", (result.ok, result.pa), (True, ITS0))
    world.expect("with the DeviceID of StreamID 0x42", result.device_id, DEVICE)
    world.expect("and LPI 8197 is pending", host.machine.its[0].take_pending(), [LPI_OF_EVENT_5])
    world.expect("no event", host.events(), [])


@scenario("vfio-unmanaged", "a user's device without stage 1: doorbells in the MSI window")
def vfio_unmanaged(world):
    world.step("Given a container of type 1 v2 with the device's group: its MSI cookie begins at "
               "0x0800_0000")
    host = Host(world)
    function, device = host.add(DEVICE)
    process = Process(world.memory)
    container = Container(host.iommu, process)
    group = VFIOGroup(host.iommu, device.group, process, [])
    group.ioctl(IOCTL.GROUP_SET_CONTAINER, process.open(container))
    container.ioctl(IOCTL.SET_IOMMU, ExtensionID.TYPE1V2)
    domain = host.iommu.domain_of(device)
    world.expect("the domain is the user's", domain.type, DomainType.UNMANAGED)
    world.step("When two vectors are allocated at one ITS, and a third at the other")
    descs = [*host.alloc_irqs(device, 2), *host.alloc_irqs(device, 1, its=1)]
    world.step("Then")
    world.expect("the messages go to", [desc.message.addr for desc in descs],
                 [0x0800_0040, 0x0800_0040, 0x0800_1040])
    world.expect("there are two mappings, each of one page",
                 [(page.iova, page.phys) for page in domain.cookie.pages],
                 [(0x0800_0000, 0x2021_0000), (0x0800_1000, 0x2031_0000)])
    world.expect("and nothing is mapped after them", domain.iova_to_phys(0x0800_2000), None)
    for number, (desc, doorbell) in enumerate(zip(descs, (ITS0, ITS0, ITS1), strict=True)):
        world.expect(f"MSI {number} arrives",
                     world.msi(DEVICE, desc.message.addr, desc.message.data).pa, doorbell)
    world.expect("LPIs of the first ITS are pending", host.machine.its[0].take_pending(),
                 [desc.hwirq for desc in descs[:2]])
    world.expect("and one of the second", host.machine.its[1].take_pending(), [descs[2].hwirq])


@scenario("pasid-rid", "PASIDs beside the RID: which CD, which event, and where MSIs go",
          needs={"ssidsize": 4})
def pasid_rid(world):
    host = Host(world)
    function, device = host.add(DEVICE, ssid_bits=4)
    desc = host.alloc_irqs(device, 1)[0]
    iommu, memory = host.iommu, host.machine.allocator
    rid, mine = iommu.domain_of(device), iommu.alloc_domain(device, DomainType.UNMANAGED)
    pages = {name: memory.alloc(0x1000) for name in ("rid", "pasid")}
    iova = iommu.dma(device).map_page(pages["rid"], 0x1000)
    mine.map(iova, pages["pasid"], 0x1000)

    world.step("Given the RID on its DMA domain, and PASID 5 on another, which maps the same IOVA")
    iommu.attach_device_pasid(mine, device, 5)
    world.expect("STE.S1DSS is SSID0", S1DSS_OF(host.ste(device)), S1DSS.SSID0)
    _pasid_rules(world, host, iova, pages, desc)

    world.step("When the RID is blocked")
    _rid_to(host, device, DomainType.BLOCKED)
    world.step("Then")
    world.expect("STE.S1DSS is TERMINATE", S1DSS_OF(host.ste(device)), S1DSS.TERMINATE)
    result = world.msi(DEVICE, desc.message.addr, desc.message.data)
    world.expect("the MSI aborts with F_STREAM_DISABLED",
                 (result.ok, [event.name for event in host.events()]),
                 (False, ["F_STREAM_DISABLED"]))
    world.expect("no interrupt", host.machine.its[0].take_pending(), [])
    world.expect("PASID 5 goes on", world.read(DEVICE, iova, ssid=5).pa, pages["pasid"])

    world.step("When the RID has the identity domain")
    _rid_to(host, device, DomainType.IDENTITY)
    world.step("Then")
    world.expect("STE.S1DSS is BYPASS", S1DSS_OF(host.ste(device)), S1DSS.BYPASS)
    world.expect("an MSI to the physical doorbell passes stage 1 untranslated",
                 world.msi(DEVICE, ITS0, desc.message.data).pa, ITS0)
    world.expect("and arrives", host.machine.its[0].take_pending(), [desc.hwirq])
    world.expect("PASID 5 goes on", world.read(DEVICE, iova, ssid=5).pa, pages["pasid"])
    world.check("the RID's old domain is not used", rid is not iommu.domain_of(device))


def _rid_to(host, device, type):
    host.iommu.detach_device(host.iommu.domain_of(device), device)
    host.iommu.attach_device(host.iommu.alloc_domain(device, type), device)


def _pasid_rules(world, host, iova, pages, desc):
    world.step("Then")
    result = world.msi(DEVICE, desc.message.addr, desc.message.data)
    world.expect("an MSI, which has no SubstreamID, uses CD 0", result.pa, ITS0)
    world.expect("and arrives", host.machine.its[0].take_pending(), [desc.hwirq])
    world.expect("DMA without SubstreamID uses CD 0", world.read(DEVICE, iova).pa, pages["rid"])
    world.expect("SubstreamID 5 uses CD 5", world.read(DEVICE, iova, ssid=5).pa, pages["pasid"])
    for ssid, event, why in ((0, "F_STREAM_DISABLED", "it is not to be sent with S1DSS SSID0"),
                             (6, "C_BAD_CD", "its CD is not valid"),
                             (16, "C_BAD_SUBSTREAMID", "it is 2**S1CDMax")):
        result = world.read(DEVICE, iova, ssid=ssid)
        world.expect(f"SubstreamID {ssid} is aborted with {event}: {why}",
                     (result.ok, [found.name for found in host.events()]), (False, [event]))


@scenario("irq-attach-order", "request_irq before or after attach: where the doorbell is mapped",
          needs={"ssidsize": 4})
def irq_attach_order(world):
    host = Host(world, iommu={"msi": "5.3"})
    iommu, its = host.iommu, host.machine.its[0]
    number = iter(range(0x42, 0x52))

    def fresh(row):
        world.step(row)
        function, device = host.add(next(number))
        return device, iommu.domain_of(device), iommu.alloc_domain(device, DomainType.UNMANAGED)

    def send(device, desc):
        result = world.msi(device.master.sids[0], desc.message.addr, desc.message.data)
        return result.ok, its.take_pending() == [desc.hwirq], [e.name for e in host.events()]

    works, faults = (True, True, []), (False, False, ["F_TRANSLATION"])

    device, d0, d1 = fresh("request_irq, then attach D1, which has no cookie")
    desc = host.alloc_irqs(device, 1)[0]
    iommu.attach_device(d1, device)
    world.expect("the doorbell is mapped in D0", d0.iova_to_phys(desc.message.addr), ITS0)
    world.expect("not in D1", d1.iova_to_phys(desc.message.addr), None)
    world.expect("the MSI faults: F_TRANSLATION in D1", send(device, desc), faults)

    device, d0, d1 = fresh("attach D1, which has a cookie, then request_irq")
    iommu.get_msi_cookie(d1, WINDOW)
    iommu.attach_device(d1, device)
    desc = host.alloc_irqs(device, 1)[0]
    world.expect("the doorbell is mapped in D1", d1.iova_to_phys(desc.message.addr), ITS0)
    world.expect("not in D0", d0.iova_to_phys(desc.message.addr), None)
    world.expect("the MSI works", send(device, desc), works)

    device, d0, d1 = fresh("attach D1, which has no cookie, then request_irq")
    iommu.attach_device(d1, device)
    desc = host.alloc_irqs(device, 1)[0]
    world.expect("the message has the physical doorbell", desc.message.addr, ITS0)
    world.expect("the MSI faults", send(device, desc), faults)
    d1.map(ITS0 & -0x1000, ITS0 & -0x1000, 0x1000)
    world.expect("it works only once D1 maps that address", send(device, desc), works)

    device, d0, d1 = fresh("attach a PASID's domain alone")
    world.note("the RID stays where it is")
    _pasid_alone(world, host, next(number), send, works)
    _aux_solutions(world, host, number, send, works)
    world.start_over()
    _replace_row(world)


def _replace_row(world):
    world.step("iommufd: request_irq under HWPT A, then replace by HWPT B")
    host = Host(world)
    _, device = host.add(DEVICE)
    user = IOMMUFDUser(host)
    user.bind(device)
    ioas = user.ioas()
    one, other = (user.hwpt(device, ioas) for _ in range(2))
    user.attach(device, one)
    desc = host.alloc_irqs(device, 1)[0]
    domain = host.iommu.domain_of(device)
    world.expect("the doorbell is mapped in A", domain.iova_to_phys(desc.message.addr), ITS0)
    user.attach(device, other)
    world.expect("and in B, when it is attached",
                 host.iommu.domain_of(device).iova_to_phys(desc.message.addr), ITS0)
    world.check("which is another domain", host.iommu.domain_of(device) is not domain)
    world.expect("the MSI works", world.msi(DEVICE, desc.message.addr, desc.message.data).pa, ITS0)
    world.expect("and arrives", host.machine.its[0].take_pending(), [desc.hwirq])


def _pasid_alone(world, host, sid, send, works):
    function, device = host.add(sid, ssid_bits=4)
    d0 = host.iommu.domain_of(device)
    host.iommu.attach_device_pasid(
        host.iommu.alloc_domain(device, DomainType.UNMANAGED), device, 3)
    desc = host.alloc_irqs(device, 1)[0]
    world.check("the RID's domain is the same", host.iommu.domain_of(device) is d0)
    world.expect("the doorbell is mapped in it", d0.iova_to_phys(desc.message.addr), ITS0)
    world.expect("the MSI works", send(device, desc), works)


def _aux_solutions(world, host, number, send, works):
    """The two solutions that were proposed for drivers with aux domains."""
    for solution in ("shared", "ordered"):
        world.step(f'A primary domain for aux domains, solution "{solution}"')
        function, device = host.add(next(number), ssid_bits=4)
        primary = AuxPrimary(host.iommu, device, solution)
        if solution == "shared":
            desc = host.alloc_irqs(device, 1)[0]
            primary.attach()
        else:
            primary.attach()
            primary.map_msi()
            desc = host.alloc_irqs(device, 1)[0]
        world.expect("the doorbell is mapped in the primary domain",
                     primary.domain.iova_to_phys(desc.message.addr), ITS0)
        world.expect("the MSI works" + (
            ", though it was requested before the attach" if solution == "shared" else ""),
            send(device, desc), works)


@scenario("hw-msi-region", "a device whose MSIs bypass the SMMU: nesting is refused, iommufd works")
def hw_msi_region(world):
    region = ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)
    world.step("Given a device with a reserved region of type MSI at 0xfee0_0000")
    host = Host(world)
    function, device = host.add(DEVICE, resv_regions=[region])
    world.expect("it has no SW_MSI window",
                 [each.type for each in host.iommu.get_resv_regions(device)], [ResvType.MSI])
    before = host.iommu.domain_of(device)
    for generation in ("V8", "V15"):
        nesting = host.iommu.alloc_domain(device, DomainType.UNMANAGED, nesting=True,
                                          generation=generation)
        world.refused(f"{generation}: a nesting domain is refused", "EINVAL",
                      host.iommu.attach_device, nesting, device)
        world.check("and the old domain goes on", host.iommu.domain_of(device) is before)
    world.step("When a user attaches it by iommufd, and a message is composed")
    user = IOMMUFDUser(host)
    user.bind(device)
    ioas = user.ioas()
    user.attach(device, ioas)
    desc = host.alloc_irqs(device, 1)[0]
    world.step("Then")
    world.expect("the message has the physical doorbell", desc.message.addr, ITS0)
    world.expect("there is no page in any window", user.iommufd.sw_msi.pages, [])
    world.expect("and the domain maps nothing there",
                 host.iommu.domain_of(device).iova_to_phys(0x0800_0040), None)
    world.expect("IOVA_RANGES leaves out the region of type MSI", user.iova_ranges(ioas)[0],
                 (0, 0xFEDF_FFFF))
