"""Vectors at an ITS: numbers, messages, errors, and what is given back."""

import pytest

from smmu_sim.irq import ITS, ITSDomain, LPIPool, MSIMessage
from smmu_sim.irq.its_driver import ITSDriver
from smmu_sim.irq.layouts import COMMAND, Opcode
from smmu_sim.linux_error import LinuxError

DEVICE = 0x42


@pytest.fixture
def domain(its, driver, doorbells):
    return ITSDomain(its, doorbells)


def opcodes(driver):
    found = [COMMAND.get(raw, "Opcode") for raw in driver.log]
    driver.log.clear()
    return [opcode for opcode in found if opcode != Opcode.SYNC]


def msi(memory, its, desc, device_id=DEVICE):
    memory.write(its.translater, desc.message.data.to_bytes(4, "little"), None, device_id)


def refused(name):
    return pytest.raises(LinuxError, match=f"^{name}: ")


def test_vectors_have_consecutive_events_and_lpis_and_the_iova_of_the_doorbell(
        domain, doorbells, its, memory):
    descs = domain.alloc("device", DEVICE, 6)
    assert [desc.message for desc in descs] == [MSIMessage(0x0800_0040, n) for n in range(6)]
    assert [desc.hwirq for desc in descs] == list(range(8192, 8198))
    assert doorbells.prepared == [("device", 0x2021_0040)] * 6
    msi(memory, its, descs[5])
    assert its.take_pending() == [8197]


def test_without_an_iommu_the_message_is_for_the_physical_doorbell(its, driver):
    desc, = ITSDomain(its).alloc("device", DEVICE, 1)
    assert desc.message == MSIMessage(0x2021_0040, 0) and desc.iommu_msi_shift == 0


@pytest.mark.parametrize("device_id, count, minimum, events", [
    (DEVICE, 1, 1, 1), (DEVICE, 3, 1, 4), (DEVICE, 8, 1, 8), (0, 1, 1, 32), (0, 33, 1, 64),
    (DEVICE, 2, 32, 32)])
def test_a_device_gets_a_power_of_two_of_events(
        domain, driver, device_id, count, minimum, events):
    domain.alloc("device", device_id, count, minimum=minimum)
    assert driver.devices[device_id].events == events
    second = 0x99
    assert domain.alloc("other", second, 1)[0].hwirq == 8192 + events


def test_the_commands_that_the_its_sees(domain, driver):
    opcodes(driver)
    descs = domain.alloc("device", DEVICE, 2)
    assert opcodes(driver) == [Opcode.MAPD] + 2 * [Opcode.MAPTI, Opcode.INV]
    domain.free(descs)
    assert opcodes(driver) == 2 * [Opcode.DISCARD] + [Opcode.MAPD]
    assert driver.its.command_errors == []


def test_freed_vectors_are_silent_and_everything_is_given_back(
        domain, driver, allocator, its, memory):
    used = allocator.used
    descs = domain.alloc("device", DEVICE, 4)
    msi(memory, its, descs[1])
    message = descs[1].message
    domain.free(descs)
    assert its.pending == [] and allocator.used == used and not driver.devices
    assert descs[1].message is None
    memory.write(its.translater, message.data.to_bytes(4, "little"), None, DEVICE)
    assert its.pending == [] and its.counts["unknown DeviceID"] == 1
    assert domain.alloc("device", DEVICE, 4)[0].hwirq == 8192


def test_some_vectors_can_go_while_others_stay(domain, its, memory):
    descs = domain.alloc("device", DEVICE, 4)
    domain.free(descs[:2])
    msi(memory, its, descs[3])
    assert its.take_pending() == [descs[3].hwirq]
    again, = domain.alloc("device", DEVICE, 1)
    assert again.message.data == 0


def test_einval_for_no_vector(domain):
    with refused("EINVAL"):
        domain.alloc("device", DEVICE, 0)


def test_enodev_without_a_driver(its):
    with refused("ENODEV"):
        ITSDomain(its).alloc("device", DEVICE, 1)


