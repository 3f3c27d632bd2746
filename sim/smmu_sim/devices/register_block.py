"""Registers of a device behind a BAR."""

from typing import NamedTuple

__all__ = ["DeviceRegister", "RegisterBlock"]

_WORD = 4
_WORD_MASK = (1 << 32) - 1


class DeviceRegister(NamedTuple):
    """Where a register is, its width in bits, and whether software can write it."""

    offset: int
    width: int = 32
    writable: bool = True


class RegisterBlock:
    """Registers by name: ``block["TAIL"]``, all 0 after reset; offsets are those of the BAR.

    Aligned writes of 32 and 64 bits count, others are ignored. ``on_write(name)`` is called after
    each write of software to a writable register.
    """

    def __init__(self, registers, on_write):
        self.registers, self._on_write = registers, on_write
        self._at = {register.offset + half: (name, 8 * half)
                    for name, register in registers.items()
                    for half in range(0, register.width // 8, _WORD)}
        self.reset()

    def reset(self):
        """Make every register 0."""
        self._values = dict.fromkeys(self.registers, 0)

    def __getitem__(self, name):
        return self._values[name]

    def __setitem__(self, name, value):
        self._values[name] = value & (1 << self.registers[name].width) - 1

    def read(self, offset, size):
        """Return bytes; what is not a register reads as zero."""
        octets = bytearray()
        for word in range(offset // _WORD * _WORD, offset + size, _WORD):
            name, lsb = self._at.get(word, (None, 0))
            value = 0 if name is None else self._values[name] >> lsb & _WORD_MASK
            octets += value.to_bytes(_WORD, "little")
        skipped = offset % _WORD
        return bytes(octets[skipped:skipped + size])

    def write(self, offset, data):
        """Write aligned 32 or 64 bits. The upper half of 64 bits is written last."""
        size = len(data)
        if size not in (4, 8) or offset % size:
            return
        written = []
        for word in range(0, size, _WORD):
            name, lsb = self._at.get(offset + word, (None, 0))
            if name is None or not self.registers[name].writable:
                continue
            value = int.from_bytes(data[word:word + _WORD], "little")
            self._values[name] = self._values[name] & ~(_WORD_MASK << lsb) | value << lsb
            if name not in written:
                written.append(name)
        for name in written:
            self._on_write(name)
