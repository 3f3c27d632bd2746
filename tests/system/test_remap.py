"""MSI doorbell remap on the core: the two doorbells of one guest, what is no MSI, rebinding."""

import random

import pytest

from smmu.formats.axi import AxPROT, UntranslatedUser
from smmu.formats.commands import Opcode
from smmu.formats.core import pack, plain
from smmu.formats.events import CLASS, EventType
from smmu.formats.registers import REMAP_CTRL
from smmu.formats.stream_table import PRIVCFG
from smmu_sim.backend import Burst, Resp
from smmu_sim.bench.core import run_on_core
from smmu_sim.benchmark.setup import ASID, VMID, Bench
from smmu_sim.driver import commands, entries
from smmu_sim.driver.errors import DriverError
from smmu_sim.pagetable import Granule
from smmu_sim.prot import Prot

PAGE, BLOCK = 0x1000, 0x20_0000
OFFSET = 0x40
GUEST_DOORBELL = 0x0809_0000 | OFFSET   # an IPA, in a block of stage 2
STAGE2_BLOCK = 0x2020_0000              # where that block goes
TABLE_DOORBELL = STAGE2_BLOCK + GUEST_DOORBELL % BLOCK
MSI_IOVA = 0xFFFF_F000 | OFFSET
BLOCK_IOVA = 0x4000_0000                # the same IPAs by a block of stage 1
READ_ONLY_IOVA = 0xFFFF_D000
RAM_IOVA, RAM, RAM_PAGES = 0x10_0000, 0x8000_0000, 8
A, B, PLAIN, SSID_STREAM = 0x42, 0x43, 0x44, 0x45
DEVICE_NGNRE, OUTER = 0b0001, 2
_NEVER = 1 << 62


def physical(number):
    """The address of one of many physical doorbells, all at the offset of the guest's."""
    return 0x3000_0000 + number * PAGE + OFFSET


class Guest:
    """A guest whose devices share all tables, and what its devices write to doorbells."""

    def __init__(self, backend, sids=(A, B), nested=True):
        self.backend, self.memory = backend, backend.memory
        self.bench = Bench(backend)
        self.driver, self.nested = self.bench.driver, nested
        self.remap = self.driver.remap
        self.stage2 = self.driver.page_table(stage=2, granule=Granule.G4K, ia_bits=40)
        self.stage2.map(0x4000_0000, 0x4000_0000, 1 << 28)
        self.stage2.map(RAM, RAM, RAM_PAGES * PAGE, levels=[3])
        self.stage2.map(GUEST_DOORBELL & -BLOCK, STAGE2_BLOCK, BLOCK, Prot(memory="device"))
        self.stage1 = self.driver.page_table(granule=Granule.G4K)
        self.stage1.map(MSI_IOVA & -PAGE, GUEST_DOORBELL & -PAGE, PAGE, Prot(memory="device"))
        self.stage1.map(READ_ONLY_IOVA, GUEST_DOORBELL & -PAGE, PAGE, Prot(write=False))
        self.stage1.map(BLOCK_IOVA, GUEST_DOORBELL & -BLOCK, BLOCK, Prot(memory="device"))
        self.stage1.map(RAM_IOVA, RAM, RAM_PAGES * PAGE, levels=[3])
        self.contexts = self.driver.context_table()
        self.driver.set_cd(self.contexts, entries.cd(self.stage1, asid=ASID))
        for sid in sids:
            self.attach(sid)

    def attach(self, sid, **fields):
        self.driver.set_ste(sid, entries.nested_ste(
            self.contexts, self.stage2, vmid=VMID, **fields) if self.nested
            else entries.stage2_ste(self.stage2, vmid=VMID, **fields))

    @property
    def msi_address(self):
        """Where a device writes its MSIs: a gIOVA, or the IPA itself."""
        return MSI_IOVA if self.nested else GUEST_DOORBELL

    @property
    def ram(self):
        return RAM_IOVA if self.nested else RAM

    def submit(self, sid, addr=None, data=None, *, length=None, priv=False, ssid=None, **axi):
        """Hand one access to the device; ``axi`` as of :class:`AxiMaster`."""
        user = pack(UntranslatedUser, {
            "StreamID": sid, "SSV": int(ssid is not None), "SubstreamID": ssid or 0})
        return self.backend.devices[0].submit(
            self.msi_address if addr is None else addr, write=data is not None, data=data,
            length=length, user=user, prot=pack(AxPROT, {"privileged": int(priv)}), **axi)

    def msi(self, sid, event_id, **more):
        return self.submit(sid, data=event_id.to_bytes(4, "little"), **more)

    def done(self, *transfers):
        self.backend.finish(transfers)
        return transfers

    def arrives(self, sid, doorbell, *, msi, **more):
        """Let a device send an MSI; it must reach ``doorbell`` once, and nothing else happens."""
        self.check_arrivals([(sid, doorbell, msi, self.msi(sid, 0x1000 + sid, **more))])

    def check_arrivals(self, expected):
        """Each of (StreamID, doorbell, is an MSI, transfer) arrives exactly once."""
        records = self.backend.memories[0].records
        start = len(records) if all(t.offered is None for *_, t in expected) else 0
        self.done(*(transfer for *_, transfer in expected))
        arrived = sorted((r.addr, r.user & 0xFFFF_FFFF, r.data) for r in records[start:])
        assert arrived == sorted((doorbell, sid, transfer.downstream.data)
                                 for sid, doorbell, _, transfer in expected)
        for sid, doorbell, msi, transfer in expected:
            result = self.backend.result(transfer)
            assert result.resp == Resp.OKAY
            assert (result.pa, result.device_id, result.msi) == (doorbell, sid, msi)
            assert transfer.downstream.strobes == 0xF and transfer.downstream.size == 2
            if msi:
                assert (result.cache, result.shareability) == (DEVICE_NGNRE, OUTER)

    def events(self):
        self.backend.idle()
        return self.driver.service()


