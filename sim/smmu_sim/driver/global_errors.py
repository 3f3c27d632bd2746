"""GERROR: errors that have no StreamID."""

from smmu.formats.core import fields, plain
from smmu.formats.registers import GERROR

__all__ = ["GlobalErrors"]


class GlobalErrors:
    """Find active global errors, do what each asks for, and acknowledge them.

    ``seen`` is the list of the names of all that were found.
    """

    def __init__(self, registers, command_queue):
        self._registers, self._command_queue = registers, command_queue
        self.seen = []

    def handle(self):
        """Return the names of the errors that were active."""
        raised = self._registers.read("GERROR")
        active = raised ^ self._registers.read("GERRORN")
        names = [name for name in fields(GERROR) if getattr(plain(GERROR), name)(active)]
        if not names:
            return []
        self.seen += names
        if "SFM_ERR" in names:  # the SMMU gave up: so do we
            self._registers.write_acknowledged("CR0")
        if "CMDQ_ERR" in names:
            self._command_queue.recover()
        self._registers.write("GERRORN", raised)
        return names
