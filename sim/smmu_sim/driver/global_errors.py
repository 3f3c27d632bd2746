"""GERROR: errors that have no StreamID."""

from smmu.formats.core import fields, plain
from smmu.formats.registers import GERROR

__all__ = ["GlobalErrors"]

_CMDQ_ERR = fields(GERROR)["CMDQ_ERR"].mask


class GlobalErrors:
    """Find active global errors, do what each asks for, and acknowledge them.

    ``seen`` is the list of the names of all that were found.
    """

    def __init__(self, registers, command_queue):
        self._registers, self._command_queue = registers, command_queue
        self.seen = []

    def handle(self):
        """Handle all active errors; return their names."""
        raised = self._registers.read("GERROR")
        names = self._active(raised)
        if not names:
            return []
        self.seen += names
        if "SFM_ERR" in names:  # the SMMU gave up: so do we
            self._registers.write_acknowledged("CR0")
        if "CMDQ_ERR" in names:
            self._command_queue.recover()
        self._registers.write("GERRORN", raised)
        return names

    def handle_command_queue(self):
        """Handle CMDQ_ERR alone, if it is active. For whoever waits for the command queue.

        CMDQ_CONS.ERR keeps its value after the recovery, so it does not tell.
        """
        if "CMDQ_ERR" not in self._active(self._registers.read("GERROR")):
            return
        self.seen.append("CMDQ_ERR")
        self._command_queue.recover()
        self._registers.write("GERRORN", self._registers.read("GERRORN") ^ _CMDQ_ERR)

    def _active(self, raised):
        active = raised ^ self._registers.read("GERRORN")
        return [name for name in fields(GERROR) if getattr(plain(GERROR), name)(active)]
