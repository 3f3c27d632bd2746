"""A bench around `smmu.control.Control`: software's view of registers and queues, and stand-ins
for translation buffers and caches."""

import cocotb
from cocotb.triggers import RisingEdge

from smmu.formats.commands import pack_command
from smmu.formats.core import pack, unpack
from smmu.formats.events import F_TRANSLATION, EventType
from smmu.formats.registers import BY_NAME
from smmu_sim.bench.axi_lite import AxiLiteMaster
from smmu_sim.bench.axi_memory import AxiMemory
from smmu_sim.bench.bus import Bus
from smmu_sim.bench.stream import Pin, StreamSink, StreamSource, cycle
from smmu_sim.memory import Memory

__all__ = ["ControlBench", "COMMAND_BYTES", "EVENT_BYTES", "fault"]

COMMAND_BYTES, EVENT_BYTES = 16, 32


def fault(number):
    """Return the fields of a `FaultRecord`, and what it looks like in memory."""
    fields = {"ssv": 1, "ssid": number & 0xF_FFFF, "sid": number, "pnu": number & 1,
              "ind": number >> 1 & 1, "rnw": number >> 2 & 1, "s2": 1, "cls": 2,
              "input_addr": 0xFEDC_BA98_7654_3000 + number, "ipa": 0x8_0000_0000 + number}
    record = pack(F_TRANSLATION, {
        "Event": EventType.F_TRANSLATION, "SSV": 1, "SubstreamID": fields["ssid"],
        "StreamID": number, "PnU": fields["pnu"], "InD": fields["ind"], "RnW": fields["rnw"],
        "S2": 1, "CLASS": 2, "InputAddr": fields["input_addr"], "IPA": fields["ipa"]})
    return {"event": EventType.F_TRANSLATION, **fields}, record


