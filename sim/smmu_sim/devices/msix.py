"""MSI-X: the table and the pending bits of a function (PCI Express 7.7.2)."""

from smmu_sim.irq.msi import MSIMessage

__all__ = ["ENTRY_BYTES", "MSIX", "Vector"]

ENTRY_BYTES = 16
_MASK = 1


class Vector:
    """One entry of an MSI-X table. A change of it takes effect as if software had written it."""

    def __init__(self, msix, index):
        self._msix, self._index = msix, index
        self._at = ENTRY_BYTES * index

    def _get(self, offset, size):
        at = self._at + offset
        return int.from_bytes(self._msix.table[at:at + size], "little")

    def _set(self, offset, size, value):
        self._msix.write_table(self._at + offset, value.to_bytes(size, "little"))

    @property
    def addr(self):
        """Message address; bits 1:0 are always 0."""
        return self._get(0, 8)

    @addr.setter
    def addr(self, value):
        self._set(0, 8, value)

    @property
    def data(self):
        """Message data."""
        return self._get(8, 4)

    @data.setter
    def data(self, value):
        self._set(8, 4, value)

    @property
    def masked(self):
        """The vector's own mask bit; True after reset."""
        return bool(self._get(12, 4) & _MASK)

    @masked.setter
    def masked(self, value):
        self._set(12, 4, int(value))

    @property
    def pending(self):
        """Its bit in the PBA."""
        return self._msix.is_pending(self._index)

    @property
    def message(self):
        """Address and data as :class:`MSIMessage`."""
        return MSIMessage(self.addr, self.data)

    @message.setter
    def message(self, message):
        self.addr, self.data = message


class MSIX:
    """Table, PBA, MSI-X Enable and Function Mask of one function.

    Parameters
    ----------
    vectors
        Size of the table, 1 to 2048.
    send
        ``send(message)`` writes a message on the bus and returns its result.
    """

    def __init__(self, vectors, send):
        if not 1 <= vectors <= 2048:
            raise ValueError(f"{vectors} vectors: a table has 1 to 2048")
        self._send = send
        self.vectors = [Vector(self, n) for n in range(vectors)]
        self.reset()

    def reset(self):
        """Disabled, every vector masked, nothing pending."""
        self.table = bytearray((bytes(12) + _MASK.to_bytes(4, "little")) * len(self.vectors))
        self.enabled = self.function_masked = False
        self._pending = set()

    def is_pending(self, index):
        return index in self._pending

    def trigger(self, index):
        """Send the message of a vector and return its result.

        While the vector or the function is masked, set its pending bit instead and return None;
        unmasking sends it. While MSI-X is disabled nothing happens: None.
        """
        vector = self.vectors[index]
        if not self.enabled:
            return None
        if self.function_masked or vector.masked:
            self._pending.add(index)
            return None
        return self._send(vector.message)

    def control(self, enabled, function_masked):
        """Set MSI-X Enable and Function Mask."""
        self.enabled, self.function_masked = bool(enabled), bool(function_masked)
        self._deliver()

    def _deliver(self):
        """Send what is pending and no longer masked."""
        for index in sorted(self._pending):
            if self.enabled and not self.function_masked and not self.vectors[index].masked:
                self._pending.discard(index)
                self._send(self.vectors[index].message)

    # As bytes

    def write_table(self, offset, data):
        """Write aligned 32 or 64 bits of the table; any other write is ignored (7.7.2.2)."""
        size = len(data)
        if size not in (4, 8) or offset % size or offset + size > len(self.table):
            return
        self.table[offset:offset + size] = data
        for entry in range(offset // ENTRY_BYTES * ENTRY_BYTES, offset + size, ENTRY_BYTES):
            self.table[entry] &= ~3 & 0xFF  # message addresses are 32-bit aligned
            self.table[entry + 12] &= _MASK  # the other bits of Vector Control are reserved
            self.table[entry + 13:entry + 16] = bytes(3)
        self._deliver()

    @property
    def pba(self):
        """The pending bits, in whole 64-bit words."""
        words = -(-len(self.vectors) // 64)
        return sum(1 << index for index in self._pending).to_bytes(8 * words, "little")
