"""The driver on the reference model: probe, reset, commands, events, global errors."""

import random

import pytest

from smmu.formats.commands import CERROR, Opcode, pack_command
from smmu.formats.core import update
from smmu.formats.events import CLASS, EventType, pack_event
from smmu.formats.registers import BY_NAME, IDR0, IDR1, IDR5
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.driver import (
    CommandError, DriverError, Event, PageAllocator, ProbeError, SMMUv3Driver, TimedOut, commands,
    entries)
from smmu_sim.driver.errors import OutOfMemory
from smmu_sim.driver.smmu import MSI
from smmu_sim.memory import Memory
from smmu_sim.pagetable import Prot

POOL = (0x4000_0000, 0x1000_0000)
SID = 0x42
NAMES = {register.offset: register.name for register in BY_NAME.values()}


class Recorder(ModelBackend):
    """The model; writes are recorded, and registers can be made to read something else."""

    def __init__(self, params=None, memory=None):
        super().__init__(params or Params(), memory or Memory())
        self.writes, self.override = [], {}

    def read32(self, offset):
        name = NAMES.get(offset)
        value = super().read32(offset)
        return self.override[name](value) if name in self.override else value

    def write32(self, offset, value):
        self.writes.append((NAMES[offset], value))
        super().write32(offset, value)

    def write64(self, offset, value):
        self.writes.append((NAMES[offset], value))
        super().write64(offset, value)


def make(params=None, **options):
    backend = Recorder(params)
    driver = SMMUv3Driver(backend, PageAllocator(backend.memory, *POOL), **options)
    return driver, backend


def ready(params=None, **options):
    driver, backend = make(params, **options)
    driver.reset()
    return driver, backend


# --- probe ---------------------------------------------------------------------------------------

def test_probe_decodes_the_features():
    features = make()[0].probe()
    assert features.nested and features.MSI and features.FWB and features.RIL
    assert (features.SIDSIZE, features.SSIDSIZE, features.oas) == (16, 16, 48)
    assert (features.asid_bits, features.vmid_bits, features.version) == (16, 16, "v3.2")
    assert [granule.name for granule in features.granules] == ["G4K", "G16K", "G64K"]
    assert features.endian == {"little"} and not features.stall_possible


def test_probe_follows_the_build():
    features = make(Params(oas=40, asid16=0, vmid16=0, gran16k=0, ttendian=0, s2p=0, hyp=0, xnx=0,
                           term_model=1))[0].probe()
    assert not features.nested and features.abort_only
    assert (features.asid_bits, features.vmid_bits, features.oas) == (8, 8, 40)
    assert [granule.name for granule in features.granules] == ["G4K", "G64K"]
    assert features.endian == {"little", "big"}


@pytest.mark.parametrize("register, fields, message", [
    (IDR0, {"TTF": 1}, "IDR0.TTF is 1: VMSAv8-64 tables are not supported"),
    (IDR0, {"TTENDIAN": 1}, "IDR0.TTENDIAN is 1, which is reserved"),
    (IDR0, {"STALL_MODEL": 3}, "IDR0.STALL_MODEL is 3, which is reserved"),
    (IDR0, {"S1P": 0, "S2P": 0}, "IDR0.S1P and IDR0.S2P are 0"),
    (IDR1, {"TABLES_PRESET": 1}, "IDR1.TABLES_PRESET is 1"),
    (IDR1, {"QUEUES_PRESET": 1}, "IDR1.QUEUES_PRESET is 1"),
    (IDR1, {"REL": 1}, "IDR1.REL is 1"),
    (IDR1, {"CMDQS": 6}, "IDR1.CMDQS is 6: the command queue must hold more than 64 commands"),
    (IDR5, {"GRAN4K": 0, "GRAN16K": 0, "GRAN64K": 0}, "IDR5 names no granule"),
])
def test_probe_refuses_with_the_reason(register, fields, message):
    driver, backend = make()
    backend.override[register.__name__] = lambda value: update(register, value, fields)
    with pytest.raises(ProbeError, match=message):
        driver.probe()
    assert not backend.writes