# --- two devices ---------------------------------------------------------------------------------

def two_doorbells(backend, report, nested):
    """Host code: two devices of one guest, each at its own doorbell; data before, with, after."""
    guest = Guest(backend, nested=nested)
    guest.arrives(B, TABLE_DOORBELL, msi=False)
    guest.remap.bind(A, GUEST_DOORBELL, physical(1))
    guest.remap.bind(B, GUEST_DOORBELL, physical(2))
    skews = [0, 1, -1, 7, -7, 90, -90, 400, -400]
    for skew in skews:
        guest.arrives(A, physical(1), msi=True, skew=skew)
        guest.arrives(B, physical(2), msi=True, skew=skew)
    # Cold: the translation is on its way while the data wait at the door.
    for skew in skews:
        guest.driver.issue([commands.cfgi_all(), commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])
        guest.check_arrivals([
            (A, physical(1), True, guest.msi(A, 1, skew=skew, id=1)),
            (B, physical(2), True, guest.msi(B, 2, skew=skew, id=2))])
    # Many at once, of one ID and of several; each arrives exactly once.
    for ids in (1, 4):
        guest.check_arrivals([
            (sid, doorbell, True, guest.msi(sid, n, id=n % ids))
            for n in range(20) for sid, doorbell in ((A, physical(1)), (B, physical(2)))])
    assert guest.events() == []
    # Off: the tables count. On again: the bindings are still there.
    registers = guest.driver.registers
    for enable in (0, 1):
        registers.write("REMAP_CTRL", ENABLE=enable)
        registers.poll("REMAP_CTRL", lambda value: not plain(REMAP_CTRL).BUSY(value), "lose BUSY")
        guest.driver.sync()
        guest.arrives(A, physical(1) if enable else TABLE_DOORBELL, msi=bool(enable))
        guest.arrives(B, physical(2) if enable else TABLE_DOORBELL, msi=bool(enable))
    guest.remap.unbind(A, GUEST_DOORBELL)
    guest.arrives(A, TABLE_DOORBELL, msi=False)
    guest.arrives(B, physical(2), msi=True)
    assert guest.events() == []


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "stage2"])
@pytest.mark.parametrize("config, settings", [
    ("default", ""), ("small", "ports=2 ttendian=0 oas=44 term_model=1")],
    ids=["default", "small"])
