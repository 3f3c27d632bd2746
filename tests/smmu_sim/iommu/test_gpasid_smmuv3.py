"""Guest PASID bind on an SMMUv3, with a device that reads and writes."""

import pytest

from smmu.formats.commands import Opcode
from smmu_sim.driver import MemoryWindow, PageAllocator, PageTable
from smmu_sim.iommu import DomainType, GuestPASIDBinding, GuestPASIDs, SMMUv3Engine, VTDFlag
from smmu_sim.machine import Machine

A, B = Machine.DEVICE_A, Machine.DEVICE_B
GUEST_VA = 0x7F00_0000_0000
ROOT = 0x4010_0000
BINDING = GuestPASIDBinding(gpgd=ROOT, hpasid=9, addr_width=48, gpasid=3)


class Guest:
    """A guest with page tables of processes in its memory; the host has stage 2 of it."""

    def __init__(self, host, sid=A, number=0, **options):
        self.host, self.device = host, host.device(sid, **options)
        self.domain = host.iommu.alloc_domain(self.device, DomainType.UNMANAGED, nest_parent=True)
        host.iommu.get_msi_cookie(self.domain, 0x0800_0000)
        self.base, size = host.machine.guest_ram(number)
        self.ipa = host.machine.GUEST_RAM_IPA
        self.domain.map(self.ipa, self.base, size)
        self.window = MemoryWindow(host.memory, self.ipa, self.base, size)
        self.allocator = PageAllocator(self.window, ROOT, 1 << 20)
        host.iommu.attach_device(self.domain, self.device)

    def process(self, page):
        """Return the page table of a process, which has one page of the guest's memory."""
        table = PageTable(self.window, self.allocator, stage=1, ia_bits=48)
        table.map(GUEST_VA, self.ipa + page, 0x1000)
        return table


def opcodes(commands):
    return [Opcode(command & 0xFF).name for command in commands]


@pytest.fixture
def guest(host):
    return Guest(host)


@pytest.fixture
def calls(host):
    return GuestPASIDs(SMMUv3Engine(host.iommu))


def bind(guest, calls, root, hpasid=9, gpasid=3):
    calls.bind(guest.domain, guest.device, GuestPASIDBinding(
        gpgd=root, hpasid=hpasid, addr_width=48, gpasid=gpasid).to_bytes())


def test_scenario_31(host, guest, calls, fails):
    table = guest.process(0x200_0000)
    assert table.root == ROOT
    bind(guest, calls, ROOT)
    pasid = calls.host_pasid(guest.device, 3)
    assert pasid == 9
    assert host.write(guest.device, GUEST_VA, pasid) == guest.base + 0x200_0000
    fails("EBUSY", bind, guest, calls, ROOT)
    fails("EINVAL", bind, guest, calls, ROOT, hpasid=0)
    data = BINDING.to_bytes()
    fails("EINVAL", calls.bind, guest.domain, guest.device, data[:48] + b"\1" + data[49:])
    assert host.write(guest.device, GUEST_VA, 9) == guest.base + 0x200_0000
    host.driver.take_commands()
    calls.unbind(guest.domain, guest.device, 9)
    commands = host.driver.take_commands()
    sent = opcodes(commands)
    cleared = sent.index("CMD_TLBI_NH_ASID")
    assert set(sent[:cleared]) == {"CMD_CFGI_CD", "CMD_SYNC"} and sent[cleared - 1] == "CMD_SYNC"
    assert sent[cleared + 1] == "CMD_SYNC"
    assert commands[cleared] >> 32 & 0xFFFF == guest.domain.hw.vmid
    assert host.write(guest.device, GUEST_VA, 9) is None
    assert host.events() == ["C_BAD_SUBSTREAMID"]


def test_transactions_without_a_pasid_are_not_affected(host, guest, calls):
    [desc] = host.irq(guest.device)
    bind(guest, calls, guest.process(0x200_0000).root)
    assert host.write(guest.device, guest.ipa + 0x300_0000) == guest.base + 0x300_0000
    assert desc.message.addr == 0x0800_0040 and host.msi(guest.device, desc)
    [later] = host.irq(guest.device)
    assert host.msi(guest.device, later)
    calls.unbind(guest.domain, guest.device, 9)
    assert host.write(guest.device, guest.ipa + 0x300_0000) == guest.base + 0x300_0000
    assert host.msi(guest.device, desc) and host.events() == []