def test_refuses_what_the_smmu_lacks():
    driver, backend = make(msis={"eventq": MSI(0x1000, 1)})
    backend.override["IDR0"] = lambda value: update(IDR0, value, {"MSI": 0})
    with pytest.raises(DriverError, match="IDR0.MSI is 0"):
        driver.probe()
    driver, backend = make(two_level=True)
    backend.override["IDR0"] = lambda value: update(IDR0, value, {"ST_LEVEL": 0})
    with pytest.raises(DriverError, match="IDR0.ST_LEVEL is 0"):
        driver.probe()
    with pytest.raises(DriverError, match=r"msis has \['cmdq'\]; it knows eventq, gerror, priq"):
        make(msis={"cmdq": MSI(0, 0)})
    with pytest.raises(DriverError, match="IDR1.SSIDSIZE is 16"):
        ready()[0].context_table(17)
    with pytest.raises(DriverError, match="is not one of"):
        ready(Params(gran16k=0))[0].page_table(granule=14)


# --- reset ---------------------------------------------------------------------------------------

def test_reset_writes_registers_in_linux_order():
    driver, backend = make(sync_by_msi=False)
    driver.reset()
    names = [name for name, _ in backend.writes]
    assert names == [
        "CR0", "CR1", "CR2", "STRTAB_BASE", "STRTAB_BASE_CFG", "CMDQ_BASE", "CMDQ_PROD",
        "CMDQ_CONS", "CR0", "CMDQ_PROD", "CMDQ_PROD", "CMDQ_PROD", "EVENTQ_BASE", "EVENTQ_PROD",
        "EVENTQ_CONS", "CR0", "IRQ_CTRL", "GERROR_IRQ_CFG0", "EVENTQ_IRQ_CFG0", "IRQ_CTRL", "CR0"]
    values = dict(backend.writes)
    assert [value for name, value in backend.writes if name == "CR0"] == [0, 8, 0xC, 0xD]
    assert (values["CR1"], values["CR2"], values["IRQ_CTRL"]) == (0xD75, 6, 5)
    assert values["STRTAB_BASE_CFG"] == 0x1_0210
    queue = driver.command_queue
    opcodes = [queue.decode(n)[0] for n in range(queue.queue.prod)]
    sync = Opcode.CMD_SYNC
    assert opcodes == [Opcode.CMD_CFGI_STE_RANGE, sync, Opcode.CMD_TLBI_EL2_ALL, sync,
                       Opcode.CMD_TLBI_NSNH_ALL, sync]


def test_reset_without_hyp_leaves_el2_alone():
    driver, _ = ready(Params(s2p=0, hyp=0, xnx=0), sync_by_msi=False)
    assert driver.command_queue.queue.prod == 4


def test_reset_of_a_running_smmu_aborts_traffic_meanwhile():
    driver, backend = ready()
    backend.writes.clear()
    driver.reset()
    assert backend.writes[0] == ("GBPA", 0x8010_1000)
    assert backend.writes[1] == ("CR0", 0)
    assert backend.read32(BY_NAME["CR0ACK"].offset) == 0xD


def test_disable_bypasses_or_aborts():
    driver, backend = ready()
    driver.disable(abort=False)
    assert backend.dma(Transaction(sid=SID, addr=0x1234, length=4)).pa == 0x1234
    driver.disable(abort=True)
    assert not backend.dma(Transaction(sid=SID, addr=0x1234, length=4)).ok
    driver.set_gbpa(ABORT=0)
    assert backend.dma(Transaction(sid=SID, addr=0x1234, length=4)).ok


def test_a_wait_that_never_ends_is_given_up():
    driver, backend = make(timeout=1000)
    backend.override["CR0ACK"] = lambda value: 0
    with pytest.raises(TimedOut, match="waiting for CR0ACK to become 0x8; it is 0x0"):
        driver.reset()


# --- commands ------------------------------------------------------------------------------------

