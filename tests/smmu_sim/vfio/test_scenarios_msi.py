"""Scenarios 2 to 10: MSIs of devices that are passed through, over a guest's stage 1 or not."""

import pytest
from smmu.formats.events import EventType

from smmu_sim.iommu import ReservedRegion, ResvType
from smmu_sim.linux_error import LinuxError
from smmu_sim.prot import Prot
from smmu_sim.vfio import OFFSET_SHIFT

ALL = ("v3", "V8", "V10", "V15")
GIOVA, GDB, HDB = 0xFFFF_0000, 0x0809_0000, 0x2021_0000
GIOVA1, GDB1, HDB1 = 0xFFFE_0000, 0x080B_0000, 0x2031_0000


# --- 2: the window of VFIO ------------------------------------------------------------------------

@pytest.mark.parametrize("generation", ALL)
def test_2_vfio_without_a_guest_uses_the_window(world, generation):
    w = world(generation)
    a, b = w.add(0x42), w.add(0x43, its=1)
    w.join(a, b, type=3)
    first, second = w.interrupts(a, 2)
    (other,) = w.interrupts(b, 1)
    addresses = [a.function.vectors[n].message.addr for n in (0, 1)]
    addresses.append(b.function.vectors[0].message.addr)
    assert addresses == [0x0800_0040, 0x0800_0040, 0x0800_1040]
    domain, = w.container.attachments.domains
    assert domain.iova_to_phys(0x0800_0000) == HDB and domain.iova_to_phys(0x0800_1000) == HDB1
    assert domain.iova_to_phys(0x0800_2000) is None
    for vfio, vector in ((a, 0), (a, 1), (a, 1), (b, 0)):
        assert w.fire(vfio, vector).device_id == vfio.function.sid
    assert [first.count, second.count, other.count] == [1, 2, 1]


# --- 3: the bug -----------------------------------------------------------------------------------

@pytest.mark.parametrize("generation", ALL)
def test_3_without_a_binding_the_guests_stage_1_stops_the_msi(guest, generation):
    w = guest(generation)
    # What a host without bindings does: it maps its own IOVA in stage 2 alone.
    w.domain.map(0x0800_0000, HDB, 0x1000, Prot(memory="device"))
    w.vfio.function.set_message(0, (0x0800_0040, 5))
    if generation == "V8":
        w.vfio.write(10 << OFFSET_SHIFT, (1).to_bytes(4, "little"))
    assert not w.fire(w.vfio).ok
    assert w.events() == [] and not w.machine.its[0].arrivals
    (record,) = w.records(w.vfio, 1)
    assert int.from_bytes(record[:4], "little") == 1
    at, reason_at, reason = (8, 4, 9) if generation == "v3" else (24, 8, 5)
    assert int.from_bytes(record[at : at + 8], "little") == 0x0800_0040
    assert int.from_bytes(record[reason_at : reason_at + 4], "little") == reason


# --- 4 to 8: bindings -----------------------------------------------------------------------------

@pytest.mark.parametrize("generation", ALL)
def test_4_a_bound_doorbell(guest, generation):
    w = guest(generation)
    assert w.bind(GIOVA, GDB) == 0
    assert w.domain.iova_to_phys(GDB) is None, "a binding alone maps nothing"
    (eventfd,) = w.interrupts(w.vfio, 1)
    assert w.domain.iova_to_phys(GDB) == HDB
    assert w.vfio.function.vectors[0].message == (GIOVA + 0x40, 0)
    result = w.fire(w.vfio)
    assert result.ok and result.pa == HDB + 0x40 and result.device_id == 0x42
    assert eventfd.count == 1
    assert not w.domain.hw.table.lookup(GDB + 0x1000)


@pytest.mark.parametrize("generation", ALL)
def test_5_an_unaligned_binding_and_a_second_one(guest, generation):
    w = guest(generation)
    w.bind(GIOVA + 0x40, GDB + 0x40)
    assert w.bind(GIOVA, 0x0900_0000) == 0
    (eventfd,) = w.interrupts(w.vfio, 1)
    assert w.fire(w.vfio).pa == HDB + 0x40 and eventfd.count == 1
    assert w.domain.iova_to_phys(0x0900_0000) is None


def test_6_a_granule_larger_than_the_hosts_page_v15(guest, refused):
    w = guest("V15")
    refused("EINVAL", w.bind, GIOVA, GDB, 0x1_0000)
    assert w.domain.cookie.entries == []