def test_two_devices_of_a_guest_reach_two_doorbells(config, settings, nested):
    run_on_core(f"{__name__}:two_doorbells", {"nested": nested}, config=config, settings=settings,
                options={"latency": 12}, seed=1)


# --- what is no MSI ------------------------------------------------------------------------------

# Offset from the doorbell, and what the access is.
MALFORMED = {
    "8 bytes": (0, {"data": bytes(8)}),
    "8 bytes with the strobes of 4": (0, {"data": bytes(8), "strobes": 0x0F}),
    "2 bytes": (0, {"data": bytes(2)}),
    "upper 2 bytes": (2, {"data": bytes(2)}),
    "1 byte": (0, {"data": bytes(1)}),
    "next word": (4, {"data": bytes(4)}),
    "same lane, another word": (8, {"data": bytes(4)}),
    "start of the page": (-OFFSET, {"data": bytes(4)}),
    "end of the page": (PAGE - 4 - OFFSET, {"data": bytes(4)}),
    "one strobe missing": (0, {"data": bytes(4), "strobes": 0b0111}),
    "another strobe missing": (0, {"data": bytes(4), "strobes": 0b1110}),
    "no strobe": (0, {"data": bytes(4), "strobes": 0}),
    "unaligned": (1, {"data": bytes(3), "size": 2}),
    "burst of 2": (0, {"data": bytes(8), "size": 2}),
    "burst of 2, the second at the doorbell": (-4, {"data": bytes(8), "size": 2}),
    "fixed burst of 2": (0, {"data": bytes(8), "size": 2, "burst": Burst.FIXED}),
    "wrapping burst of 2": (0, {"data": bytes(8), "size": 2, "burst": Burst.WRAP}),
    "long burst": (-OFFSET, {"data": bytes(1024), "size": 2}),
    "read": (0, {"length": 4}),
    "read of 16 beats": (0, {"length": 64, "size": 2}),
}


def malformed(backend, report, nested):
    """Host code: no access but the 32-bit write at the doorbell gets through."""
    guest = Guest(backend, nested=nested)
    # The record tells PnU as it came in, not as PRIVCFG makes it.
    guest.attach(A, PRIVCFG=PRIVCFG.PRIVILEGED)
    guest.remap.bind(A, GUEST_DOORBELL, physical(1))
    records, count = backend.memories[0].records, 0
    for warm in (False, True):
        for skew in (0, 60, -60):
            for name, (offset, access) in MALFORMED.items():
                count += 1
                priv = bool(count & 1)
                where = f"{name}, warm={warm}, skew={skew}"
                if not warm:
                    guest.driver.issue([commands.cfgi_all(),
                                        commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])
                elif count % 3 == 0:
                    guest.arrives(A, physical(1), msi=True)
                before = len(records)
                addr = guest.msi_address + offset
                write = "data" in access
                transfer, = guest.done(guest.submit(
                    A, addr, priv=priv, skew=skew if write else 0, **access))
                assert transfer.resp == Resp.SLVERR and set(transfer.resps) == {2}, where
                assert len(transfer.resps) == (1 if write else len(transfer.address)), where
                event, = guest.events()
                assert event.type == EventType.F_UUT, f"{where}: {event}"
                assert (event.StreamID, event.InputAddr, event.RnW, event.PnU, event.SSV,
                        event.InD) == (A, addr, not write, priv, 0, 0), f"{where}: {event.fields}"
                assert len(records) == before, f"{where}: {records[-1]}"
            guest.arrives(A, physical(1), msi=True)
    return count


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "stage2"])
def test_anything_else_is_an_unsupported_transaction(nested):
    count, _ = run_on_core(f"{__name__}:malformed", {"nested": nested},
                           options={"latency": 5}, seed=1)
    assert count == 6 * len(MALFORMED)


