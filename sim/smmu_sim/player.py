"""Plays scenarios on a :class:`~smmu_sim.backend.Backend` and compares what happens."""

import json
from dataclasses import asdict, dataclass, field

from smmu.formats.commands import Opcode, pack_command
from smmu.formats.core import fields, plain, unpack
from smmu.formats.events import EVENTS, EventHeader, EventType
from smmu.formats.registers import (
    BY_NAME, CMDQ_BASE, CMDQ_CONS, EVENTQ_BASE, EVENTQ_CONS, EVENTQ_PROD, GBPA, GERROR,
)
from smmu_sim.backend import Resp, Transaction
from smmu_sim.scenario_files import count_expectations

__all__ = ["Mismatch", "Report", "replay"]

POLLS = 2000  # tries before a register counts as not changing, each after POLL_CLOCKS
POLL_CLOCKS = 16
COMMAND_BYTES, EVENT_BYTES = 16, 32
WORD = (1 << 64) - 1
OFFSET = {name: register.offset for name, register in BY_NAME.items()}
ACKNOWLEDGED_BY = {OFFSET["CR0"]: OFFSET["CR0ACK"], OFFSET["IRQ_CTRL"]: OFFSET["IRQ_CTRLACK"]}
GBPA_UPDATE = fields(GBPA)["Update"].mask
CMDQ_ERR = fields(GERROR)["CMDQ_ERR"].mask
CONS_MASK = fields(EVENTQ_CONS)["RD"].mask | fields(EVENTQ_CONS)["OVACKFLG"].mask
EVENTQ_MOVED_BY = {OFFSET[name] for name in ("CR0", "EVENTQ_BASE", "EVENTQ_PROD")}


@dataclass
class Mismatch:
    """One expectation that was not met."""

    file: str
    scenario: str
    step: int
    what: str
    expected: str
    got: str


@dataclass
class Report:
    """What a replay found."""

    scenarios: int = 0
    expectations: int = 0
    mismatches: list = field(default_factory=list)

    def __iadd__(self, other):
        self.scenarios += other.scenarios
        self.expectations += other.expectations
        self.mismatches += other.mismatches
        return self

    def save(self, path):
        """Write the report as JSON."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote."""
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        values["mismatches"] = [Mismatch(**mismatch) for mismatch in values["mismatches"]]
        return cls(**values)


def replay(backend, scenarios, on_progress=None):
    """Play ``scenarios`` in order, each from reset with memory cleared. Return a :class:`Report`.

    ``on_progress(scenario)`` is called after each. The backend's memory gets the window of each
    scenario.
    """
    report = Report()
    for scenario in scenarios:
        _Player(backend, scenario, report).play()
        report.scenarios += 1
        if on_progress is not None:
            on_progress(scenario)
    return report


