"""A device's way to memory: all of it transactions of a backend."""

from smmu_sim.backend import Transaction

__all__ = ["DMAError", "DevicePort"]

_BURST_BYTES = 2048  # 256 beats of 8 bytes, the longest AXI burst
_PAGE_BYTES = 4096   # no burst crosses one
_AT_ONCE = 8


class DMAError(Exception):
    """An access that ended with an error response."""

    def __init__(self, transaction, result):
        kind = "write" if transaction.write else "read"
        super().__init__(f"{kind} of {transaction.length} bytes at {transaction.addr:#x} by "
                         f"StreamID {transaction.sid:#x}: {result.resp.name}")
        self.transaction, self.result = transaction, result


class DevicePort:
    """Reads and writes of one device, with its StreamID.

    ``perform`` takes a list of transactions and returns their results.
    """

    def __init__(self, perform, sid):
        self._perform, self.sid = perform, sid

    def read(self, addr, size):
        """Return ``size`` bytes, or raise :exc:`DMAError`."""
        pieces = [Transaction(sid=self.sid, addr=start, length=count)
                  for start, count in _pieces(addr, size)]
        return b"".join(result.data for result in self._all(pieces))

    def write(self, addr, data):
        """Store ``data``, or raise :exc:`DMAError`."""
        self._all([Transaction(sid=self.sid, addr=start, write=True,
                               data=bytes(data[start - addr:start - addr + count]))
                   for start, count in _pieces(addr, len(data))])

    def _all(self, transactions):
        results = []
        for first in range(0, len(transactions), _AT_ONCE):
            some = transactions[first:first + _AT_ONCE]
            for transaction, result in zip(some, self._perform(some), strict=True):
                if not result.ok:
                    raise DMAError(transaction, result)
                results.append(result)
        return results


def _pieces(addr, size):
    """Yield (address, bytes) of bursts whose beats are aligned and as wide as they can be."""
    end = addr + size
    while addr < end:
        width = 8
        while addr % width or width > end - addr:
            width //= 2
        count = width
        if width == 8:
            count = min(end - addr, _BURST_BYTES, _PAGE_BYTES - addr % _PAGE_BYTES) & -8
        yield addr, count
        addr += count