@pytest.mark.parametrize("by_msi", [False, True])
def test_command_queue_wraps(by_msi):
    driver, _ = ready(sync_by_msi=by_msi, cmdq_log2size=7)
    queue = driver.command_queue
    for count in (0, 1, 62, 63, 64, 100, 500, 3):
        driver.issue([commands.cfgi_ste(n) for n in range(count)])
        assert queue.queue.used == 0
    assert queue.issued > 5 * queue.queue.entries


def test_a_full_command_queue_is_waited_for():
    driver, backend = ready(cmdq_log2size=7, sync_by_msi=False)
    cons, looks = backend.read32(BY_NAME["CMDQ_CONS"].offset), []

    def slow(value):
        looks.append(value)
        return value if len(looks) > 20 else cons

    backend.override["CMDQ_CONS"] = slow
    for _ in range(2):
        driver.issue([commands.cfgi_ste(1)] * 60, sync=False)
    assert not looks, "there was space"
    driver.issue([commands.cfgi_ste(1)] * 20, sync=False)
    assert len(looks) == 21, "until there was space again"


def test_issue_without_sync_does_not_wait():
    driver, backend = ready()
    syncs = driver.command_queue.syncs
    driver.issue([commands.cfgi_ste(1)] * 5, sync=False)
    assert driver.command_queue.syncs == syncs
    driver.sync()
    assert driver.command_queue.syncs == syncs + 1


@pytest.mark.parametrize("by_msi", [False, True])
def test_an_illegal_command_is_replaced_and_reported(by_msi):
    driver, backend = ready(sync_by_msi=by_msi)
    start = driver.command_queue.queue.prod
    with pytest.raises(CommandError, match=f"CERROR_ILL at index {start + 1}: 0x0+ff") as caught:
        driver.issue([commands.cfgi_all(), 0xFF, commands.cfgi_all()])
    assert (caught.value.code, caught.value.command) == (CERROR.CERROR_ILL, 0xFF)
    assert driver.errors.seen == ["CMDQ_ERR"]
    assert backend.read32(BY_NAME["GERROR"].offset) == backend.read32(BY_NAME["GERRORN"].offset)
    driver.sync()  # the queue works again
    with pytest.raises(CommandError):
        driver.issue([pack_command(Opcode.CMD_SYNC, {"CS": 3})])
    driver.issue([commands.cfgi_all()])


def test_an_aborted_command_fetch_is_tried_again_and_then_given_up():
    driver, backend = ready()
    queue = driver.command_queue.queue
    backend.memory.abort_at(range(queue.base, queue.base + queue.bytes), "read")
    with pytest.raises(DriverError, match=r"CERROR_ABT at index \d+, address 0x4.*, 3 times"):
        driver.command_queue.sync_by_msi = False  # software cannot read the queue either
        driver.sync()
    backend.memory.remove_aborts()
    driver.errors.handle()
    driver.sync()


def test_command_queue_that_is_too_small():
    with pytest.raises(DriverError, match="log2size is 6; more than 64 commands"):
        ready(cmdq_log2size=6)


# --- events --------------------------------------------------------------------------------------

def translated(params=None, **options):
    """A driver with one stream, whose page 0x1000 is read-only and 0x3000 is a hole."""
    driver, backend = ready(params, **options)
    table = driver.page_table(ia_bits=39)
    table.map(0x1000, 0x8000_0000, 0x1000, Prot(write=False))
    table.map(0x2000, 0x8000_2000, 0x1000)
    cds = driver.context_table()
    driver.set_cd(cds, entries.cd(table, asid=1))
    driver.set_ste(SID, entries.stage1_ste(cds))
    return driver, backend, table


def test_map_dma_unmap():
    driver, backend, table = translated()
    write = Transaction(sid=SID, addr=0x2010, write=True, data=b"data")
    assert backend.dma(write).pa == 0x8000_2010
    assert backend.memory.read(0x8000_2010, 4) == b"data"
    assert driver.unmap(table, 0x2000, 0x1000, asid=1) == 0x1000
    assert driver.unmap(table, 0x2000, 0x1000, asid=1) == 0
    assert not backend.dma(Transaction(sid=SID, addr=0x2010, length=4)).ok
    with pytest.raises(DriverError, match="needs the ASID"):
        driver.unmap(table, 0x1000, 0x1000)


