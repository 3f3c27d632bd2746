"""The machine: its map, its controllers, and a device's MSIs and DMA all the way."""

import pytest

from smmu.params import Params
from smmu_sim.backend import ModelBackend, Resp, Transaction
from smmu_sim.devices import DMAEngine, DMAEngineDriver
from smmu_sim.driver import SMMUv3Driver, entries
from smmu_sim.driver.smmu import MSI
from smmu_sim.irq import GICv2mDomain, ITSDomain, MBIDomain
from smmu_sim.machine import Machine
from smmu_sim.memory import BusAbort, Memory
from smmu_sim.prot import Prot

IOVA, PA, DOORBELL_IOVA = 0x10_0000, 0x5000_0000, 0xFFFF_F000


@pytest.fixture
def backend():
    made = ModelBackend(Params(), Memory())
    made.reset()
    return made


@pytest.fixture
def machine(backend):
    return Machine(backend)


def test_the_map_is_that_of_the_scenarios(machine):
    assert [its.translater for its in machine.its] == [0x2021_0040, 0x2031_0040]
    assert machine.guest_ram() == (0x8_8000_0000, 0x2000_0000)
    assert machine.guest_ram(1) == (0x8_A000_0000, 0x2000_0000)
    with pytest.raises(ValueError, match="room for 2"):
        machine.guest_ram(2)


@pytest.mark.parametrize("addr, there", [
    (0x4000_0000, True), (0x7FFF_FFFF, True), (0x8000_0000, False), (0x3FFF_FFFF, False),
    (0x2021_0040, True), (0x2031_0040, True), (0x2022_0000, False), (0x2040_0040, True),
    (0x8_8000_0000, True), (0x8_BFFF_FFFF, True), (0x8_C000_0000, False), (0x0800_0000, False)])
def test_elsewhere_is_nothing(machine, addr, there):
    if there:
        machine.memory.read(addr, 1)
    else:
        with pytest.raises(BusAbort):
            machine.memory.read(addr, 1)


def test_devices_are_known_by_stream_id(machine):
    function = machine.new_function(Machine.DEVICE_A, "nic")
    assert machine.functions == {0x42: function} and function.name == "nic"
    with pytest.raises(ValueError, match="0x42"):
        machine.new_function(0x42)
    machine.remove(function)
    assert machine.functions == {}
    with pytest.raises(ValueError, match="not in this machine"):
        machine.remove(function)


def test_lpis_are_those_of_the_scenarios_and_shared_by_both_its(machine):
    first = ITSDomain(machine.its[0]).alloc("A", 0x42, 8)
    second = ITSDomain(machine.its[1]).alloc("B", 0x43, 8)
    assert first[5].hwirq == 8197 and second[0].hwirq == 8200


def test_without_drivers_the_its_are_as_after_reset(backend):
    machine = Machine(backend, its_drivers=False)
    assert [its.enabled for its in machine.its] == [False, False] and machine.allocator.used == 0


class Host:
    """A kernel with one stage 1 address space for both devices."""

    def __init__(self, machine, **options):
        self.machine = machine
        self.driver = SMMUv3Driver(machine.backend, machine.allocator, **options)
        self.driver.reset()
        self.table = self.driver.page_table()
        contexts = self.driver.context_table()
        self.driver.set_cd(contexts, entries.cd(self.table, asid=1))
        for sid in (0x42, 0x43):
            self.driver.set_ste(sid, entries.stage1_ste(contexts))
        self.table.map(IOVA, PA, 0x10_0000)

    def prepare_msi(self, desc, addr):
        if self.table.iova_to_phys(DOORBELL_IOVA) is None:
            self.table.map(DOORBELL_IOVA, addr & ~0xFFF, 0x1000, Prot(memory="device"))
        desc.iommu_msi_iova, desc.iommu_msi_shift = DOORBELL_IOVA >> 12, 12

    def compose_msi(self, desc, addr):
        return desc.iommu_msi_iova << desc.iommu_msi_shift | addr & 0xFFF


