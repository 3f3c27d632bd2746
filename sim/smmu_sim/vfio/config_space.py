"""PCI configuration space of a passed-through function, as user space sees it."""

from smmu_sim.linux_error import LinuxError

__all__ = ["VirtualConfigSpace"]

_SIZE = 4096
_EXTENDED = 0x100
_COMMAND, _BARS, _CAP_POINTER = 0x04, range(0x10, 0x28), 0x34
_COMMAND_PASSED = 0x0006         # memory space and bus master
_ID_PCIE = 0x10
_DEVICE_CONTROL = 8              # in the PCI Express capability
_INITIATE_FLR = 1 << 15


class VirtualConfigSpace:
    """What VFIO lets through of a function's configuration space.

    Reads come from the function, but for the BARs, which are user space's own, and the extended
    capabilities, which are hidden (PASID among them). Of writes only memory space and bus master
    of the command register reach the function, and a function-level reset is done by the host;
    MSI-X in particular is set up with SET_IRQS alone.

    Parameters
    ----------
    config
        The function's: ``read(offset, size)``, ``write(offset, data)``, ``bus_master``.
    bars
        ``{number: bytes}``: 64-bit memory BARs.
    reset
        Called when user space asks for a function-level reset.
    """

    size, mappable = _SIZE, None

    def __init__(self, config, bars, reset):
        self._config, self._reset = config, reset
        self._bars = bytearray(len(_BARS))
        self._masks = bytearray(len(_BARS))
        for number, size in bars.items():
            self._masks[4 * number : 4 * number + 8] = ((1 << 64) - size).to_bytes(8, "little")
        self._kinds = config.read(_BARS.start, len(_BARS))
        self._flr = self._find(_ID_PCIE) + _DEVICE_CONTROL + 1
        self.set_bus_master(False)

    def _find(self, number):
        """Return where a capability is."""
        at = self._config.read(_CAP_POINTER, 1)[0]
        while at:
            found, following = self._config.read(at, 2)
            if found == number:
                return at
            at = following
        raise LinuxError("ENODEV", f"the function has no capability {number:#x}")

    def set_bus_master(self, enabled):
        """Let the function start transactions, or not."""
        command = int.from_bytes(self._config.read(_COMMAND, 2), "little") & ~4 | 4 * bool(enabled)
        self._config.write(_COMMAND, command.to_bytes(2, "little"))

    def read(self, position, count):
        """Return bytes. EFAULT: not inside."""
        self._check(position, count)
        data = bytearray(self._config.read(position, count))
        for n in range(count):
            at = position + n
            if at in _BARS:
                at -= _BARS.start
                mask = self._masks[at]
                data[n] = self._bars[at] & mask | self._kinds[at] & ~mask & 0xF
            elif at >= _EXTENDED:
                data[n] = 0
        return bytes(data)

    def write(self, position, data):
        """Take what user space may write; return the number of bytes. EFAULT: not inside."""
        self._check(position, len(data))
        for n, value in enumerate(data, position):
            if n in _BARS:
                self._bars[n - _BARS.start] = value
            elif n == _COMMAND:
                self._config.write(_COMMAND, bytes([value & _COMMAND_PASSED]))
            elif n == self._flr and value & _INITIATE_FLR >> 8:
                self._reset()
        return len(data)

    def mmap(self, offset, size, writable=False):
        """Refuse. EINVAL."""
        raise LinuxError("EINVAL", "configuration space cannot be mapped")

    @staticmethod
    def _check(position, count):
        if position < 0 or count <= 0 or position + count > _SIZE:
            raise LinuxError("EFAULT", f"{position:#x} + {count} is not in the {_SIZE} bytes")
