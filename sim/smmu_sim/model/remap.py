"""The MSI doorbell remap: a device's write to a bound IPA page goes to the bound physical doorbell.

Entries are looked up in their order, so of two entries with one StreamID and IPA page the first
counts.
"""

from typing import NamedTuple

from smmu.formats.core import plain
from smmu.formats.registers import REMAP_CTRL, REMAP_DOORBELL, REMAP_IPA, REMAP_STREAMID

__all__ = ["Doorbell", "Remap"]

_ctrl = plain(REMAP_CTRL)
_streamid = plain(REMAP_STREAMID)
_ipa = plain(REMAP_IPA)
_doorbell = plain(REMAP_DOORBELL)

PAGE_SHIFT = 12
OFFSET_MASK = (1 << PAGE_SHIFT) - 1
WORD_BYTES, WORD_SIZE, WORD_STROBES = 4, 2, 0xF


class Doorbell(NamedTuple):
    """What is bound to a page."""

    addr: int

    def accepts(self, transaction):
        """Whether ``transaction`` is a full 32-bit write at the doorbell's place in the page."""
        return (
            transaction.write
            and transaction.length == WORD_BYTES
            and transaction.size == WORD_SIZE
            and transaction.addr & OFFSET_MASK == self.addr & OFFSET_MASK
            and transaction.strobes in (None, WORD_STROBES)
        )


class Remap:
    """The committed entries. A write to the StreamID register of an entry commits all of it."""

    def __init__(self, params, registers):
        self.params = params
        self.registers = registers
        self.reset()

    def reset(self):
        """Unbind everything."""
        self._entries = {}

    def commit(self, index):
        """Take over what the registers of entry ``index`` hold."""
        streamid = self.registers["REMAP_STREAMID", index]
        self._entries.pop(index, None)
        if _streamid.V(streamid):
            self._entries[index] = (
                _streamid.StreamID(streamid),
                _ipa.IPA(self.registers["REMAP_IPA", index]),
                Doorbell(_doorbell.ADDR(self.registers["REMAP_DOORBELL", index]) << 2),
            )

    def lookup(self, streamid, ipa):
        """Return the :class:`Doorbell` of ``ipa``, or None."""
        if not (self._entries and _ctrl.ENABLE(self.registers["REMAP_CTRL"])):
            return None
        for _, entry in sorted(self._entries.items()):
            if entry[:2] == (streamid, ipa >> PAGE_SHIFT):
                return entry[2]
        return None