def test_several_pasids_of_a_device(host, guest, calls):
    roots = [guest.process(page).root for page in (0x200_0000, 0x210_0000)]
    bind(guest, calls, roots[0], hpasid=9, gpasid=3)
    bind(guest, calls, roots[1], hpasid=200, gpasid=4)
    assert host.write(guest.device, GUEST_VA, 9) == guest.base + 0x200_0000
    assert host.write(guest.device, GUEST_VA, 200) == guest.base + 0x210_0000
    calls.unbind(guest.domain, guest.device, 9)
    assert host.write(guest.device, GUEST_VA, 9) is None and host.events() == ["C_BAD_CD"]
    assert host.write(guest.device, GUEST_VA, 200) == guest.base + 0x210_0000
    bind(guest, calls, roots[1], hpasid=9, gpasid=3)
    assert host.write(guest.device, GUEST_VA, 9) == guest.base + 0x210_0000
    assert calls.host_pasid(guest.device, 4) == 200


@pytest.mark.parametrize("ssid_bits", [4, 16])
def test_small_and_large_tables(host, ssid_bits):
    guest, calls = Guest(host, ssid_bits=ssid_bits), GuestPASIDs(SMMUv3Engine(host.iommu))
    last = (1 << ssid_bits) - 1
    bind(guest, calls, guest.process(0x200_0000).root, hpasid=last)
    assert host.write(guest.device, GUEST_VA, last) == guest.base + 0x200_0000


def test_guests_are_kept_apart(host, calls):
    guests = [Guest(host, A, 0), Guest(host, B, 1)]
    for guest in guests:
        bind(guest, calls, guest.process(0x200_0000).root)
    for guest in guests:
        assert host.write(guest.device, GUEST_VA, 9) == guest.base + 0x200_0000
    calls.unbind(guests[0].domain, guests[0].device, 9)
    assert host.write(guests[0].device, GUEST_VA, 9) is None
    assert host.write(guests[1].device, GUEST_VA, 9) == guests[1].base + 0x200_0000


def test_the_guest_cannot_write_the_table_of_the_host(host, guest, calls):
    bind(guest, calls, guest.process(0x200_0000).root)
    assert host.write(guest.device, 0x0A00_0000) is None
    [event] = host.driver.service()
    assert (event.name, event.stage) == ("F_PERMISSION", 2)


def test_everything_is_given_back(host, guest, calls):
    used = host.machine.allocator.used
    for _ in range(2):
        bind(guest, calls, guest.process(0x200_0000).root)
        assert host.machine.allocator.used > used
        calls.unbind(guest.domain, guest.device, 9)
        assert host.machine.allocator.used == used
        assert guest.device.group.domain is guest.domain
    assert guest.domain.iova_to_phys(0x0A00_0000) is None


@pytest.mark.parametrize("changes", [
    {"addr_width": 57}, {"addr_width": 39}, {"gpgd": 1 << 48}, {"gpgd": ROOT + 0x800},
    {"vtd_flags": VTDFlag.PCD}, {"vtd_flags": VTDFlag.SRE}, {"vtd_flags": VTDFlag.EAFE},
    {"hpasid": 256}])
def test_smmuv3_refuses(host, guest, calls, fails, changes):
    used = host.machine.allocator.used
    fails("EINVAL", calls.bind, guest.domain, guest.device, BINDING._replace(**changes))
    assert host.machine.allocator.used == used and guest.device.group.domain is guest.domain
    assert host.write(guest.device, guest.ipa) == guest.base


def test_smmuv3_and_its_devices(host, guest, calls, fails):
    fails("EINVAL", calls.bind, guest.domain, host.device(B, ssid_bits=0), BINDING)
    first = host.device(0x50)
    host.device(0x51, group=first.group)
    fails("EINVAL", calls.bind, guest.domain, first, BINDING)
    fails("EINVAL", calls.bind, guest.domain, host.device(0x52), BINDING)  # has another domain


def test_smmuv3_needs_a_nest_parent(host, guest, calls, fails):
    device = host.device(B)
    for options in ({}, {"stage": 2}, {"nesting": True}):
        domain = host.iommu.alloc_domain(device, DomainType.UNMANAGED, **options)
        host.iommu.attach_device(domain, device)
        fails("EINVAL", calls.bind, domain, device, BINDING)
        host.iommu.detach_device(domain, device)


def test_addresses_that_are_taken(host, guest, calls, fails):
    guest.domain.map(0x0A00_0000, 0x6000_0000, 0x1000)
    used = host.machine.allocator.used
    fails("EEXIST", bind, guest, calls, ROOT)
    assert host.machine.allocator.used == used
    assert guest.domain.iova_to_phys(0x0A00_0000) == 0x6000_0000


def test_a_domain_that_was_replaced_ends_all_bindings(host, guest, calls):
    root = guest.process(0x200_0000).root
    used = host.machine.allocator.used
    bind(guest, calls, root)
    host.iommu.replace_group_handle(guest.device.group, guest.domain, "handle")
    assert host.write(guest.device, GUEST_VA, 9) is None
    calls.unbind(guest.domain, guest.device, 9)
    assert host.machine.allocator.used == used
    bind(guest, calls, root)
    assert host.write(guest.device, GUEST_VA, 9) == guest.base + 0x200_0000