class _Player:
    """Plays one scenario."""

    def __init__(self, backend, scenario, report):
        self.backend = backend
        self.memory = backend.memory
        self.scenario = scenario
        self.report = report
        self.step = -1
        self.command_index = 0  # the last value written to CMDQ_PROD
        self.seen = None  # index of the first record not looked at; None: EVENTQ_PROD tells

    def play(self):
        self.memory.limit_to([self.scenario.ram])
        self.memory.clear()
        self.backend.reset()
        self._mem(self.scenario.setup["mem"])
        for access in self.scenario.setup["regs"]:
            self._reg(*access)
        for index, step in enumerate(self.scenario.steps):
            self.step = index
            self.report.expectations += count_expectations(step)
            if "dma" in step:
                self._dma(step)
            elif "mem" in step:
                self._mem(step["mem"])
            elif "cmd" in step:
                self._cmd(step["cmd"], step["expect"])
            elif "reg" in step:
                self._reg(*step["reg"])
            else:
                kind, offset = step.get("read") or step["poll"]
                self._read(kind, offset, step["expect"], step.get("mask", WORD))

    def _mismatch(self, what, expected, got):
        self.report.mismatches.append(
            Mismatch(self.scenario.file, self.scenario.name, self.step, what, expected, got)
        )

    def _register(self, name):
        read = self.backend.read64 if BY_NAME[name].width == 64 else self.backend.read32
        return read(OFFSET[name])

    def _poll(self, ready):
        """Let time pass until ``ready()``, for a bounded time. Return whether it became so."""
        for _ in range(POLLS):
            if ready():
                return True
            self.backend.wait(POLL_CLOCKS)
        return False

    # Steps

    def _mem(self, items):
        for addr, octets in items:
            self.memory.poke(addr, bytes.fromhex(octets))

    def _reg(self, kind, offset, value):
        (self.backend.write64 if kind == "w64" else self.backend.write32)(offset, value)
        if offset == OFFSET["CMDQ_PROD"]:
            self.command_index = value
        if offset in EVENTQ_MOVED_BY:
            self.seen = None
        done = True
        if offset in ACKNOWLEDGED_BY:
            done = self._poll(
                lambda: self.backend.read32(ACKNOWLEDGED_BY[offset]) == self.backend.read32(offset)
            )
        elif offset == OFFSET["GBPA"] and value & GBPA_UPDATE:
            done = self._poll(lambda: not self.backend.read32(offset) & GBPA_UPDATE)
        if not done:
            self._mismatch(
                f"write of {value:#x} to {offset:#x}", "an acknowledgement", "none in time"
            )

    def _read(self, kind, offset, expected, mask):
        read = self.backend.read64 if kind == "r64" else self.backend.read32
        if not self._poll(lambda: not (read(offset) ^ expected) & mask):
            self._mismatch(f"{kind} of {offset:#x}, mask {mask:#x}", f"{expected & mask:#x}",
                           f"{read(offset) & mask:#x}")

    def _cmd(self, commands, expected):
        base = self._register("CMDQ_BASE")
        log2size = min(plain(CMDQ_BASE).LOG2SIZE(base), self.backend.params.cmdqs)
        start = plain(CMDQ_BASE).ADDR(base) << 5 & -max(32, COMMAND_BYTES << log2size)
        for command in [w0 | w1 << 64 for w0, w1 in commands] + [pack_command(Opcode.CMD_SYNC)]:
            slot = self.command_index & (1 << log2size) - 1
            octets = command.to_bytes(COMMAND_BYTES, "little")
            self.memory.poke(start + COMMAND_BYTES * slot, octets)
            self.command_index = self.command_index + 1 & (2 << log2size) - 1
        self.backend.write32(OFFSET["CMDQ_PROD"], self.command_index)

        def found():
            cmdq_err = (self._register("GERROR") ^ self._register("GERRORN")) & CMDQ_ERR
            cons = self._register("CMDQ_CONS")
            return {
                "cons": plain(CMDQ_CONS).RD(cons),
                "err": plain(CMDQ_CONS).ERR(cons) if cmdq_err else 0,
                "cmdq_err": cmdq_err,
            }

        if not self._poll(lambda: found() == expected):
            self._mismatch("commands", _command_state(expected), _command_state(found()))

    def _dma(self, step):
        dma, write = step["dma"], step["dma"]["write"]
        if self.seen is None:
            self.seen = self._events_produced()
        data = bytes((self.step + 37 * k + 1) & 0xFF for k in range(dma["len"])) if write else None
        result = self.backend.dma(Transaction(
            sid=dma["sid"], ssid=dma.get("ssid"), addr=dma["iova"], write=write, data=data,
            length=dma["len"], priv=dma.get("priv", False), instr=dma.get("instr", False)))
        if "expect" in step:
            expected = step["expect"]
            pa = expected.get("pa") if expected["ok"] else None
            got = self._outcome(result, pa, data, dma["len"])
            if pa is None and expected["ok"]:
                wanted = "completes"
                right = result.resp == Resp.OKAY
            else:
                wanted = f"passes to {pa:#x}" if expected["ok"] else "aborted"
                right = got == wanted
            if not right:
                self._mismatch(_transaction(dma), wanted, got)
        self.backend.idle()
        records = self._new_events()
        if "event" in step:
            self._check_event(step, records)

    def _outcome(self, result, pa, data, length):
        """Return what happened in words; ``pa`` is where it should have gone, if anywhere."""
        if result.resp != Resp.OKAY:
            return "aborted" if result.pa is None else f"{result.resp.name} from {result.pa:#x}"
        if result.pa is None:
            return "read as zero, write ignored"
        if pa is not None:
            if self.memory.peek(pa, length) != (result.data if data is None else data):
                return f"passes to {result.pa:#x}, but the data at {pa:#x} are others"
        return f"passes to {result.pa:#x}"

    # Event records

    def _events_produced(self):
        return plain(EVENTQ_PROD).WR(self._register("EVENTQ_PROD"))

    def _new_events(self):
        """Return the records since the last look, and give their entries back."""
        base, produced = self._register("EVENTQ_BASE"), self._register("EVENTQ_PROD")
        log2size = min(plain(EVENTQ_BASE).LOG2SIZE(base), self.backend.params.eventqs)
        start = plain(EVENTQ_BASE).ADDR(base) << 5 & -max(32, EVENT_BYTES << log2size)
        records, end = [], plain(EVENTQ_PROD).WR(produced)
        while (self.seen ^ end) & (2 << log2size) - 1:
            slot = self.seen & (1 << log2size) - 1
            octets = self.memory.peek(start + EVENT_BYTES * slot, EVENT_BYTES)
            records.append(int.from_bytes(octets, "little"))
            self.seen = self.seen + 1 & (2 << log2size) - 1
        self.seen = end
        if records and self.scenario.drain:
            self.backend.write32(OFFSET["EVENTQ_CONS"], produced & CONS_MASK)
        return records

    def _check_event(self, step, records):
        what = f"event of {_transaction(step['dma'])}"
        if step["event"] is None:
            if records:
                self._mismatch(what, "none", _events(records))
            return
        expected = _from_words(step["event"])
        mask = _from_words(step["event_mask"]) if step.get("event_mask") else (1 << 256) - 1
        if len(records) != 1 or (records[0] ^ expected) & mask:
            self._mismatch(f"{what}, mask {mask:#066x}", _events([expected]), _events(records))


# Descriptions


def _from_words(words):
    return sum(int(word, 16) << 64 * index for index, word in enumerate(words))


def _transaction(dma):
    substream = "" if dma.get("ssid") is None else f" SubstreamID {dma['ssid']:#x}"
    flags = "".join(f" {name}" for name in ("priv", "instr") if dma.get(name))
    return (f"{'write' if dma['write'] else 'read'}{flags} of {dma['len']} at {dma['iova']:#x} "
            f"by StreamID {dma['sid']:#x}{substream}")


def _events(records):
    if not records:
        return "none"
    return "; ".join(_event(record) for record in records)


def _event(record):
    words = " ".join(f"{record >> 64 * index & WORD:016x}" for index in range(4))
    number = plain(EventHeader).Event(record)
    if number not in EVENTS:
        return f"{words} (event {number:#x})"
    shown = " ".join(
        f"{name}={value:#x}"
        for name, value in unpack(EVENTS[number], record).items()
        if value and name != "Event"
    )
    return f"{words} ({EventType(number).name} {shown})"


def _command_state(state):
    error = f" ERR {state['err']}" if state["cmdq_err"] else ""
    return f"CONS.RD {state['cons']:#x}, CMDQ_ERR {state['cmdq_err']}{error}"