def test_faults_are_decoded():
    driver, backend, _ = translated()
    backend.dma(Transaction(sid=SID, addr=0x1010, write=True, data=b"data", priv=True))
    backend.dma(Transaction(sid=SID, addr=0x3018, length=8, instr=True))
    backend.dma(Transaction(sid=SID, addr=0x1000, ssid=7, length=8))
    backend.dma(Transaction(sid=0x1_0001, addr=0, length=8))
    permission, translation, substream, stream = driver.service()
    assert permission.type == EventType.F_PERMISSION and permission.stage == 1
    assert (permission.StreamID, permission.SubstreamID) == (SID, None)
    assert permission.InputAddr == 0x1010
    assert (permission.RnW, permission.PnU, permission.InD) == (0, 1, 0)
    assert permission.CLASS == CLASS.IN and permission.Stall == 0
    assert translation.type == EventType.F_TRANSLATION
    assert (translation.InputAddr, translation.RnW, translation.InD) == (0x3018, 1, 1)
    assert substream.type == EventType.C_BAD_SUBSTREAMID
    assert (substream.SubstreamID, substream.InputAddr, substream.stage) == (7, None, None)
    assert stream.type == EventType.C_BAD_STREAMID and stream.StreamID == 0x1_0001
    assert repr(permission) == ("F_PERMISSION(StreamID=0x42, write, InputAddr=0x1010, IPA=0x0, "
                                "stage 1, CLASS=IN)")
    assert driver.service() == []


def test_decoding_of_records():
    raw = pack_event(EventType.F_WALK_EABT, {
        "StreamID": 9, "SSV": 1, "SubstreamID": 3, "S2": 1, "CLASS": CLASS.TT, "RnW": 1,
        "InputAddr": 0xFFFF_0000_1234_5678, "FetchAddr": 0x8_1234_5678 >> 3})
    event = Event(raw)
    assert (event.name, event.SubstreamID, event.stage, event.CLASS) \
        == ("F_WALK_EABT", 3, 2, CLASS.TT)
    assert (event.FetchAddr, event.InputAddr) == (0x8_1234_5678, 0xFFFF_0000_1234_5678)
    assert event.IPA is None
    with pytest.raises(AttributeError, match="no event record has a field 'Nonsense'"):
        _ = event.Nonsense
    unknown = Event(0xE5 | 4 << 32)
    assert (unknown.name, unknown.StreamID) == ("event 0xe5", 4)


def test_handlers_get_the_events_of_their_stream():
    driver, backend, _ = translated()
    mine = []
    driver.on_event(SID, mine.append)
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    backend.dma(Transaction(sid=0x1_0000, addr=0x3000, length=8))
    assert [event.StreamID for event in driver.service()] == [0x1_0000]
    assert [event.type for event in mine] == [EventType.F_TRANSLATION]
    driver.on_event(SID, None)
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    assert len(driver.service()) == 1 and len(mine) == 1


def test_event_queue_wraps_and_overflows():
    driver, backend, _ = translated(eventq_log2size=3)
    fault = Transaction(sid=SID, addr=0x3000, length=8)
    for count in (1, 3, 5, 8, 8, 2):
        for _ in range(count):
            backend.dma(fault)
        assert len(driver.service()) == count
        assert backend.read32(BY_NAME["EVENTQ_CONS"].offset) < 2 * 8
    assert driver.event_queue.overflows == 0
    for _ in range(11):
        backend.dma(fault)
    assert len(driver.service()) == 8 and driver.event_queue.overflows == 1
    for _ in range(9):
        backend.dma(fault)
    assert len(driver.service()) == 8 and driver.event_queue.overflows == 2
    backend.dma(fault)
    assert len(driver.service()) == 1 and driver.event_queue.overflows == 2


