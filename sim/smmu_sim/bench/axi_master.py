"""AXI4 master: a device in front of the core."""

from collections import deque

from cocotb.triggers import Event

from smmu.formats.axi import Burst, Resp
from smmu_sim.bench.axi_rules import (
    beat_addresses,
    beats_for,
    broken_rule,
    join_lanes,
    split_lanes,
    widest_size,
)
from smmu_sim.bench.bus import Agent

__all__ = ["AxiMaster", "Transfer"]

_TAG_BITS = 4  # AxQOS and AxREGION have four bits each
_RESP = list(Resp)


class Transfer:
    """One transaction of a device, and how it went.

    Clocks: ``offered`` first with AxVALID, ``accepted`` the handshake of the address, ``finished``
    that of the last beat of the response. ``downstream`` is the :class:`~axi_memory.Record` of what
    left the core for it, None if nothing did. ``resp`` is the worst response, ``resps`` are all,
    ``data`` the bytes of a read (None before the end).
    """

    __slots__ = ("_done", "_raw", "accepted", "addr", "address", "beats", "data", "downstream",
                 "finished", "got", "id", "offered", "port", "resp", "resps", "size", "skew", "tag",
                 "w_at", "wanted", "write")

    async def wait(self):
        """Wait for the last response; returns the transfer."""
        if self.finished is None:
            if self._done is None:
                self._done = Event()
            await self._done.wait()
        return self

    @property
    def ok(self):
        """Every response was OKAY (or EXOKAY)."""
        return self.resp is not None and self.resp < Resp.SLVERR

    @property
    def latency(self):
        """Clocks from the address in to the address out: registers on the way. None: it stayed."""
        return None if self.downstream is None else self.downstream.valid_at - self.accepted

    @property
    def response_latency(self):
        """Clocks from the address in to the last beat of the response."""
        return self.finished - self.accepted

    def __repr__(self):
        state = "under way" if self.finished is None else Resp(self.resp).name
        kind = "write" if self.write else "read"
        return (f"<{kind} of {self.port} {self.addr:#x}, id {self.id}, "
                f"{len(self.address)} beats of {1 << self.size}, {state}>")


