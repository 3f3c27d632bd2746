"""Packed structures of the VFIO interface, as user space hands them over."""

import struct

from smmu_sim.linux_error import LinuxError

__all__ = ["Layout", "capability_chain", "copy_from_user", "copy_to_user"]

_HEADER = struct.Struct("<HHI")  # id, version, offset of the next capability


class Layout:
    """One structure: little endian, fields at given offsets.

    Parameters
    ----------
    name
        As in Linux's headers.
    size
        Bytes, with the padding at the end.
    **fields
        ``name=(offset, code)`` with a code of :mod:`struct`: ``"I"``, ``"Q"``, ``"6s"``.
    """

    def __init__(self, name, size, /, **fields):
        self.name, self.size = name, size
        self._fields = {field: (offset, struct.Struct("<" + code))
                        for field, (offset, code) in fields.items()}

    def end(self, field):
        """Return the offset of the first byte after a field (offsetofend)."""
        offset, form = self._fields[field]
        return offset + form.size

    def unpack(self, data, offset=0, /):
        """Return ``{field: value}`` of a structure in ``data``; what ``data`` lacks is zero."""
        octets = bytes(data[offset : offset + self.size]).ljust(self.size, b"\0")
        return {field: form.unpack_from(octets, at)[0]
                for field, (at, form) in self._fields.items()}

    def pack(self, **values):
        """Return the bytes of a structure; fields that are not named are zero."""
        octets = bytearray(self.size)
        self.put(octets, 0, **values)
        return bytes(octets)

    def put(self, buffer, offset, /, **values):
        """Store some fields of a structure that lies in ``buffer``."""
        for field, value in values.items():
            at, form = self._fields[field]
            form.pack_into(buffer, offset + at, value)


def copy_from_user(argument, offset, size):
    """Return bytes of an ioctl's argument. EFAULT: they are not all there."""
    if not isinstance(argument, (bytes, bytearray, memoryview)) or offset + size > len(argument):
        have = len(argument) if isinstance(argument, (bytes, bytearray, memoryview)) else "no"
        raise LinuxError("EFAULT", f"the argument has {have} bytes, {offset + size} are read")
    return bytes(argument[offset : offset + size])


def copy_to_user(argument, data, offset=0):
    """Store bytes in an ioctl's argument. EFAULT: they do not fit, or it cannot be written."""
    if not isinstance(argument, bytearray) or offset + len(data) > len(argument):
        raise LinuxError("EFAULT", f"{len(data)} bytes at {offset} cannot be stored")
    argument[offset : offset + len(data)] = data


def capability_chain(start, capabilities):
    """Return the bytes of a capability chain that begins at ``start`` of an info structure.

    ``capabilities`` are ``(id, version, payload)``. The offsets inside are from the beginning of
    the info structure (Linux: vfio_info_cap_add).
    """
    chain = b""
    for position, (number, version, payload) in enumerate(capabilities):
        last = position == len(capabilities) - 1
        after = start + len(chain) + _HEADER.size + len(payload)
        chain += _HEADER.pack(number, version, 0 if last else after) + payload
    return chain
