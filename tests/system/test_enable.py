"""SMMUEN, GBPA and reset while devices go on: each transaction sees the old state or the new."""

import random

import pytest

from smmu.formats.core import pack
from smmu.formats.descriptors import SH
from smmu.formats.events import EventType
from smmu.formats.registers import BY_NAME, CR0, CR0ACK, GBPA, REGISTERS
from smmu.formats.stream_table import INSTCFG, PRIVCFG, SHCFG, STEConfig
from smmu_sim.backend import ModelBackend, Resp, Transaction
from smmu_sim.bench.core import run_on_core
from smmu_sim.benchmark.setup import IOVA, PAGE, TARGET, Bench
from smmu_sim.memory import Memory
from smmu_sim.model.system import System

SMALL = ("small", "ports=2 ttendian=0 oas=44 term_model=1")
SID, PAGES = 0x21, 6
RESET_GBPA = pack(GBPA, {"SHCFG": SHCFG.INCOMING})


def random_gbpa(rng, abort):
    return {"MemAttr": rng.randrange(16), "MTCFG": rng.randrange(2),
            "ALLOCCFG": rng.randrange(16), "SHCFG": rng.randrange(4),
            "PRIVCFG": rng.choice(list(PRIVCFG)), "INSTCFG": rng.choice(list(INSTCFG)),
            "ABORT": int(abort)}


def seen(result):
    """What a transaction shows of the state that it met."""
    if result.pa is None:
        return result.resp, None
    return (result.resp, result.pa, result.cache, result.shareability, result.prot,
            result.device_id, result.msi)


class Switches:
    """Traffic, the states it may have met, and software that changes the state.

    A state is (SMMUEN, GBPA). ``history`` has [state, from, until]: `from` is when software began
    to write it, `until` when software saw that the next one is in force.
    """

    def __init__(self, backend, rng):
        self.backend, self.rng = backend, rng
        self.bench = Bench(backend)
        self.bench.stage1(SID, PAGES)
        self.model = ModelBackend(backend.params, Memory())
        self.smmuen, self.gbpa = 1, backend.read32(BY_NAME["GBPA"].offset)
        assert self.gbpa == RESET_GBPA
        self.history = [[(1, self.gbpa), 0, None]]
        self.transfers, self.met, self.expectations = [], {}, {}

    def transaction(self):
        rng = self.rng
        write = rng.random() < 0.5
        return Transaction(
            sid=SID, addr=IOVA + rng.randrange(PAGES) * PAGE + 8 * rng.randrange(512), write=write,
            data=bytes(8) if write else None, length=8, cache=rng.choice((0, 1, 3, 7, 11, 15)),
            shareability=rng.choice((0, 2, 3)), priv=rng.random() < 0.5,
            instr=not write and rng.random() < 0.3)

    def expected(self, state, transaction):
        """What the model makes of a bypassing transaction; a translated one shows by its page."""
        smmuen, gbpa = state
        if smmuen:
            return None
        self.model.write32(BY_NAME["GBPA"].offset, gbpa | pack(GBPA, {"Update": 1}))
        return seen(self.model.dma(transaction))

    def feed(self, depth=30):
        alive = []
        for item in self.transfers:
            if item[1].finished is None:
                alive.append(item)
            else:
                self.check(*item)
        self.transfers = alive
        while len(self.transfers) < depth:
            transaction = self.transaction()
            self.transfers.append((transaction, self.backend.submit_all([transaction])[0]))

    def check(self, transaction, transfer):
        states = [state for state, start, end in self.history
                  if (end is None or transfer.accepted <= end) and start <= transfer.accepted]
        result = self.backend.result(transfer)
        page = TARGET + transaction.addr - IOVA
        for state in states:
            if state[0]:
                # No execute permission: instruction fetches fault.
                fits = result.pa == page if not transaction.instr else result.pa is None
            else:
                fits = seen(result) == self.expected(state, transaction)
            if fits:
                kind = "translated" if state[0] else "bypassed" if result.pa else "aborted"
                self.met[kind] = self.met.get(kind, 0) + 1
                return
        raise AssertionError(f"{transfer} accepted at {transfer.accepted} ended as {seen(result)}; "
                             f"it may have met (SMMUEN, GBPA) {states}")

    def change(self, smmuen, gbpa):
        """Write CR0 or GBPA and look at it until the change is in force."""
        state = smmuen, gbpa
        self.history.append([state, self.backend.now, None])
        if smmuen != self.smmuen:
            register, value = "CR0", pack(CR0, {"SMMUEN": smmuen, "CMDQEN": 1, "EVENTQEN": 1})
            look, done = "CR0ACK", pack(CR0ACK, {"SMMUEN": smmuen, "CMDQEN": 1, "EVENTQEN": 1})
        else:
            register, value = "GBPA", gbpa | pack(GBPA, {"Update": 1})
            look, done = "GBPA", gbpa
        self.backend.write32(BY_NAME[register].offset, value)
        for _ in range(2000):
            if self.backend.read32(BY_NAME[look].offset) == done:
                break
            self.feed()
        else:
            raise TimeoutError(f"{register} = {value:#x} does not come into force")
        self.history[-2][2] = self.backend.now
        self.smmuen, self.gbpa = smmuen, gbpa


