"""What the commands of an ITS do (IHI 0069: 5.3)."""

from smmu_sim.irq.layouts import COMMAND, CTE, DTE, ITE, Opcode
from smmu_sim.irq.lpi_pool import FIRST_LPI

__all__ = ["CommandIgnored", "ITSCommands"]

_NO_EFFECT = (Opcode.SYNC, Opcode.INVALL)  # nothing is cached, and everything is done at once


class CommandIgnored(Exception):
    """A command in error: it has no effect. The message names the command and the reason."""


class ITSCommands:
    """Execute commands of one ITS."""

    def __init__(self, its, tables):
        self.its, self.tables = its, tables
        self._by_opcode = {
            Opcode.MAPD: self._mapd, Opcode.MAPC: self._mapc, Opcode.MAPTI: self._mapti,
            Opcode.MAPI: self._mapi, Opcode.MOVI: self._movi, Opcode.MOVALL: self._movall,
            Opcode.DISCARD: self._discard, Opcode.INT: self._int, Opcode.CLEAR: self._clear,
            Opcode.INV: self._inv}

    def execute(self, raw):
        """Execute one command.

        Raises :exc:`CommandIgnored` if it is in error, :exc:`BusAbort` if a table can't be reached.
        """
        opcode = COMMAND.get(raw, "Opcode")
        if opcode in _NO_EFFECT:
            return
        if opcode not in self._by_opcode:
            raise CommandIgnored(f"opcode {opcode:#x} is not a command")
        self._by_opcode[opcode](raw)

    # Mappings

    def _mapd(self, raw):
        device_id, size = COMMAND.get(raw, "DeviceID"), COMMAND.get(raw, "Size")
        slot = self.tables.device_slot(device_id)
        if slot is None:
            raise CommandIgnored(f"MAPD: the device table has no place for DeviceID {device_id:#x}")
        if not COMMAND.get(raw, "V"):
            self.its.memory.write64(slot, 0)
            return
        if size + 1 > self.its.event_bits:
            raise CommandIgnored(f"MAPD: {size + 1} bits of EventID; there are "
                                 f"{self.its.event_bits}")
        self.its.memory.write64(slot, DTE.pack(V=1, Size=size, ITT=COMMAND.get(raw, "ITT")))

    def _mapc(self, raw):
        icid = COMMAND.get(raw, "ICID")
        slot = self._collection_slot("MAPC", icid)
        valid = COMMAND.get(raw, "V")
        self.its.memory.write64(
            slot, CTE.pack(V=1, RDbase=COMMAND.get(raw, "RDbase")) if valid else 0)

    def _collection_slot(self, command, icid):
        slot = self.tables.collection_slot(icid)
        if slot is None:
            raise CommandIgnored(f"{command}: the collection table has no place for ICID {icid}")
        return slot

    def _mapti(self, raw):
        self._map_event("MAPTI", raw, COMMAND.get(raw, "pINTID"))

    def _mapi(self, raw):
        self._map_event("MAPI", raw, COMMAND.get(raw, "EventID"))

    def _map_event(self, command, raw, lpi):
        slot, icid = self._event_slot(command, raw), COMMAND.get(raw, "ICID")
        self._collection_slot(command, icid)
        if not FIRST_LPI <= lpi < 1 << self.its.lpi_bits:
            raise CommandIgnored(f"{command}: {lpi} is not the number of an LPI")
        self.its.memory.write64(slot, ITE.pack(V=1, pINTID=lpi, ICID=icid))

    # Events

    def _device(self, command, raw):
        device_id = COMMAND.get(raw, "DeviceID")
        device = self.tables.device(device_id)
        if device is None:
            raise CommandIgnored(f"{command}: DeviceID {device_id:#x} is not mapped")
        return device

    def _event_slot(self, command, raw):
        event_id = COMMAND.get(raw, "EventID")
        slot = self.tables.event_slot(self._device(command, raw), event_id)
        if slot is None:
            raise CommandIgnored(f"{command}: EventID {event_id} is beyond the ITT")
        return slot

    def _event(self, command, raw):
        """Return (address of the ITE, ITE) of a mapped event."""
        slot = self._event_slot(command, raw)
        event = self.tables.event(self._device(command, raw), COMMAND.get(raw, "EventID"))
        if event is None:
            raise CommandIgnored(f"{command}: EventID {COMMAND.get(raw, 'EventID')} is not mapped")
        return slot, event

    def _redistributor(self, command, icid):
        collection = self.tables.collection(icid)
        if collection is None:
            raise CommandIgnored(f"{command}: collection {icid} is not mapped")
        return CTE.get(collection, "RDbase")

    def _movi(self, raw):
        slot, event = self._event("MOVI", raw)
        lpi, icid = ITE.get(event, "pINTID"), COMMAND.get(raw, "ICID")
        target = self._redistributor("MOVI", icid)
        old = self.its.redistributor(lpi)
        self.its.memory.write64(slot, ITE.pack(V=1, pINTID=lpi, ICID=icid))
        if old is not None:
            self.its.move_pending(old, target, lpi)

    def _movall(self, raw):
        self.its.move_pending(COMMAND.get(raw, "RDbase"), COMMAND.get(raw, "RDbase2"))

    def _discard(self, raw):
        slot, event = self._event("DISCARD", raw)
        self.its.clear_pending(ITE.get(event, "pINTID"))
        self.its.memory.write64(slot, 0)

    def _int(self, raw):
        _, event = self._event("INT", raw)
        self.its.set_pending(ITE.get(event, "pINTID"),
                             self._redistributor("INT", ITE.get(event, "ICID")))

    def _clear(self, raw):
        _, event = self._event("CLEAR", raw)
        self.its.clear_pending(ITE.get(event, "pINTID"))

    def _inv(self, raw):
        self._event("INV", raw)  # there are no LPI configurations to read again
