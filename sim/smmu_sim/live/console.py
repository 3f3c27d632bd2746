"""The guest's serial console: kept, told line by line, and connected to a terminal if wanted."""

import contextlib
import os
import select
import sys
import termios
import threading
import tty

from smmu_sim.live.qemu_control import connect

__all__ = ["Console"]

_ESCAPE = b"\x1d"  # Ctrl-]


class Console:
    """Follow a console in a thread, as a context manager.

    Parameters
    ----------
    path
        QEMU's socket.
    file
        Path of the file that everything goes to.
    on_line
        Called with each line, without its end; or None.
    on_escape
        With it, standard input goes to the guest; Ctrl-] calls it.
    """

    def __init__(self, path, file, on_line=None, on_escape=None):
        self._path, self._name = path, file
        self._on_line, self._on_escape = on_line, on_escape
        self._stop_read, self._stop_write = os.pipe()

    def __enter__(self):
        self._link = connect(self._path)
        self._file = open(self._name, "wb", buffering=0)
        self._line = b""
        self._saved = None
        if self._on_escape and sys.stdin.isatty():
            self._saved = termios.tcgetattr(sys.stdin)
            tty.setraw(sys.stdin)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._stop_write, b".")
        self._thread.join()
        if self._saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)
        self._file.close()
        self._link.close()
        for end in (self._stop_read, self._stop_write):
            os.close(end)

    @property
    def text(self):
        """Everything so far, with plain line ends."""
        with open(self._name, errors="replace", newline="") as file:
            return file.read().replace("\r", "")

    def _follow(self):
        sources = [self._link, self._stop_read]
        if self._on_escape:
            sources.append(sys.stdin)
        while True:
            ready, _, _ = select.select(sources, [], [])
            if sys.stdin in ready and not self._type():
                sources.remove(sys.stdin)
            if self._link in ready:
                if not self._take():
                    return
            elif self._stop_read in ready:
                return

    def _take(self):
        """Take what the guest printed; false after the end."""
        try:
            data = self._link.recv(65536)
        except OSError:
            data = b""
        self._file.write(data)
        if self._on_escape:
            with contextlib.suppress(OSError):
                os.write(1, data)
        *lines, self._line = (self._line + data.replace(b"\r", b"")).split(b"\n")
        if not data and self._line:
            lines.append(self._line)
        for line in lines if self._on_line else ():
            self._on_line(line.decode(errors="replace"))
        return bool(data)

    def _type(self):
        """Pass on what was typed; false after the end of input."""
        data = os.read(sys.stdin.fileno(), 4096)
        if _ESCAPE in data:
            self._on_escape()
            return False
        with contextlib.suppress(OSError):
            self._link.sendall(data)
        return bool(data)
