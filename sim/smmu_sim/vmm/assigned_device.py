"""A device of the host in a VM: what the guest sees of it, and what the monitor traps."""

from smmu_sim.devices.msix import ENTRY_BYTES, MSIX

__all__ = ["AssignedDevice"]

_MEMORY_SPACE, _BUS_MASTER = 2, 4  # of PCI's command register


class AssignedDevice:
    """A physical function with a vSID and an MSI-X table of the monitor's.

    DMA is the function's own: ``function.read(addr, length)`` with addresses of the guest's. Its
    registers are the guest's, too. Writes to the MSI-X table reach the monitor alone.

    Parameters
    ----------
    function
        :class:`PCIFunction`.
    vsid
        StreamID that the guest knows it by; also its DeviceID at the guest's ITS.
    on_vector
        ``on_vector(device, index)`` is called after each write to the table.
    on_command
        ``on_command(device, value)`` is called for a write of the command register.

    Attributes
    ----------
    vectors
        The MSI-X table that the guest sees: ``vectors[n].addr``, ``.data``, ``.masked``.
    """

    def __init__(self, function, vsid, on_vector, on_command, *, ssid_bits=0, can_stall=False):
        self.function, self.vsid, self.name = function, vsid, function.name
        self.ssid_bits, self.can_stall = ssid_bits, can_stall
        # Interrupts arrive as the monitor's eventfds: this table sends nothing.
        self._msix = MSIX(len(function.vectors), lambda message: None)
        self._on_vector, self._on_command = on_vector, on_command

    @property
    def vectors(self):
        return self._msix.vectors

    def set_master(self, enabled=True):
        """Let the device start transactions, or not, as a guest's kernel does (pci_set_master)."""
        self._on_command(self, _MEMORY_SPACE | (_BUS_MASTER if enabled else 0))

    def write_vector(self, index, addr, data, masked):
        """Write a whole entry of the table, as a guest's kernel does; the monitor traps it."""
        vector = self.vectors[index]
        vector.addr, vector.data, vector.masked = addr, data, masked
        self._on_vector(self, index)

    def bar_read(self, bar, offset, size):
        """Return bytes of a BAR as the guest sees it."""
        data = self.function.bar_read(bar, offset, size)
        if bar != self.function.MSIX_BAR:
            return data
        table = self._msix.table[offset:offset + size]
        return bytes(table) + data[len(table):]

    def bar_write(self, bar, offset, data):
        """Write bytes of a BAR: registers go to the device, the MSI-X table to the monitor."""
        if bar != self.function.MSIX_BAR:
            self.function.bar_write(bar, offset, data)
        elif offset < len(self._msix.table):
            self._msix.write_table(offset, data)
            self._on_vector(self, offset // ENTRY_BYTES)

    def __repr__(self):
        return f"AssignedDevice({self.name}, vSID {self.vsid:#x})"
