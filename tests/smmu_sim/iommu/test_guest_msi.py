"""Guest MSI bindings: scenarios 3 to 10 with real interrupts, attach rules."""

import pytest

from smmu.formats.commands import Opcode
from smmu_sim.iommu import GuestMSIBinding, ReservedRegion, ResvType
from smmu_sim.machine import Machine
from smmu_sim.prot import Prot

A, B, C = Machine.DEVICE_A, Machine.DEVICE_B, 0x52
DOORBELL, DOORBELL_1 = 0x2021_0040, 0x2031_0040
GIOVA, GDB = 0xFFFF_0000, 0x0809_0000      # the guest's doorbell
GIOVA_B, GDB_B = 0xFFFE_0000, 0x080B_0000
WITH_UNBIND = ("V8", "V15")


def opcodes(commands):
    return [Opcode(command & 0xFF).name for command in commands]


# --- the struct ----------------------------------------------------------------------------------

def test_the_struct_of_rfc_v3_has_24_bytes(fails):
    binding = GuestMSIBinding(GIOVA, GDB, 0x1000)
    data = binding.to_bytes()
    assert data == bytes.fromhex("0000ffff00000000" "0000090800000000" "00100000" "00000000")
    assert GuestMSIBinding.from_bytes(data) == binding
    fails("EINVAL", GuestMSIBinding.from_bytes, data[:20])


# --- scenarios -----------------------------------------------------------------------------------

def test_scenario_3_without_a_binding_the_message_faults_in_stage_1(host, make_guest):
    guest = make_guest(host, host.device(), "V15", doorbells=[(GIOVA, GDB)], cookie=False)
    guest.domain.map(0x0800_0000, DOORBELL & -4096, 0x1000, Prot(memory="device"))
    guest.enable()
    host.functions[guest.device].write_message(0x0800_0040, 5)
    [event] = host.driver.service()
    assert (event.name, event.stage, event.InputAddr) == ("F_TRANSLATION", 1, 0x0800_0040)


def test_scenario_4_a_bound_message_arrives(host, guest):
    guest.bind()
    guest.enable()
    assert guest.domain.iova_to_phys(GDB) is None
    [desc] = host.irq(guest.device)
    assert desc.message.addr == 0xFFFF_0040
    assert guest.domain.iova_to_phys(GDB) == DOORBELL & -4096
    assert host.msi(guest.device, desc) and host.events() == []


def test_scenario_5_addresses_are_rounded_and_the_first_gpa_counts(host, guest):
    guest.bind(GIOVA + 0x40, GDB + 0x40)
    guest.bind(GIOVA, 0x0900_0000)
    guest.enable()
    [desc] = host.irq(guest.device)
    assert desc.message.addr == 0xFFFF_0040 and host.msi(guest.device, desc)
    assert guest.domain.iova_to_phys(0x0900_0000) is None


def test_scenario_6_a_page_larger_than_the_hosts(host, fails, make_guest):
    guest = make_guest(host, host.device(A), "V15")
    fails("EINVAL", guest.bind, size=0x1_0000)
    assert guest.domain.cookie.entries == []
    guest = make_guest(host, host.device(B), "V8")
    guest.bind(size=0x1_0000)
    [desc] = host.irq(guest.device)
    assert desc.message.addr == 0xFFFF_0040
    assert guest.domain.iova_to_phys(GDB) and guest.domain.iova_to_phys(GDB + 0x1000) is None


def test_scenario_7_compose_before_bind_fails_with_a_warning(host, guest, fails):
    fails("ENOMEM", host.irq, guest.device)
    assert "no usable S1 mapping" in host.iommu.warnings[0] and len(host.iommu.warnings) == 1
    guest.bind()
    guest.enable()
    [desc] = host.irq(guest.device)
    assert host.msi(guest.device, desc)


@pytest.mark.parametrize("generation", WITH_UNBIND)
def test_scenario_8_an_unbound_message_faults_in_stage_2(host, generation, make_guest):
    guest = make_guest(host, host.device(), generation)
    guest.bind()
    guest.enable()
    [desc] = host.irq(guest.device)
    assert host.msi(guest.device, desc)
    host.driver.take_commands()
    host.iommu.unbind_guest_msi(guest.domain, GIOVA + 0x40)
    commands = host.driver.take_commands()
    assert opcodes(commands)[0] == "CMD_TLBI_S2_IPA" and "CMD_SYNC" in opcodes(commands)
    assert commands[0] >> 64 & -4096 & (1 << 52) - 1 == GDB
    assert not host.msi(guest.device, desc)
    [event] = host.driver.service()
    assert (event.name, event.stage, event.IPA) == ("F_TRANSLATION", 2, GDB)


def test_scenario_9_rfc_v3_knows_whose_doorbell_a_binding_is(host, make_guest):
    first = host.device(A)
    guest = make_guest(host, first, "G1", doorbells=[(GIOVA, GDB), (GIOVA_B, GDB_B)])
    second = host.device(B, its=1)
    host.iommu.attach_device(guest.domain, second)
    guest.bind(device=first)
    guest.bind(GIOVA_B, GDB_B, device=second)
    guest.enable()
    [desc_b] = host.irq(second, its=1)
    assert guest.domain.iova_to_phys(GDB_B) == DOORBELL_1 & -4096
    assert guest.domain.iova_to_phys(GDB) is None
    [desc_a] = host.irq(first)
    assert (desc_a.message.addr, desc_b.message.addr) == (0xFFFF_0040, 0xFFFE_0040)
    assert host.msi(first, desc_a) and host.msi(second, desc_b, its=1)


def test_scenario_9_later_ones_allow_one_controller(host, fails, make_guest):
    for generation in WITH_UNBIND:
        first = host.device(A)
        guest = make_guest(host, first, generation)
        second = host.device(B, its=1)
        fails("EINVAL", host.iommu.attach_device, guest.domain, second)
        assert second.group.domain is second.group.default_domain
        for device in (first, second):
            if device is first:
                host.iommu.detach_device(guest.domain, first)
            host.iommu.remove_device(device)
            host.machine.remove(host.functions.pop(device))


def test_v16_keeps_only_the_rule_of_untranslated_doorbells(host, fails, make_guest):
    first = host.device(A)
    guest = make_guest(host, first, "V16", cookie=False)
    host.iommu.attach_device(guest.domain, host.device(B, its=1))
    untranslated = host.device(
        C, resv_regions=[ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)])
    fails("EINVAL", host.iommu.attach_device, guest.domain, untranslated)


def test_a_device_without_a_controller_may_join(host, make_guest):
    guest = make_guest(host, host.device(A), "V15")
    host.iommu.attach_device(guest.domain, host.device(B, msi_domain=None))


@pytest.mark.parametrize("generation", WITH_UNBIND)
def test_scenario_10_untranslated_doorbells_do_not_nest(host, fails, generation, make_guest):
    device = host.device(resv_regions=[ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)])
    fails("EINVAL", make_guest, host, device, generation)
    assert device.group.domain is device.group.default_domain


def test_rfc_v3_has_no_attach_rules(host, make_guest):
    device = host.device(resv_regions=[ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)])
    guest = make_guest(host, device, "G1")
    assert device.group.domain is guest.domain
