"""One coroutine for all agents of a wrapped core: a single look at its handshakes in each clock."""

import json
import os
import random

import cocotb
from cocotb.triggers import Event, First, RisingEdge, Timer

from smmu_sim.bench import stream
from smmu_sim.bench.runner import BUS_VARIABLE, CLOCK_NS

__all__ = ["Agent", "Bus", "IrqMonitor"]

SLEEP_AT_LEAST = 6  # clocks; going to sleep costs about as much as that many clocks awake


class Bus:
    """The handshakes of a core inside `bench.wrapper`, and the agents on them.

    In each clock it samples all VALID and READY at once, gives the word to those agents that have
    something to do, and drives what they changed. While none has, it sleeps until the core raises a
    VALID or a wire, or an agent is handed work.

    Broken rules that the wrapper or an agent sees fail the test, or gather in ``violations`` if
    ``strict`` is false.

    Attributes
    ----------
    now
        Number of the last clock edge that agents saw; `stream.cycle` is right while they sleep too.
    last_activity
        Number of the last edge with a VALID of a port that is not a register port, or with the
        end of a transaction there: the core may go on from what it was told.
    pulses
        How often each single wire (``irq_eventq`` …) was high at an edge.
    """

    def __init__(self, dut, *, strict=True, seed=None):
        with open(os.environ[BUS_VARIABLE]) as file:
            description = json.load(file)
        self.dut, self.strict = dut, strict
        self.random = random.Random(random.getrandbits(64) if seed is None else seed)
        self.ports = {port["name"]: port for port in description["ports"]}
        self.pulses = dict.fromkeys(description["pulses"], 0)
        self._pulse_bits = [(name, 1 << bit) for name, bit in description["pulses"].items()]
        self._watched = description["watched"]
        self._broken_bit = 1 << description["broken"]
        self._pulse_mask = self._broken_bit | sum(bit for _, bit in self._pulse_bits)
        self.valid_mask = sum(1 << channel["in_bit"] for port in description["ports"]
                              if not port["lite"]
                              for channel in port["channels"].values() if channel["driven"])
        self._out, self._in = stream.Pin(dut, "bench_out"), stream.Pin(dut, "bench_in")
        self._broken = stream.Pin(dut, "bench_broken")
        self._kick, self._asleep, self._in_reset = Event(), False, True
        self.agents, self.violations = [], []
        self.now = self.last_activity = 0
        self.drive = 0
        self._task = None

    # What tests call

    async def reset(self, reset_clocks=1):
        """Start the clock if need be; reset the core and all agents, also in the middle of work.

        What agents had under way is dropped: it never finishes.
        """
        self._in_reset = True
        self.drive = 0
        for agent in self.agents:
            agent.reset()
        for name in self.pulses:
            self.pulses[name] = 0
        await stream.reset(self.dut, reset_clocks=reset_clocks, bench_in=self.drive)
        self.now = self.last_activity = stream.cycle()
        self._in_reset = False
        if self._task is None:
            self._task = cocotb.start_soon(self._run())
        self.kick()

    async def clocks(self, count=1):
        """Wait for ``count`` clocks."""
        if count > 0:
            if count > 1:  # sleep until the middle of the last clock
                await Timer(count * CLOCK_NS - CLOCK_NS // 2, unit="ns")
            await RisingEdge(self.dut.clk)

    async def quiet(self, count, limit=None):
        """Wait until for ``count`` clocks no port but the register ports had anything under way.

        Raises TimeoutError after ``limit`` clocks.
        """
        start = stream.cycle()
        while True:
            now = stream.cycle()
            rest = count if any(agent.outstanding() for agent in self.agents) else \
                self.last_activity + count - now
            if rest <= 0:
                return
            if limit is not None and now - start > limit:
                raise TimeoutError(f"the core is still busy after {limit} clocks")
            await self.clocks(rest)

    # What agents call

    def kick(self):
        """Wake up, since an agent has work."""
        if self._asleep:
            self._kick.set()

    def violation(self, text):
        """Report a broken rule of the protocol."""
        text = f"clock {self.now}: {text}"
        self.violations.append(text)
        if self.strict:
            raise AssertionError(text)

    # The loop

    async def _run(self):
        edge, wake = RisingEdge(self.dut.clk), RisingEdge(self.dut.bench_wake)
        sample, agents, pulse_mask, valid_mask = \
            self._out.get, self.agents, self._pulse_mask, self.valid_mask
        driven = self._in.get()
        while True:
            await edge
            self.now += 1
            if self._in_reset:
                self.now = stream.cycle()
                driven = self.drive
                continue
            out = sample()
            if out & pulse_mask:
                self._pulse(out)
            awake = False
            for agent in agents:
                if agent.active or out & agent.mask or (
                        agent.due is not None and agent.due <= self.now):
                    agent.step(out)
                    awake = awake or agent.active
            if driven != self.drive:
                driven = self.drive
                self._in.set(driven)
            if out & valid_mask:
                self.last_activity = self.now
            elif not awake:
                await self._sleep(wake)

    async def _sleep(self, wake):
        due = min((agent.due for agent in self.agents if agent.due is not None), default=None)
        if due is not None and due - self.now < SLEEP_AT_LEAST:
            for agent in self.agents:
                if agent.due is not None:
                    agent.active = True
            return
        if self.dut.bench_wake.value:
            return
        self._kick.clear()
        reasons = [wake, self._kick.wait()]
        if due is not None:
            reasons.append(Timer((due - self.now) * CLOCK_NS - CLOCK_NS // 2, unit="ns"))
        self._asleep = True
        await First(*reasons)
        self._asleep = False
        self.now = stream.cycle()
        for agent in self.agents:
            if agent.due is not None and agent.due <= self.now + 1:
                agent.active = True

    def _pulse(self, out):
        for name, bit in self._pulse_bits:
            if out & bit:
                self.pulses[name] += 1
        if out & self._broken_bit:
            broken = self._broken.get()
            for index, name in enumerate(self._watched):
                if broken >> 2 * index & 1:
                    self.violation(f"{name}: changed or fell while VALID waited for READY")
                if broken >> 2 * index & 2:
                    self.violation(f"{name}: VALID in the clock after reset")


class Agent:
    """What the bus expects of an agent.

    ``mask``: bits of ``bench_out`` that call for :meth:`step`; ``active``: it wants every clock;
    ``due``: the clock at which it wants to be called next although not active.
    """

    def __init__(self, bus, port):
        if port not in bus.ports:
            raise ValueError(f"there is no port {port}; AXI ports: {', '.join(bus.ports)}")
        self.bus, self.port, self.random = bus, port, bus.random
        self.description = bus.ports[port]
        self.mask, self.active, self.due = 0, False, None
        for name, channel in self.description["channels"].items():
            # The bit that the core drives, and the one that this agent drives.
            setattr(self, f"{name}_out", 1 << channel["in_bit"])
            setattr(self, f"{name}_in", 1 << channel["out_bit"])
            setattr(self, f"{name}_pin", stream.Pin(bus.dut, channel["name"] + "_payload"))
            if channel["driven"]:
                self.mask |= 1 << channel["in_bit"]
        bus.agents.append(self)

    def members(self, channel):
        """{member: (lsb, mask)} of a channel's payload."""
        return {name: (lsb, (1 << width) - 1)
                for name, (lsb, width) in self.description["channels"][channel]["members"].items()}

    def width(self, channel, member):
        """Width of a member, 0 if the port lacks it."""
        return self.description["channels"][channel]["members"].get(member, (0, 0))[1]

    def encoder(self, channel):
        """A function that packs members given by keyword; too large values are a ValueError."""
        members = self.members(channel)

        def encode(**values):
            raw = 0
            for name, value in values.items():
                if name not in members:
                    if value:
                        raise ValueError(f"{self.port} has no {channel}{name}")
                    continue
                lsb, mask = members[name]
                if value & ~mask:
                    raise ValueError(f"{self.port} {channel}{name} is {mask.bit_length()} bits "
                                     f"wide, given {value:#x}")
                raw |= value << lsb
            return raw
        return encode

    def chance(self, rate):
        """Whether an event of this probability happens."""
        return rate and self.random.random() < rate

    def reset(self):
        """Forget all work and drive initial values into ``bus.drive``."""
        raise NotImplementedError

    def step(self, out):
        """One clock edge: ``out`` is what the core drove, ``bus.drive`` what was driven to it."""
        raise NotImplementedError

    def outstanding(self):
        """Whether something was accepted and not yet answered."""
        return False


class IrqMonitor:
    """Pulses of the interrupt wires since reset, by name without ``irq_``."""

    def __init__(self, bus):
        self.bus = bus

    @property
    def counts(self):
        return {name.removeprefix("irq_"): count for name, count in self.bus.pulses.items()}

    async def wait(self, name, count=1, limit=10_000):
        """Wait until wire ``name`` has pulsed ``count`` times since reset."""
        for _ in range(limit):
            if self.counts[name] >= count:
                return
            await self.bus.clocks(1)
        raise TimeoutError(f"irq_{name} pulsed {self.counts[name]} times in {limit} clocks, "
                           f"expected {count}")
