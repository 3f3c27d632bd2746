"""Sparse byte memory with bus aborts and observers: what stands behind the SMMU and its devices."""

from typing import NamedTuple

__all__ = ["BusAbort", "Memory"]

PAGE_SHIFT = 12
PAGE_BYTES = 1 << PAGE_SHIFT
READ, WRITE = "read", "write"


class BusAbort(Exception):
    """An access that the memory system answers with an error."""

    def __init__(self, addr, kind):
        super().__init__(f"bus abort: {kind} at {addr:#x}")
        self.addr = addr
        self.kind = kind


class _Range(NamedTuple):
    start: int
    stop: int
    kind: str | None
    call: object = None

    def hits(self, addr, size, kind):
        return addr < self.stop and addr + size > self.start and self.kind in (None, kind)


class Memory:
    """Byte memory of any address width; what was never written reads as zero.

    :meth:`read` and :meth:`write` are bus accesses: they raise :exc:`BusAbort` outside ``windows``
    and where :meth:`abort_at` was asked for, and observers see them. :meth:`peek` and :meth:`poke`
    are a test bench's back door: neither aborts nor observers.

    Parameters
    ----------
    windows : iterable of (base, size), or None
        Where there is memory. None: everywhere.
    """

    def __init__(self, windows=None):
        self.windows = None   # (start, stop) pairs
        if windows is not None:
            self.limit_to(windows)
        self._pages = {}
        self._aborts = []
        self._observers = []

    def limit_to(self, windows):
        """Have memory in ``windows`` alone: an iterable of (base, size)."""
        self.windows = [(base, base + size) for base, size in windows]

    def clear(self):
        """Make all memory zero. Windows, faults and observers stay."""
        self._pages.clear()

    # Bus accesses

    def read(self, addr, size):
        """Return ``size`` bytes from ``addr``."""
        if self.windows is not None or self._aborts:
            self._check(addr, size, READ)
        data = self.peek(addr, size)
        for observer in self._observers:
            if observer.hits(addr, size, READ):
                observer.call(addr, data, None)
        return data

    def write(self, addr, data, strobes=None, device_id=None):
        """Store ``data`` at ``addr``.

        ``strobes`` is a mask with one bit a byte (None: all); a write without any stores nothing,
        and no observer sees it. ``device_id`` tells observers whose write it is: None for software
        and for the SMMU itself.
        """
        if self.windows is not None or self._aborts:
            self._check(addr, len(data), WRITE)
        if strobes is not None:
            if not strobes & (1 << len(data)) - 1:
                return
            old = self.peek(addr, len(data))
            data = bytes(
                new if strobes >> k & 1 else was
                for k, (new, was) in enumerate(zip(data, old, strict=True))
            )
        self.poke(addr, data)
        for observer in self._observers:
            if observer.hits(addr, len(data), WRITE):
                observer.call(addr, bytes(data), device_id)

    def read32(self, addr):
        return int.from_bytes(self.read(addr, 4), "little")

    def read64(self, addr):
        return int.from_bytes(self.read(addr, 8), "little")

    def write32(self, addr, value):
        self.write(addr, value.to_bytes(4, "little"))

    def write64(self, addr, value):
        self.write(addr, value.to_bytes(8, "little"))

    # Back door

    def peek(self, addr, size):
        """Return ``size`` bytes from ``addr`` without a bus access."""
        offset = addr & PAGE_BYTES - 1
        if offset + size <= PAGE_BYTES:
            page = self._pages.get(addr >> PAGE_SHIFT)
            return bytes(size) if page is None else bytes(page[offset : offset + size])
        head = PAGE_BYTES - offset
        return self.peek(addr, head) + self.peek(addr + head, size - head)

    def poke(self, addr, data):
        """Store ``data`` at ``addr`` without a bus access."""
        while data:
            offset = addr & PAGE_BYTES - 1
            size = min(len(data), PAGE_BYTES - offset)
            page = self._pages.get(addr >> PAGE_SHIFT)
            if page is None:
                page = self._pages[addr >> PAGE_SHIFT] = bytearray(PAGE_BYTES)
            page[offset : offset + size] = data[:size]
            addr, data = addr + size, data[size:]

    # Faults and observers

    def abort_at(self, where, kind=None):
        """Abort accesses that touch ``where`` from now on, and return a handle for :meth:`remove`.

        ``where`` is an address (one byte) or a ``range``; ``kind`` is "read", "write" or None for
        both.
        """
        self._aborts.append(self._range(where, kind))
        return self._aborts[-1]

    def observe(self, where, call, kind=WRITE):
        """Call ``call(addr, data, device_id)`` after accesses of ``kind`` that touch ``where``.

        Returns a handle for :meth:`remove`.
        """
        self._observers.append(self._range(where, kind, call))
        return self._observers[-1]

    def remove(self, handle):
        """Undo one :meth:`abort_at` or :meth:`observe`."""
        for ranges in (self._aborts, self._observers):
            for index, item in enumerate(ranges):
                if item is handle:
                    del ranges[index]
                    return
        raise ValueError("this handle is not in use")

    def remove_aborts(self):
        """Undo every :meth:`abort_at`."""
        self._aborts.clear()

    @staticmethod
    def _range(where, kind, call=None):
        if kind not in (READ, WRITE, None):
            raise ValueError(f"kind must be 'read', 'write' or None, not {kind!r}")
        if isinstance(where, range):
            return _Range(where.start, where.stop, kind, call)
        return _Range(where, where + 1, kind, call)

    def _check(self, addr, size, kind):
        if self.windows is not None:
            if not any(start <= addr and addr + size <= stop for start, stop in self.windows):
                raise BusAbort(addr, kind)
        for item in self._aborts:
            if item.hits(addr, size, kind):
                raise BusAbort(addr, kind)