def test_an_msi_goes_through_stage_1_to_its_lpi(machine):
    host = Host(machine)
    function = machine.new_function(0x42)
    descs = ITSDomain(machine.its[0], host).alloc("A", 0x42, 8)
    for n, desc in enumerate(descs):
        function.set_message(n, desc.message)
    result = function.trigger(5)
    assert result.pa == 0x2021_0040 and result.device_id == 0x42
    assert machine.its[0].take_pending() == [8197] and machine.its[1].pending == []


def test_a_device_that_sends_the_message_of_another_raises_nothing(machine):
    host = Host(machine)
    desc, = ITSDomain(machine.its[0], host).alloc("A", 0x42, 1)
    intruder = machine.new_function(0x43)
    intruder.set_message(0, desc.message)
    assert intruder.trigger(0).ok
    assert machine.its[0].pending == [] and machine.its[0].counts == {"unknown DeviceID": 1}


@pytest.mark.parametrize("domain, doorbell", [
    (lambda machine, host: GICv2mDomain(machine.gicv2m, host), "gicv2m"),
    (lambda machine, host: MBIDomain(machine.distributor, host), "distributor")])
def test_spis_isolate_nothing(machine, domain, doorbell):
    desc, = domain(machine, Host(machine)).alloc("A", 0x42, 1)
    intruder = machine.new_function(0x43)
    intruder.set_message(0, desc.message)
    intruder.trigger(0)
    assert getattr(machine, doorbell).take_pending() == [desc.hwirq]


def test_an_unmapped_doorbell_is_an_event_and_no_interrupt(machine):
    host = Host(machine)
    function = machine.new_function(0x42)
    desc, = ITSDomain(machine.its[0]).alloc("A", 0x42, 1)  # no IOMMU core: physical address
    function.set_message(0, desc.message)
    assert function.trigger(0).resp == Resp.SLVERR
    event, = host.driver.service()
    assert event.name == "F_TRANSLATION" and event.InputAddr == 0x2021_0040
    assert machine.its[0].pending == []


def test_the_smmus_own_msis_have_a_device_id_of_their_own(backend):
    machine = Machine(backend, smmu_device_id=0xFF00)
    its = machine.its[0]
    desc, = ITSDomain(its).alloc("SMMU", 0xFF00, 1)
    host = Host(machine, msis={"eventq": MSI(*desc.message)})
    backend.dma(Transaction(sid=0x42, addr=1 << 40, length=4))
    assert its.take_pending() == [desc.hwirq] and its.arrivals[-1].device_id == 0xFF00
    assert len(host.driver.service()) == 1


def test_without_it_the_smmus_own_msis_are_ignored(machine):
    desc, = ITSDomain(machine.its[0]).alloc("SMMU", 0xFF00, 1)
    Host(machine, msis={"eventq": MSI(*desc.message)})
    machine.backend.dma(Transaction(sid=0x42, addr=1 << 40, length=4))
    assert machine.its[0].counts == {"no DeviceID": 1}


def copy_a_page(backend, report=None):
    """A DMA engine behind stage 1 copies a page and raises its interrupt; on any backend."""
    machine = Machine(backend)
    host = Host(machine)
    function = machine.new_function(0x42)
    DMAEngine(function)
    descs = ITSDomain(machine.its[0], host).alloc("A", 0x42, 2)
    function.set_message(1, descs[1].message)
    places = iter(range(0, 0x10_0000, 0x1000))

    def dma_alloc(size):
        offset = next(places)
        return PA + offset, IOVA + offset

    software = DMAEngineDriver(function, machine.memory, dma_alloc, size=8, vector=1)
    data = bytes(n * 5 & 0xFF for n in range(4096))
    machine.memory.write(PA + 0x8000, data)
    software.submit([(IOVA + 0x8000, IOVA + 0xA080, 4096, 7), (IOVA + 0x8000, 1 << 30, 64, 8)])
    ended = [list(completion) for completion in software.poll()]
    events = [[event.name, event.InputAddr] for event in host.driver.service()]
    return [machine.memory.read(PA + 0xA080, 4096) == data, ended, machine.its[0].pending, events]


def test_a_dma_engine_works_behind_the_smmu(backend):
    copied, ended, pending, events = copy_a_page(backend)
    assert copied and ended == [[7, 0, 4096], [8, 3, 0]]
    assert pending == [8193] and events == [["F_TRANSLATION", 1 << 30]]
