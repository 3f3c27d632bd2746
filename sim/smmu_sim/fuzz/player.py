"""Play a scenario on a backend, and compare what two backends made of it."""

from smmu.formats.commands import Opcode, pack_command
from smmu.formats.core import plain, unpack
from smmu.formats.events import EVENTS, EventHeader
from smmu.formats.registers import BY_NAME, EVENTQ_PROD

__all__ = ["Difference", "compare", "load_memory", "play"]

EVENT_BYTES = 32
_OVFLG = plain(EVENTQ_PROD).OVFLG
_EVENT = plain(EventHeader).Event


class Difference(AssertionError):
    """Two backends disagree about a scenario."""


def load_memory(memory, scenario):
    """Make ``memory`` hold what the scenario starts with, and nothing else."""
    memory.clear()
    memory.remove_aborts()
    for page, content in scenario.memory._pages.items():
        memory.poke(page << 12, bytes(content))


class _Queues:
    """The software side of both queues."""

    def __init__(self, backend, scenario):
        self.backend, self.memory = backend, backend.memory
        (self.cmdq, self.cmdq_bits), (self.eventq, self.eventq_bits) = (
            scenario.cmdq, scenario.eventq)
        self.prod = self.cons = 0

    def send(self, commands):
        """Append commands and a CMD_SYNC, wait for it; return CMDQ_CONS and GERROR."""
        size = 1 << self.cmdq_bits
        sync = pack_command(Opcode.CMD_SYNC)
        for command in [*(q0 | q1 << 64 for q0, q1 in commands), sync]:
            place = self.cmdq + 16 * (self.prod % size)
            self.memory.poke(place, command.to_bytes(16, "little"))
            self.prod = (self.prod + 1) % (2 * size)
        self.backend.write32(BY_NAME["CMDQ_PROD"].offset, self.prod)
        for _ in range(10_000):
            cons = self.backend.read32(BY_NAME["CMDQ_CONS"].offset)
            if cons & 0xFFFFF == self.prod:
                break
            self.backend.wait(10)
        return cons & 0xFFFFF, self.backend.read32(BY_NAME["GERROR"].offset)

    def events(self):
        """Take all records out of the event queue."""
        size = 1 << self.eventq_bits
        prod = self.backend.read32(BY_NAME["EVENTQ_PROD"].offset)
        records = []
        while self.cons != prod & 2 * size - 1:
            place = self.eventq + EVENT_BYTES * (self.cons % size)
            records.append(int.from_bytes(self.memory.peek(place, EVENT_BYTES), "little"))
            self.cons = (self.cons + 1) % (2 * size)
        self.backend.write32(BY_NAME["EVENTQ_CONS"].offset, self.cons | _OVFLG(prod) << 31)
        return records


def play(backend, scenario):
    """Yield ``(step number, step, outcome)``; outcomes of equal systems are equal."""
    backend.reset()
    load_memory(backend.memory, scenario)
    for kind, offset, value in scenario.registers:
        (backend.write64 if kind == "w64" else backend.write32)(offset, value)
    wait_for_ack(backend)
    queues = _Queues(backend, scenario)
    for number, step in enumerate(scenario.steps):
        match step:
            case ("commands", commands):
                yield number, step, queues.send([(int(a), int(b)) for a, b in commands])
            case ("register", _, offset, value):
                backend.write32(offset, value)
                wait_for_ack(backend)
            case ("write", place, data):
                backend.memory.poke(place, data)
            case ("abort", where, kind):
                backend.memory.abort_at(where, kind)
            case ("no aborts",):
                backend.memory.remove_aborts()
            case ("dma", transaction):
                result = backend.dma(transaction)
                backend.idle()
                yield number, step, outcome(transaction, result, queues.events())


def wait_for_ack(backend):
    for _ in range(1000):
        if backend.read32(BY_NAME["CR0ACK"].offset) == backend.read32(BY_NAME["CR0"].offset):
            return
        backend.wait(5)
    raise TimeoutError("CR0ACK does not follow CR0")


def outcome(transaction, result, records):
    """What counts of one transaction: response, where it went and how, and its events."""
    answer = {"resp": int(result.resp), "events": records}
    if result.pa is not None:
        answer |= {
            "pa": result.pa, "cache": result.cache, "shareability": result.shareability,
            "prot": result.prot, "device_id": result.device_id, "msi": result.msi}
    if not transaction.write:
        answer["data"] = result.data
    return answer


def compare(scenario, left, right, on_step=lambda: None):
    """Play on both backends in step; raise :exc:`Difference` at the first disagreement.

    Returns the outcomes of all transactions.
    """
    outcomes = []
    for (number, step, a), (_, _, b) in zip(
            play(left, scenario), play(right, scenario), strict=True):
        if a != b:
            raise Difference(_explain(scenario, number, step, a, b, left, right))
        if step[0] == "dma":
            outcomes.append(a)
        on_step()
    return outcomes


def _describe(record):
    for kind, struct in EVENTS.items():
        if kind == _EVENT(record):
            fields = ", ".join(f"{k}={v:#x}" for k, v in unpack(struct, record).items() if v)
            return f"{kind.name} {fields}"
    return f"unknown event {record:#066x}"


def _explain(scenario, number, step, a, b, left, right):
    lines = [f"seed {scenario.seed}, step {number}: {step}"]
    for backend, answer in ((left, a), (right, b)):
        lines.append(f"  {type(backend).__name__}: {answer}")
        if isinstance(answer, dict):
            lines += [f"    {_describe(record)}" for record in answer["events"]]
    return "\n".join(lines)
