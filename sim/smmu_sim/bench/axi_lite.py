"""AXI4-Lite master: how software reaches the registers."""

from collections import deque

from cocotb.triggers import Event

from smmu_sim.bench.bus import Agent

__all__ = ["AxiLiteMaster"]


class _Access:
    """One access: what to send, the answer, and when it came."""

    __slots__ = ("data", "done", "resp", "started", "address", "finished", "write", "payload")

    def __init__(self, write, address, payload):
        self.write, self.address, self.payload = write, address, payload
        self.done, self.resp, self.data = Event(), None, None
        self.started = self.finished = None


class AxiLiteMaster(Agent):
    """Access registers through AXI4-Lite port ``port``, one access at a time.

    ``w_delay`` clocks lie between a write's address and its data (negative: data first).
    """

    def __init__(self, bus, port="s_axil", *, w_delay=0):
        super().__init__(bus, port)
        self.w_delay = w_delay
        self.bytes = self.width("w", "data") // 8
        self._aw, self._w, self._ar = (self.encoder(name) for name in ("aw", "w", "ar"))
        self._b, self._r = self.members("b"), self.members("r")
        self.reset()

    def reset(self):
        self._queue, self._current, self.active = deque(), None, False
        self._aw_wait = self._w_wait = None
        self.bus.drive |= self.b_in | self.r_in  # BREADY and RREADY are always high

    def outstanding(self):
        return self._current is not None

    # Accesses

    async def write(self, address, data, strobes):
        """Write one beat with ``strobes``; returns the response."""
        return (await self._do(True, address, (data, strobes))).resp

    async def read(self, address):
        """Read the beat at ``address``; returns (data of the whole width, response)."""
        access = await self._do(False, address, None)
        return access.data, access.resp

    async def write32(self, address, value):
        """Write one 32-bit register."""
        lane = address % self.bytes
        await self._okay(True, address, (value << 8 * lane, 0xF << lane))

    async def write64(self, address, value):
        """Write one 64-bit register at once."""
        await self._okay(True, address, (value, 0xFF))

    async def read32(self, address):
        """Read one 32-bit register."""
        access = await self._okay(False, address, None)
        return access.data >> 8 * (address % self.bytes) & 0xFFFF_FFFF

    async def read64(self, address):
        """Read one 64-bit register at once."""
        return (await self._okay(False, address, None)).data

    async def _okay(self, *access):
        access = await self._do(*access)
        if access.resp:
            self.bus.violation(f"{self.port}: response {access.resp} to {access.address:#x}")
        return access

    async def _do(self, write, address, payload):
        access = _Access(write, address, payload)
        self._queue.append(access)
        self.active = True
        self.bus.kick()
        await access.done.wait()
        return access

    # One clock

    def step(self, out):
        bus, access = self.bus, self._current
        drive = bus.drive
        if access is not None:
            for valid, ready in ((self.aw_in, self.aw_out), (self.w_in, self.w_out),
                                 (self.ar_in, self.ar_out)):
                if drive & valid and out & ready:
                    drive &= ~valid
            bus.drive = drive
            if access.write:
                self._offer_write(access)
        if out & (self.b_out | self.r_out):
            self._answer(out, access)
            access = self._current
        if access is None and self._queue:
            self._start(self._queue.popleft())
        self.active = self._current is not None

    def _start(self, access):
        bus = self.bus
        self._current, access.started = access, bus.now
        if access.write:
            self._aw_wait = max(-self.w_delay, 0)
            self._w_wait = max(self.w_delay, 0)
            self._offer_write(access)
        else:
            self.ar_pin.set(self._ar(addr=access.address))
            bus.drive |= self.ar_in

    def _offer_write(self, access):
        """Offer address and data, each when its delay is over."""
        bus = self.bus
        if self._aw_wait is not None:
            if self._aw_wait == 0:
                self.aw_pin.set(self._aw(addr=access.address))
                bus.drive |= self.aw_in
            self._aw_wait = self._aw_wait - 1 if self._aw_wait else None
        if self._w_wait is not None:
            if self._w_wait == 0:
                data, strobes = access.payload
                self.w_pin.set(self._w(data=data, strb=strobes))
                bus.drive |= self.w_in
            self._w_wait = self._w_wait - 1 if self._w_wait else None

    def _answer(self, out, access):
        channel = "b" if out & self.b_out else "r"
        busy = self.bus.drive & (self.aw_in | self.w_in | self.ar_in)
        if access is None or access.write != (channel == "b") or busy \
                or (out & self.b_out and out & self.r_out):
            self.bus.violation(f"{self.port}: {channel.upper()} response without a request")
            return
        raw = (self.b_pin if access.write else self.r_pin).get()
        members = self._b if access.write else self._r
        access.resp = raw >> members["resp"][0] & members["resp"][1]
        if not access.write:
            access.data = raw >> members["data"][0] & members["data"][1]
        access.finished = self.bus.now
        self._current = None
        access.done.set()
