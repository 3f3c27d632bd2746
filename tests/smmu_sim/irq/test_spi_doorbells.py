"""GICv2m, the distributor's message registers, and vectors that are SPIs."""

import pytest

from smmu_sim.irq import MBI, GICv2m, GICv2mDomain, MBIDomain, MSIMessage
from smmu_sim.linux_error import LinuxError

BASE = 0x2040_0000


@pytest.fixture(params=[GICv2m, MBI])
def controller(request, memory):
    return request.param(memory, BASE, 64, 4)


def test_data_is_the_number_of_the_spi(controller, memory):
    assert controller.setspi == BASE + 0x40
    for spi in (67, 64):
        memory.write(controller.setspi, spi.to_bytes(4, "little"), None, 0x42)
    assert controller.pending == [67, 64] and controller.counts == {"delivered": 2}
    assert controller.take_pending({64}) == [64] and controller.take_pending() == [67]


def test_any_device_raises_any_spi(controller, memory):
    for device_id in (1, 2, None):
        memory.write(controller.setspi, (65).to_bytes(4, "little"), None, device_id)
        assert controller.take_pending() == [65]
    assert [arrival.device_id for arrival in controller.arrivals] == [1, 2, None]


@pytest.mark.parametrize("data, size, why", [
    (63, 4, "unknown SPI"), (68, 4, "unknown SPI"), (0x1_0040, 4, "unknown SPI"),
    (64, 8, "not 32 bits"), (64, 2, "not 32 bits")])
def test_other_writes_are_counted_and_ignored(controller, memory, data, size, why):
    heard = []
    controller.listen(heard.append)
    memory.write(controller.setspi, data.to_bytes(size, "little"), None, 0x42)
    assert controller.pending == [] and controller.counts == {why: 1}
    assert heard[0].why == why and memory.read32(controller.setspi) == 0


def test_gicv2m_registers(memory):
    GICv2m(memory, BASE, 64, 4)
    assert memory.read32(BASE + 8) == 64 << 16 | 4 and memory.read32(BASE + 0xFCC) == 0x43B
    memory.write32(BASE + 8, 0)
    assert memory.read32(BASE + 8) == 64 << 16 | 4


def test_the_distributor_says_that_it_has_message_registers_and_clears_spis(memory):
    mbi = MBI(memory, BASE, 64, 4)
    assert memory.read32(BASE + 4) >> 16 & 1 and memory.read32(BASE + 4) & 0x1F == 2
    memory.write32(mbi.setspi, 65)
    memory.write32(mbi.clrspi, 66)
    assert mbi.pending == [65]
    memory.write32(mbi.clrspi, 65)
    assert mbi.pending == [] and memory.read32(mbi.clrspi) == 0


@pytest.mark.parametrize("make", [
    lambda memory: GICv2m(memory, BASE + 4, 64, 4), lambda memory: MBI(memory, BASE + 4, 64, 4),
    lambda memory: GICv2m(memory, BASE, 31, 4), lambda memory: GICv2m(memory, BASE, 64, 0),
    lambda memory: GICv2m(memory, BASE, 1000, 21)])
def test_impossible_frames_are_refused(make, memory):
    with pytest.raises(ValueError):
        make(memory)


@pytest.fixture(params=[(GICv2m, GICv2mDomain), (MBI, MBIDomain)])
def domain(request, memory, doorbells):
    frame, kind = request.param
    return kind(frame(memory, BASE, 64, 4), doorbells)


def test_vectors_are_spis_and_the_doorbell_is_mapped(domain, doorbells):
    descs = domain.alloc("device", None, 3)
    assert [desc.message for desc in descs] == [MSIMessage(0x0800_0040, n) for n in (64, 65, 66)]
    assert doorbells.prepared == [("device", BASE + 0x40)] * 3


def test_enospc_and_everything_is_given_back(domain):
    with pytest.raises(LinuxError, match="ENOSPC"):
        domain.alloc("device", None, 5)
    descs = domain.alloc("device", None, 4)
    with pytest.raises(LinuxError, match="ENOSPC"):
        domain.alloc("device", None, 1)
    domain.free(descs[1:2])
    assert domain.alloc("device", None, 1)[0].hwirq == 65


def test_a_pending_interrupt_of_a_freed_vector_is_dropped(domain, memory):
    descs = domain.alloc("device", None, 2)
    for desc in descs:
        memory.write32(domain.frame.setspi, desc.message.data)
    domain.free(descs[:1])
    assert domain.frame.pending == [65]


def test_an_error_of_prepare_msi_frees_the_spis(domain, doorbells):
    doorbells.room = 1
    with pytest.raises(LinuxError, match="ENOMEM"):
        domain.alloc("device", None, 2)
    doorbells.room = 100
    assert domain.alloc("device", None, 1)[0].hwirq == 64


def test_einval_for_no_vector(domain):
    with pytest.raises(LinuxError, match="EINVAL"):
        domain.alloc("device", None, 0)


def test_handlers(domain, memory):
    desc, = domain.alloc("device", None, 1)
    called = []
    domain.request_irq(desc, called.append)
    memory.write32(domain.frame.setspi, desc.message.data)
    assert domain.service() == 1 and called == [desc]
