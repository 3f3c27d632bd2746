"""The GICv3 Interrupt Translation Service: (DeviceID, EventID) to LPI."""

from collections import Counter, deque
from typing import NamedTuple

from smmu_sim.irq.its_commands import CommandIgnored, ITSCommands
from smmu_sim.irq.its_tables import ENTRY_BYTES, ITSTables
from smmu_sim.irq.layouts import BASER, CBASER, CREADR, CTE, CTLR, CWRITER, ITE, TYPER
from smmu_sim.irq.register_frame import Register, RegisterFrame
from smmu_sim.memory import BusAbort

__all__ = ["Arrival", "ITS", "TRANSLATER"]

_CTLR, _IIDR, _TYPER, _CBASER, _CWRITER, _CREADR = 0x00, 0x04, 0x08, 0x80, 0x88, 0x90
_BASER_DEVICES, _BASER_COLLECTIONS, _PIDR2 = 0x100, 0x108, 0xFFE8
_TYPE_DEVICES, _TYPE_COLLECTIONS = 1, 4
_ARCH_GICV3 = 0x30
_FRAME = 0x1_0000
TRANSLATER = 0x1_0040       # GITS_TRANSLATER, from the base of the ITS
_COMMAND_BYTES, _PAGE = 32, 4096
_HISTORY = 4096             # arrivals that are kept
_BASER_WRITABLE = BASER.mask("Size", "Page_Size", "Shareability", "ADDR", "OuterCache",
                             "InnerCache", "Valid")


class Arrival(NamedTuple):
    """One write that reached the doorbell. ``lpi`` is None if it was ignored, ``why`` says it."""

    device_id: int | None
    event_id: int
    lpi: int | None
    why: str