def substreams(backend, report):
    """Host code: F_UUT tells the SubstreamID; a binding is for all SubstreamIDs of its stream."""
    guest = Guest(backend)
    contexts = guest.driver.context_table(1)
    for ssid in (0, 1):
        guest.driver.set_cd(contexts, entries.cd(guest.stage1, asid=ASID + ssid), ssid)
    guest.driver.set_ste(
        SSID_STREAM, entries.nested_ste(contexts, guest.stage2, vmid=VMID))
    guest.remap.bind(SSID_STREAM, GUEST_DOORBELL, physical(3))
    for ssid in (None, 1):
        guest.arrives(SSID_STREAM, physical(3), msi=True, ssid=ssid)
        for access in ({"data": bytes(8)}, {"length": 4}):
            transfer, = guest.done(guest.submit(SSID_STREAM, ssid=ssid, **access))
            event, = guest.events()
            assert transfer.resp == Resp.SLVERR and transfer.downstream is None
            assert (event.type, event.SubstreamID, event.RnW) == (
                EventType.F_UUT, ssid, "length" in access)


def test_substreams_share_the_binding():
    run_on_core(f"{__name__}:substreams", seed=1)


# --- what is cached of it ------------------------------------------------------------------------

def no_leak(backend, report, nested):
    """Host code: neither a binding nor the lack of one shows in another StreamID's translation."""
    guest = Guest(backend, sids=(A, B, PLAIN), nested=nested)
    guest.remap.bind(A, GUEST_DOORBELL, physical(1))
    guest.remap.bind(B, GUEST_DOORBELL, physical(2))
    for order in ((A, PLAIN, B), (PLAIN, A, B), (B, A, PLAIN)):
        # Everything cold, then warm.
        guest.driver.issue([commands.cfgi_all(), commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])
        for sid in order * 2:
            number = {A: 1, B: 2}.get(sid)
            guest.arrives(sid, physical(number) if number else TABLE_DOORBELL,
                          msi=number is not None)
    # The pages around, in the same blocks of both stages, go by the tables for each stream.
    base = BLOCK_IOVA if nested else GUEST_DOORBELL & -BLOCK
    for sid in (A, PLAIN, B):
        for place in (GUEST_DOORBELL % BLOCK - PAGE, GUEST_DOORBELL % BLOCK + PAGE,
                      0, BLOCK - PAGE, GUEST_DOORBELL % BLOCK - 0x1_0000):
            transfer, = guest.done(guest.submit(sid, base + place, bytes(8)))
            result = backend.result(transfer)
            assert (result.pa, result.msi) == (STAGE2_BLOCK + place, False), f"{sid:#x} {place:#x}"
        number = {A: 1, B: 2}.get(sid)
        transfer, = guest.done(guest.submit(sid, base + GUEST_DOORBELL % BLOCK, bytes(4)))
        assert backend.result(transfer).pa == (physical(number) if number else TABLE_DOORBELL)
    assert guest.events() == []


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "stage2"])
def test_bindings_of_one_stream_do_not_show_in_another(nested):
    run_on_core(f"{__name__}:no_leak", {"nested": nested}, seed=1)


def only_after_stage1(backend, report):
    """Host code: stage 1 comes first, with its permissions; without stage 2 nothing is bound."""
    guest = Guest(backend)
    guest.remap.bind(A, GUEST_DOORBELL, physical(1))
    place = READ_ONLY_IOVA | OFFSET
    for addr, kind in ((place, EventType.F_PERMISSION),
                       (0x7000_0040, EventType.F_TRANSLATION)):
        transfer, = guest.done(guest.submit(A, addr, bytes(4)))
        assert transfer.resp == Resp.SLVERR and transfer.downstream is None
        event, = guest.events()
        assert (event.type, event.stage, event.CLASS, event.InputAddr) == (
            kind, 1, CLASS.IN, addr)
    # A page with write permission for privileged accesses only.
    guest.stage1.map(0xFFFF_B000, GUEST_DOORBELL & -PAGE, PAGE, Prot(privileged=True))
    for priv, fine in ((False, False), (True, True), (False, False)):
        transfer, = guest.done(guest.submit(A, 0xFFFF_B000 | OFFSET, bytes(4), priv=priv))
        assert transfer.ok == fine
        kinds = [event.type for event in guest.events()]
        assert kinds == ([] if fine else [EventType.F_PERMISSION])
    # Stage 1 alone: the same page is an ordinary output address.
    contexts = guest.driver.context_table()
    guest.driver.set_cd(contexts, entries.cd(guest.stage1, asid=ASID))
    guest.driver.set_ste(A, entries.stage1_ste(contexts, vmid=VMID))
    transfer, = guest.done(guest.submit(A, MSI_IOVA, bytes(8)))
    assert (backend.result(transfer).pa, backend.result(transfer).msi) == (GUEST_DOORBELL, False)
    # Nor for a stream that bypasses both.
    guest.driver.set_ste(A, entries.bypass_ste())
    transfer, = guest.done(guest.submit(A, GUEST_DOORBELL, bytes(8)))
    assert (backend.result(transfer).pa, backend.result(transfer).msi) == (GUEST_DOORBELL, False)


