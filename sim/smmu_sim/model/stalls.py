"""Stalled transactions: who waits for what (IHI 0070: 3.12.2, 4.6, 7.2, 7.3)."""

from typing import NamedTuple

__all__ = ["Stalls"]

STAG_VALUES = 1 << 16


class _Stalled(NamedTuple):
    transaction: object
    end: object  # end(answer): how the transaction ended; None if nobody wants to know


class Stalls:
    """The transactions of one SMMU that have no answer yet.

    Those with a STAG have a record in the event queue and wait for software. There are at most
    ``limit`` (IDR5.STALL_MAX) of them; others, and those whose record found no room in the queue,
    wait without one until :meth:`wake`, and are then translated anew. STAGs go round through all 16
    bits, so that a late CMD_RESUME meets no new transaction.

    ``retry(transaction, end)`` translates a transaction anew, as if it had just arrived; it gives
    the answer, or has it :meth:`hold` or :meth:`wait` again.
    """

    def __init__(self, limit, retry):
        self.limit, self._retry = limit, retry
        self._held, self._waiting, self._last_stag = {}, [], 0

    @property
    def full(self):
        """Whether no further stall may be recorded."""
        return len(self._held) >= self.limit

    def next_stag(self):
        """Return a STAG that no stalled transaction has."""
        stag = self._last_stag
        while True:
            stag = (stag + 1) % STAG_VALUES
            if stag not in self._held:
                return stag

    def hold(self, stag, transaction, end):
        """Keep a transaction whose record is written."""
        self._held[stag], self._last_stag = _Stalled(transaction, end), stag

    def wait(self, transaction, end):
        """Keep a transaction whose record cannot be written yet."""
        self._waiting.append(_Stalled(transaction, end))

    def resume(self, streamid, stag, answer):
        """Let one transaction go: with ``answer``, or translated anew if that is None.

        Nothing happens unless StreamID and STAG both match.
        """
        stalled = self._held.get(stag)
        if stalled is None or stalled.transaction.sid != streamid:
            return
        del self._held[stag]
        if answer is None:
            answer = self._retry(*stalled)
        self._end(stalled, answer)
        self.wake()

    def terminate(self, answer, streamid=None):
        """End all stalled transactions, or those of one StreamID, recorded or not."""
        ended = [each for each in (*self._held.values(), *self._waiting)
                 if streamid in (None, each.transaction.sid)]
        self._held = {stag: each for stag, each in self._held.items() if each not in ended}
        self._waiting = [each for each in self._waiting if each not in ended]
        for stalled in ended:
            self._end(stalled, answer)
        self.wake()

    def wake(self):
        """Translate anew what waits without a record: there may be room now."""
        waiting, self._waiting = self._waiting, []
        for stalled in waiting:
            self._end(stalled, self._retry(*stalled))

    @staticmethod
    def _end(stalled, answer):
        if answer is not None and stalled.end is not None:
            stalled.end(answer)
