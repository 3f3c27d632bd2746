"""A DMA engine: copy jobs from a ring of descriptors in memory."""

import struct
from enum import IntEnum

from smmu_sim.devices.register_block import DeviceRegister, RegisterBlock

__all__ = ["COMPLETION", "DESCRIPTOR", "DMAEngine", "DMAError", "ENABLE", "INTERRUPT",
           "PASID_VALID", "RESET"]

# source, destination, length, flags, PASID, cookie
DESCRIPTOR = struct.Struct("<QQIIII")
# cookie, status (DMAError), bytes copied, number of the job since reset, from 1 on
COMPLETION = struct.Struct("<IIII")
INTERRUPT, PASID_VALID = 1 << 0, 1 << 1  # flags
ENABLE, RESET = 1 << 0, 1 << 1           # CONTROL
_MAX_LENGTH = 1 << 20
_CHUNK = 4096  # bytes that the engine buffers


class DMAError(IntEnum):
    """STATUS, and the status of a completion record: what ended with an error response."""

    NONE = 0
    DESCRIPTOR_FETCH = 1
    SOURCE_READ = 2
    DESTINATION_WRITE = 3
    COMPLETION_WRITE = 4
    BAD_DESCRIPTOR = 5     # the length is 0 or above 1 MiB


class DMAEngine:
    """Behind BAR 0 of ``function``: a ring of copy jobs.

    Software writes descriptors, then TAIL, the index behind the last. The engine fetches each
    descriptor, copies, writes the completion record of the same index, and sends the MSI of
    VECTOR if the descriptor asks for it; all of it through the SMMU. Ring and records are accessed
    without PASID, data with the descriptor's.

    An error response stops it: STATUS holds the reason, ERROR_ADDR the address of the access; the
    job's record is written if possible, and the MSI is sent. Only RESET starts it anew.

    Parameters
    ----------
    function
        The :class:`PCIFunction`.
    automatic
        Whether the engine works as soon as TAIL is written; otherwise in :meth:`run`.

    Attributes
    ----------
    registers
        CONTROL, STATUS, RING_BASE, RING_SIZE (descriptors), TAIL, HEAD, COMPLETION_BASE, VECTOR,
        ERROR_ADDR: names of :class:`RegisterBlock`.
    jobs
        Jobs that ended since reset, bad ones included.
    """

    REGISTERS = {
        "CONTROL": DeviceRegister(0x00), "STATUS": DeviceRegister(0x04, writable=False),
        "RING_BASE": DeviceRegister(0x08, 64), "RING_SIZE": DeviceRegister(0x10),
        "TAIL": DeviceRegister(0x14), "HEAD": DeviceRegister(0x18, writable=False),
        "COMPLETION_BASE": DeviceRegister(0x20, 64), "VECTOR": DeviceRegister(0x28),
        "ERROR_ADDR": DeviceRegister(0x30, 64, writable=False)}

    def __init__(self, function, *, automatic=True):
        self.function, self.automatic, self.jobs = function, automatic, 0
        self.registers = RegisterBlock(self.REGISTERS, self._written)
        function.registers = self

    # What the function asks for

    def read(self, offset, size):
        return self.registers.read(offset, size)

    def write(self, offset, data):
        self.registers.write(offset, data)

    def reset(self):
        """Forget everything, as after power-up."""
        self.registers.reset()
        self.jobs = 0

    def _written(self, name):
        if name == "CONTROL" and self.registers["CONTROL"] & RESET:
            self.reset()
        elif name in ("CONTROL", "TAIL") and self.automatic:
            self.run()

    # Work

    def run(self, limit=None):
        """Work on jobs until there is none, or ``limit`` are done; return how many ended."""
        done, registers = 0, self.registers
        while limit is None or done < limit:
            size = registers["RING_SIZE"]
            idle = not registers["CONTROL"] & ENABLE or registers["STATUS"]
            if idle or not size or registers["HEAD"] == registers["TAIL"] % size:
                break
            self._job(registers["HEAD"])
            done += 1
        return done

    def _job(self, index):
        function, registers = self.function, self.registers
        place = registers["RING_BASE"] + DESCRIPTOR.size * index
        fetched = function.read(place, DESCRIPTOR.size)
        if not fetched.ok:
            self._fail(DMAError.DESCRIPTOR_FETCH, place)
            self._notify()
            return
        source, destination, length, flags, pasid, cookie = DESCRIPTOR.unpack(fetched.data)
        if 0 < length <= _MAX_LENGTH:
            copied, error, addr = self._copy(source, destination, length,
                                             pasid if flags & PASID_VALID else None)
        else:
            copied, error, addr = 0, DMAError.BAD_DESCRIPTOR, place
        if error:
            self._fail(error, addr)
        self.jobs += 1
        place = registers["COMPLETION_BASE"] + COMPLETION.size * index
        record = COMPLETION.pack(cookie, error, copied, self.jobs & 0xFFFF_FFFF)
        if not function.write(place, record).ok:
            self._fail(DMAError.COMPLETION_WRITE, place)
        if not registers["STATUS"]:
            registers["HEAD"] = (index + 1) % registers["RING_SIZE"]
        if flags & INTERRUPT or registers["STATUS"]:
            self._notify()

    def _copy(self, source, destination, length, pasid):
        """Return (bytes copied, :class:`DMAError`, address of the access that failed)."""
        for done in range(0, length, _CHUNK):
            count = min(_CHUNK, length - done)
            read = self.function.read(source + done, count, pasid)
            if not read.ok:
                return done, DMAError.SOURCE_READ, source + done
            if not self.function.write(destination + done, read.data, pasid).ok:
                return done, DMAError.DESTINATION_WRITE, destination + done
        return length, DMAError.NONE, 0

    def _fail(self, error, addr):
        """Stop. The first reason stays."""
        if not self.registers["STATUS"]:
            self.registers["STATUS"], self.registers["ERROR_ADDR"] = error, addr

    def _notify(self):
        vector = self.registers["VECTOR"]
        if vector < len(self.function.vectors):
            self.function.trigger(vector)