@pytest.mark.parametrize("generation", ["V8", "V10"])
def test_6_a_granule_larger_than_the_hosts_page_v8(guest, generation):
    w = guest(generation)
    w.bind(GIOVA, GDB, 0x1_0000)
    (eventfd,) = w.interrupts(w.vfio, 1)
    assert w.domain.iova_to_phys(GDB) == HDB and w.domain.iova_to_phys(GDB + 0x1000) is None
    assert w.fire(w.vfio).ok and eventfd.count == 1


@pytest.mark.parametrize("generation", ALL)
def test_7_composing_before_the_binding(guest, refused, generation):
    w = guest(generation)
    refused("ENOMEM", w.interrupts, w.vfio, 1)
    assert w.iommu.warnings and not w.vfio.msix.enabled
    assert 0x42 not in w.machine.its[0].driver.devices
    w.bind(GIOVA, GDB)
    (eventfd,) = w.interrupts(w.vfio, 1)
    assert w.fire(w.vfio).ok and eventfd.count == 1


@pytest.mark.parametrize("generation", ["V8", "V10", "V15"])
def test_8_unbinding_a_mapped_doorbell(guest, generation):
    w = guest(generation)
    w.bind(GIOVA, GDB)
    (eventfd,) = w.interrupts(w.vfio, 1)
    assert w.fire(w.vfio).ok
    w.commands()
    assert w.unbind(GIOVA) == 0
    names = w.commands()
    (name, fields), *_ = names
    assert name == "CMD_TLBI_S2_IPA" and fields["VMID"] == w.domain.hw.vmid
    assert fields["Address"] == GDB >> 12 and names[-1][0] == "CMD_SYNC"
    assert not w.fire(w.vfio).ok and eventfd.count == 1
    assert w.events() == [(EventType.F_TRANSLATION, 2)]
    if generation != "V8":
        assert w.head(w.vfio) == 0, "a fault of stage 2 is none of the guest's business"


# --- 9: device handles, and the rule that replaced them -------------------------------------------

def test_9_bindings_belong_to_devices_in_rfc_v3(guest):
    w = guest("v3", doorbell=None)
    b = w.add(0x43, its=1)
    w.join(b)
    assert len(w.container.attachments.domains) == 1
    domain, iommu = w.domain, w.iommu
    iommu.bind_guest_msi(domain, w.vfio.device, (GIOVA, GDB, 0x1000), "G1")
    iommu.bind_guest_msi(domain, b.device, (GIOVA1, GDB1, 0x1000), "G1")
    w.map_doorbell(GIOVA, GDB)
    w.map_doorbell(GIOVA1, GDB1)
    (of_b,) = w.interrupts(b, 1)
    assert domain.iova_to_phys(GDB1) == HDB1 and domain.iova_to_phys(GDB) is None
    (of_a,) = w.interrupts(w.vfio, 1)
    assert domain.iova_to_phys(GDB) == HDB
    assert w.fire(b).pa == HDB1 + 0x40 and w.fire(w.vfio).pa == HDB + 0x40
    assert (of_a.count, of_b.count) == (1, 1)


def test_9_the_ioctl_of_rfc_v3_binds_for_every_device(guest):
    w = guest("v3")
    b = w.add(0x43, its=1)
    w.join(b)
    w.bind(GIOVA, GDB)
    assert {entry.device.name for entry in w.domain.cookie.entries} == {
        w.vfio.name, b.name}


@pytest.mark.parametrize("generation", ["V8", "V10", "V15"])
def test_9_one_domain_has_one_doorbell_since_v7(guest, generation):
    w = guest(generation)
    b = w.add(0x43, its=1)
    with pytest.raises(LinuxError) as caught:
        w.iommu.attach_group(w.domain, b.device.group)
    assert caught.value.name == "EINVAL"
    w.join(b)
    assert [len(a.groups) for a in w.container.attachments] == [1, 1], "it gets a domain of its own"


# --- 10: doorbells that are not translated --------------------------------------------------------

@pytest.mark.parametrize("generation, accepted", [
    ("v3", True), ("V8", False), ("V10", False), ("V15", False)])
def test_a_hardware_msi_region(world, refused, generation, accepted):
    w = world(generation)
    region = ReservedRegion(0xFEE0_0000, 0x10_0000, ResvType.MSI)
    vfio = w.add(resv_regions=[region])
    if not accepted:
        refused("EINVAL", w.join, vfio)
        assert w.container.type is None and vfio.device.group.domain.type.value == "blocked"
        w.container.ioctl(0x3B66, 3)
    else:
        w.join(vfio)
    assert w.container.attachments.domains[0].cookie is None, "there is no window to map into"
