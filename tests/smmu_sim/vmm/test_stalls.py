"""Stalls: a guest's device waits while its guest makes the page present."""

import pytest
from smmu.formats.commands import CommandHeader, Opcode
from smmu.formats.core import plain

SID, VSID = 0x42, 0x10
PAGE = 0x1000
IOVA = 0x5000


def stalling(new_twins, **options):
    """Return twins whose devices can stall, the first guest and its device."""
    twins = new_twins(stall=True, device_options={"can_stall": True}, **options)
    guest = twins.guests[0]
    return twins, guest, next(iter(guest.devices))


def on_stall(guest, answer):
    """Let ``answer(request)`` have the page requests of a guest."""
    guest.driver.on_stall(lambda request, master: answer(request))


def resumes(twins):
    return [raw for raw in twins.host.driver.take_commands()
            if plain(CommandHeader).Op(raw) == Opcode.CMD_RESUME]


@pytest.mark.parametrize("write", [True, False])
def test_a_stalled_access_completes_after_the_guest_has_mapped_the_page(new_twins, write):
    twins, guest, device = stalling(new_twins, guests=1)
    phys = guest.alloc(PAGE)
    guest.memory.write(phys, b"was here")
    requests = []

    def answer(request):
        requests.append(request)
        guest.devices[device].group.domain.map(IOVA, phys, PAGE)
        guest.driver.page_response(request.master, request.grpid, "SUCCESS")

    on_stall(guest, answer)
    work = {"data": b"is here."} if write else {"length": 8}
    pending = device.function.submit(IOVA, **work)
    assert not pending.done
    twins.service()
    request, = requests
    assert (request.event.StreamID, request.addr, request.event.RnW) == (VSID, IOVA, not write)
    assert request.event.Stall and request.event.name == "F_TRANSLATION"
    assert pending.result.ok and len(resumes(twins)) == 1
    if write:
        assert guest.memory.read(phys, 8) == b"is here."
    else:
        assert pending.result.data == b"was here"


def test_a_guest_can_refuse_a_stalled_access(new_twins):
    twins, guest, device = stalling(new_twins, guests=1)
    on_stall(guest, lambda request: guest.driver.page_response(
        request.master, request.grpid, "INVALID"))
    pending = device.function.submit(IOVA, length=8)
    twins.service()
    assert pending.done and not pending.result.ok


def test_a_guest_that_does_not_answer_delays_nobody(new_twins):
    twins, guest, device = stalling(new_twins, guests=2)
    other = twins.guests[1]
    on_stall(guest, lambda request: None)
    pending = device.function.submit(IOVA, length=8)
    twins.service()
    its_device = next(iter(other.devices))
    phys = other.alloc(PAGE)
    iova = other.dma(its_device).map_page(phys, PAGE)
    assert its_device.function.write(iova, b"goes on").ok and not pending.done
    assert other.events == []


def test_a_new_configuration_ends_what_is_stalled(new_twins):
    twins, guest, device = stalling(new_twins, guests=1)
    on_stall(guest, lambda request: None)
    pending = device.function.submit(IOVA, length=8)
    twins.service()
    guest.driver.attach(guest.devices[device].master, guest.driver.blocked)
    assert pending.done and not pending.result.ok
    request, = guest.driver.events.pending.values()
    guest.driver.page_response(request.master, request.grpid, "SUCCESS")  # too late: no effect
    twins.service()
    assert not twins.host.driver.events.pending


def test_the_end_of_a_vm_ends_what_is_stalled(new_twins):
    twins, guest, device = stalling(new_twins, guests=1)
    on_stall(guest, lambda request: None)
    pending = device.function.submit(IOVA, length=8)
    twins.service()
    twins.vms[0].close()
    assert pending.done and not pending.result.ok


def test_without_stalls_of_the_host_the_guest_has_none(new_twins):
    twins = new_twins(guests=1, device_options={"can_stall": True})
    guest, = twins.guests
    assert not guest.driver.features.stall_possible
    assert not next(iter(guest.devices)).function.read(IOVA, 8).ok


def test_vfio_offers_no_stalls(new_twins):
    twins = new_twins(stall=True, guests=1, msi="bind")
    assert twins.host.driver.features.stall_possible
    assert not twins.guests[0].driver.features.stall_possible