class ITS:
    """One ITS: 64 KiB of control registers at ``base``, and the translation page after it.

    Software programs it as a real one: GITS_CBASER, GITS_BASER0 (devices), GITS_BASER1
    (collections), then commands in the queue. Device table, collection table and ITTs are in
    memory; the contents of their entries are this model's own, as the architecture allows.
    Redistributors are not modelled: an LPI has no enable and no priority, it is pending or not.

    Writes of devices with a DeviceID or EventID that is not mapped are counted and ignored, as
    are those that are not 32 bits (or the lower 16) at GITS_TRANSLATER (IHI 0069: 5.2, 12.19).

    Parameters
    ----------
    memory, base
        Where it is; ``base`` is 64 KiB aligned.
    device_bits, event_bits
        Widths of DeviceID (TYPER.Devbits + 1) and EventID (TYPER.ID_bits + 1).
    lpi_bits
        INTID bits of the redistributors: LPIs are below ``2 ** lpi_bits``.
    own_device_id
        The DeviceID of writes that come with none: the SMMU's own MSIs, and software's. None:
        they are ignored.
    name
        For messages.

    Attributes
    ----------
    translater
        Physical address of GITS_TRANSLATER.
    counts
        ``Counter`` of what became of writes: "delivered" or why they were ignored.
    arrivals
        The latest writes, as :class:`Arrival`.
    command_errors
        Texts about commands that were ignored: in error, they have no effect and the queue goes on.
    driver
        The :class:`ITSDriver` that owns the command queue, None at first.
    """

    def __init__(self, memory, base, *, device_bits=16, event_bits=16, lpi_bits=16,
                 own_device_id=None, name="ITS"):
        if base % _FRAME:
            raise ValueError(f"base is {base:#x}; an ITS is 64 KiB aligned")
        self.memory, self.base, self.name = memory, base, name
        self.device_bits, self.event_bits, self.lpi_bits = device_bits, event_bits, lpi_bits
        self.own_device_id, self.driver = own_device_id, None
        self.translater = base + TRANSLATER
        self._tables = ITSTables(memory, device_bits)
        self._commands = ITSCommands(self, self._tables)
        self._listeners = []
        self._frame = RegisterFrame(memory, base, _FRAME, self._registers(), self._written)
        self._clear()
        memory.observe(range(self.translater, self.translater + 4), self._message)

    def _registers(self):
        typer = TYPER.pack(Physical=1, ITT_entry_size=ENTRY_BYTES - 1, ID_bits=self.event_bits - 1,
                           Devbits=self.device_bits - 1, CIDbits=15)
        baser = {"Entry_Size": ENTRY_BYTES - 1}
        return {
            _CTLR: Register(32, CTLR.mask("Enabled"), CTLR.pack(Quiescent=1)),
            _IIDR: Register(32),
            _TYPER: Register(64, 0, typer),
            _CBASER: Register(64, CBASER.mask(*CBASER.fields)),
            _CWRITER: Register(64, CWRITER.mask("Retry", "Offset")),
            _CREADR: Register(64),
            _BASER_DEVICES: Register(64, _BASER_WRITABLE, BASER.pack(Type=_TYPE_DEVICES, **baser)),
            _BASER_COLLECTIONS: Register(64, _BASER_WRITABLE,
                                         BASER.pack(Type=_TYPE_COLLECTIONS, **baser)),
            _PIDR2: Register(32, 0, _ARCH_GICV3)}

    def reset(self):
        """Give registers their reset values; forget pending LPIs, counts and arrivals."""
        self._frame.reset()
        self._clear()

    def _clear(self):
        self._pending = {}  # LPI: number of the redistributor
        self._tables.devices = self._tables.collections = 0
        self.counts, self.arrivals = Counter(), deque(maxlen=_HISTORY)
        self.command_errors = []

    # Pending LPIs

    @property
    def pending(self):
        """Pending LPIs, in the order in which they became so."""
        return list(self._pending)

    def take_pending(self, lpis=None):
        """Acknowledge pending LPIs, all or those in ``lpis``, and return them in order."""
        taken = [lpi for lpi in self._pending if lpis is None or lpi in lpis]
        for lpi in taken:
            del self._pending[lpi]
        return taken

    def redistributor(self, lpi):
        """Return the number of the redistributor at which an LPI is pending, or None."""
        return self._pending.get(lpi)

    def listen(self, call):
        """Call ``call(arrival)`` for every write to the doorbell, also for those ignored.

        It runs inside the write: it must not use the backend.
        """
        self._listeners.append(call)

    def set_pending(self, lpi, redistributor):
        """Make an LPI pending; what the ITS itself does for MSIs and the command INT."""
        self._pending.setdefault(lpi, redistributor)

    def clear_pending(self, lpi):
        """Make an LPI not pending, if it was."""
        self._pending.pop(lpi, None)

    def move_pending(self, redistributor, target, lpi=None):
        """Move what is pending at one redistributor, or only ``lpi``, to another."""
        for each, place in self._pending.items():
            if place == redistributor and lpi in (None, each):
                self._pending[each] = target

    # Registers

    @property
    def enabled(self):
        """GITS_CTLR.Enabled."""
        return bool(CTLR.get(self._frame[_CTLR], "Enabled"))

    def _written(self, offset, value, old):
        if offset == _CTLR:
            enabled = CTLR.get(value, "Enabled")
            self._frame[_CTLR] = CTLR.pack(Enabled=enabled, Quiescent=1 - enabled)
        elif offset in (_CBASER, _BASER_DEVICES, _BASER_COLLECTIONS):
            # While the ITS is enabled the architecture leaves the effect open: ignored.
            self._frame[offset] = old if self.enabled else value
            if offset == _CBASER and not self.enabled:
                self._frame[_CREADR] = 0
            self._tables.devices = self._frame[_BASER_DEVICES]
            self._tables.collections = self._frame[_BASER_COLLECTIONS]
        elif offset == _CWRITER:
            if CWRITER.get(value, "Offset") * _COMMAND_BYTES >= self._queue_bytes:
                self._frame[_CWRITER] = old
            elif CWRITER.get(value, "Retry"):
                self._frame[_CWRITER] = value & ~CWRITER.mask("Retry")
                self._frame[_CREADR] &= ~CREADR.mask("Stalled")
        self._run()

    @property
    def _queue_bytes(self):
        return (CBASER.get(self._frame[_CBASER], "Size") + 1) * _PAGE

    def _run(self):
        """Consume commands until there is none, or one cannot be read."""
        cbaser = self._frame[_CBASER]
        if not (self.enabled and CBASER.get(cbaser, "Valid")):
            return
        while not CREADR.get(self._frame[_CREADR], "Stalled"):
            read = CREADR.get(self._frame[_CREADR], "Offset") * _COMMAND_BYTES
            if read == CWRITER.get(self._frame[_CWRITER], "Offset") * _COMMAND_BYTES:
                return
            try:
                raw = self.memory.read((CBASER.get(cbaser, "ADDR") << 12) + read, _COMMAND_BYTES)
                self._commands.execute(int.from_bytes(raw, "little"))
            except BusAbort as abort:
                self.command_errors.append(str(abort))
                self._frame[_CREADR] |= CREADR.mask("Stalled")
                return
            except CommandIgnored as ignored:
                self.command_errors.append(str(ignored))
            read = (read + _COMMAND_BYTES) % self._queue_bytes
            self._frame[_CREADR] = CREADR.pack(Offset=read // _COMMAND_BYTES)

    # MSIs

    def _message(self, addr, data, device_id):
        self.memory.poke(self.translater, bytes(4))  # GITS_TRANSLATER is write-only
        event_id, lpi = int.from_bytes(data, "little"), None
        if device_id is None:
            device_id = self.own_device_id
        if addr != self.translater or len(data) not in (2, 4):
            why = "not 32 bits"
        elif not self.enabled:
            why = "disabled"
        elif device_id is None:
            why = "no DeviceID"
        else:
            try:
                lpi, why = self._translate(device_id, event_id)
            except BusAbort:
                why = "bus abort"
        self.counts[why] += 1
        self.arrivals.append(Arrival(device_id, event_id, lpi, why))
        for listener in self._listeners:
            listener(self.arrivals[-1])

    def _translate(self, device_id, event_id):
        """Make the LPI of an event pending; return (LPI, "delivered"), or (None, why not)."""
        device = self._tables.device(device_id)
        if device is None:
            return None, "unknown DeviceID"
        if self._tables.event_slot(device, event_id) is None:
            return None, "EventID out of range"
        event = self._tables.event(device, event_id)
        if event is None:
            return None, "unmapped EventID"
        collection = self._tables.collection(ITE.get(event, "ICID"))
        if collection is None:
            return None, "unmapped collection"
        self.set_pending(ITE.get(event, "pINTID"), CTE.get(collection, "RDbase"))
        return ITE.get(event, "pINTID"), "delivered"
