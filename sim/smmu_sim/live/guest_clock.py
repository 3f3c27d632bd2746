"""Stop the guest while the SMMU takes longer to answer than its driver is willing to wait."""

import threading
import time

__all__ = ["GuestClock", "PATIENCE_SECONDS"]

PATIENCE_SECONDS = 0.1  # Linux waits a second of its own time for a CMD_SYNC
_CHECK_SECONDS = 0.02


class GuestClock:
    """Hold the guest's time by QMP ``stop`` and ``cont``.

    The guest may have begun to wait at any time since the last look at its registers. A thread
    stops it when that was too long ago, whatever the rest of this process is doing then; the next
    look lets it go on. ``statistics`` gets ``pauses`` and ``paused_seconds``.
    """

    def __init__(self, monitor, statistics):
        self._monitor, self._statistics = monitor, statistics
        self._since, self._paused_at = time.monotonic(), None
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self):
        """Begin to look after the guest."""
        self._since = time.monotonic()
        self._thread.start()

    def close(self):
        """No longer stop the guest."""
        self._end.set()
        self._thread.join()

    def looked(self):
        """The guest's registers have just been looked at, and nothing waits: let it run."""
        self._since = time.monotonic()
        if self._paused_at is not None:
            with self._lock:
                self._statistics.paused_seconds += time.monotonic() - self._paused_at
                self._paused_at = None
                self._monitor.command("cont")

    def _follow(self):
        while not self._end.wait(_CHECK_SECONDS):
            with self._lock:
                now = time.monotonic()
                if self._paused_at is None and now - self._since > PATIENCE_SECONDS:
                    self._paused_at = now
                    self._statistics.pauses += 1
                    self._monitor.command("stop")