def switch(backend, report, seed, rounds):
    """Host code: ``rounds`` changes under traffic; how often each kind of state was met."""
    rng = random.Random(seed)
    switches = Switches(backend, rng)
    table_accesses = backend.tables.records
    for number in range(rounds):
        for _ in range(rng.randrange(1, 4)):
            switches.feed()
            backend.wait(rng.randrange(40))
        before = len(table_accesses)
        off = not switches.smmuen
        if rng.random() < 0.5:
            switches.change(1 - switches.smmuen, switches.gbpa)
            off = False
        else:
            switches.change(switches.smmuen, pack(GBPA, random_gbpa(rng, rng.random() < 0.3)))
        if not switches.smmuen:
            backend.wait(1)
            start = len(table_accesses)
            for _ in range(4):
                switches.feed()
                backend.wait(20)
            reads = [record for record in table_accesses[start:] if not record.write]
            assert not reads, f"{reads[0]} while SMMUEN = 0"
        if off:
            assert not [record for record in table_accesses[before:] if not record.write]
        switches.bench.driver.service()
        report(number)
    backend.finish([transfer for _, transfer in switches.transfers])
    for item in switches.transfers:
        switches.check(*item)
    return switches.met


@pytest.mark.parametrize("config", [("default", ""), SMALL], ids=["default", "small"])
@pytest.mark.parametrize("options", [
    {"latency": 10}, {"latency": (1, 70), "out_of_order": True, "pause_rate": 0.2}],
    ids=["steady", "disorder"])
def test_changes_under_traffic(config, options):
    met, _ = run_on_core(f"{__name__}:switch", {"seed": 5, "rounds": 60}, config=config[0],
                         settings=config[1], options=options, seed=1)
    assert min(met[kind] for kind in ("translated", "bypassed", "aborted")) > 100, met


def bypass(backend, report, rounds):
    """Host code: attributes of bypassing transactions; addresses that are too large."""
    rng = random.Random(9)
    bench = Bench(backend)
    driver, limit = bench.driver, 1 << backend.params.oas
    model = ModelBackend(backend.params, Memory())
    driver.registers.write_acknowledged("CR0", CMDQEN=1, EVENTQEN=1)
    reads = backend.tables.reads
    for _ in range(rounds):
        fields = random_gbpa(rng, rng.random() < 0.1)
        driver.set_gbpa(**fields)
        value = backend.read32(BY_NAME["GBPA"].offset)
        assert value == pack(GBPA, fields)
        model.write32(BY_NAME["GBPA"].offset, value | pack(GBPA, {"Update": 1}))
        transactions = []
        for _ in range(12):
            write = rng.random() < 0.5
            addr = rng.choice((0, limit - 8, limit, limit + 0x1000, 1 << 63, 2 ** 64 - 8,
                               rng.randrange(0, limit, 8), rng.randrange(0, 1 << 64, 8)))
            transactions.append(Transaction(
                sid=rng.choice((0, SID, rng.getrandbits(32))), addr=addr, write=write,
                data=bytes(8) if write else None, length=8, cache=rng.randrange(16),
                shareability=rng.randrange(4), priv=rng.random() < 0.5,
                nonsecure=rng.random() < 0.5, instr=rng.random() < 0.5,
                ssid=rng.choice((None, None, 1, rng.getrandbits(20)))))
        for transaction, result in zip(transactions, backend.dma_all(transactions), strict=True):
            assert seen(result) == seen(model.dma(transaction)), f"{transaction} GBPA {fields}"
            assert (result.pa is None) == (transaction.addr >= limit or bool(fields["ABORT"]))
    # What says that it was translated is refused, and only that leaves an event.
    assert driver.service() == []
    for write in (False, True):
        result = backend.dma(Transaction(sid=SID, addr=0x1000, write=write, atst=True, length=8,
                                         data=bytes(8) if write else None))
        backend.idle()
        event, = driver.service()
        assert result.resp == Resp.SLVERR and result.pa is None
        assert (event.type, event.StreamID, event.InputAddr, event.RnW) == (
            EventType.F_TRANSL_FORBIDDEN, SID, 0x1000, not write)
    assert backend.tables.reads == reads, "something was read from tables while SMMUEN = 0"
    # A write without Update, or during an update, is ignored.
    value = backend.read32(BY_NAME["GBPA"].offset)
    backend.write32(BY_NAME["GBPA"].offset, value ^ pack(GBPA, {"ABORT": 1}))
    assert backend.read32(BY_NAME["GBPA"].offset) == value


