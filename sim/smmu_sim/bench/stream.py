"""Clock, reset, and agents for the stream ports of a component."""

import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Lock, RisingEdge
from cocotb.utils import get_sim_steps, get_sim_time

from smmu_sim.bench.layout import pack, view, width
from smmu_sim.bench.runner import CLOCK_NS, PORTS_VARIABLE

__all__ = ["Pin", "StreamSink", "StreamSource", "clocks", "cycle", "reset", "start_clock"]


class Pin:
    """Quick access to one port by plain integers.

    ``get`` right after a rising edge yields what a register would have sampled at that edge;
    ``set`` takes effect after it.
    """

    def __init__(self, dut, name):
        self.name = name
        self._object = getattr(dut, name)._handle
        self._bits = self._object.get_num_elems()
        self._mask = (1 << self._bits) - 1
        self._format = f"0{self._bits}b"
        if self._bits <= 31:
            self.get, self.set = self._object.get_signal_val_long, self._set_short

    def get(self) -> int:
        return int(self._object.get_signal_val_binstr(), 2)

    def set(self, value: int):
        if value & ~self._mask:
            raise ValueError(f"{self.name} has {self._bits} bits, given {value:#x}")
        self._object.set_signal_val_binstr(0, format(value, self._format))

    def _set_short(self, value):
        if value & ~self._mask:
            raise ValueError(f"{self.name} has {self._bits} bits, given {value:#x}")
        self._object.set_signal_val_int(0, value)


class _Bench:
    """What the agents of one cocotb test share: its clock, and its reset."""

    clock_task = None
    clock_start = 0  # time of its first edge, in steps of the simulator
    ports = None
    last_reset = 0


def _ports():
    if _Bench.ports is None:
        with open(os.environ[PORTS_VARIABLE]) as file:
            _Bench.ports = json.load(file)
    return _Bench.ports


def cycle() -> int:
    """The number of the current clock, counted from when this test started it."""
    return (get_sim_time("step") - _Bench.clock_start) // get_sim_steps(CLOCK_NS, "ns")


async def clocks(dut, count=1):
    """Wait for ``count`` rising edges."""
    edge = RisingEdge(dut.clk)
    for _ in range(count):
        await edge


def start_clock(dut):
    """Start the clock of this test (10 ns), unless it runs already."""
    if _Bench.clock_task is None or _Bench.clock_task.done():
        _Bench.clock_start = get_sim_time("step")
        _Bench.clock_task = Clock(dut.clk, CLOCK_NS, unit="ns", impl="gpi").start()


async def reset(dut, *, reset_clocks=1, **inputs):
    """Start the clock if need be, drive every input, and hold ``rst`` for some clocks.

    ``inputs`` are initial values by port name; all other inputs become 0. Returns right after a
    rising edge, with ``rst`` low, before the first clock edge that the component sees without
    reset. May be called again in the middle of a test.
    """
    for name, (direction, _) in _ports().items():
        if direction == "i" and name != "clk":
            Pin(dut, name).set(int(inputs.pop(name, 0)))
    if inputs:
        raise ValueError(f"no such input: {', '.join(inputs)}; there are "
                         f"{', '.join(n for n, (way, _) in _ports().items() if way == 'i')}")
    dut.rst.value = 1
    start_clock(dut)
    await clocks(dut, reset_clocks + 1)
    dut.rst.value = 0
    _Bench.last_reset = get_sim_time("step")