def test_the_binding_acts_between_the_stages():
    run_on_core(f"{__name__}:only_after_stage1", seed=1)


def entry_registers(backend, report):
    """Host code: entries read back; uncommitted changes do not count; all entries work."""
    guest = Guest(backend)
    registers, count = guest.driver.registers, guest.remap.entries
    assert count == backend.params.remap_entries
    assert registers.fields("REMAP_CTRL") == {"ENABLE": 0, "BUSY": 0}
    for n in range(count):
        guest.remap.bind(A if n == count - 1 else 0x50 + n,
                         GUEST_DOORBELL, physical(n))
    with pytest.raises(DriverError):
        guest.remap.bind(B, GUEST_DOORBELL, physical(count))
    for n in range(count):
        assert registers.fields("REMAP_STREAMID", n) == {
            "StreamID": A if n == count - 1 else 0x50 + n, "V": 1}
        assert registers.read("REMAP_IPA", n) == GUEST_DOORBELL & -PAGE
        assert registers.read("REMAP_DOORBELL", n) == physical(n)
    guest.arrives(A, physical(count - 1), msi=True)
    # Without a commit the entry stays as it was, even after its cached copies are gone.
    registers.write("REMAP_DOORBELL", physical(77), index=count - 1)
    guest.driver.issue([commands.cfgi_all(), commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])
    guest.arrives(A, physical(count - 1), msi=True)
    registers.write("REMAP_STREAMID", index=count - 1, StreamID=A, V=1)
    registers.poll("REMAP_CTRL", lambda value: not plain(REMAP_CTRL).BUSY(value), "lose BUSY")
    guest.driver.sync()
    guest.arrives(A, physical(77), msi=True)
    guest.arrives(B, TABLE_DOORBELL, msi=False)
    backend.reset()
    assert registers.fields("REMAP_CTRL") == {"ENABLE": 0, "BUSY": 0}
    assert all(registers.fields("REMAP_STREAMID", n)["V"] == 0 for n in range(count))


def test_entries_read_back():
    run_on_core(f"{__name__}:entry_registers", seed=1)


# --- rebinding under traffic ---------------------------------------------------------------------

