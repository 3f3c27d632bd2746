"""AXI4 slave: the memory system behind the core, with delays, disorder and faults."""

from collections import deque

from smmu.formats.axi import Burst, Resp, TranslatedUser
from smmu.formats.core import plain
from smmu_sim.bench.axi_rules import beat_addresses, broken_rule, join_lanes
from smmu_sim.bench.bus import Agent
from smmu_sim.memory import BusAbort

__all__ = ["AxiMemory", "Record"]

_NEEDED = ("id", "addr", "len", "size", "burst")
_device_id = plain(TranslatedUser).DeviceID


class Record:
    """One transaction as the memory saw it; the fields of its address channel are attributes too.

    Clocks: ``valid_at`` first with AxVALID, ``accepted`` the handshake of the address, ``finished``
    the last beat of the response (None until then). ``data`` holds the bytes in the order of the
    burst, ``strobes`` one bit for each byte of a write; ``resp`` is the worst response.
    """

    __slots__ = ("_members", "_raw", "accepted", "addr", "beats", "burst", "data", "due",
                 "finished", "id", "len", "port", "resp", "size", "strobes", "valid_at", "write")

    def __init__(self, port, write, members, raw, valid_at, accepted):
        self.port, self.write, self._members, self._raw = port, write, members, raw
        self.valid_at, self.accepted, self.finished = valid_at, accepted, None
        self.id, self.addr, self.len, self.size, self.burst = (
            raw >> lsb & mask for lsb, mask in map(members.__getitem__, _NEEDED))
        self.data, self.strobes, self.resp, self.beats, self.due = b"", None, Resp.OKAY, [], None

    def __getattr__(self, name):
        if name.startswith("_") or name not in self._members:
            raise AttributeError(f"an AXI address channel has no {name}")
        lsb, mask = self._members[name]
        return self._raw >> lsb & mask

    def __repr__(self):
        kind = "write" if self.write else "read"
        return (f"<{kind} of {self.port} at clock {self.accepted}: {self.addr:#x}, id {self.id}, "
                f"{self.len + 1} beats of {1 << self.size}, "
                f"user {self._field('user'):#x}, cache {self._field('cache')}, "
                f"prot {self._field('prot')}, {Resp(self.resp).name}>")

    def _field(self, name):
        return getattr(self, name) if name in self._members else 0


