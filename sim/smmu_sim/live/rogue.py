"""A device that misbehaves on request."""

import struct

from smmu_sim.backend import Transaction

__all__ = ["Rogue"]

_COMMAND, _SID, _ADDRESS, _RESPONSE, _COUNT = 0x00, 0x04, 0x08, 0x10, 0x14
_READ, _WRITE = 1, 2
_BYTES = 8


class Rogue:
    """Registers with which the guest makes a device do one access of 8 bytes, anywhere.

    For tests of faults: the access is an ordinary transaction. From user space: write StreamID and
    address, then the command, and wait until the command reads 0.

    ====== ======== ===========================================================
    offset name     meaning
    ====== ======== ===========================================================
    0x00   COMMAND  written 1: read, 2: write; 0 when it is done
    0x04   SID      StreamID
    0x08   ADDRESS  64 bits
    0x10   RESPONSE AXI response of the last access: 0 OKAY, 2 SLVERR, 3 DECERR
    0x14   COUNT    accesses so far
    ====== ======== ===========================================================
    """

    def __init__(self, memory, base, perform):
        self._ram, self._start, self._perform = memory.ram, base - memory.base, perform
        self.accesses = []

    def poll(self):
        """Do the access that was asked for; whether one was."""
        start = self._start
        if self._ram[start:start + 4] == b"\0\0\0\0":
            return False
        command, sid, addr = struct.unpack_from("<IIQ", self._ram, start)
        if command in (_READ, _WRITE):
            write = command == _WRITE
            result, = self._perform([Transaction(
                sid=sid, addr=addr, write=write, data=bytes(_BYTES) if write else None,
                length=_BYTES)])
            self.accesses.append({"sid": sid, "addr": addr, "write": write,
                                  "response": result.resp.name})
            struct.pack_into("<II", self._ram, start + _RESPONSE, result.resp, len(self.accesses))
        struct.pack_into("<I", self._ram, start + _COMMAND, 0)
        return True
