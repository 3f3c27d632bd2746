"""The calls by which a process gives a guest's stage 1 to the host: arguments, packed.

Their names, numbers and structures differ by generation (:mod:`smmu_sim.vfio.generations`).
"""

import struct

__all__ = ["ABORT", "BYPASS", "NestedCalls", "TRANSLATE"]

TRANSLATE, BYPASS, ABORT = 1, 2, 3  # config
_SET, _UNSET = 1, 2                 # flags; BIND and UNBIND have the same values
_V3 = "v3"


class NestedCalls:
    """Perform the calls on one :class:`Container`; each returns what its ioctl returns.

    Errors are those of the container.
    """

    def __init__(self, container):
        self._container, self._generation = container, container.generation

    def set_pasid_table(self, config=TRANSLATE, base=0, pasid_bits=0):
        """SET_PASID_TABLE, or ATTACH_PASID_TABLE of the generations that have that.

        ``base`` is the IPA of the CD or CD table.
        """
        layout = self._generation.pasid_table
        values = {"version": 1, "format": 1, "base_ptr": base, "pasid_bits": pasid_bits}
        if self._generation.name == _V3:
            values |= {"bypass": int(config == BYPASS), "abort": int(config == ABORT)}
        else:
            values |= {"config": config, "smmuv3_version": 1}
        body = self._pack(layout, values)
        if "ATTACH_PASID_TABLE" in self._generation.numbers:
            return self._call("ATTACH_PASID_TABLE", 0, body)
        return self._call("SET_PASID_TABLE", 0 if self._generation.name == _V3 else _SET, body)

    def unset_pasid_table(self):
        """SET_PASID_TABLE with UNSET, or DETACH_PASID_TABLE."""
        if "DETACH_PASID_TABLE" in self._generation.numbers:
            return self._container.ioctl(self._generation.numbers["DETACH_PASID_TABLE"])
        return self._call("SET_PASID_TABLE", _UNSET, bytes(self._generation.pasid_table.size))

    def invalidate(self, **values):
        """CACHE_INVALIDATE with these fields of the structure."""
        layout = self._generation.invalidate
        return self._call("CACHE_INVALIDATE", 0, self._pack(layout, {"version": 1, **values}))

    def bind_msi(self, iova, gpa, size=0x1000):
        """BIND_MSI, or SET_MSI_BINDING with BIND."""
        return self._binding("BIND_MSI", _SET, iova=iova, gpa=gpa, size=size)

    def unbind_msi(self, iova):
        """UNBIND_MSI, or SET_MSI_BINDING with UNBIND."""
        return self._binding("UNBIND_MSI", _UNSET, iova=iova)

    def _pack(self, layout, values):
        if self._generation.argsz:
            values["argsz"] = layout.size
        return layout.pack(**values)

    def _call(self, name, flags, body):
        argument = struct.pack("<II", 8 + len(body), flags) + body
        return self._container.ioctl(self._generation.numbers[name], bytearray(argument))

    def _binding(self, name, flags, **values):
        layout = self._generation.binding
        if "SET_MSI_BINDING" in self._generation.numbers:
            name = "SET_MSI_BINDING"
        else:
            flags = 0
        return self._container.ioctl(self._generation.numbers[name], bytearray(layout.pack(
            argsz=layout.size, flags=flags, **values)))
