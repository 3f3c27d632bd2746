"""MSI doorbell remap: the implementation-defined frame of this core.

Stage 2 gives one physical doorbell for each doorbell of the guest. Devices of one guest that stand
behind different physical doorbells are told apart here, by their StreamID.
"""

from typing import NamedTuple

from smmu.formats.core import plain
from smmu.formats.registers import REMAP_CTRL, REMAP_DOORBELL, REMAP_IPA

from smmu_sim.driver.errors import DriverError
from smmu_sim.fields import address

__all__ = ["Binding", "DoorbellRemap"]

_ID = int.from_bytes(b"SMMU", "big")
_PAGE = 4096


class Binding(NamedTuple):
    """A device's doorbell page, as the guest's stage 1 yields it, and the physical doorbell."""

    sid: int
    ipa: int
    doorbell: int


class DoorbellRemap:
    """Bind and unbind doorbells. Each is complete when the call returns.

    ``sync`` issues a CMD_SYNC and waits for it.
    """

    def __init__(self, registers, sync):
        self._registers, self._sync = registers, sync
        self.present = registers.read("IMP_ID") == _ID
        self.entries = registers.read("REMAP_COUNT") if self.present else 0
        self._bound = {}

    @property
    def bindings(self):
        """The bindings in force."""
        return list(self._bound.values())

    def bind(self, sid, ipa, doorbell):
        """Send 32-bit writes of ``sid`` that stage 1 puts at the doorbell to ``doorbell``.

        ``ipa`` is any address in the page. The offset in it is that of the physical doorbell.
        """
        if not self.entries:
            raise DriverError("this SMMU has no MSI doorbell remap")
        ipa &= -_PAGE
        for binding in self._bound.values():
            if (binding.sid, binding.ipa) == (sid, ipa):
                raise DriverError(f"StreamID {sid:#x} has a doorbell at {ipa:#x} already")
        free = next((n for n in range(self.entries) if n not in self._bound), None)
        if free is None:
            raise DriverError(f"all {self.entries} remap entries are in use")
        # The StreamID commits the entry, so it comes last.
        self._registers.write("REMAP_IPA", index=free, IPA=address(REMAP_IPA, "IPA", ipa))
        self._registers.write("REMAP_DOORBELL", index=free,
                              ADDR=address(REMAP_DOORBELL, "ADDR", doorbell))
        self._registers.write("REMAP_STREAMID", index=free, StreamID=sid, V=1)
        if not self._registers.field("REMAP_CTRL", "ENABLE"):
            self._registers.write("REMAP_CTRL", ENABLE=1)
        self._bound[free] = Binding(sid, ipa, doorbell)
        self._finish()
        return free

    def unbind(self, sid, ipa):
        """Undo :meth:`bind`."""
        ipa &= -_PAGE
        for number, binding in self._bound.items():
            if (binding.sid, binding.ipa) == (sid, ipa):
                self._registers.write("REMAP_STREAMID", index=number)
                del self._bound[number]
                self._finish()
                return
        raise DriverError(f"StreamID {sid:#x} has no doorbell at {ipa:#x}")

    def _finish(self):
        busy = plain(REMAP_CTRL).BUSY
        self._registers.poll("REMAP_CTRL", lambda value: not busy(value), "lose BUSY")
        self._sync()
