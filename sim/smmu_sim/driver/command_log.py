"""What was put into the command queue, for people and for tests."""

from collections import deque
from contextlib import contextmanager

__all__ = ["CommandLog"]

_KEPT = 1 << 16


class CommandLog:
    """The last 65536 commands as they were published, CMD_SYNCs included, oldest first.

    Iterating and ``len`` look at them; :meth:`take` also forgets them.
    """

    def __init__(self):
        self._commands = deque(maxlen=_KEPT)
        self._listeners = []

    def __iter__(self):
        return iter(self._commands)

    def __len__(self):
        return len(self._commands)

    def __getitem__(self, index):
        return list(self._commands)[index]

    def add(self, command):
        """Note a raw command."""
        self._commands.append(command)
        for listener in self._listeners:
            listener.append(command)

    def take(self):
        """Return the commands since the last call."""
        taken = list(self._commands)
        self._commands.clear()
        return taken

    @contextmanager
    def listen(self):
        """Yield a list that receives all commands published inside of the ``with``."""
        heard = []
        self._listeners.append(heard)
        try:
            yield heard
        finally:
            self._listeners = [other for other in self._listeners if other is not heard]