class _StreamAgent:
    """A stream port: its pins and layout; one transfer at a time."""

    def __init__(self, dut, name, layout, *, pause_rate=0.0, rng=None):
        if not 0 <= pause_rate < 1:
            raise ValueError(f"pause_rate is a probability below 1, given {pause_rate}")
        self.name, self.layout, self.pause_rate = name, layout, pause_rate
        self._random = (rng or random).random
        self._edge = RisingEdge(dut.clk)
        self._lock = Lock()
        self.valid = self._pin(dut, "valid", 1)
        self.ready = self._pin(dut, "ready", 1)
        self.payload = self._pin(dut, "payload", width(layout))

    def _pin(self, dut, member, expected):
        port = f"{self.name}__{member}"
        if port not in _ports():
            if member == "valid" or (member == "payload" and expected):
                raise ValueError(f"there is no port {port}; ports: {', '.join(_ports())}")
            return None
        found = _ports()[port][1]
        if found != expected:
            raise ValueError(f"{port} has {found} bits, the layout {expected}")
        return Pin(dut, port)

    async def _pause(self):
        while self.pause_rate and self._random() < self.pause_rate:
            await self._edge


class StreamSource(_StreamAgent):
    """Send payloads into the stream port ``name``.

    Parameters
    ----------
    layout
        The shape of the payload: a struct class, a layout, or the number of bits.
    pause_rate
        The probability of an idle clock before a payload; 0 sends back to back.
    """

    async def send(self, item) -> int:
        """Offer one payload (dict, integer, record) and wait until it is taken.

        Returns the number of the clock that took it. Calls without a clock between them make
        back-to-back transfers. Concurrent callers take turns.
        """
        raw = pack(self.layout, item)
        async with self._lock:
            await self._pause()
            if self.payload is not None:
                self.payload.set(raw)
            self.valid.set(1)
            await self._edge
            while self.ready is not None and not self.ready.get():
                await self._edge
            self.valid.set(0)
        return cycle()

    async def send_all(self, items):
        """Send each of ``items`` in turn."""
        for item in items:
            await self.send(item)

    def start(self, items):
        """Send ``items`` in the background; returns the task."""
        return cocotb.start_soon(self.send_all(items))


class StreamSink(_StreamAgent):
    """Receive payloads from the stream port ``name``.

    Also asserts the rule of streams: a payload that was offered stays as it is, and VALID stays
    high, until it is taken. Parameters as for :class:`StreamSource`; ``pause_rate`` is the
    probability of a clock with READY low before each payload.
    """

    def __init__(self, dut, name, layout, *, pause_rate=0.0, rng=None):
        super().__init__(dut, name, layout, pause_rate=pause_rate, rng=rng)
        self._offered = None  # (time, payload) of an offer that was not yet taken

    def _sample(self, taking):
        """The payload at this edge, or None if there is none; checks it against the last edge."""
        valid = bool(self.valid.get())
        raw = (self.payload.get() if self.payload is not None else 0) if valid else None
        if self._offered is not None:
            time, before = self._offered
            if time >= _Bench.last_reset and raw != before:
                now = "VALID fell" if raw is None else f"became {view(self.layout, raw)!r}"
                raise AssertionError(f"{self.name}: {view(self.layout, before)!r} was offered, "
                                     f"then {now} without a transfer")
        self._offered = None if taking or not valid else (get_sim_time("step"), raw)
        return raw

    async def _pause(self):
        while self.pause_rate and self._random() < self.pause_rate:
            await self._edge
            self._sample(taking=self.ready is None)

    async def recv(self):
        """Take the next payload; a record with its fields as attributes (or an integer).

        Calls without a clock between them keep READY high. Concurrent callers take turns.
        """
        async with self._lock:
            await self._pause()
            if self.ready is not None:
                self.ready.set(1)
            await self._edge
            while (raw := self._sample(taking=True)) is None:
                await self._edge
            if self.ready is not None:
                self.ready.set(0)
            return view(self.layout, raw)

    async def recv_n(self, count):
        """Take ``count`` payloads; a list."""
        return [await self.recv() for _ in range(count)]

    async def expect_none(self, count):
        """Assert that no payload comes within ``count`` clocks, with READY high."""
        async with self._lock:
            if self.ready is not None:
                self.ready.set(1)
            for _ in range(count):
                await self._edge
                raw = self._sample(taking=True)
                assert raw is None, f"{self.name}: unexpected {view(self.layout, raw)!r}"
            if self.ready is not None:
                self.ready.set(0)
