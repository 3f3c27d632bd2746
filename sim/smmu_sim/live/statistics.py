"""What happened during a live run, counted."""

import time
from collections import Counter

from smmu.formats.commands import CommandHeader, Opcode
from smmu.formats.core import plain
from smmu.formats.registers import BY_NAME, CMDQ_BASE, CMDQ_PROD, COUNTERS

__all__ = ["Statistics"]

_COMMAND_BYTES = 16
_OPCODES = {opcode.value: opcode.name for opcode in Opcode}
_COUNTER, _CMDQ_BASE = BY_NAME["COUNTER"], BY_NAME["CMDQ_BASE"].offset
_INVALIDATIONS = ("CMD_TLBI_", "CMD_CFGI_", "CMD_ATC_INV")
_RATES = {"micro-TLB": "utlb", "TLB": "tlb", "configuration cache": "cfg",
          "stage 1 walk cache": "s1_walk_cache", "stage 2 walk cache": "s2_walk_cache"}


class Statistics:
    """Counts of one run; :meth:`as_dict` at the end.

    Commands are read from the guest's command queue when it publishes them; what the core's caches
    did are the core's own counters.

    ``shut_down`` is set once the kernel has switched the SMMU off at its end: what devices still
    ask for is aborted then, and counted apart.
    """

    def __init__(self, backend, memory):
        self._backend, self._memory = backend, memory
        self._start, self._clock = time.monotonic(), self._now()
        self._next_command = 0
        self.commands = Counter()
        self.register_writes = self.register_write_seconds = 0
        self.transactions = self.aborted = self.bytes_read = self.bytes_written = 0
        self.shut_down, self.aborted_after_shutdown = False, 0
        self.dma_seconds = self.paused_seconds = 0.0
        self.pauses = 0
        self.interrupts, self.messages = Counter(), Counter()
        self.devices = {}

    def _now(self):
        return getattr(self._backend, "now", None)

    def published(self, prod):
        """The guest has written CMDQ_PROD: count the commands."""
        base = self._backend.read64(_CMDQ_BASE)
        log2size = min(plain(CMDQ_BASE).LOG2SIZE(base), self._backend.params.cmdqs)
        start = plain(CMDQ_BASE).ADDR(base) << 5
        end = plain(CMDQ_PROD).WR(prod) & (2 << log2size) - 1
        while self._next_command != end:
            slot = self._next_command & (1 << log2size) - 1
            raw = int.from_bytes(
                self._memory.peek(start + _COMMAND_BYTES * slot, _COMMAND_BYTES), "little")
            opcode = plain(CommandHeader).Op(raw)
            self.commands[_OPCODES.get(opcode, f"opcode {opcode:#x}")] += 1
            self._next_command = self._next_command + 1 & (2 << log2size) - 1

    def queue_restarted(self, cons):
        """The guest has written CMDQ_CONS: there its next command will be."""
        self._next_command = cons

    def performed(self, transactions, results, seconds):
        """Count what devices did."""
        self.dma_seconds += seconds
        for transaction, result in zip(transactions, results, strict=True):
            self.transactions += 1
            if not result.ok:
                self.aborted += not self.shut_down
                self.aborted_after_shutdown += self.shut_down
            elif transaction.write:
                self.bytes_written += transaction.length
            else:
                self.bytes_read += transaction.length

    @property
    def seconds(self):
        """Wall time so far."""
        return time.monotonic() - self._start

    @property
    def clocks(self):
        """Simulated clocks so far, or None: the model has no clock."""
        now = self._now()
        return None if now is None else now - self._clock

    def brief(self):
        """What progress is worth telling."""
        return {"seconds": round(self.seconds, 1), "commands": self.commands.total(),
                "syncs": self.commands["CMD_SYNC"], "transactions": self.transactions,
                "aborted": self.aborted, "clocks": self.clocks}

    def as_dict(self):
        """Everything, for a table and for JSON. Times in seconds."""
        counters = {name: self._backend.read64(_COUNTER.at(number))
                    for number, name in enumerate(COUNTERS)}
        rates = {}
        for name, counter in _RATES.items():
            hits, misses = counters[f"{counter}_hit"], counters[f"{counter}_miss"]
            if hits + misses:
                rates[name] = round(hits / (hits + misses), 4)
        misses = counters["tlb_miss"]
        return {
            **self.brief(), "commands_total": self.commands.total(),
            "commands": dict(sorted(self.commands.items())),
            "invalidations": sum(count for name, count in self.commands.items()
                                 if name.startswith(_INVALIDATIONS)),
            "register_writes": self.register_writes,
            "aborted_after_shutdown": self.aborted_after_shutdown,
            "bytes_read": self.bytes_read, "bytes_written": self.bytes_written,
            "counters": counters, "hit_rates": rates,
            "reads_per_tlb_miss": round(counters["table_reads"] / misses, 2) if misses else None,
            "interrupts": dict(self.interrupts), "messages": dict(self.messages),
            "register_write_seconds": round(self.register_write_seconds, 2),
            "dma_seconds": round(self.dma_seconds, 2),
            "pauses": self.pauses, "paused_seconds": round(self.paused_seconds, 2),
            "devices": self.devices,
        }
