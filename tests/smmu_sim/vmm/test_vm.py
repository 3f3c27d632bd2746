"""A guest in a VM: boot, DMA, faults, interrupts, over every interface to the host."""

import pytest
from smmu.formats.commands import CMD_CFGI_CD, TLBI, CommandHeader, Opcode
from smmu.formats.core import plain
from smmu_sim.linux_error import LinuxError
from smmu_sim.vmm import VM, IOMMUFDInterface, Kind

WAYS = [pytest.param({"msi": "rmr"}, id="iommufd-rmr"),
        pytest.param({"msi": "remap"}, id="iommufd-remap"),
        *[pytest.param({"msi": "bind", "generation": generation}, id=f"vfio-{generation}")
          for generation in ("v3", "V8", "V10", "V15")]]
SID, VSID = 0x42, 0x10
VITS_DOORBELL, WINDOW = 0x0809_0040, 0x0800_0000
PAGE = 0x1000


def only(twins):
    """Return the guest, its first device and the function behind that."""
    guest, = twins.guests
    device, *_ = guest.devices
    return guest, device, device.function


def commands_of(twins, *opcodes):
    """Return the host's commands since the last call, those of some opcodes."""
    return [raw for raw in twins.host.driver.take_commands()
            if plain(CommandHeader).Op(raw) in opcodes]


@pytest.mark.parametrize("options", WAYS)
def test_dma_goes_through_the_guests_stage_1_into_its_memory(new_twins, options):
    guest, device, function = only(twins := new_twins(guests=1, **options))
    phys = guest.alloc(2 * PAGE)
    iova = guest.dma(device).map_page(phys, 2 * PAGE)
    assert iova != phys and function.write(iova + 0x10, b"to the guest").ok
    assert guest.memory.read(phys + 0x10, 12) == b"to the guest"
    guest.memory.write(phys + PAGE, b"to the device")
    assert function.read(iova + PAGE, 13).data == b"to the device"
    assert not function.read(phys, 8).ok             # no IOVA of the guest's
    twins.service()
    assert [(e.name, e.StreamID, e.InputAddr) for e in guest.events] == [
        ("F_TRANSLATION", VSID, phys)]


@pytest.mark.parametrize("options", WAYS)
def test_an_unmap_reaches_the_physical_tlb_before_it_returns(new_twins, options):
    guest, device, function = only(twins := new_twins(guests=1, **options))
    phys = guest.alloc(PAGE)
    iova = guest.dma(device).map_page(phys, PAGE)
    assert function.read(iova, 8).ok
    twins.host.driver.take_commands()
    guest.dma(device).unmap_page(iova, PAGE)
    by_va = commands_of(twins, Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_ASID)
    domain = guest.devices[device].group.domain.hw
    hw = twins.host.devices[function].group.domain.hw
    assert [(plain(TLBI).VMID(raw), plain(TLBI).ASID(raw)) for raw in by_va] == [
        (getattr(hw, "parent", hw).vmid, domain.asid)]
    assert not function.read(iova, 8).ok
    twins.service()
    event, = guest.events
    assert (event.name, event.StreamID, event.RnW) == ("F_TRANSLATION", VSID, 1)
    assert not twins.host.driver.event_log


@pytest.mark.parametrize("options", WAYS)
def test_msis_reach_the_handler_of_their_vector(new_twins, options):
    guest, device, function = only(twins := new_twins(guests=1, **options))
    interrupts = []
    descs = guest.request_irqs(device, 3, lambda *which: interrupts.append(which))
    for vector in (2, 0, 1, 2):
        assert function.trigger(vector).ok
        twins.service()
    assert interrupts == [(device, vector) for vector in (2, 0, 1, 2)]
    assert not twins.vms[0].smmu.refusals and not guest.events
    guest.free_irqs(device, descs[:1])
    assert function.trigger(0) is None and function.trigger(1).ok
    twins.service()
    assert len(interrupts) == 5
    guest.free_irqs(device, descs[1:])
    assert function.trigger(1) is None
    twins.service()
    assert len(interrupts) == 5


@pytest.mark.parametrize("msi, addr", [("bind", None), ("rmr", WINDOW + 0x40), ("remap", None)])
def test_the_device_writes_to_the_address_of_its_way(new_twins, msi, addr):
    guest, device, function = only(twins := new_twins(guests=1, msi=msi))
    desc, = guest.request_irqs(device, 1, lambda *_: None)
    assert function.vectors[0].addr == (addr or desc.message.addr)
    stage1 = guest.devices[device].group.domain
    ipa = stage1.iova_to_phys(function.vectors[0].addr)
    assert ipa == (addr or VITS_DOORBELL)
    arrival = function.trigger(0)
    assert arrival.pa == twins.machine.its[0].translater and arrival.msi == (msi == "remap")


@pytest.mark.parametrize("options", WAYS)
def test_the_doorbell_is_given_back_with_the_last_vector(new_twins, options):
    guest, device, function = only(twins := new_twins(guests=1, **options))
    domain = twins.host.devices[function].group.domain

    def bound():
        if options["msi"] == "bind":
            return domain.iova_to_phys(VITS_DOORBELL) is not None
        return bool(twins.host.driver.remap.bindings)

    for _ in range(2):
        descs = guest.request_irqs(device, 2, lambda *_: None)
        assert function.trigger(1).ok and bound() == (options["msi"] != "rmr")
        guest.free_irqs(device, descs)
        # RFC v3 has no way to unbind.
        assert bound() == (options.get("generation") == "v3")