@pytest.mark.parametrize("config", [("default", ""), SMALL], ids=["default", "small"])
def test_bypass_attributes_and_address_size(config):
    run_on_core(f"{__name__}:bypass", {"rounds": 25}, config=config[0], settings=config[1], seed=1)


# --- reset ---------------------------------------------------------------------------------------

VA, PA, HOLE, RESET_PAGES = 0x4000_0000, 0x1000_0000, 0x6000_0000, 8


def reset_registers(backend):
    """Every register of the default core that has one reads its reset value."""
    for register in REGISTERS:
        if register.reset is None or register.feature:
            continue
        read = backend.read64 if register.width == 64 else backend.read32
        found = read(register.offset)
        assert found == register.reset, f"{register.name} is {found:#x} after reset"


def resets(backend, report, rounds, seed):
    """Host code: reset in the middle of traffic, walks, commands and events; then other tables.

    Software never invalidates: what a reset left in a cache would show.
    """
    rng = random.Random(seed)
    params = backend.params
    for number in range(rounds):
        backend.memory.clear()
        backend.reset()
        if number % 4 == 0:
            reset_registers(backend)
        addr = 8 * rng.randrange(1 << 20)
        first = backend.dma(Transaction(sid=1, addr=addr, length=8))
        assert (first.resp, first.pa, first.shareability) == (Resp.OKAY, addr, SH.OSH)
        system = System(params, backend)
        pages = {n: PA + ((number * RESET_PAGES + n) << 12) for n in range(RESET_PAGES)}
        nested = number % 2
        system.ste(1, STEConfig.NESTED if nested else STEConfig.S1_TRANS, S2VMID=3)
        system.cd(ASID=5)
        for n, pa in pages.items():
            if nested:
                system.map1(VA + (n << 12), 0x8000_0000 + (n << 12))
                system.map2(0x8000_0000 + (n << 12), pa)
            else:
                system.map1(VA + (n << 12), pa)
        while not system.field("CR0ACK", "SMMUEN"):
            backend.wait(1)
        transactions = []
        for _ in range(60):
            n, write, hole = rng.randrange(RESET_PAGES), rng.random() < 0.5, rng.random() < 0.05
            transactions.append((None if hole else n, Transaction(
                sid=1, addr=(HOLE if hole else VA + (n << 12)) + 8 * rng.randrange(512),
                write=write, data=bytes(8) if write else None, length=8)))
        transfers = backend.submit_all([transaction for _, transaction in transactions])
        system.write("CMDQ_PROD", 1)  # one command, which is illegal: a global error on its way
        if number % 3:
            backend.wait(rng.randrange(1, 250))
        else:
            backend.finish(transfers)
        for (n, transaction), transfer in zip(transactions, transfers, strict=True):
            if transfer.downstream is not None:
                assert transfer.downstream.addr == pages[n] + transaction.addr % PAGE
            if transfer.finished is not None:
                assert transfer.ok == (n is not None)
        report(number)


@pytest.mark.parametrize("config", [("default", ""), SMALL], ids=["default", "small"])
def test_reset_in_the_middle_of_everything(config):
    run_on_core(f"{__name__}:resets", {"rounds": 31, "seed": 2}, config=config[0],
                settings=config[1], options={"latency": (1, 30), "out_of_order": True}, seed=1)
