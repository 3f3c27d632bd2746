"""The far end of one of QEMU's sockets, which answers as a function says."""

import contextlib
import socket
import threading

__all__ = ["FakeQEMU"]


class FakeQEMU:
    """Listen at a path; ``answer(text)`` returns what to send for each piece received, or None."""

    def __init__(self, path, answer, greeting=""):
        self.path, self.received = str(path), []
        self._answer, self._greeting = answer, greeting
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(1)
        self._link = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def send(self, text):
        self._link.sendall(text.encode())

    def close(self):
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self._link.close()
        self._server.close()

    def _run(self):
        self._link, _ = self._server.accept()
        self._link.sendall(self._greeting.encode())
        while data := self._receive():
            self.received.append(data)
            answer = self._answer(data)
            if answer:
                with contextlib.suppress(OSError):  # nobody listens any more
                    self.send(answer)

    def _receive(self):
        with contextlib.suppress(OSError):
            return self._link.recv(4096).decode()
        return ""
