"""The RTL as a :class:`smmu_sim.backend.Backend`: synchronous host code on a simulated core."""

from cocotb.task import resume
from cocotb.triggers import SimTimeoutError, with_timeout

from smmu.formats.axi import AxPROT, TranslatedUser, UntranslatedUser
from smmu.formats.core import pack, plain
from smmu.formats.registers import BY_NAME, CMDQ_CONS, CMDQ_PROD, CR0, GERROR
from smmu_sim.backend import Interrupts, Resp, Result
from smmu_sim.bench.axi_lite import AxiLiteMaster
from smmu_sim.bench.axi_master import AxiMaster
from smmu_sim.bench.axi_memory import AxiMemory
from smmu_sim.bench.bus import Bus
from smmu_sim.bench.runner import CLOCK_NS
from smmu_sim.bench.stream import cycle
from smmu_sim.memory import Memory

__all__ = ["RTLBackend"]

QUIET_CLOCKS = 40      # longer than the core ever pauses between two accesses of one job
LIMIT_CLOCKS = 50_000  # after these a transaction or a command queue counts as hung

_OFFSET = {name: BY_NAME[name].offset for name in ("CR0", "CMDQ_PROD", "CMDQ_CONS", "GERROR",
                                                   "GERRORN")}


class RTLBackend:
    """A core under cocotb, with memory and devices, for synchronous host code.

    The host code runs in a thread: ``await cocotb.task.bridge(function)(backend)``. While it
    computes, simulated time stands still.

    Parameters
    ----------
    dut
        The wrapped core, see `bench.core`.
    params
        What it was built with.
    memory
        A :class:`smmu_sim.memory.Memory`; an empty one if left out.
    latency, **options
        Of the memory system, for all ports: see :class:`AxiMemory`.

    Attributes
    ----------
    bus, registers, tables, devices, memories
        The agents: tables is the memory behind ``m_axi_tbl``, its ``records`` are the SMMU's own
        accesses; devices and memories are lists, one for each device port.
    """

    def __init__(self, dut, params, memory=None, *, latency=10, strict=True, **options):
        self.params = params
        self.memory = Memory() if memory is None else memory
        self.bus = Bus(dut, strict=strict)
        self.registers = AxiLiteMaster(self.bus, "s_axil")
        self.tables = AxiMemory(self.bus, "m_axi_tbl", self.memory, latency=latency, **options)
        self.memories = [AxiMemory(self.bus, f"m{port}_axi", self.memory, latency=latency,
                                   device_ids=True, **options) for port in range(params.ports)]
        self.devices = [AxiMaster(self.bus, f"s{port}_axi", downstream=downstream)
                        for port, downstream in enumerate(self.memories)]
        self._next_id = 0

    # Backend

    def reset(self):
        """Reset the core. Memory keeps its contents; what agents recorded is forgotten."""
        for memory in (self.tables, *self.memories):
            memory.forget()
        self._resume(self.bus.reset())

    def write32(self, offset, value):
        self._resume(self.registers.write32(offset, value))

    def write64(self, offset, value):
        self._resume(self.registers.write64(offset, value))

    def read32(self, offset):
        return self._resume(self.registers.read32(offset))

    def read64(self, offset):
        return self._resume(self.registers.read64(offset))

    def dma(self, transaction):
        """Perform one transaction of a device."""
        return self.dma_all([transaction])[0]

    def dma_all(self, transactions):
        """Perform transactions at once, with IDs in turn; a list of their results."""
        transfers = self.submit_all(transactions)
        self._resume(self._finish(transfers))
        return [self.result(transfer) for transfer in transfers]

    def wait(self, clocks=1):
        self._resume(self.bus.clocks(clocks))

    def idle(self):
        """Let the core proceed until its command queue is done and its ports have been quiet."""
        self._resume(self._idle())

    def interrupts(self):
        return Interrupts(**{name.removeprefix("irq_"): count
                             for name, count in self.bus.pulses.items()})

    # Beyond that: several transactions in flight

    def submit_all(self, transactions):
        """Hand transactions to the devices and return their transfers without waiting."""
        return [self._submit(transaction) for transaction in transactions]

    def finish(self, transfers):
        """Wait for transfers."""
        self._resume(self._finish(transfers))

    def result(self, transfer) -> Result:
        """What became of a finished transfer."""
        resp = Resp(transfer.resp)
        data = transfer.data if transfer.ok and not transfer.write else None
        record = transfer.downstream
        if record is None:
            return Result(resp=resp, data=data)
        user = plain(TranslatedUser)
        return Result(resp=resp, data=data, pa=record.addr, cache=record.cache, prot=record.prot,
                      shareability=user.SH(record.user), device_id=user.DeviceID(record.user),
                      msi=bool(user.MSI(record.user)))

    @property
    def now(self):
        """The number of the current clock."""
        return cycle()

    # Inside

    @staticmethod
    def _resume(coroutine):
        async def run():
            return await coroutine
        return resume(run)()

    def _submit(self, transaction):
        device = self.devices[transaction.port]
        user = pack(UntranslatedUser, {
            "StreamID": transaction.sid, "SubstreamID": transaction.ssid or 0,
            "SSV": int(transaction.ssid is not None), "ATST": int(transaction.atst),
            "SH": transaction.shareability})
        prot = pack(AxPROT, {"privileged": int(transaction.priv),
                             "nonsecure": int(transaction.nonsecure),
                             "instruction": int(transaction.instr)})
        self._next_id = (self._next_id + 1) % device.ids
        work = {"data": transaction.data, "strobes": transaction.strobes} if transaction.write \
            else {"length": transaction.length}
        return device.submit(transaction.addr, write=transaction.write, size=transaction.size,
                             burst=transaction.burst, id=self._next_id, user=user, prot=prot,
                             cache=transaction.cache, **work)

    async def _finish(self, transfers):
        for transfer in reversed(transfers):  # the last mostly finishes last
            while transfer.finished is None:
                left = sum(each.finished is None for each in transfers)
                try:
                    await with_timeout(transfer.wait(), LIMIT_CLOCKS * CLOCK_NS, "ns")
                except SimTimeoutError:
                    if left == sum(each.finished is None for each in transfers):
                        raise TimeoutError(f"{transfer} has no answer after {LIMIT_CLOCKS} clocks "
                                           "without any answer") from None

    async def _idle(self):
        start = cycle()
        while True:
            await self.bus.quiet(QUIET_CLOCKS, limit=LIMIT_CLOCKS)
            if await self._commands_done():
                return
            if cycle() - start > LIMIT_CLOCKS:
                raise TimeoutError(f"the command queue is not done after {LIMIT_CLOCKS} clocks")

    async def _commands_done(self):
        """Nothing is left in the command queue, or it is stopped."""
        read = self.registers.read32
        if not plain(CR0).CMDQEN(await read(_OFFSET["CR0"])):
            return True
        error = await read(_OFFSET["GERROR"]) ^ await read(_OFFSET["GERRORN"])
        if plain(GERROR).CMDQ_ERR(error):
            return True
        return (plain(CMDQ_PROD).WR(await read(_OFFSET["CMDQ_PROD"]))
                == plain(CMDQ_CONS).RD(await read(_OFFSET["CMDQ_CONS"])))
