"""Part 1 of the main job: two devices of one guest, and what becomes of their MSIs and DMA."""

import random
from dataclasses import asdict, dataclass, field

from smmu.formats.commands import Opcode
from smmu.formats.events import CLASS, EventType

from smmu_sim.backend import Resp, Transaction
from smmu_sim.driver import commands
from smmu_sim.run import system
from smmu_sim.run.system import (
    DEVICE_A, DEVICE_B, EVENT_A, EVENT_B, GUEST_DOORBELL, HOST_DOORBELL_1, HOST_DOORBELL_2,
    MSI_IOVA, Arrival, System)

__all__ = ["Check", "Outcome", "play", "play_one_msi"]

TRANSACTIONS = 2000
_FAULTING, _IN_BLOCK = 0.03, 0.3  # of the transactions; the others go to 4 KiB pages
_AT_ONCE = 16
_LENGTHS = (4, 8, 16, 32, 64)
_PAGE = 0x1000


@dataclass
class Check:
    """Something that had to happen, and what happened."""

    what: str
    expected: str
    found: str

    @property
    def ok(self):
        return self.expected == self.found


@dataclass
class Outcome:
    """What part 1 found. Plain values, so that a simulation can hand it over as JSON."""

    checks: list = field(default_factory=list)
    traffic: dict = field(default_factory=dict)   # per device: transactions, translated, faulted
    events: dict = field(default_factory=dict)    # per event: how often
    counters: dict = field(default_factory=dict)  # of the part's traffic
    latencies: list = field(default_factory=list)  # clocks of each transaction
    window: list = field(default_factory=list)    # start and end of one MSI in the simulation, ns
    structures: dict = field(default_factory=dict)  # {address: name} of what that MSI may read

    def as_dict(self):
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        return cls(**{**values, "checks": [Check(**check) for check in values["checks"]]})


def _msi(sid, event_id, size=4):
    return Transaction(sid=sid, addr=MSI_IOVA, write=True,
                       data=event_id.to_bytes(size, "little"), cache=0)


def _arrival_text(arrivals):
    if not arrivals:
        return "nothing arrived"
    return ", ".join(f"EventID {a.event_id} of DeviceID {a.device_id:#x} at {a.doorbell:#x}"
                     for a in arrivals)