class AxiMemory(Agent):
    """Answer the transactions of one AXI4 master port of the core from a memory.

    Parameters
    ----------
    memory
        :class:`smmu_sim.memory.Memory`, shared with other ports at will. Its aborts become SLVERR,
        or what the attribute ``resp`` of the exception says. Observers see the writes: so doorbells
        are rung. Reads are taken from it when their address is accepted.
    latency
        Clocks from the handshake of the address (of a write's last beat) to the first beat of the
        response, at least 1: a number, or a pair that is the range of a random one.
    pause_rate
        Probability of READY low in a clock, for AR, AW and W: backpressure.
    gap_rate
        Probability of a clock without a beat of R or B although one is due.
    out_of_order
        Answer transactions of different IDs in any order.
    interleave
        Mix read beats of different IDs.
    device_ids
        The memory is told the DeviceID in AxUSER; else None, as for the SMMU's own accesses.
    record
        Whether to keep ``records``, all transactions in order of acceptance.
    """

    def __init__(self, bus, port, memory, *, latency=1, pause_rate=0.0, gap_rate=0.0,
                 out_of_order=False, interleave=False, device_ids=False, record=True):
        super().__init__(bus, port)
        self.memory, self.latency, self.device_ids = memory, latency, device_ids
        self.pause_rate, self.gap_rate = pause_rate, gap_rate
        self.out_of_order, self.interleave = out_of_order, interleave
        self.bytes = self.width("r", "data") // 8
        self._address = {True: self.members("aw"), False: self.members("ar")}
        self._w = self.members("w")
        self._r_at, self._b_at = ({name: lsb for name, (lsb, _) in self.members(channel).items()}
                                  for channel in "rb")
        self.records = [] if record else None
        self.reads = self.writes = 0
        self.on_address = []  # called with each record when its address is accepted
        self.on_finish = []   # called with each record after its last response beat
        self.reset()

    def forget(self):
        """Empty ``records`` and the counts."""
        if self.records is not None:
            self.records.clear()
        self.reads = self.writes = 0

    def reset(self):
        self._reads, self._read_ids = deque(), {}    # not yet answered: in order, and by ID
        self._writes, self._done = deque(), deque()  # writes without all data; with it, unanswered
        self._w_beats = []                           # beats of the burst under way
        self._w_bursts = deque()                     # complete bursts that wait for their address
        self._r = self._b = None                     # what is offered
        self._seen = {True: None, False: None}       # clock in which AxVALID was first seen
        self._open = {}                              # read bursts begun, by ID
        self.active, self.due = False, None
        self.bus.drive |= self.ar_in | self.aw_in | self.w_in

    def outstanding(self):
        return bool(self._reads or self._writes or self._done or self._w_bursts or self._w_beats)

    # One clock

    def step(self, out):
        bus = self.bus
        drive, now = bus.drive, bus.now
        if self._r is not None and out & self.r_out:
            drive &= ~self.r_in
            self._r_taken()
        if self._b is not None and out & self.b_out:
            drive &= ~self.b_in
            record, self._b = self._b, None
            self._finish(record)
        if out & self.ar_out:
            self._see(False)
            if drive & self.ar_in:
                self._accept_read()
        if out & self.aw_out:
            self._see(True)
            if drive & self.aw_in:
                self._accept_write()
        if out & self.w_out and drive & self.w_in:
            self._accept_beat()
        if self._w_bursts and self._writes:
            self._complete_writes()
        if self._r is None and self._reads:
            drive |= self._offer_r(now + 1)
        if self._b is None and self._done:
            drive |= self._offer_b(now + 1)
        if self.pause_rate:
            for bit in (self.ar_in, self.aw_in, self.w_in):
                drive = drive & ~bit if self.chance(self.pause_rate) else drive | bit
        bus.drive = drive
        self._plan(now)

    def _plan(self, now):
        """Decide when to be called next."""
        self.active, self.due = self._r is not None or self._b is not None, None
        if not self.active and (self._reads or self._done):
            dues = [record.due for record in (self._heads(self._reads) + self._heads(self._done))]
            self.due = min(dues) - 1
            self.active = self.due <= now + 1

    def _heads(self, queue):
        return list(queue) if self.out_of_order else [queue[0]] if queue else []

    def _see(self, write):
        if self._seen[write] is None:
            self._seen[write] = self.bus.now

    # Requests

    def _record(self, write):
        pin = self.aw_pin if write else self.ar_pin
        record = Record(self.port, write, self._address[write], pin.get(), self._seen[write],
                        self.bus.now)
        self._seen[write] = None
        wrong = broken_rule(record.addr, record.len + 1, record.size, record.burst, self.bytes)
        if wrong:
            self.bus.violation(f"{self.port}: {wrong}")
        if self.records is not None:
            self.records.append(record)
        for call in self.on_address:
            call(record)
        return record

    def _delay(self):
        if isinstance(self.latency, tuple):
            return max(self.random.randint(*self.latency), 1)
        return max(self.latency, 1)

    def _accept_read(self):
        record = self._record(False)
        self.reads += 1
        record.due = self.bus.now + self._delay()
        addresses = beat_addresses(record.addr, record.len + 1, record.size, record.burst)
        record.data, record.beats = self._fetch(record, addresses)
        record.resp = max(resp for _, resp in record.beats)
        self._reads.append(record)
        self._read_ids.setdefault(record.id, deque()).append(record)

    def _fetch(self, record, addresses):
        """The bytes of a read, and (RDATA, RRESP) of its beats."""
        step, bus_bytes, pieces = 1 << record.size, self.bytes, None
        if record.burst == Burst.INCR:
            end = (record.addr & -step) + step * len(addresses)
            try:
                whole = self.memory.read(record.addr, end - record.addr)
                pieces = [(whole[a - record.addr:(a & -step) + step - record.addr], Resp.OKAY)
                          for a in addresses]
            except BusAbort:
                pieces = None  # find out which beats are to blame
        if pieces is None:
            pieces = [self._fetch_beat(address, step - address % step) for address in addresses]
        beats = [(int.from_bytes(data, "little") << 8 * (address % bus_bytes), resp)
                 for (data, resp), address in zip(pieces, addresses, strict=True)]
        return b"".join(data for data, _ in pieces), beats

    def _fetch_beat(self, address, count):
        try:
            return self.memory.read(address, count), Resp.OKAY
        except BusAbort as abort:
            return bytes(count), getattr(abort, "resp", Resp.SLVERR)

    def _accept_write(self):
        self.writes += 1
        self._writes.append(self._record(True))

    def _accept_beat(self):
        raw = self.w_pin.get()
        data, strobes, last = (raw >> self._w[name][0] & self._w[name][1]
                               for name in ("data", "strb", "last"))
        self._w_beats.append((data, strobes))
        if last:
            self._w_bursts.append(self._w_beats)
            self._w_beats = []
        elif self._writes and not self._w_bursts and \
                len(self._w_beats) > self._writes[0].len:
            self.bus.violation(f"{self.port}: no WLAST on beat {len(self._w_beats)} "
                               f"of {self._writes[0]}")

    def _complete_writes(self):
        while self._w_bursts and self._writes:
            record, beats = self._writes.popleft(), self._w_bursts.popleft()
            if len(beats) != record.len + 1:
                self.bus.violation(f"{self.port}: WLAST on beat {len(beats)} of {record}")
                beats = (beats + [(0, 0)] * 256)[:record.len + 1]
            record.beats = beats
            self._store(record)
            record.due = self.bus.now + self._delay()
            self._done.append(record)

    def _store(self, record):
        addresses = beat_addresses(record.addr, record.len + 1, record.size, record.burst)
        record.data, record.strobes, stray = \
            join_lanes(record.beats, addresses, record.size, self.bytes)
        if stray:
            self.bus.violation(f"{self.port}: a strobe outside the lanes of {record}")
        device = _device_id(record.user) if self.device_ids else None
        step = 1 << record.size
        if record.burst == Burst.INCR:
            pieces = [(record.addr, len(record.data))]
        else:
            pieces = [(address, step) for address in addresses]
        place = 0
        for address, count in pieces:
            data, strobes = record.data[place:place + count], record.strobes >> place
            strobes &= (1 << count) - 1
            place += count
            if not strobes:
                continue
            try:
                self.memory.write(address, data, None if strobes == (1 << count) - 1 else strobes,
                                  device)
            except BusAbort as abort:
                record.resp = max(record.resp, getattr(abort, "resp", Resp.SLVERR))

    # Responses

    def _offer_r(self, edge):
        """Offer a read beat that is due at ``edge``; returns the bit of RVALID, or 0."""
        if self.chance(self.gap_rate):
            return 0
        record = self._choose_read(edge)
        if record is None:
            return 0
        beat = self._open.setdefault(record.id, 0)
        data, resp = record.beats[beat]
        at = self._r_at
        self.r_pin.set(record.id << at["id"] | data << at["data"] | resp << at["resp"]
                       | (beat == record.len) << at["last"])
        self._r = record
        return self.r_in

    def _choose_read(self, edge):
        if self._open and not self.interleave:
            return self._read_ids[next(iter(self._open))][0]
        if not self.out_of_order and not self.interleave:
            return self._reads[0] if self._reads[0].due <= edge else None
        ready = [queue[0] for queue in self._read_ids.values() if queue[0].due <= edge]
        if not self.out_of_order:  # mix beats, but begin bursts in order
            begun = [record for record in ready if record.id in self._open]
            fresh = next((r for r in self._reads if not (
                r.id in self._open and r is self._read_ids[r.id][0])), None)
            if fresh is not None and fresh in ready:
                begun.append(fresh)
            ready = begun
        return self.random.choice(ready) if ready else None

    def _r_taken(self):
        record, self._r = self._r, None
        beat = self._open[record.id]
        if beat < record.len:
            self._open[record.id] = beat + 1
            return
        del self._open[record.id]
        self._reads.remove(record)
        queue = self._read_ids[record.id]
        queue.popleft()
        if not queue:
            del self._read_ids[record.id]
        self._finish(record)

    def _offer_b(self, edge):
        if self.chance(self.gap_rate):
            return 0
        ready = [record for record in self._heads(self._done) if record.due <= edge]
        if not ready:
            return 0
        record = ready[0]
        if self.out_of_order:
            record = self.random.choice(ready)
            # Of one ID always the oldest.
            record = next(other for other in self._done if other.id == record.id)
            if record.due > edge:
                return 0
        self._done.remove(record)
        at = self._b_at
        self.b_pin.set(record.id << at["id"] | record.resp << at["resp"])
        self._b = record
        return self.b_in

    def _finish(self, record):
        record.finished = self.bus.last_activity = self.bus.now
        for call in self.on_finish:
            call(record)
