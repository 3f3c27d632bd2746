"""The argument of an ioctl: where it lies, and the rules by which it is read (iommufd/main.c)."""

from smmu_sim.linux_error import LinuxError

__all__ = ["Command", "UserBuffer"]


class UserBuffer:
    """Memory that a user points to.

    Parameters
    ----------
    argument
        A bytearray that holds the struct, or an address in ``process``, or None, a bad pointer.
    process
        Whose address it is.
    """

    def __init__(self, argument, process):
        if not (argument is None or isinstance(argument, (int, bytearray))):
            raise TypeError(f"an ioctl takes a bytearray or an address, not "
                            f"{type(argument).__name__}")
        self._argument, self._process = argument, process

    def read(self, size, offset=0):
        """Return ``size`` bytes. EFAULT: they are not all there."""
        if isinstance(self._argument, int):
            return self._process.copy_from_user(self._argument + offset, size)
        self._check(offset + size)
        return bytes(self._argument[offset:offset + size])

    def write(self, data, offset=0):
        """Store ``data``. EFAULT: it does not fit, or cannot be written."""
        if isinstance(self._argument, int):
            self._process.copy_to_user(self._argument + offset, data)
        else:
            self._check(offset + len(data))
            self._argument[offset:offset + len(data)] = data

    def _check(self, end):
        if self._argument is None:
            raise LinuxError("EFAULT", "the argument is a null pointer")
        if end > len(self._argument):
            raise LinuxError("EFAULT", f"the argument has {len(self._argument)} bytes, not {end}")


class Command:
    """One ioctl under way.

    Attributes
    ----------
    args
        The struct, unpacked; fields that the user did not pass are 0.
    process
        Who calls.
    """

    def __init__(self, layout, buffer, process):
        self.layout, self.process, self._buffer = layout, process, buffer
        self._user_size = int.from_bytes(buffer.read(4), "little")
        self._data = bytearray(self._copy())
        self.args = layout.unpack(self._data)

    def _copy(self):
        layout, size = self.layout, self._user_size
        if size < layout.min_size:
            raise LinuxError("EINVAL", f"{layout.name}: size is {size}, less than "
                                       f"{layout.min_size}")
        data = self._buffer.read(size)
        if any(data[layout.size:]):
            raise LinuxError("E2BIG", f"{layout.name}: bytes beyond {layout.size} are not 0")
        return data[:layout.size].ljust(layout.size, b"\0")

    def respond(self, **fields):
        """Change fields of the user's struct, as far as it has them. EFAULT: it is not there."""
        self.layout.store(self._data, **fields)
        self._buffer.write(bytes(self._data[:self._user_size]))
