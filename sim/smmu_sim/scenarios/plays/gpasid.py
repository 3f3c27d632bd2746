"""Guest PASID bind: single PASIDs of a guest, shadowed by the host (Linux 5.5 to 5.17)."""

from smmu.formats.core import plain
from smmu.formats.stream_table import STE, STEConfig

from smmu_sim.driver import PageAllocator
from smmu_sim.iommu import DomainType, GuestPASIDBinding, GuestPASIDs, SMMUv3Engine
from smmu_sim.machine import Machine
from smmu_sim.pagetable import PageTable
from smmu_sim.scenarios.guest_tables import GuestTables
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.registry import scenario

A, HPASID, GPASID, ROOT, WIDTH = 0x42, 9, 3, 0x4010_0000, 48
_PADDING = 48  # offset in the struct of 5.9
IOVA = 0x1_0000


@scenario("gpasid-bind", "sva_bind_gpasid: the guest's PASID 3 is the host's 9, nested",
          needs={"ssidsize": 5})
def gpasid_bind(world):
    world.step("Given a device with PASIDs on a guest's stage 2, and a page table of the guest "
               "with its root at GPA 0x4010_0000")
    host = Host(world)
    _, device = host.add(A, ssid_bits=5)
    iommu = host.iommu
    domain = iommu.alloc_domain(device, DomainType.UNMANAGED, nest_parent=True)
    guest = GuestTables(host)
    domain.map(Machine.GUEST_RAM_IPA, *guest.ram)
    iommu.attach_device(domain, device)
    table = PageTable(guest.memory, PageAllocator(guest.memory, ROOT, 1 << 20), stage=1,
                      ia_bits=WIDTH, oa_bits=host.driver.features.oas)
    world.expect("that is where it is", table.root, ROOT)
    ipa = guest.buffer()
    table.map(IOVA, ipa, 0x1000)
    pasids = GuestPASIDs(SMMUv3Engine(iommu))
    binding = GuestPASIDBinding(gpgd=ROOT, hpasid=HPASID, addr_width=WIDTH, gpasid=GPASID)

    for text, data in (("hpasid 0", binding._replace(hpasid=0).to_bytes()),
                       ("a byte of padding that is 1", _padded(binding.to_bytes()))):
        world.refused(text, "EINVAL", pasids.bind, domain, device, data)
    world.expect("the STE is stage 2 alone", plain(STE).Config(host.ste(device)),
                 STEConfig.S2_TRANS)

    world.step("When hpasid 9 is bound, gpasid 3 with GPASID_VAL, width 48")
    pasids.bind(domain, device, binding.to_bytes())
    world.step("Then")
    world.expect("the STE is nested", plain(STE).Config(host.ste(device)), STEConfig.NESTED)
    world.expect("the guest's PASID 3 is to be programmed as 9",
                 pasids.host_pasid(device, GPASID), HPASID)
    world.expect("PASID 9 goes through the guest's table and then stage 2",
                 world.read(A, IOVA, ssid=HPASID).pa, guest.physical(ipa))
    world.expect("what has no PASID goes through stage 2 alone", world.read(A, ipa).pa,
                 guest.physical(ipa))
    world.refused("binding it again", "EBUSY", pasids.bind, domain, device, binding.to_bytes())

    world.step("When it is unbound")
    world.commands()
    pasids.unbind(domain, device, HPASID)
    issued = [command.name for command in world.commands()]
    world.step("Then")
    world.check("the CD and what is cached of its ASID are flushed",
                {"CMD_CFGI_CD", "CMD_TLBI_NH_ASID"} <= set(issued), issued)
    result = world.read(A, IOVA, ssid=HPASID)
    world.check("the next access with PASID 9 faults", not result.ok)
    events = host.events()
    world.check("with an event of StreamID 0x42",
                [event.StreamID for event in events] == [A] and events[0].SubstreamID == HPASID,
                events)
    world.expect("what has no PASID goes on", world.read(A, ipa).pa, guest.physical(ipa))


def _padded(data):
    data = bytearray(data)
    data[_PADDING] = 1
    return bytes(data)