class AxiMaster(Agent):
    """Drive one AXI4 slave port of the core with the transactions of a device.

    Parameters
    ----------
    downstream
        The :class:`AxiMemory` on the matching master port. With it each transfer learns what became
        of it; a running number in AxQOS and AxREGION, where the caller leaves these alone, tells
        transfers of one ID apart.
    pause_rate
        Probability of RREADY or BREADY low in a clock: backpressure.
    gap_rate
        Probability of an idle clock before an address or a write beat.
    """

    def __init__(self, bus, port, *, downstream=None, pause_rate=0.0, gap_rate=0.0):
        super().__init__(bus, port)
        self.pause_rate, self.gap_rate = pause_rate, gap_rate
        self.bytes = self.width("r", "data") // 8
        self.ids = 1 << self.width("ar", "id")
        self._encode = {True: self.encoder("aw"), False: self.encoder("ar")}
        self._w_at = {name: lsb for name, (lsb, _) in self.members("w").items()}
        self._b, self._r = self.members("b"), self.members("r")
        self._tag = 0
        if downstream is not None:
            downstream.on_address.append(self._left)
        self.reset()

    def reset(self):
        self._ar, self._aw, self._w = deque(), deque(), deque()  # to be offered
        self._ar_now = self._aw_now = self._w_now = None         # offered
        self._open = {True: {}, False: {}}  # by ID: accepted or offered, not yet answered
        self._leaving = {}                  # (write, id, *tag): transfers that may still leave
        self.active = False
        self.bus.drive |= self.r_in | self.b_in

    def outstanding(self):
        return bool(self._ar or self._aw or self._w or self._open[True] or self._open[False])

    # Work

    def submit(self, addr, *, write=False, data=None, length=None, strobes=None, size=None,
               burst=Burst.INCR, id=0, user=0, cache=0b0011, prot=0b010, lock=0, qos=None,
               region=None, skew=0) -> Transfer:
        """Queue one transaction and return at once.

        A write has ``data`` (and ``strobes``, one bit a byte), a read ``length`` in bytes. ``size``
        is AxSIZE, by default the widest beats without gaps. ``skew``: clocks from the address's
        handshake to the first write beat; if negative, the address follows that beat so much later.
        """
        if write != (data is not None) or write == (length is not None):
            raise ValueError("a write has data, a read has a length")
        count = len(data) if write else length
        if size is None:
            size = widest_size(addr, count, self.bytes)
        beats = beats_for(addr, count, size, burst)
        wrong = f"{beats} beats" if not 1 <= beats <= 256 else \
            broken_rule(addr, beats, size, burst, self.bytes)
        if wrong:
            raise ValueError(f"not an AXI transaction: {wrong}")
        transfer = Transfer()
        transfer.port, transfer.write, transfer.addr, transfer.id = self.port, write, addr, id
        transfer.size, transfer.skew, transfer.wanted = size, skew, count
        transfer.got, transfer.resps, transfer.resp, transfer._done = [], [], None, None
        transfer.data = transfer.downstream = None
        transfer.offered = transfer.accepted = transfer.finished = None
        transfer.w_at = None
        transfer.address = beat_addresses(addr, beats, size, burst)
        if qos is None and region is None:
            self._tag = (self._tag + 1) % (1 << 2 * _TAG_BITS)
            qos, region = self._tag & ((1 << _TAG_BITS) - 1), self._tag >> _TAG_BITS
        qos, region = qos or 0, region or 0
        transfer.tag = qos, region
        transfer._raw = self._encode[write](
            id=id, addr=addr, len=beats - 1, size=size, burst=int(burst), lock=lock, cache=cache,
            prot=prot, qos=qos, region=region, user=user)
        if write:
            transfer.beats = split_lanes(data, strobes, transfer.address, size, self.bytes)
            self._aw.append(transfer)
            last = len(transfer.beats) - 1
            self._w.extend((transfer, index, index == last) for index in range(last + 1))
        else:
            self._ar.append(transfer)
        self._leaving.setdefault((write, id, *transfer.tag), []).append(transfer)
        self.active = True
        self.bus.kick()
        return transfer

    async def read(self, addr, length, **options) -> Transfer:
        """Read and wait; the transfer has ``data`` and ``resp``."""
        return await self.submit(addr, length=length, **options).wait()

    async def write(self, addr, data, **options) -> Transfer:
        """Write and wait."""
        return await self.submit(addr, write=True, data=data, **options).wait()

    def _left(self, record):
        """A transaction appeared behind the core: find out whose it is."""
        key = record.write, record.id, record.qos, record.region
        waiting = self._leaving.get(key)
        if not waiting:
            self.bus.violation(f"{record} belongs to no transfer of {self.port}")
            return
        waiting.pop(0).downstream = record
        if not waiting:
            del self._leaving[key]

    # One clock

    def step(self, out):
        bus = self.bus
        drive = bus.drive
        if self._ar_now is not None and out & self.ar_out:
            self._ar_now.accepted, self._ar_now = bus.now, None
            drive &= ~self.ar_in
        if self._aw_now is not None and out & self.aw_out:
            self._aw_now.accepted, self._aw_now = bus.now, None
            drive &= ~self.aw_in
        if self._w_now is not None and out & self.w_out:
            self._w_now = None
            drive &= ~self.w_in
        if out & self.r_out and drive & self.r_in:
            self._take_r()
        if out & self.b_out and drive & self.b_in:
            self._take_b()
        if self._ar and self._ar_now is None and not self.chance(self.gap_rate):
            self._ar_now = self._offer(self._ar.popleft(), self.ar_pin)
            drive |= self.ar_in
        if self._w and self._w_now is None and self._w_allowed() and not self.chance(self.gap_rate):
            drive |= self._offer_w()
        if self._aw and self._aw_now is None and self._aw_allowed() \
                and not self.chance(self.gap_rate):
            self._aw_now = self._offer(self._aw.popleft(), self.aw_pin)
            drive |= self.aw_in
        if self.pause_rate:
            for bit in (self.r_in, self.b_in):
                drive = drive & ~bit if self.chance(self.pause_rate) else drive | bit
        bus.drive = drive
        self.active = bool(self._ar or self._aw or self._w or self._ar_now is not None
                           or self._aw_now is not None or self._w_now is not None)

    def _offer(self, transfer, pin):
        pin.set(transfer._raw)
        transfer.offered = self.bus.now
        self._open[transfer.write].setdefault(transfer.id, deque()).append(transfer)
        return transfer

    def _w_allowed(self):
        transfer, index, _ = self._w[0]
        if index or transfer.skew <= 0:
            return True
        return (transfer.accepted is not None
                and self.bus.now >= transfer.accepted + transfer.skew - 1)

    def _aw_allowed(self):
        transfer = self._aw[0]
        if transfer.skew >= 0:
            return True
        return transfer.w_at is not None and self.bus.now >= transfer.w_at - transfer.skew

    def _offer_w(self):
        transfer, index, last = self._w_now = self._w.popleft()
        if index == 0:
            transfer.w_at = self.bus.now
        data, strobes = transfer.beats[index]
        at = self._w_at
        self.w_pin.set(data << at["data"] | strobes << at["strb"] | last << at["last"])
        return self.w_in

    def _answered(self, write, raw, members, what):
        """The transfer that a response belongs to: the oldest of its ID."""
        ident = raw >> members["id"][0] & members["id"][1]
        queue = self._open[write].get(ident)
        if not queue or queue[0].accepted is None:
            self.bus.violation(f"{self.port}: {what} response with ID {ident}, "
                               "which waits for none")
            return None
        return queue[0]

    def _take_r(self):
        raw, members = self.r_pin.get(), self._r
        transfer = self._answered(False, raw, members, "R")
        if transfer is None:
            return
        data, resp, last = (raw >> members[name][0] & members[name][1]
                            for name in ("data", "resp", "last"))
        transfer.got.append((data, 0))
        transfer.resps.append(resp)
        if last != (len(transfer.got) == len(transfer.address)):
            self.bus.violation(f"{self.port}: RLAST {last} on beat {len(transfer.got)} "
                               f"of {transfer}")
        if len(transfer.got) == len(transfer.address):
            joined, _, _ = join_lanes(transfer.got, transfer.address, transfer.size, self.bytes)
            transfer.data = joined[:transfer.wanted]
            self._finish(transfer)

    def _take_b(self):
        raw, members = self.b_pin.get(), self._b
        transfer = self._answered(True, raw, members, "B")
        if transfer is None:
            return
        if any(waiting is transfer for waiting, _, _ in self._w) or \
                (self._w_now is not None and self._w_now[0] is transfer):
            self.bus.violation(f"{self.port}: B before the last W beat of {transfer}")
        transfer.resps.append(raw >> members["resp"][0] & members["resp"][1])
        self._finish(transfer)

    def _finish(self, transfer):
        transfer.resp, transfer.finished = _RESP[max(transfer.resps)], self.bus.now
        queue = self._open[transfer.write][transfer.id]
        queue.popleft()
        if not queue:
            del self._open[transfer.write][transfer.id]
        if transfer.downstream is None:  # it was terminated, and will not leave any more
            key = transfer.write, transfer.id, *transfer.tag
            leaving = self._leaving.get(key, [])
            if transfer in leaving:
                leaving.remove(transfer)
                if not leaving:
                    del self._leaving[key]
        if transfer._done is not None:
            transfer._done.set()
