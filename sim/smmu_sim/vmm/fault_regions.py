"""Reading the fault regions of a VFIO device, and making event records of what is in them."""

import struct
from typing import NamedTuple

from smmu.formats.core import fields
from smmu.formats.events import CLASS, EVENTS, EventType, pack_event
from smmu_sim.vfio.device_regions import CAP_TYPE, REGION_INFO
from smmu_sim.vfio.numbers import IOCTL, RegionIndex

__all__ = ["FaultReader"]

_INFO_BYTES = 256                     # room for the capabilities
_CAPABILITY = struct.Struct("<HHI")   # id, version, where the next one is
_TYPE = struct.Struct("<II")          # type, subtype
_SUBTYPE_FAULT, _SUBTYPE_CONSUMER = 1, 2
_ABI_VERSION = 1                      # of the two regions of V8
_WORDS = struct.Struct("<5I")         # both kinds of header
_UNRECOVERABLE = 1
_PASID_VALID, _READ, _EXEC, _PRIV = 1, 1, 4, 8

# enum iommu_fault_reason since v4 of the series, and in RFC v3.
_REASONS = {
    1: EventType.F_CD_FETCH, 2: EventType.C_BAD_CD, 3: EventType.C_BAD_SUBSTREAMID,
    4: EventType.F_WALK_EABT, 5: EventType.F_TRANSLATION, 6: EventType.F_PERMISSION,
    7: EventType.F_ACCESS, 8: EventType.F_ADDR_SIZE}
_REASONS_V3 = {
    2: EventType.F_CD_FETCH, 4: EventType.C_BAD_CD, 6: EventType.C_BAD_SUBSTREAMID,
    8: EventType.F_WALK_EABT, 9: EventType.F_TRANSLATION, 10: EventType.F_PERMISSION,
    11: EventType.F_ACCESS, 12: EventType.F_ADDR_SIZE}


class _Fault(NamedTuple):
    event: EventType
    pasid: int | None
    perm: int
    addr: int
    fetch_addr: int


class FaultReader:
    """Takes the records of one device's stage 1 faults.

    Parameters
    ----------
    file
        The open device: ``ioctl``, ``read(offset, count)``, ``write(offset, data)``.
    generation
        :class:`Generation`.
    """

    def __init__(self, file, generation):
        self._file, self._generation = file, generation
        regions = dict(self._regions())
        self._ring = regions[_SUBTYPE_FAULT]
        self._consumer = regions.get(_SUBTYPE_CONSUMER) if generation.fault_regions == 2 else None
        if self._consumer is not None:
            file.write(self._consumer, _ABI_VERSION.to_bytes(4, "little"))
        self._index = 0

    def _regions(self):
        """Yield (subtype, file offset) of the regions for nesting."""
        index = int(RegionIndex.COUNT)
        while True:
            argument = bytearray(REGION_INFO.pack(argsz=_INFO_BYTES, index=index)
                                 .ljust(_INFO_BYTES, b"\0"))
            try:
                self._file.ioctl(IOCTL.DEVICE_GET_REGION_INFO, argument)
            except OSError:  # there is no such region: that was the last one
                return
            info = REGION_INFO.unpack(argument)
            at = info["cap_offset"]
            while at:
                number, _, following = _CAPABILITY.unpack_from(argument, at)
                if number == CAP_TYPE:
                    type_, subtype = _TYPE.unpack_from(argument, at + _CAPABILITY.size)
                    if type_ == self._generation.nested_region_type:
                        yield subtype, info["offset"]
                at = following
            index += 1

    def take(self, vsid):
        """Return the new event records, with ``vsid`` as their StreamID."""
        header = _WORDS.unpack(self._file.read(self._ring, _WORDS.size))
        if self._consumer is None:
            _, size, entries, offset, produced = header
        else:
            _, entries, size, offset, produced = header
        records, start = [], self._index
        while self._index != produced:
            raw = self._file.read(self._ring + offset + self._index * size, size)
            fault = self._decode(raw)
            if fault is not None:
                records.append(_record(vsid, fault))
            self._index = (self._index + 1) % entries
        if self._index != start:
            self._give_back()
        return records

    def _give_back(self):
        index = self._index.to_bytes(4, "little")
        if self._consumer is None:
            self._file.write(self._ring, index)
        else:
            self._file.write(self._consumer, _ABI_VERSION.to_bytes(4, "little") + index)

    def _decode(self, raw):
        if self._generation.name == "v3":
            (type_, reason, addr, fetch_addr, pasid, _, _, pasid_valid, prot,
             _) = struct.unpack_from("<IIQQIIIIII", raw)
            events, valid, perm = _REASONS_V3, pasid_valid, prot
        else:
            type_, _, reason, flags, pasid, perm, addr, fetch_addr = struct.unpack_from(
                "<IIIIIIQQ", raw)
            events, valid = _REASONS, flags & _PASID_VALID
        if type_ != _UNRECOVERABLE or reason not in events:
            return None
        return _Fault(events[reason], pasid if valid else None, perm, addr, fetch_addr)


def _record(vsid, fault):
    """Return the event record of the guest. What the host does not tell is 0."""
    values = {"StreamID": vsid, "SSV": fault.pasid is not None, "SubstreamID": fault.pasid or 0,
              "RnW": bool(fault.perm & _READ), "InD": bool(fault.perm & _EXEC),
              "PnU": bool(fault.perm & _PRIV), "InputAddr": fault.addr,
              "FetchAddr": fault.fetch_addr >> 3, "CLASS": CLASS.IN}
    if fault.event == EventType.F_WALK_EABT:
        values["CLASS"] = CLASS.TT
    known = fields(EVENTS[fault.event])
    return pack_event(fault.event, {name: value for name, value in values.items()
                                    if name in known})
