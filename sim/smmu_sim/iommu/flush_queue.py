"""Lazy invalidation: unmapped IOVAs wait until the TLB has forgotten them."""

__all__ = ["FlushQueue"]

_ENTRIES = 256  # a ring, of which one entry stays empty


class FlushQueue:
    """The unmapped ranges of a DMA_FQ domain. Linux 7.0: struct iova_fq.

    A device that still accesses such a range may find the old translation; nobody else gets the
    range until then. ``pending`` is the number of ranges that wait.
    """

    def __init__(self, domain, iovas):
        self._hw, self._iovas, self._waiting = domain.hw, iovas, []

    @property
    def pending(self):
        return len(self._waiting)

    def add(self, iova):
        """Let a range wait; a full queue is flushed before."""
        if len(self._waiting) >= _ENTRIES - 1:
            self.flush()
        self._waiting.append(iova)

    def flush(self):
        """Invalidate the whole domain and free what waits. In Linux a timer of 10 ms does it."""
        if not self._waiting:
            return
        self._hw.invalidate_all()
        for iova in self._waiting:
            self._iovas.free(iova)
        self._waiting.clear()
