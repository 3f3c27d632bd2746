"""A backend that sees everything that software does to the SMMU, and tells it."""

from smmu.formats.commands import COMMANDS, CommandHeader, Opcode
from smmu.formats.context_descriptor import CD
from smmu.formats.core import bits, plain, unpack
from smmu.formats.events import EventHeader
from smmu.formats.registers import (
    BY_NAME, CMDQ_BASE, CMDQ_PROD, EVENTQ_BASE, EVENTQ_CONS, IDR0)
from smmu.formats.stream_table import STE

from smmu_sim.decode.register import find_register
from smmu_sim.decode.stall_model import WithStallModel
from smmu_sim.fields import address_of
from smmu_sim.scenarios import story
from smmu_sim.scenarios.structures import Structures
from smmu_sim.scenarios.tracked_memory import TrackedMemory

__all__ = ["Command", "Spy"]

_COMMAND_BYTES, _EVENT_BYTES = bits(CommandHeader) // 8, bits(EventHeader) // 8
_OP = plain(CommandHeader).Op
_VALID = {"STE": plain(STE).V, "CD": plain(CD).V}
_REGISTERS = {}
for _register in BY_NAME.values():
    _REGISTERS[_register.offset] = (_register, 0)


class Command:
    """A command that software issued; its fields are attributes, addresses in bytes."""

    def __init__(self, raw):
        self.raw = raw
        self.struct = COMMANDS.get(_OP(raw), CommandHeader)
        self.name = Opcode(_OP(raw)).name if _OP(raw) in set(Opcode) else f"opcode {_OP(raw):#x}"

    def __getattr__(self, name):
        if name.startswith("_") or "struct" not in self.__dict__:
            raise AttributeError(name)
        if name == "Address":
            return address_of(self.struct, name, self.raw)
        return unpack(self.struct, self.raw)[name]

    def __repr__(self):
        return self.name


