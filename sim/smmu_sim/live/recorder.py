"""Write a live run as a trace: a scenario that `smmu_sim.replay` plays.

The trace has what the SMMU was told and asked, in order: the guest's register writes, the devices'
transactions with their outcome, and of the guest's memory what the SMMU read, where it was other
than before. A memory step stands before the step during which the SMMU read it.
"""

import gzip
import json

from smmu.formats.core import plain
from smmu.formats.registers import BY_NAME, CMDQ_CONS, EVENTQ_BASE, fields
from smmu_sim.live.layout import GICV2M_FRAME
from smmu_sim.live.memory_image import MemoryImage
from smmu_sim.memory import Memory

__all__ = ["Recorder"]

_EVENT_BYTES = 32
_CMDQ_PROD, _CMDQ_CONS, _EVENTQ_CONS, _EVENTQ_BASE = (
    BY_NAME[name].offset for name in ("CMDQ_PROD", "CMDQ_CONS", "EVENTQ_CONS", "EVENTQ_BASE"))
_RD_MASK = fields(CMDQ_CONS)["RD"].mask
# What the driver made of the features: a build for the replay must have as much.
_AT_LEAST = ("OAS", "SIDSIZE", "CMDQS", "EVENTQS")
_EQUAL = ("MSI", "COHACC", "CD2L", "HYP")


class _Observed(Memory):
    """The guest's memory as the SMMU sees it; a recorder is told of each access."""

    def __init__(self, memory, on_read, on_write):
        super().__init__()
        self._memory, self._on_read, self._on_write = memory, on_read, on_write

    def read(self, addr, size):
        data = self._memory.read(addr, size)
        self._on_read(addr, data)
        return data

    def write(self, addr, data, strobes=None, device_id=None):
        self._memory.write(addr, data, strobes, device_id)
        self._on_write(addr, self._memory.peek(addr, len(data)))

    def peek(self, addr, size):
        return self._memory.peek(addr, size)

    def poke(self, addr, data):
        self._memory.poke(addr, data)


class Recorder:
    """Record one run.

    Attributes
    ----------
    tables
        The memory to put behind the SMMU's own accesses.
    """

    def __init__(self, memory, layout, path):
        self._memory, self._layout, self._path = memory, layout, path
        self._image, self._changes, self._written = MemoryImage(), [], []
        self._steps = []
        self.tables = _Observed(memory, self._read, self._wrote)

    # What the SMMU does with memory

    def _read(self, addr, data):
        if not self._image.holds(addr, data):
            self._image.put(addr, data)
            self._changes.append([addr, data.hex()])

    def _wrote(self, addr, data):
        self._image.put(addr, data)  # the replay's SMMU writes it, too
        self._written.append((addr, data))

    def begin(self):
        """Something that is to be recorded begins."""
        self._written = []

    def _step(self, step):
        if self._changes:
            self._steps.append({"mem": self._changes})
            self._changes = []
        self._steps.append(step)

    # What happened

    def register_written(self, offset, value, backend):
        """Record a register write, after it was performed."""
        if offset == _EVENTQ_CONS:
            return  # who plays it takes the records out
        self._step({"reg": ["w32", offset, value]})
        if offset == _CMDQ_PROD:
            self._steps.append({"poll": ["r32", _CMDQ_CONS], "mask": _RD_MASK,
                                "expect": backend.read32(_CMDQ_CONS) & _RD_MASK})

    def perform(self, backend, transactions):
        """Perform transactions one after the other, and record them."""
        return [self._perform(backend, transaction) for transaction in transactions]

    def _perform(self, backend, transaction):
        self.begin()
        result = backend.dma(transaction)
        backend.idle()
        step = {"dma": {"sid": transaction.sid, "ssid": transaction.ssid,
                        "write": transaction.write, "iova": transaction.addr,
                        "len": transaction.length},
                "expect": {"ok": result.ok}, "event": None}
        if result.pa is not None:
            step["expect"]["pa"] = result.pa
            if transaction.write:  # the replay has other data there
                self._image.forget(result.pa, transaction.length)
        events = self._events(backend)
        if events:
            step["event"] = [f"{int.from_bytes(events[0][at:at + 8], 'little'):016x}"
                             for at in range(0, _EVENT_BYTES, 8)]
        self._step(step)
        return result

    def _events(self, backend):
        """The records that the SMMU has just written."""
        base = backend.read64(_EVENTQ_BASE)
        log2size = min(plain(EVENTQ_BASE).LOG2SIZE(base), backend.params.eventqs)
        start = plain(EVENTQ_BASE).ADDR(base) << 5
        end = start + (_EVENT_BYTES << log2size)
        return [data for addr, data in self._written
                if start <= addr < end and len(data) == _EVENT_BYTES]

    # The file

    def save(self, params):
        """Write the trace; returns ``{"steps": count, "transactions": count}``."""
        first = GICV2M_FRAME  # the doorbell of MSIs is part of what must not abort
        last = self._layout.ram_base + self._layout.ram_bytes
        header = {"ram": [first, last - first], "class": "linux", "count": 1}
        requires = [f"{name}>={getattr(params, name.lower())}" for name in _AT_LEAST]
        requires += [f"{name if name != 'HYP' else 'Hyp'}={getattr(params, name.lower())}"
                     for name in _EQUAL]
        scenario = {"name": "live-linux", "tags": ["linux"], "requires": requires,
                    "setup": {"mem": [], "regs": []}, "steps": self._steps}
        with gzip.open(self._path, "wt", encoding="utf-8") as file:
            file.write(json.dumps({"header": header}) + "\n" + json.dumps(scenario) + "\n")
        return {"steps": len(self._steps),
                "transactions": sum("dma" in step for step in self._steps)}
