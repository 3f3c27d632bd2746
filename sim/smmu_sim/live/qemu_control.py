"""The sockets of a running QEMU: its monitor (QMP), and the interrupts of its guest (qtest)."""

import json
import re
import select
import socket
import threading
import time
from collections import deque

from smmu_sim.live.errors import LiveError

__all__ = ["InterruptWires", "Monitor", "connect"]

_CONNECT_SECONDS = 20


def connect(path):
    """Connect to a socket of QEMU, which may only just be starting; a text file for both ways."""
    end = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            link = socket.socket(socket.AF_UNIX)
            link.connect(path)
            return link
        except OSError as error:
            link.close()
            if time.monotonic() > end:
                raise LiveError(f"QEMU does not answer at {path}: {error}") from None
            time.sleep(0.05)


class Monitor:
    """QMP: stop, continue, and how the guest ended.

    ``ended`` is None while QEMU runs, then why it ended: ``"guest-shutdown"``, ``"guest-reset"``
    (a panic, as the kernel is told to reboot at once), ``"guest-panic"``, or ``"gone"``.
    """

    def __init__(self, path):
        self._socket = connect(path)
        self._file = self._socket.makefile("rw")
        self._file.readline()  # the greeting
        self.ended, self._lock = None, threading.RLock()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        """Run a command and return what it returns; None if QEMU has ended. Any thread may."""
        with self._lock:
            try:
                self._file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                self._file.flush()
            except OSError:
                self.ended = self.ended or "gone"
            while self.ended is None:
                message = self._next()
                if message is None:
                    break
                if "return" in message:
                    return message["return"]
                if "error" in message:
                    raise LiveError(f"QEMU refused {name}: {message['error'].get('desc')}")
            return None

    def look(self):
        """Take in events that have arrived."""
        with self._lock:
            while self.ended is None and select.select([self._socket], [], [], 0)[0]:
                self._next()

    def _next(self):
        try:
            line = self._file.readline()
        except OSError:
            line = ""
        if not line:
            self.ended = self.ended or "gone"
            return None
        message = json.loads(line)
        if message.get("event") == "SHUTDOWN":
            self.ended = message["data"]["reason"]
        return message


class InterruptWires:
    """qtest: wires into the guest's interrupt controller, and writes of others onto its bus."""

    def __init__(self, path, monitor):
        self._file = connect(path).makefile("rw")
        self._gic = self._find_gic(monitor)
        self.alive, self._unanswered = True, deque()

    @staticmethod
    def _find_gic(monitor):
        folder = "/machine/unattached"
        for item in monitor.command("qom-list", path=folder) or ():
            if re.fullmatch(r"child<arm[_-]gic(v3)?>", item["type"]):
                return f"{folder}/{item['name']}"
        raise LiveError("QEMU's machine has no interrupt controller that we know")

    def pulse(self, spi):
        """Raise an edge-triggered SPI, a number from 0."""
        wire = f"set_irq_in {self._gic} unnamed-gpio-in {spi}"
        self._send(f"{wire} 1", f"{wire} 0")

    def write32(self, addr, value):
        """Write to the guest's bus, as a device's MSI does."""
        self._send(f"writel {addr:#x} {value:#x}")

    def settle(self):
        """Wait until QEMU has done everything. A refused command is an error here, or later."""
        while self.alive and self._unanswered:
            command = self._unanswered.popleft()
            try:
                answer = self._file.readline()
            except OSError:
                answer = ""
            if not answer:  # QEMU has ended; the monitor tells why
                self.alive = False
            elif not answer.startswith("OK"):
                raise LiveError(f"QEMU refused {command!r}: {answer.strip()}")

    def _send(self, *commands):
        """Send commands; nobody waits for the answers before the next ones."""
        self.settle()
        try:
            self._file.write("".join(command + "\n" for command in commands))
            self._file.flush()
        except OSError:
            self.alive = False
        self._unanswered.extend(commands)
