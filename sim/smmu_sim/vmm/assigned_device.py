"""A device of the host in a VM: what the guest sees of it, and what the monitor traps."""

from dataclasses import dataclass

__all__ = ["AssignedDevice", "VirtualVector"]

_MEMORY_SPACE, _BUS_MASTER = 2, 4  # of PCI's command register


@dataclass
class VirtualVector:
    """One entry of the MSI-X table that the guest sees."""

    addr: int = 0
    data: int = 0
    masked: bool = True


class AssignedDevice:
    """A physical function with a vSID and an MSI-X table of the monitor's.

    DMA is the function's own: ``function.read(addr, length)`` with addresses of the guest's.
    Writes to the MSI-X table reach the monitor alone.

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
    """

    def __init__(self, function, vsid, on_vector, on_command, *, ssid_bits=0, can_stall=False):
        self.function, self.vsid, self.name = function, vsid, function.name
        self.ssid_bits, self.can_stall = ssid_bits, can_stall
        self.vectors = [VirtualVector() for _ in function.vectors]
        self._on_vector, self._on_command = on_vector, on_command

    def set_master(self, enabled=True):
        """Let the device start transactions, or not, as a guest's kernel does (pci_set_master)."""
        self._on_command(self, _MEMORY_SPACE | (_BUS_MASTER if enabled else 0))

    def write_vector(self, index, addr, data, masked):
        """Write a whole entry of the table, as a guest's kernel does; the monitor traps it."""
        self.vectors[index] = VirtualVector(addr, data, masked)
        self._on_vector(self, index)

    def __repr__(self):
        return f"AssignedDevice({self.name}, vSID {self.vsid:#x})"
