"""One queue of a NIC: a ring of descriptors, each a buffer, in memory."""

import struct
from enum import IntEnum

__all__ = ["DESCRIPTOR", "DONE", "INTERRUPT", "NICError", "NICQueue"]

DESCRIPTOR = struct.Struct("<QII")  # buffer, bytes, flags
_WRITE_BACK = struct.Struct("<II")  # bytes and flags of the same descriptor
_WRITE_BACK_AT = 8
INTERRUPT, DONE = 1 << 0, 1 << 31
_BATCH = 32  # descriptors that are fetched at once


class NICError(IntEnum):
    """STATUS of a queue: what ended with an error response."""

    NONE = 0
    DESCRIPTOR_FETCH = 1
    BUFFER = 2
    WRITE_BACK = 3
    BAD_DESCRIPTOR = 4  # no bytes, or more than a frame can have


class NICQueue:
    """The registers of one queue of ``nic`` by name, and the steps that both directions share."""

    def __init__(self, nic, prefix):
        self.nic, self._prefix = nic, prefix

    def __getitem__(self, name):
        return self.nic.registers[self._prefix + name]

    def __setitem__(self, name, value):
        self.nic.registers[self._prefix + name] = value

    @property
    def available(self):
        """Descriptors that software gave and the NIC has not done; 0 after an error."""
        if not self["SIZE"] or self["STATUS"]:
            return 0
        return (self["TAIL"] - self["HEAD"]) % self["SIZE"]

    def _slot(self, index):
        return self["BASE"] + DESCRIPTOR.size * (index % self["SIZE"])

    def fetch(self, limit):
        """Return the next descriptors as (buffer, bytes, flags), ``limit`` or fewer.

        They stay in the ring until :meth:`complete`. None after an error.
        """
        count = min(limit, self.available, _BATCH, self["SIZE"] - self["HEAD"])
        if not count:
            return []
        result = self.nic.function.read(self._slot(self["HEAD"]), DESCRIPTOR.size * count)
        if not result.ok:
            self.fail(NICError.DESCRIPTOR_FETCH, self._slot(self["HEAD"]))
            return None
        return list(DESCRIPTOR.iter_unpack(result.data))

    def complete(self, lengths):
        """Write back that the next descriptors are done; return whether it worked."""
        head = self["HEAD"]
        writes = [(self._slot(head + n) + _WRITE_BACK_AT, _WRITE_BACK.pack(length, DONE))
                  for n, length in enumerate(lengths)]
        results = self.nic.function.write_all(writes) if writes else []
        for (addr, _), result in zip(writes, results, strict=True):
            if not result.ok:
                self.fail(NICError.WRITE_BACK, addr)
                return False
        self["HEAD"] = (head + len(lengths)) % self["SIZE"]
        return True

    def fail(self, error, addr):
        """Stop the queue. The first reason stays."""
        if not self["STATUS"]:
            self["STATUS"], self["ERROR_ADDR"] = error, addr
            self.notify()

    def notify(self):
        """Send the MSI of the queue."""
        if self["VECTOR"] < len(self.nic.function.vectors):
            self.nic.function.trigger(self["VECTOR"])
