"""QEMU's debugger port: watchpoints and system registers, by GDB's remote protocol."""

import re
import select

from smmu_sim.live.errors import LiveError
from smmu_sim.live.qemu_control import connect

__all__ = ["GDBStub"]

_WRITE_WATCHPOINT = 2


class GDBStub:
    """Set watchpoints, and learn of their hits. Connecting stops the guest, and so does a hit.

    The guest goes on when the monitor is told to continue.
    """

    def __init__(self, path):
        self._socket = connect(path)
        self._received = b""
        self._numbers = None

    def system_register(self, name, cpu):
        """Return a system register (``"TCR_EL1"``) of processor ``cpu``, counted from 0."""
        if self._numbers is None:
            self._file("target.xml")
            self._numbers = {
                match[1]: int(match[2]) for match in re.finditer(
                    r'<reg name="(\w+)"[^>]* regnum="(\d+)"', self._file("system-registers.xml"))}
        if name not in self._numbers:
            raise LiveError(f"QEMU's debugger port has no register {name}")
        self._request(f"Hgp1.{cpu + 1:x}")
        return int.from_bytes(bytes.fromhex(self._request(f"p{self._numbers[name]:x}")), "little")

    def _file(self, name):
        """Return one of the files that describe the target."""
        text = ""
        while True:
            part = self._request(f"qXfer:features:read:{name}:{len(text):x},800")
            text += part[1:]
            if part[:1] != "m":
                return text

    def watch(self, addr, size):
        """Stop the guest at each write to virtual addresses; of all its processors."""
        self._ask(f"Z{_WRITE_WATCHPOINT},{addr:x},{size:x}")

    def unwatch(self, addr, size):
        """Undo :meth:`watch`."""
        self._ask(f"z{_WRITE_WATCHPOINT},{addr:x},{size:x}")

    def hits(self):
        """Return (address, thread) of the watchpoints that were hit since the last call.

        The guest stands before the write: see :meth:`step_over`.
        """
        if not select.select([self._socket], [], [], 0)[0]:
            return []
        self._receive()
        found, packet = [], self._packet()
        while packet is not None:
            fields = dict(part.partition(":")[::2] for part in packet[3:].split(";"))
            if packet.startswith("T") and "watch" in fields:
                found.append((int(fields["watch"], 16), fields["thread"]))
            packet = self._packet()
        return found

    def step_over(self, addr, size, thread):
        """Let a processor that was stopped by :meth:`watch` perform its write, and stop again."""
        self.unwatch(addr, size)
        self._send(f"vCont;s:{thread}")
        while True:  # a stop reply is the answer
            packet = self._packet()
            if packet is None:
                self._receive()
            elif packet.startswith("T05"):
                break
        self.watch(addr, size)

    def _ask(self, text):
        answer = self._request(text)
        if answer != "OK":
            raise LiveError(f"QEMU's debugger port refused {text}: {answer or 'unknown'}")

    def _request(self, text):
        """Send one request and return its answer."""
        self._send(text)
        while True:
            packet = self._packet()
            if packet is None:
                self._receive()
            elif packet[:1] not in ("T", "S"):  # stop replies: the guest was running
                return packet

    def _send(self, text):
        data = text.encode()
        self._socket.sendall(b"$%s#%02x" % (data, sum(data) & 0xFF))

    def _receive(self):
        data = self._socket.recv(4096)
        if not data:
            raise EOFError("QEMU has closed its debugger port")
        self._received += data

    def _packet(self):
        """Take one packet out of what was received, and acknowledge it; None if there is none."""
        start = self._received.find(b"$")
        end = self._received.find(b"#", start)
        if start < 0 or end < 0 or len(self._received) < end + 3:
            return None
        packet = self._received[start + 1:end].decode("latin1")
        self._received = self._received[end + 3:]
        self._socket.sendall(b"+")
        return packet