def test_an_allocator_brings_a_driver(its, allocator):
    assert ITSDomain(its, None, allocator).alloc("device", DEVICE, 1)[0].hwirq == 8192


def test_enomem_for_a_device_id_that_is_too_wide(domain):
    with refused("ENOMEM"):
        domain.alloc("device", 1 << 16, 1)


def test_enomem_when_lpis_run_out(memory, allocator):
    its = ITS(memory, 0x2030_0000)
    ITSDriver(its, allocator, lpis=LPIPool(14))
    domain = ITSDomain(its)
    domain.alloc("device", DEVICE, 8192)
    with refused("ENOMEM"):
        domain.alloc("device", 0x43, 1)


def test_enomem_when_memory_runs_out_gives_the_lpis_back(domain, driver, allocator):
    taken = []
    with pytest.raises(Exception, match="no block"):
        while True:
            taken.append(allocator.alloc(4096))
    with refused("ENOMEM"):
        domain.alloc("device", DEVICE, 1)
    allocator.free(taken[0], 4096)
    assert domain.alloc("device", DEVICE, 1)[0].hwirq == 8192


def test_enospc_when_the_events_of_a_device_are_taken(domain, driver):
    first = domain.alloc("device", DEVICE, 4)
    with refused("ENOSPC"):
        domain.alloc("device", DEVICE, 1)
    domain.free(first)
    assert not driver.devices                    # the failed call did not make it a shared one


def test_a_device_id_with_two_owners_stays_mapped(domain, driver):
    first = domain.alloc("device", DEVICE, 3)
    second = domain.alloc("other", DEVICE, 1)
    assert second[0].hwirq == 8195
    domain.free(first)
    domain.free(second)
    assert DEVICE in driver.devices and not driver.devices[DEVICE].used


def test_an_error_of_prepare_msi_frees_what_was_allocated(
        domain, doorbells, driver, allocator):
    doorbells.room, used = 2, allocator.used
    with refused("ENOMEM"):
        domain.alloc("device", DEVICE, 3)
    assert allocator.used == used and not driver.devices
    assert driver.its.command_errors == []
    doorbells.room = 100
    assert domain.alloc("device", DEVICE, 3)[0].hwirq == 8192


def test_an_error_of_prepare_msi_leaves_older_vectors(domain, doorbells, its, memory):
    old = domain.alloc("device", DEVICE, 2)
    domain.free(old[1:])
    doorbells.room = len(doorbells.prepared)
    with refused("ENOMEM"):
        domain.alloc("device", DEVICE, 1)
    msi(memory, its, old[0])
    assert its.pending == [8192]


def test_etimedout_when_the_queue_stalls(driver, memory):
    memory.abort_at(range(driver._queue, driver._queue + 0x1_0000), "read")
    with refused("ETIMEDOUT"):
        driver.issue(Opcode.INVALL, ICID=0)


def test_collections_follow_the_processors(domain, driver, its, memory):
    desc, = domain.alloc("device", DEVICE, 1)
    driver.activate(driver.devices[DEVICE], 0, cpu=1)
    msi(memory, its, desc)
    assert its.redistributor(desc.hwirq) == 1


# Handlers

def test_a_handler_is_called_at_service_only(domain, its, memory):
    descs, called = domain.alloc("device", DEVICE, 2), []
    domain.request_irq(descs[0], called.append)
    msi(memory, its, descs[0])
    msi(memory, its, descs[1])
    assert called == []
    assert domain.service() == 1 and called == [descs[0]]
    assert its.pending == [descs[1].hwirq]       # it has no handler
    domain.free_irq(descs[0])
    msi(memory, its, descs[0])
    assert domain.service() == 0


def test_a_vector_has_one_handler(domain):
    desc, = domain.alloc("device", DEVICE, 1)
    domain.request_irq(desc, print)
    with refused("EBUSY"):
        domain.request_irq(desc, print)


def test_a_freed_vector_has_no_handler(domain):
    desc, = domain.alloc("device", DEVICE, 1)
    domain.request_irq(desc, print)
    domain.free([desc])
    with refused("EINVAL"):
        domain.request_irq(desc, print)