def test_only_the_remap_unit_knows_two_doorbells_behind_one(new_twins):
    guest, *_ = only(twins := new_twins(guests=1, msi="remap", devices=2, several_its=True))
    interrupts = []
    for device in guest.devices:
        guest.request_irqs(device, 1, lambda *which: interrupts.append(which))
    doorbells = {guest.devices[device].group.domain.iova_to_phys(device.function.vectors[0].addr)
                 for device in guest.devices}
    assert doorbells == {VITS_DOORBELL}
    arrivals = [device.function.trigger(0).pa for device in guest.devices]
    assert arrivals == [its.translater for its in twins.machine.its]
    twins.service()
    assert interrupts == [(device, 0) for device in guest.devices]


def test_the_vm_refuses_a_way_that_its_interface_does_not_have(new_twins):
    with pytest.raises(ValueError, match="bind"):
        new_twins(guests=1, msi="nonsense")


@pytest.mark.parametrize("options", WAYS)
def test_a_guest_can_bypass_block_and_reset(new_twins, options):
    guest, device, function = only(twins := new_twins(guests=1, **options))
    phys = guest.alloc(PAGE)
    guest.memory.write(phys, b"identity")
    guest.driver.disable(abort=False)
    assert function.read(phys, 8).data == b"identity"       # addresses are IPAs
    assert not function.read(twins.machine.guest_ram()[0], 8).ok
    guest.driver.disable(abort=True)
    assert not function.read(phys, 8).ok
    guest.driver.reset()
    assert twins.vms[0].smmu.state(VSID).kind is Kind.TRANSLATE
    iova = guest.dma(device).map_page(phys, PAGE)
    assert function.read(iova, 8).data == b"identity"
    twins.service()
    assert guest.events == []


@pytest.mark.parametrize("options", WAYS)
def test_the_stream_is_aborted_silently_while_the_guest_says_so(new_twins, options):
    guest, device, function = only(twins := new_twins(guests=1, **options))
    core = guest.devices[device]
    guest.driver.attach(core.master, guest.driver.blocked)
    assert not function.read(0x1000, 8).ok
    twins.service()
    assert guest.events == []
    guest.driver.attach(core.master, guest.driver.identity)
    phys = guest.alloc(PAGE)
    assert function.write(phys, b"x").ok


def test_pasids_of_a_guest_are_its_own_business(new_twins):
    guest, device, function = only(twins := new_twins(
        guests=1, device_options={"ssid_bits": 4}))
    core = guest.devices[device]
    core.max_pasids = 16
    domain = guest.iommu.alloc_domain(core, "unmanaged")
    phys = guest.alloc(PAGE)
    guest.memory.write(phys, b"of PASID 5")
    domain.map(0x5000, phys, PAGE)
    twins.host.driver.take_commands()
    guest.iommu.attach_device_pasid(domain, core, 5)
    sids = {plain(CMD_CFGI_CD).StreamID(raw) for raw in commands_of(twins, Opcode.CMD_CFGI_CD)}
    assert sids <= {SID}
    assert function.read(0x5000, 10, pasid=5).data == b"of PASID 5"
    assert not function.read(0x5000, 10).ok and not function.read(0x5000, 10, pasid=6).ok
    guest.iommu.detach_device_pasid(domain, core, 5)
    assert not function.read(0x5000, 10, pasid=5).ok
    twins.service()
    assert [(e.name, e.StreamID, e.SubstreamID) for e in guest.events] == [
        ("F_TRANSLATION", VSID, None), ("C_BAD_CD", VSID, 6), ("C_BAD_CD", VSID, 5)]


@pytest.mark.parametrize("options", WAYS)
def test_all_goes_back_to_the_host_when_a_vm_ends(new_twins, options):
    twins = new_twins(guests=1, **options)
    guest, device, function = only(twins)
    guest.request_irqs(device, 1, lambda *_: None)
    core = twins.host.devices[function]
    used = twins.host.machine.allocator.used
    twins.vms[0].close()
    assert core.group.domain is core.group.default_domain
    assert not twins.host.driver.remap.bindings
    assert twins.host.machine.allocator.used < used
    phys = twins.host.machine.allocator.alloc(PAGE)
    iova = twins.host.iommu.dma(core).map_page(phys, PAGE)
    function.config.enable()
    assert function.write(iova, b"the host's again").ok
    assert twins.host.machine.memory.read(phys, 16) == b"the host's again"


def test_a_device_of_another_owner_is_refused(new_twins):
    twins = new_twins(guests=1)
    _, device, function = only(twins)
    base, _ = twins.machine.guest_ram()
    other = VM(twins.host, "other", IOMMUFDInterface(twins.host), ram=(base, 1 << 20))
    other.assign(function, VSID)
    with pytest.raises(LinuxError, match="EPERM|EBUSY"):
        other.start()


def test_without_the_reserved_region_in_stage_1_the_msi_faults_in_the_guest(new_twins):
    guest, device, function = only(twins := new_twins(guests=1, msi="rmr"))
    guest.request_irqs(device, 1, lambda *_: pytest.fail("no interrupt can come"))
    guest.devices[device].group.domain.unmap(WINDOW, 1 << 20)
    assert not function.trigger(0).ok
    twins.service()
    event, = guest.events
    assert (event.name, event.StreamID, event.stage, event.InputAddr) == (
        "F_TRANSLATION", VSID, 1, WINDOW + 0x40)