class Spy:
    """A :class:`smmu_sim.backend.Backend` around another one.

    Parameters
    ----------
    backend
        The real one.
    tell
        Called with each entry of the story, see :mod:`smmu_sim.scenarios.story`.

    Attributes
    ----------
    commands
        All :class:`Command` that were published, in order. Clear it as you like.
    writes
        (register name, value) of all register writes, in order. Clear it as you like.
    results
        (transaction, result) of all transactions of devices.
    quiet
        Nothing is told while it is set.
    """

    def __init__(self, backend, tell):
        self._backend, self._tell = backend, tell
        self.memory = TrackedMemory(backend.memory)
        self.params = backend.params
        self.quiet = False
        self.on_command = []  # functions that are called with each Command before it takes effect
        self._forget()

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def _forget(self):
        self.commands, self.writes, self.results = [], [], []
        self._values, self._seen = {}, {}
        self._pulses = self._backend.interrupts()
        idr0 = self._backend.read32(BY_NAME["IDR0"].offset)
        self._build = WithStallModel(self.params, plain(IDR0).STALL_MODEL(idr0))
        self._structures = Structures(self._build, self.memory, self._values)

    def tell(self, kind, text, lines=()):
        if not self.quiet:
            self._tell(story.entry(kind, text, lines))

    # Backend

    def reset(self):
        self._backend.reset()
        self._forget()
        self.tell("note", "the SMMU is reset")

    def read32(self, offset):
        return self._backend.read32(offset)

    def read64(self, offset):
        return self._backend.read64(offset)

    def write32(self, offset, value):
        self._write(offset, value, self._backend.write32)

    def write64(self, offset, value):
        self._write(offset, value, self._backend.write64)

    def wait(self, clocks=1):
        self._backend.wait(clocks)
        self._interrupts()

    def idle(self):
        self._backend.idle()
        self._interrupts()

    def interrupts(self):
        return self._backend.interrupts()

    def dma(self, transaction):
        return self.dma_all([transaction])[0]

    def dma_all(self, transactions):
        """Perform transactions, at once where the backend can."""
        at_once = getattr(self._backend, "dma_all", None)
        results = at_once(transactions) if at_once and len(transactions) > 1 else [
            self._backend.dma(transaction) for transaction in transactions]
        for transaction, result in zip(transactions, results, strict=True):
            self.results.append((transaction, result))
            self.tell("device", f"{story.transaction_text(transaction)}: "
                                f"{story.result_text(result)}")
        self._interrupts()
        return results

    def submit(self, transaction):
        """Start a transaction that may stall; return its pending object."""
        pending = self._backend.submit(transaction)
        self.tell("device", f"{story.transaction_text(transaction)}: " + (
            story.result_text(pending.result) if pending.done else "stalls"))
        self._interrupts()
        return pending

    # Register writes

    def _write(self, offset, value, write):
        register, index = _REGISTERS.get(offset) or _find(offset)
        name = register.name if register else f"offset {offset:#x}"
        self.writes.append((name, value))
        if name == "CMDQ_PROD" and self._command_queue_runs():
            self._published(value)
        elif name == "EVENTQ_CONS" and self._values.get("EVENTQ_CONS") is not None:
            self._consumed(value)
        elif register is None:
            self.tell("register", f"{name} = {value:#x} (no register)")
        else:
            self.tell("register", story.register_text(register, value, index))
        if not index:
            self._values[name] = value
        if name == "EVENTQ_BASE":
            self._values.pop("EVENTQ_CONS", None)
        write(offset, value)
        self._interrupts()

    def _command_queue_runs(self):
        return plain(BY_NAME["CR0"].struct).CMDQEN(self._values.get("CR0", 0))

    def _queue(self, base, struct):
        """Return (address, mask of indexes) of a queue."""
        log2size = plain(struct).LOG2SIZE(base)
        return address_of(struct, "ADDR", base), (1 << log2size) - 1

    def _entries(self, base_name, struct, start, end, size):
        """Yield the entries of a queue from one index to another."""
        base, mask = self._queue(self._values.get(base_name, 0), struct)
        while start != end:
            yield int.from_bytes(self.memory.peek(base + (start & mask) * size, size), "little")
            start = start + 1 & 2 * mask + 1

    def _published(self, value):
        wr = plain(CMDQ_PROD).WR
        start, end = wr(self._values.get("CMDQ_PROD", 0)), wr(value)
        for raw in list(self._entries("CMDQ_BASE", CMDQ_BASE, start, end, _COMMAND_BYTES)):
            command = Command(raw)
            self.commands.append(command)
            for call in self.on_command:
                call(command)
            self._configuration(command)
            self.tell("command", story.command_text(raw, self._build))

    def _consumed(self, value):
        rd = plain(EVENTQ_CONS).RD
        start, end = rd(self._values["EVENTQ_CONS"]), rd(value)
        for raw in self._entries("EVENTQ_BASE", EVENTQ_BASE, start, end, _EVENT_BYTES):
            self.tell("event", story.event_text(raw))

    # What memory says

    def _configuration(self, command):
        """Tell what became of the STE or CD that a command is about."""
        if command.name == "CMD_CFGI_STE":
            self._compare("STE", (command.StreamID,), self._structures.ste(command.StreamID))
            self._compare("CD", (command.StreamID, 0), self._structures.cd(command.StreamID))
        elif command.name == "CMD_CFGI_CD":
            key = (command.StreamID, command.SubstreamID)
            self._compare("CD", key, self._structures.cd(*key))

    def _compare(self, kind, key, now):
        if now is None:
            return
        before, was_valid = self._seen.get((kind, key), (None, None))
        where = f"{kind} of {key[0]:#x}" + (f", CD {key[1]:#x}" if kind == "CD" else "")
        if before is not None and not _VALID[kind](now):
            # What is in it means nothing; it is compared when it is valid again.
            if was_valid:
                self.tell("structure", f"{where} is invalid (V = 0)")
            self._seen[kind, key] = before, False
            return
        if before is None:
            self.tell("structure", where, story.differences(kind, 0, now, self._build))
        elif now != before:
            self.tell("structure", f"{where} changes" + ("" if was_valid else ", and is valid"),
                      story.differences(kind, before, now, self._build))
        self._seen[kind, key] = now, bool(_VALID[kind](now))

    def _interrupts(self):
        pulses = self._backend.interrupts()
        for name, before, now in zip(pulses._fields, self._pulses, pulses):
            if now != before and name != "cmdq_sync":
                times = f", {now - before} times" if now - before > 1 else ""
                self.tell("interrupt", f"wire {name}{times}")
        self._pulses = pulses


def _find(offset):
    """Return (register, index) at an offset, or (None, 0)."""
    try:
        return find_register(f"{offset:#x}")
    except ValueError:
        return None, 0
