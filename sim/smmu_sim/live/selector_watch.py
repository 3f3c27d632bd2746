"""Stop the guest whenever it writes a selector register whose effect it reads at once.

Of devices with several queues: after QueueSel the driver reads QueueReady, which must tell about
that queue. The frame is RAM; nobody could change the word in between. So a watchpoint of QEMU's
debugger port stops the guest at this write, :meth:`VirtioFrame.selected` changes the word, and the
guest goes on. Watchpoints are at virtual addresses: see :mod:`smmu_sim.live.kernel_address`. The
kernel maps a device anew when it finds it again, and its status does not show that: it is 1 after a
driver has gone, too. So as long as a device waits for a driver its address is looked for again and
again, and its driver must not be there at once.
"""

import time

from smmu_sim.live.gdb_stub import GDBStub
from smmu_sim.live.kernel_address import virtual_address

__all__ = ["SelectorWatch"]

_ACKNOWLEDGE, _DRIVER_OK = 1, 4  # of the device's status: it is known, its queues are set up
_LOOK_AGAIN_SECONDS = 0.05
_WORD_BYTES = 4
_OFFSET_MASK = 0xFFFF


def _is_found(status):
    """Whether the kernel has found a device, whose driver has not set up its queues yet."""
    return status and not status & _DRIVER_OK


class SelectorWatch:
    """Watch the selectors of some :class:`smmu_sim.live.virtio.frame.VirtioFrame`.

    ``hits`` counts them; ``problem`` says, in words, what prevents it.
    """

    def __init__(self, path, memory, monitor, frames):
        self._path, self._memory, self._monitor = path, memory, monitor
        self._last = dict.fromkeys(frames, 0)
        self._watched = {}
        self._stub, self._next_look = None, 0.0
        self.hits, self.problem = 0, None

    def poll(self):
        """Watch devices that the kernel has just found, and serve hits; whether there were any."""
        busy = False
        for frame, last in self._last.items():
            status = frame.shown_status
            if status == last and (status != _ACKNOWLEDGE or time.monotonic() < self._next_look):
                continue
            busy |= status != last
            # While all processors are in user space the kernel's tables are out of reach: again.
            if not _is_found(status) or _is_found(last) and status != _ACKNOWLEDGE \
                    or self._set(frame):
                self._last[frame] = status
        if self._stub is None or self._monitor.ended:
            return busy
        try:
            hits = self._stub.hits()
        except (OSError, EOFError):  # QEMU has ended; the monitor tells why
            self._stub = None
            return busy
        for addr, thread in hits:
            self.hits += 1
            self._stub.step_over(addr, _WORD_BYTES, thread)
            for frame, watched in self._watched.items():
                if watched == addr:
                    frame.selected()
        if hits:
            self._monitor.command("cont")
        return busy or bool(hits)

    def _set(self, frame):
        """Put a device's watchpoint where the kernel has mapped it now; whether that is known."""
        self._next_look = time.monotonic() + _LOOK_AGAIN_SECONDS
        self._monitor.command("stop")
        try:
            if self._stub is None:
                self._stub = GDBStub(self._path)
            addr, old = self._find(frame.selector), self._watched.get(frame)
            if addr is not None and addr != old:
                if old is not None:
                    self._stub.unwatch(old, _WORD_BYTES)
                self._stub.watch(addr, _WORD_BYTES)
                self._watched[frame] = addr
            return addr is not None
        finally:
            self._monitor.command("cont")

    def _find(self, pa):
        """Return the kernel's address of a selector, or None."""
        offset = pa & _OFFSET_MASK
        for cpu in range(len(self._monitor.command("query-cpus-fast") or ())):
            # A processor in user space may have a small table instead of the kernel's.
            ttbr1, tcr = (self._stub.system_register(name, cpu)
                          for name in ("TTBR1_EL1", "TCR_EL1"))
            addr = virtual_address(self._memory, ttbr1, tcr, pa - offset)
            if addr is not None:
                self.problem = None
                return addr + offset
        self.problem = f"the guest's kernel maps {pa:#x} at no address that we found"
        return None
