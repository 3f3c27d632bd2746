"""The SMMU's register frame in the guest's RAM, kept equal to the registers of a backend.

None of the registers has side effects on reads, so the frame can be RAM. What the guest writes is
noticed by comparing, and becomes a register write of the backend; what the backend's registers hold
is written back. No value in the frame comes from anywhere else.

Order. The guest's writes are seen some time later, all at once. What starts something is written to
the backend after what configures it, and its values are taken from an older look at the frame than
those of the rest: so whatever the guest wrote before a starter is there when the starter is.

Races. The guest may write a word while we write it back. We write only words whose value in the
backend has changed, and only where the frame still holds what we know: and those that hardware
changes (``CMDQ_CONS``, ``EVENTQ_PROD``, the acknowledges, ``GERROR``) software writes only while
nothing that could change them is enabled.
"""

import struct

from smmu.formats.registers import BY_NAME, OPTIONAL, PAGE1, REGISTERS
from smmu_sim.live.layout import SMMU_FRAME_BYTES

__all__ = ["RegisterFrame"]

# Where the guest's writes are looked for each time; elsewhere now and then.
_HOT = ((0x000, 0x200), (PAGE1 + 0x0A0, PAGE1 + 0x0D0))
_ELSEWHERE_EVERY = 512  # looks
_WORD = struct.Struct("<I")
_BLOCK_BYTES = 256

_CHANGED_BY_HARDWARE = ("CR0ACK", "GBPA", "IRQ_CTRLACK", "GERROR", "CMDQ_CONS", "EVENTQ_PROD")
_STARTERS = ("GBPA", "IRQ_CTRL", "GERRORN", "EVENTQ_CONS", "CMDQ_PROD", "CR0")
_OFFSET = {name: register.offset for name, register in BY_NAME.items()}
_RANK = {_OFFSET[name]: rank for rank, name in enumerate(_STARTERS, 1)}
_CMDQ_PROD = _OFFSET["CMDQ_PROD"]


class RegisterFrame:
    """Mirror a backend's registers in RAM.

    Parameters
    ----------
    backend
        The SMMU.
    memory
        The guest's memory: :class:`smmu_sim.live.shared_memory.SharedMemory`.
    base
        Address of the frame.
    before_write, after_write
        Called with (offset, value) around each register write of the guest.
    """

    def __init__(self, backend, memory, base, before_write, after_write):
        self._backend, self._memory, self._base = backend, memory, base
        self._before, self._after = before_write, after_write
        self._ram = memory.ram
        start = base - memory.base
        self._hot = [(start + first, start + last) for first, last in _HOT]
        self._start, self._looks = start, 0
        self._known = bytearray(SMMU_FRAME_BYTES)  # what is in the frame, as far as we know
        self.writes = 0
        for offset in _frame_words():
            self._publish(offset, backend.read32(offset))
        self._take_known()

    # The guest's writes

    def poll(self):
        """Perform what the guest has written since the last time; whether it has."""
        self._looks += 1
        ram = self._ram
        for (start, end), seen in zip(self._hot, self._seen, strict=True):
            if ram[start:end] != seen:
                break
        else:
            if self._looks % _ELSEWHERE_EVERY:
                return False
            if ram[self._start:self._start + SMMU_FRAME_BYTES] == self._known:
                return False
        first = ram[self._start:self._start + SMMU_FRAME_BYTES]
        second = ram[self._start:self._start + SMMU_FRAME_BYTES]
        changed = [(_RANK.get(offset, 0), offset, value)
                   for offset, value in self._changes(first, second)]
        for _, offset, value in sorted(changed):
            self._write(offset, value)
        self.refresh()
        self._take_known()
        return bool(changed)

    def _changes(self, first, second):
        """Yield (offset, value) of the words that the guest changed."""
        known = self._known
        for block in range(0, SMMU_FRAME_BYTES, _BLOCK_BYTES):
            place = slice(block, block + _BLOCK_BYTES)
            if first[place] == second[place] == known[place]:
                continue
            for offset in range(block, block + _BLOCK_BYTES, 4):
                look = first if offset in _RANK else second
                if look[offset:offset + 4] != known[offset:offset + 4]:
                    yield offset, *_WORD.unpack_from(look, offset)

    def _write(self, offset, value):
        self.writes += 1
        _WORD.pack_into(self._known, offset, value)
        self._before(offset, value)
        self._backend.write32(offset, value)
        self._backend.idle()
        if offset != _CMDQ_PROD:  # the others may read otherwise than written
            self._publish(offset, self._backend.read32(offset))
        self._after(offset, value)

    # The backend's values

    def refresh(self):
        """Write back the registers that hardware changes."""
        for name in _CHANGED_BY_HARDWARE:
            self._publish(_OFFSET[name], self._backend.read32(_OFFSET[name]))
        self._take_known()

    def _publish(self, offset, value):
        """Let the guest see a register's value, unless the guest has just written it."""
        new, place = _WORD.pack(value), self._start + offset
        if new == self._known[offset:offset + 4]:
            return
        if self._ram[place:place + 4] == self._known[offset:offset + 4]:
            self._ram[place:place + 4] = new
            self._known[offset:offset + 4] = new

    def _take_known(self):
        """Cut what a look compares with out of what is known."""
        self._seen = [bytes(self._known[start - self._start:end - self._start])
                      for start, end in self._hot]


def _frame_words():
    """Offsets of all words of registers in the frame."""
    for register in REGISTERS + OPTIONAL:
        if register.offset < SMMU_FRAME_BYTES:
            yield from range(register.offset, register.offset + register.width // 8, 4)