class Traffic:
    """A backend whose devices keep on writing MSIs and data while software waits."""

    def __init__(self, backend, rng):
        self._backend, self._rng = backend, rng
        self.guest = None
        self.under_way, self.sent, self.used, self.event_id = [], {}, {}, 0
        self.checked = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def wait(self, clocks=1):
        if self.guest is not None:
            self.feed()
        self._backend.wait(clocks)

    # The periods in which a doorbell may be used: {(sid, doorbell): [[from, until], ...]}

    def allow(self, sid, doorbell):
        self.used.setdefault((sid, doorbell), []).append([self.now, _NEVER])

    def retire(self, sid, doorbell):
        self.used[sid, doorbell][-1][1] = self.now

    def feed(self, depth=24):
        alive = []
        for item in self.under_way:
            if item[-1].finished is None:
                alive.append(item)
            else:
                self.check(*item)
        self.under_way = alive
        guest, rng = self.guest, self._rng
        while len(self.under_way) < depth:
            sid, kind = rng.choice((A, B)), rng.random()
            more = {"id": rng.randrange(16), "skew": rng.choice((0, 0, 0, 5, -5, 40))}
            if kind < 0.6:
                self.event_id += 1
                self.sent[self.event_id] = 0
                item = "msi", sid, self.event_id, guest.msi(sid, self.event_id, **more)
            elif kind < 0.7:
                item = "bad", sid, None, guest.submit(sid, data=bytes(8), **more)
            else:
                place = rng.randrange(RAM_PAGES) * PAGE + 8 * rng.randrange(512)
                item = "ram", sid, place, guest.submit(sid, guest.ram + place, bytes(8), **more)
            self.under_way.append(item)

    def check(self, kind, sid, what, transfer):
        self.checked += 1
        record = transfer.downstream
        if kind == "ram":
            assert transfer.ok and record.addr == RAM + what
            return
        if kind == "bad" and record is None:
            assert transfer.resp == Resp.SLVERR
            assert any(start <= transfer.finished and transfer.accepted <= end
                       for (other, doorbell), periods in self.used.items()
                       for start, end in periods
                       if other == sid and doorbell != TABLE_DOORBELL), (
                f"{transfer} of {sid:#x} was refused while nothing was bound")
            return
        assert record is not None, f"{transfer} was not sent"
        periods = self.used.get((sid, record.addr), [])
        assert any(start <= record.valid_at and record.finished <= end
                   for start, end in periods), (
            f"{transfer} of {sid:#x} reached {record.addr:#x} at {record.valid_at}, answered at "
            f"{record.finished}; it was bound from, until {periods}")
        assert transfer.ok
        if kind == "msi":
            assert int.from_bytes(record.data, "little") == what
            self.sent[what] += 1
        else:
            assert record.addr == TABLE_DOORBELL


def rebind(backend, report, seed, rounds, nested):
    """Host code: bind and unbind under traffic; the number of accesses that were checked."""
    rng = random.Random(seed)
    traffic = Traffic(backend, rng)
    guest = Guest(traffic, nested=nested)
    traffic.guest = guest
    arrived = []
    for addr in (TABLE_DOORBELL, range(physical(0), physical(rounds + 1) + 4)):
        where = addr if isinstance(addr, range) else range(addr, addr + 4)
        backend.memory.observe(where, lambda _, data, __: arrived.append(data))
    doorbell = {A: TABLE_DOORBELL, B: TABLE_DOORBELL}
    for sid in doorbell:
        traffic.allow(sid, TABLE_DOORBELL)
    for number in range(rounds):
        traffic.feed()
        backend.wait(rng.randrange(60))
        sid = rng.choice((A, B))
        old = doorbell[sid]
        new = physical(number) if old == TABLE_DOORBELL else TABLE_DOORBELL
        traffic.allow(sid, new)
        if old == TABLE_DOORBELL:
            guest.remap.bind(sid, GUEST_DOORBELL, new)
        else:
            guest.remap.unbind(sid, GUEST_DOORBELL)
        traffic.retire(sid, old)
        doorbell[sid] = new
        if number % 8 == 0:
            guest.driver.service()
        report(number)
    backend.finish([item[-1] for item in traffic.under_way])
    for item in traffic.under_way:
        traffic.check(*item)
    assert set(traffic.sent.values()) == {1}
    words = [int.from_bytes(data, "little") for data in arrived if len(data) == 4]
    assert sorted(words) == sorted(traffic.sent), "an MSI arrived twice, or never"
    return traffic.checked


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "stage2"])
@pytest.mark.parametrize("options", [
    {"latency": 8}, {"latency": (1, 60), "out_of_order": True, "pause_rate": 0.2}],
    ids=["steady", "disorder"])
def test_rebinding_under_traffic(nested, options):
    checked, _ = run_on_core(
        f"{__name__}:rebind", {"seed": 3 + nested, "rounds": 50, "nested": nested},
        options=options, seed=1)
    assert checked > 1000
