"""Device table, collection table and ITTs of an ITS, in memory."""

from smmu_sim.irq.layouts import BASER, CTE, DTE, ITE

__all__ = ["ENTRY_BYTES", "ITSTables"]

ENTRY_BYTES = 8
_PAGE_SHIFTS = (12, 14, 16, 16)  # of BASER.Page_Size; 3 is reserved and acts as 2
_ITT_SHIFT = 8


class ITSTables:
    """Read and write table entries. Both tables are flat: BASER.Indirect is not implemented.

    Every access is one of the ITS on the bus and may raise :exc:`BusAbort`.
    """

    def __init__(self, memory, device_bits):
        self.memory, self.device_bits = memory, device_bits
        self.devices = self.collections = 0  # the BASERs

    @staticmethod
    def _slot(baser, index):
        """Return the address of entry ``index``, or None where the table does not reach."""
        size = BASER.get(baser, "Size") + 1 << _PAGE_SHIFTS[BASER.get(baser, "Page_Size")]
        if not BASER.get(baser, "Valid") or index >= size // ENTRY_BYTES:
            return None
        return (BASER.get(baser, "ADDR") << 12) + ENTRY_BYTES * index

    def _read(self, slot, layout):
        raw = 0 if slot is None else self.memory.read64(slot)
        return raw if layout.get(raw, "V") else None

    # Devices

    def device_slot(self, device_id):
        """Return where the DTE of a DeviceID is, or None if there is no place for it."""
        return None if device_id >> self.device_bits else self._slot(self.devices, device_id)

    def device(self, device_id):
        """Return the valid DTE of a DeviceID, or None."""
        return self._read(self.device_slot(device_id), DTE)

    # Collections

    def collection_slot(self, icid):
        """Return where the CTE of a collection is, or None if there is no place for it."""
        return self._slot(self.collections, icid)

    def collection(self, icid):
        """Return the valid CTE of a collection, or None."""
        return self._read(self.collection_slot(icid), CTE)

    # Events

    @staticmethod
    def event_slot(device, event_id):
        """Return where the ITE of an EventID is, or None beyond the ITT of the DTE ``device``."""
        if event_id >> DTE.get(device, "Size") + 1:
            return None
        return (DTE.get(device, "ITT") << _ITT_SHIFT) + ENTRY_BYTES * event_id

    def event(self, device, event_id):
        """Return the valid ITE of an EventID, or None."""
        return self._read(self.event_slot(device, event_id), ITE)
