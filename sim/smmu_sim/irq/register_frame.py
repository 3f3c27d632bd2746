"""Registers of a controller that software reaches as memory."""

from typing import NamedTuple

__all__ = ["Register", "RegisterFrame"]

_WORD = 4
_WORD_MASK = (1 << 32) - 1


class Register(NamedTuple):
    """One register: ``width`` 32 or 64, the bits that software can write, and the reset value."""

    width: int
    writable: int = 0
    reset: int = 0


class RegisterFrame:
    """Keep registers in a range of memory, so that every access on the bus reaches them.

    Aligned accesses of 32 and 64 bits count; any other write is ignored, as are bits that cannot
    be written. What is not a register reads as zero. :meth:`Memory.clear` wipes what can be read:
    call :meth:`reset` after it.

    Parameters
    ----------
    memory, base, size
        Where the frame lies.
    registers
        ``{offset: Register}``.
    on_write
        ``on_write(offset, value, old)`` after a write to a register; offset is the register's.
    """

    def __init__(self, memory, base, size, registers, on_write):
        self.memory, self.base, self.registers = memory, base, registers
        self._on_write = on_write
        self._at = {offset + half: offset for offset, register in registers.items()
                    for half in range(0, register.width // 8, _WORD)}
        memory.observe(range(base, base + size), self._written)
        self.reset()

    def reset(self):
        """Give every register its reset value."""
        self._values = {}
        for offset, register in self.registers.items():
            self[offset] = register.reset

    def __getitem__(self, offset):
        return self._values[offset]

    def __setitem__(self, offset, value):
        self._values[offset] = value
        width = self.registers[offset].width // 8
        self.memory.poke(self.base + offset, value.to_bytes(width, "little"))

    def _written(self, addr, data, _device_id):
        offset, size = addr - self.base, len(data)
        self._restore(offset, size)
        if size not in (4, 8) or addr % size:
            return
        value = int.from_bytes(data, "little")
        register = self.registers.get(offset)
        if register is not None and register.width == 8 * size:
            self._store(offset, 0, value, (1 << register.width) - 1)
            return
        for word in range(0, size, _WORD):
            owner = self._at.get(offset + word)
            if owner is not None:
                self._store(owner, 8 * (offset + word - owner), value >> 8 * word & _WORD_MASK,
                            _WORD_MASK)

    def _store(self, offset, lsb, value, mask):
        """Write the bits ``mask << lsb`` of a register."""
        old = self._values[offset]
        mask = mask << lsb & self.registers[offset].writable
        self[offset] = old & ~mask | value << lsb & mask
        self._on_write(offset, self[offset], old)

    def _restore(self, offset, size):
        """Undo what a write left in memory."""
        first = offset // _WORD * _WORD
        for word in range(first, offset + size, _WORD):
            owner = self._at.get(word)
            value = 0 if owner is None else self._values[owner] >> 8 * (word - owner) & _WORD_MASK
            self.memory.poke(self.base + word, value.to_bytes(_WORD, "little"))
