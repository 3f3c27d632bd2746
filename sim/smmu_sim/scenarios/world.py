"""What a scenario is played in: a backend that is watched, a machine, and checks."""

from contextlib import contextmanager
from dataclasses import dataclass

from smmu_sim.backend import Transaction
from smmu_sim.linux_error import LinuxError
from smmu_sim.scenarios import story
from smmu_sim.scenarios.spy import Spy

__all__ = ["Check", "World"]


@dataclass(frozen=True)
class Check:
    """Something that had to be so, and whether it was."""

    statement: str
    ok: bool
    detail: str = ""


class World:
    """A scenario's surroundings. It comes with an SMMU out of reset and empty memory.

    Parameters
    ----------
    backend
        A :class:`smmu_sim.backend.Backend`.
    tell
        Called with each entry of the story.

    Attributes
    ----------
    backend, memory, params
        The backend that tells what happens to it, its memory, its build.
    checks
        All :class:`Check` so far.
    """

    def __init__(self, backend, tell=lambda entry: None):
        self._tell = tell
        self.backend = Spy(backend, tell)
        self.memory, self.params = self.backend.memory, backend.params
        self.checks = []

    # What is told

    def step(self, text):
        """Begin a part of the scenario: one line about what comes."""
        self._tell(story.entry("step", text))

    def note(self, text):
        """Say something that no register shows."""
        self.backend.tell("note", text)

    @contextmanager
    def quietly(self, text):
        """Tell one line instead of all that happens inside."""
        self.note(text)
        before, self.backend.quiet = self.backend.quiet, True
        try:
            yield
        finally:
            self.backend.quiet = before

    # What is checked

    def check(self, statement, condition, detail=""):
        """Note whether ``condition`` holds; a failure does not end the scenario."""
        check = Check(statement, bool(condition), "" if condition else str(detail))
        self.checks.append(check)
        self._tell(story.entry("check", statement, [check.detail] if check.detail else [],
                               check.ok))
        return check.ok

    def expect(self, statement, found, expected):
        """Check that ``found`` equals ``expected``."""
        return self.check(statement, found == expected,
                          f"expected {_text(expected)}, found {_text(found)}")

    def refused(self, statement, error, call, *args, **options):
        """Check that a call is refused with the errno named ``error``; return the exception."""
        try:
            result = call(*args, **options)
        except LinuxError as refusal:
            self.check(f"{statement}: -{error}", refusal.name == error, refusal)
            return refusal
        self.check(f"{statement}: -{error}", False, f"it returned {_text(result)}")
        return None

    # What happened

    def commands(self, *names, syncs=False):
        """Return the commands since the last call, those named alone if any; forget them.

        CMD_SYNCs are left out unless ``syncs``.
        """
        taken, self.backend.commands = self.backend.commands, []
        return [command for command in taken
                if (syncs or command.name != "CMD_SYNC") and (not names or command.name in names)]

    def writes(self):
        """Return the register writes since the last call, (name, value) each; forget them."""
        taken, self.backend.writes = self.backend.writes, []
        return taken

    # What devices do

    def read(self, sid, addr, length=8, **attributes):
        """Let a device read."""
        return self.backend.dma(Transaction(sid=sid, addr=addr, length=length, **attributes))

    def write(self, sid, addr, data, **attributes):
        """Let a device write bytes."""
        return self.backend.dma(Transaction(sid=sid, addr=addr, write=True, data=data,
                                            **attributes))

    def msi(self, sid, addr, data, **attributes):
        """Let a device send an MSI: a 32-bit write without SubstreamID, of Device type."""
        return self.write(sid, addr, data.to_bytes(4, "little"), cache=0, **attributes)

    def start_over(self):
        """Begin another part with an SMMU out of reset and empty memory."""
        self.memory.restore()
        self.backend.reset()

    def close(self):
        """Leave the backend as it was found."""
        self.backend.memory.restore()


def _text(value):
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_text(each) for each in value)
        return f"[{inner}]"
    return repr(value)