class _Part1:
    def __init__(self, backend, step):
        self.backend, self.step, self.outcome = backend, step, Outcome()
        self.random = random.Random(1)
        self.system = System(backend)
        for sid in (DEVICE_A, DEVICE_B):
            self.outcome.traffic[f"{sid:#x}"] = {"transactions": 0, "translated": 0, "faulted": 0}

    def check(self, what, expected, found):
        self.outcome.checks.append(Check(what, expected, found))

    def dma(self, transaction):
        return self.dma_all([transaction])[0]

    def dma_all(self, transactions):
        """Let transactions go, at once where the backend can, and count them."""
        at_once = getattr(self.backend, "dma_all", None)
        results = at_once(transactions) if at_once else [
            self.backend.dma(transaction) for transaction in transactions]
        for transaction, result in zip(transactions, results, strict=True):
            row = self.outcome.traffic[f"{transaction.sid:#x}"]
            row["transactions"] += 1
            row["translated" if result.pa is not None else "faulted"] += 1
        return results

    def start(self):
        self.step("host: probe, reset, stage 2")
        self.system.start_host()
        self.step("guest: stage 1, nested STEs")
        self.system.start_guest()
        self.system.doorbells.take()

    def forget(self):
        """Make every cache of the SMMU empty."""
        self.system.host.issue([commands.cfgi_all(), commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])

    def msi(self, what, sid, event_id, doorbell):
        """Let a device send an MSI; it must arrive at ``doorbell``."""
        self.dma(_msi(sid, event_id))
        self.check(what, _arrival_text([Arrival(doorbell, sid, event_id, 4)]),
                   _arrival_text(self.system.doorbells.take()))

    def faults(self):
        """Transactions that must not pass, and the event each must leave."""
        step = [
            ("no stage 1 mapping", Transaction(sid=DEVICE_A, addr=system.UNMAPPED, length=8),
             EventType.F_TRANSLATION, 1, CLASS.IN),
            ("no stage 2 mapping", Transaction(sid=DEVICE_A, addr=system.BEYOND_STAGE_2, length=8),
             EventType.F_TRANSLATION, 2, CLASS.IN),
            ("write to a read-only page",
             Transaction(sid=DEVICE_B, addr=system.READ_ONLY, write=True, data=bytes(8)),
             EventType.F_PERMISSION, 1, CLASS.IN),
        ]
        for what, transaction, event, stage, cls in step:
            result = self.dma(transaction)
            self.check(what, f"SLVERR, {event.name} of stage {stage}, CLASS {cls.name}",
                       f"{result.resp.name}, " + self.events())

    def events(self):
        """Take the events and say what they are."""
        self.backend.idle()
        found = self.system.host.service()
        for event in found:
            self.outcome.events[event.name] = self.outcome.events.get(event.name, 0) + 1
        return "; ".join(
            event.name if event.stage is None else
            f"{event.name} of stage {event.stage}, CLASS {event.CLASS.name}"
            for event in found) or "no event"

    def remap(self):
        """B's MSI goes to another doorbell than A's, though all its tables are the same."""
        remap = self.system.host.remap
        self.msi("B without binding: stage 2 knows one doorbell alone", DEVICE_B, EVENT_B,
                 HOST_DOORBELL_1)
        remap.bind(DEVICE_B, GUEST_DOORBELL, HOST_DOORBELL_2)
        self.msi("B bound to its own doorbell", DEVICE_B, EVENT_B, HOST_DOORBELL_2)
        self.msi("A, same VMID, ASID, gIOVA and gDB", DEVICE_A, EVENT_A, HOST_DOORBELL_1)
        result = self.dma(_msi(DEVICE_B, EVENT_B, size=8))
        self.check("64-bit write of B to its doorbell", "SLVERR, F_UUT, nothing arrived",
                   f"{result.resp.name}, {self.events()}, "
                   f"{_arrival_text(self.system.doorbells.take())}")

    def unbind(self):
        self.system.host.remap.unbind(DEVICE_B, GUEST_DOORBELL)
        self.msi("B after unbinding", DEVICE_B, EVENT_B, HOST_DOORBELL_1)

    def traffic(self, count):
        """Reads and writes of both devices at random; each must reach its place."""
        wrong = 0
        before = self.system.host.counters()
        for n in range(0, count, _AT_ONCE):
            self.step(f"traffic: {n} of {count} transactions", n / count)
            wrong += self._transfers(min(_AT_ONCE, count - n))
            self.events()
        after = self.system.host.counters()
        self.outcome.counters = {name: after[name] - before[name] for name in after}
        self.check(f"{count} transactions at random", "each at its place", "each at its place"
                   if not wrong else f"{wrong} wrong")

    def _transfers(self, count):
        """Let so many transactions go at once, if the backend can; return how many went wrong."""
        batch, taken = [], []
        for _ in range(count):
            transaction, pa = self._transfer(taken)
            if pa is not None:
                taken.append(range(pa, pa + transaction.length))
            if pa is not None and not transaction.write:
                self.backend.memory.poke(pa, self.random.randbytes(transaction.length))
            batch.append((transaction, pa))
        results = self.dma_all([transaction for transaction, _ in batch])
        return sum(not self._is_right(transaction, pa, result)
                   for (transaction, pa), result in zip(batch, results, strict=True))

    def _transfer(self, taken):
        """A transaction at random which does not touch what others in flight do, and its place."""
        while True:
            sid, length = self.random.choice((DEVICE_A, DEVICE_B)), self.random.choice(_LENGTHS)
            where = self.random.random()
            if where < _FAULTING:
                iova = system.UNMAPPED + self.random.randrange(16) * _PAGE
            elif where < _IN_BLOCK:
                iova = system.BLOCK + self.random.randrange(0, system.BLOCK_BYTES, length)
            else:
                page = int(self.random.triangular(0, system.BUFFER_PAGES, 0))
                iova = system.BUFFERS + page * _PAGE + self.random.randrange(0, _PAGE, length)
            pa = self.system.physical(iova)
            if pa is None or not any(pa < there.stop and there.start < pa + length
                                     for there in taken):
                break
        data = self.random.randbytes(length) if self.random.random() < 0.5 else None
        return Transaction(sid=sid, addr=iova, write=data is not None, data=data,
                           length=length), pa

    def _is_right(self, transaction, pa, result):
        if pa is None:
            return result.resp == Resp.SLVERR and result.pa is None
        there = self.backend.memory.peek(pa, transaction.length)
        data = transaction.data if transaction.write else result.data
        return result.ok and result.pa == pa and data == there


def play(backend, step=lambda text, share=None: None, transactions=TRANSACTIONS):
    """Play part 1 on a backend and return its :class:`Outcome`.

    The backend comes fresh out of reset. ``step(text, share)`` tells how far it is, ``share`` from
    0 to 1 where that is known.
    """
    part = _Part1(backend, step)
    part.start()
    step("MSI of device A")
    part.msi("A: gIOVA, stage 1 to gDB, stage 2 to hDB1", DEVICE_A, EVENT_A, HOST_DOORBELL_1)
    step("faults")
    part.faults()
    step("MSIs of device B")
    part.remap()
    part.traffic(transactions)
    part.unbind()
    part.outcome.latencies = list(getattr(backend, "latencies", ()))
    return part.outcome


def play_one_msi(backend, now, step=lambda text, share=None: None):
    """Set up as in :func:`play`, and then let one MSI through an SMMU whose caches are empty.

    ``now()`` is the time, of which the outcome gets start and end.
    """
    part = _Part1(backend, step)
    part.start()
    part.forget()
    backend.idle()
    step("MSI of device A, all caches cold")
    start = now()
    part.msi("A: gIOVA, stage 1 to gDB, stage 2 to hDB1", DEVICE_A, EVENT_A, HOST_DOORBELL_1)
    part.outcome.window = [start, now()]
    part.outcome.structures = part.system.structures(DEVICE_A, MSI_IOVA)
    return part.outcome