class ControlBench:
    """Registers by name, queues in memory, and what Control has around it.

    ``payloads`` is the module with the structs of Control's streams. ``invalidations`` gathers
    (clock, record) as they are taken. A `snapshot` makes `undecided` and `unfinished` go up for as
    many clocks as `decide_in` and `finish_in` say.
    """

    def __init__(self, dut, payloads, *, pause_rate=0.0, **memory):
        self.dut, self.payloads = dut, payloads
        self.bus = Bus(dut)
        self.software = AxiLiteMaster(self.bus)
        self.memory = Memory()
        self.table = AxiMemory(self.bus, "m_axi_tbl", self.memory, **memory)
        self.pause_rate = pause_rate
        self.invalidations, self.snapshots = [], []
        self.decide_in = self.finish_in = 0
        self.cmdq = self.eventq = None  # (base, LOG2SIZE)
        self.prod = 0

    @classmethod
    async def started(cls, dut, payloads, *, latency=(1, 30), pause_rate=0.2, **memory):
        """A bench after its reset, by default with random delays everywhere."""
        bench = cls(dut, payloads, pause_rate=pause_rate, latency=latency, out_of_order=True,
                    **memory)
        await bench.start()
        return bench

    async def start(self):
        """Reset everything."""
        await self.bus.reset()
        self.invalidation_sink = StreamSink(
            self.dut, "invalidations", self.payloads.Invalidation, pause_rate=self.pause_rate)
        self.records = StreamSource(
            self.dut, "records", self.payloads.FaultRecord, pause_rate=self.pause_rate)
        self.invalidation_task = cocotb.start_soon(self._take_invalidations())
        cocotb.start_soon(self._translation_buffers())

    async def _take_invalidations(self):
        while True:
            item = await self.invalidation_sink.recv()
            self.invalidations.append((cycle(), item))

    async def _translation_buffers(self):
        """Hold up `undecided` and `unfinished` after each snapshot."""
        snapshot, undecided, unfinished = (
            Pin(self.dut, name) for name in ("snapshot", "undecided", "unfinished"))
        undecided_for = unfinished_for = 0
        while True:
            await RisingEdge(self.dut.clk)
            if snapshot.get():
                self.snapshots.append(cycle())
                undecided_for, unfinished_for = self.decide_in, self.finish_in
            undecided.set(undecided_for > 0)
            unfinished.set(unfinished_for > 0)
            undecided_for, unfinished_for = max(undecided_for - 1, 0), max(unfinished_for - 1, 0)

    async def until(self, condition, limit=3000):
        """Wait until ``condition()`` is true, at most ``limit`` clocks."""
        for _ in range(limit):
            if condition():
                return
            await self.bus.clocks(1)
        raise TimeoutError(f"not true within {limit} clocks")

    # Registers

    async def read(self, name):
        """Read a register; an integer."""
        register = BY_NAME[name]
        if register.width == 64:
            return await self.software.read64(register.offset)
        return await self.software.read32(register.offset)

    async def fields(self, name):
        """Read a register; {field: value}."""
        return unpack(BY_NAME[name].struct, await self.read(name))

    async def write(self, name, value=0, **fields):
        """Write a register: an integer, or fields."""
        register = BY_NAME[name]
        value |= pack(register.struct, fields)
        if register.width == 64:
            await self.software.write64(register.offset, value)
        else:
            await self.software.write32(register.offset, value)

    async def write_acknowledged(self, name, value=0, limit=2000, **fields):
        """Write CR0 or IRQ_CTRL and wait for the acknowledge."""
        value |= pack(BY_NAME[name].struct, fields)
        await self.write(name, value)
        for _ in range(limit):
            if await self.read(name + "ACK") == value:
                return
        raise TimeoutError(f"{name} = {value:#x} is not acknowledged")

    async def poll(self, name, condition, limit=500):
        """Read a register until ``condition`` of its fields is true; the fields."""
        for _ in range(limit):
            fields = await self.fields(name)
            if condition(fields):
                return fields
        raise TimeoutError(f"{name} stays {fields}")

    async def poll_fields(self, name, **expected):
        """Read a register until these fields have these values; all its fields."""
        return await self.poll(name, lambda fields: expected.items() <= fields.items())

    async def until_pulses(self, wire, count=1):
        """Wait until an interrupt wire has pulsed ``count`` times since reset."""
        await self.until(lambda: self.bus.pulses[wire] == count)

    # Queues

    async def set_up(self, cmdq=(0x9000_0000, 4), eventq=(0xA000_0000, 3), msi=True, irq=True):
        """Place both queues, configure MSIs, enable interrupts and queues."""
        self.cmdq, self.eventq, self.prod = cmdq, eventq, 0
        await self.write("CR1", QUEUE_IC=1, QUEUE_OC=1, QUEUE_SH=3)
        await self.write("CMDQ_BASE", LOG2SIZE=cmdq[1], ADDR=cmdq[0] >> 5, RA=1)
        await self.write("EVENTQ_BASE", LOG2SIZE=eventq[1], ADDR=eventq[0] >> 5, WA=1)
        for name in ("CMDQ_PROD", "CMDQ_CONS", "EVENTQ_PROD", "EVENTQ_CONS"):
            await self.write(name, 0)
        for name, addr, data in (("GERROR", 0xB000_0000, 0x6E), ("EVENTQ", 0xB000_0104, 0xE7)):
            await self.write(f"{name}_IRQ_CFG0", addr if msi else 0)
            await self.write(f"{name}_IRQ_CFG1", data)
            await self.write(f"{name}_IRQ_CFG2", MemAttr=1)
        if irq:
            await self.write_acknowledged("IRQ_CTRL", GERROR_IRQEN=1, EVENTQ_IRQEN=1)
        await self.write_acknowledged("CR0", CMDQEN=1, EVENTQEN=1)

    def place_command(self, index, command):
        """Put ``command`` (an integer) at PROD index ``index``."""
        base, log2size = self.cmdq
        slot = index & (1 << log2size) - 1
        self.memory.poke(base + slot * COMMAND_BYTES, command.to_bytes(COMMAND_BYTES, "little"))

    def queue_command(self, opcode, **values):
        """Put a command behind the last one, without the doorbell."""
        self.place_command(self.prod, pack_command(opcode, values))
        self.prod = self.prod + 1 & (2 << self.cmdq[1]) - 1

    async def ring(self):
        """Write CMDQ_PROD."""
        await self.write("CMDQ_PROD", self.prod)

    async def consumed(self, limit=500):
        """Wait until all commands are consumed."""
        await self.poll("CMDQ_CONS", lambda cons: cons["RD"] == self.prod, limit)

    def event(self, index):
        """The record at PROD index ``index``; an integer."""
        base, log2size = self.eventq
        slot = index & (1 << log2size) - 1
        return int.from_bytes(self.memory.peek(base + slot * EVENT_BYTES, EVENT_BYTES), "little")
