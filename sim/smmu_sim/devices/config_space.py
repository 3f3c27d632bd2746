"""Configuration space of a PCI function: header, MSI-X and PCI Express capabilities, PASID."""

__all__ = ["ConfigSpace", "MSIX_CAPABILITY", "PASID_CAPABILITY", "PCIE_CAPABILITY"]

CONFIG_BYTES = 4096
PCIE_CAPABILITY, MSIX_CAPABILITY, PASID_CAPABILITY = 0x40, 0x80, 0x100
_COMMAND, _STATUS, _BAR0, _CAP_POINTER = 0x04, 0x06, 0x10, 0x34
_ID_PCIE, _ID_MSIX, _ID_PASID = 0x10, 0x11, 0x1B
_MEMORY_SPACE, _BUS_MASTER = 1 << 1, 1 << 2
_CAP_LIST = 1 << 4
_BAR_64BIT = 0b100
_MSIX_ENABLE, _MSIX_FUNCTION_MASK = 1 << 15, 1 << 14
_FLR_CAPABLE, _INITIATE_FLR = 1 << 28, 1 << 15
_PASID_ENABLE = 1


class ConfigSpace:
    """4096 bytes, of which software can write what the masks say.

    Parameters
    ----------
    vendor, device, class_code
        Identity; the class code has 24 bits.
    bars
        ``{number: bytes}``: 64-bit memory BARs, even numbers, powers of two.
    vectors, table_bar, pba_offset
        MSI-X: the table is at offset 0 of the BAR.
    pasid_bits
        0: no PASID capability.
    on_msix, on_reset
        ``on_msix(enable, function mask)`` and ``on_reset()``, when software writes these bits.
    """

    def __init__(self, *, vendor, device, class_code, bars, vectors, table_bar, pba_offset,
                 pasid_bits, on_msix, on_reset):
        self._on_msix, self._on_reset = on_msix, on_reset
        self._initial, self._writable = bytearray(CONFIG_BYTES), bytearray(CONFIG_BYTES)
        self._field(0x00, 4, vendor | device << 16)
        self._field(_COMMAND, 2, 0, _MEMORY_SPACE | _BUS_MASTER)
        self._field(_STATUS, 2, _CAP_LIST)
        self._field(0x08, 4, class_code << 8)
        self._field(_CAP_POINTER, 1, PCIE_CAPABILITY)
        for number, size in bars.items():
            self._field(_BAR0 + 4 * number, 8, _BAR_64BIT, (1 << 64) - size)
        self._field(PCIE_CAPABILITY, 4, _ID_PCIE | MSIX_CAPABILITY << 8 | 2 << 16)
        self._field(PCIE_CAPABILITY + 4, 4, _FLR_CAPABLE)
        self._field(MSIX_CAPABILITY, 4, _ID_MSIX | vectors - 1 << 16,
                    (_MSIX_ENABLE | _MSIX_FUNCTION_MASK) << 16)
        self._field(MSIX_CAPABILITY + 4, 4, table_bar)
        self._field(MSIX_CAPABILITY + 8, 4, pba_offset | table_bar)
        if pasid_bits:
            self._field(PASID_CAPABILITY, 4, _ID_PASID | 1 << 16)
            self._field(PASID_CAPABILITY + 4, 4, pasid_bits << 8, _PASID_ENABLE << 16)
        self.reset()

    def _field(self, offset, size, value, writable=0):
        self._initial[offset:offset + size] = value.to_bytes(size, "little")
        self._writable[offset:offset + size] = writable.to_bytes(size, "little")

    def reset(self):
        """Give everything its reset value: BARs unassigned, no bus master, MSI-X off."""
        self.octets = bytearray(self._initial)

    def value(self, offset, size):
        """Return a little-endian field."""
        return int.from_bytes(self.octets[offset:offset + size], "little")

    def read(self, offset, size):
        """Return bytes; ValueError outside of configuration space."""
        self._check(offset, size)
        return bytes(self.octets[offset:offset + size])

    def write(self, offset, data):
        """Write bytes; ValueError outside of configuration space."""
        self._check(offset, len(data))
        for n, new in enumerate(data, offset):
            mask = self._writable[n]
            self.octets[n] = self.octets[n] & ~mask | new & mask
        touched = range(offset, offset + len(data))
        if MSIX_CAPABILITY + 3 in touched:
            control = self.value(MSIX_CAPABILITY + 2, 2)
            self._on_msix(bool(control & _MSIX_ENABLE), bool(control & _MSIX_FUNCTION_MASK))
        # Initiate Function Level Reset reads as zero, so it is not among the writable bits.
        if PCIE_CAPABILITY + 9 in touched and \
                data[PCIE_CAPABILITY + 9 - offset] & _INITIATE_FLR >> 8:
            self._on_reset()

    @staticmethod
    def _check(offset, size):
        if offset < 0 or size <= 0 or offset + size > CONFIG_BYTES:
            raise ValueError(f"{size} bytes at {offset:#x} are not in configuration space")

    @property
    def bus_master(self):
        return bool(self.value(_COMMAND, 2) & _BUS_MASTER)

    @property
    def memory_space(self):
        return bool(self.value(_COMMAND, 2) & _MEMORY_SPACE)

    @property
    def pasid_enabled(self):
        return bool(self.value(PASID_CAPABILITY + 6, 2) & _PASID_ENABLE)

    def enable(self):
        """Do what firmware and a driver do first: memory decoding and bus mastering on."""
        self.write(_COMMAND, (_MEMORY_SPACE | _BUS_MASTER).to_bytes(2, "little"))

    def set_pasid(self, enabled):
        """Write PASID Enable."""
        self.write(PASID_CAPABILITY + 6, (_PASID_ENABLE * bool(enabled)).to_bytes(2, "little"))

    def set_msix(self, enabled, function_masked=False):
        """Write MSI-X Message Control."""
        control = _MSIX_ENABLE * bool(enabled) | _MSIX_FUNCTION_MASK * bool(function_masked)
        self.write(MSIX_CAPABILITY + 2, control.to_bytes(2, "little"))