def test_interrupts_by_wire():
    driver, backend, _ = translated()
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    assert backend.interrupts().eventq == 1, "only when the queue was empty"
    driver.service()
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    assert backend.interrupts().eventq == 2


def test_interrupts_by_msi():
    doorbell = 0x2000_0040
    driver, backend, _ = translated(msis={"eventq": MSI(doorbell, 17), "gerror": MSI(doorbell, 18)})
    seen = []
    backend.memory.observe(range(doorbell, doorbell + 4),
                           lambda addr, data, device_id: seen.append((addr, data, device_id)))
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    assert seen == [(doorbell, (17).to_bytes(4, "little"), None)]
    with pytest.raises(CommandError):
        driver.issue([0xFF])
    assert seen[1:] == [(doorbell, (18).to_bytes(4, "little"), None)]


def test_global_errors_of_the_event_queue():
    driver, backend, _ = translated()
    queue = driver.event_queue.queue
    backend.memory.abort_at(range(queue.base, queue.base + queue.bytes), "write")
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    assert driver.errors.handle() == ["EVENTQ_ABT_ERR"]
    assert driver.errors.handle() == []
    backend.memory.remove_aborts()
    backend.dma(Transaction(sid=SID, addr=0x3000, length=8))
    assert len(driver.service()) == 1


# --- memory --------------------------------------------------------------------------------------

def test_allocator_zeroes_aligns_and_merges():
    memory = Memory()
    allocator = PageAllocator(memory, 0x3000, 0x1_D000)
    memory.write(0x3000, b"\xff" * 0x1_D000)
    blocks = [(allocator.alloc(size), size) for size in (1, 0x2000, 0x1001, 0x8000, 0x1000)]
    for addr, size in blocks:
        assert 0x3000 <= addr and addr + size <= 0x2_0000
        assert addr % (1 << (max(size, 0x1000) - 1).bit_length()) == 0
        assert memory.read(addr, size) == bytes(size)
    taken = sorted((addr, addr + max(size, 0x1000)) for addr, size in blocks)
    assert all(a[1] <= b[0] for a, b in zip(taken, taken[1:], strict=False))
    with pytest.raises(OutOfMemory, match="no block of 0x10000 bytes"):
        allocator.alloc(0x1_0000)
    for addr, size in blocks:
        allocator.free(addr, size)
    assert allocator.used == 0
    with pytest.raises(OutOfMemory):
        PageAllocator(memory, 0x3000, 0x1_D000).alloc(0x2_0000)
    assert allocator.alloc(0x1_0000) == 0x1_0000


def test_allocator_under_random_use():
    rng = random.Random(5)
    memory = Memory()
    allocator = PageAllocator(memory, 0x1_0000, 0x10_0000)
    held = []
    for _ in range(500):
        if held and rng.random() < 0.5:
            allocator.free(*held.pop(rng.randrange(len(held))))
            continue
        size = rng.choice((0x1000, 0x2000, 0x4000, 0x1_0000))
        try:
            addr = allocator.alloc(size)
        except OutOfMemory:
            continue
        assert 0x1_0000 <= addr and addr + size <= 0x11_0000 and addr % size == 0
        assert not any(addr < at + length and at < addr + size for at, length in held)
        held.append((addr, size))
    rng.shuffle(held)
    for block in held:
        allocator.free(*block)
    assert allocator.alloc(0x8_0000) == 0x8_0000, "everything merged again"


def test_allocator_refuses_misuse():
    memory = Memory()
    allocator = PageAllocator(memory, 0x1000, 0x4000)
    addr = allocator.alloc(0x1000)
    with pytest.raises(DriverError, match="was not allocated"):
        allocator.free(addr, 0x2000)
    allocator.free(addr, 0x1000)
    with pytest.raises(DriverError, match="was not allocated"):
        allocator.free(addr, 0x1000)
    with pytest.raises(DriverError, match="cannot allocate 0 bytes"):
        allocator.alloc(0)
    with pytest.raises(DriverError, match="empty or not in 4 KiB pages"):
        PageAllocator(memory, 0x1800, 0x1000)
