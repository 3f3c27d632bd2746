"""The kernel's driver of one ITS: command queue, tables, devices and their LPIs."""

from smmu_sim.irq.its_tables import ENTRY_BYTES
from smmu_sim.irq.layouts import BASER, CBASER, COMMAND, CREADR, CTLR, CWRITER, Opcode, TYPER
from smmu_sim.irq.lpi_pool import LPIPool
from smmu_sim.linux_error import LinuxError

__all__ = ["ITSDevice", "ITSDriver"]

_QUEUE_BYTES, _COMMAND_BYTES, _PAGE = 0x1_0000, 32, 4096
_TABLE_PAGE, _PAGE_64K = 0x1_0000, 2   # BASER.Page_Size
_CTLR, _TYPER, _CBASER, _CWRITER, _CREADR = 0x00, 0x08, 0x80, 0x88, 0x90
_BASER_DEVICES, _BASER_COLLECTIONS = 0x100, 0x108
_WB, _ISH = 7, 1
_ITT_ALIGN = 256
_EVENTS_OF_DEVICE_0 = 32  # systems that do not wire DeviceIDs have all their devices there


class ITSDevice:
    """One DeviceID: its ITT, its LPIs, and which of its events are taken."""

    def __init__(self, device_id, events, lpi_base, itt, itt_bytes):
        self.device_id, self.events, self.lpi_base = device_id, events, lpi_base
        self.itt, self.itt_bytes = itt, itt_bytes
        self.used, self.shared = set(), False


class ITSDriver:
    """Program one ITS through its registers and its command queue (Linux 7.0: irq-gic-v3-its.c).

    Parameters
    ----------
    its
        The :class:`ITS`. Its ``driver`` becomes this.
    allocator
        Memory for queue and tables: ``alloc(size)``, ``free(addr, size)``, aligned to its size.
    lpis
        The :class:`LPIPool` of the machine; by default one of its own.
    cpus
        Number of redistributors; collection n belongs to redistributor n.

    Attributes
    ----------
    log
        Commands in the order in which they were issued, as integers.
    """

    def __init__(self, its, allocator, *, lpis=None, cpus=1):
        self.its, self.memory, self.allocator = its, its.memory, allocator
        self.lpis = LPIPool(its.lpi_bits) if lpis is None else lpis
        self.cpus, self.devices, self.log = cpus, {}, []
        self._write_offset = 0
        self.device_bits = TYPER.get(self._read64(_TYPER), "Devbits") + 1
        self._start()
        its.driver = self

    def _read64(self, offset):
        return self.memory.read64(self.its.base + offset)

    def _write64(self, offset, value):
        self.memory.write64(self.its.base + offset, value)

    def _start(self):
        self.memory.write32(self.its.base + _CTLR, 0)
        self._table(_BASER_DEVICES, ENTRY_BYTES << self.device_bits)
        self._table(_BASER_COLLECTIONS, ENTRY_BYTES * self.cpus)
        self._queue = self.allocator.alloc(_QUEUE_BYTES)
        self._write64(_CBASER, self._queue | CBASER.pack(
            Valid=1, InnerCache=_WB, Shareability=_ISH, Size=_QUEUE_BYTES // _PAGE - 1))
        self._write64(_CWRITER, 0)
        self.memory.write32(self.its.base + _CTLR, CTLR.pack(Enabled=1))
        for cpu in range(self.cpus):
            self.issue(Opcode.MAPC, V=1, ICID=cpu, RDbase=cpu)
            self.issue(Opcode.INVALL, ICID=cpu)

    def _table(self, offset, size):
        size = max(size, _TABLE_PAGE)
        self._write64(offset, self.allocator.alloc(size) | BASER.pack(
            Valid=1, InnerCache=_WB, Shareability=_ISH, Page_Size=_PAGE_64K,
            Size=size // _TABLE_PAGE - 1))

    def issue(self, opcode, **fields):
        """Issue one command and SYNC, and wait until the ITS has read both.

        Raises ETIMEDOUT if it does not, after a bus error on its queue or tables.
        """
        for raw in (COMMAND.pack(Opcode=opcode, **fields), COMMAND.pack(Opcode=Opcode.SYNC)):
            self.memory.write(self._queue + self._write_offset,
                              raw.to_bytes(_COMMAND_BYTES, "little"))
            self._write_offset = (self._write_offset + _COMMAND_BYTES) % _QUEUE_BYTES
            self.log.append(raw)
        self._write64(_CWRITER, CWRITER.pack(Offset=self._write_offset // _COMMAND_BYTES))
        reader = self._read64(_CREADR)
        if CREADR.get(reader, "Offset") * _COMMAND_BYTES != self._write_offset:
            raise LinuxError("ETIMEDOUT", f"{self.its.name}: GITS_CREADR is {reader:#x}, not "
                                          f"{self._write_offset:#x}")

    # Devices

    def get_device(self, device_id, vectors, minimum=1):
        """Return the :class:`ITSDevice` of a DeviceID, made for ``vectors`` if it is new.

        Linux rounds up to a power of two, and gives DeviceID 0 at least 32 events. A DeviceID that
        is there is shared from then on, with the events that it has. Raises ENOMEM if the DeviceID
        is too wide, or LPIs or memory run out.
        """
        if device_id in self.devices:
            self.devices[device_id].shared = True
            return self.devices[device_id]
        if device_id >> self.device_bits:
            raise LinuxError("ENOMEM", f"DeviceID {device_id:#x} has more than {self.device_bits} "
                                       f"bits, which {self.its.name} has")
        minimum = max(minimum, _EVENTS_OF_DEVICE_0 if device_id == 0 else 1)
        events = 1 << (max(vectors, minimum) - 1).bit_length()
        entries = max(events, 2)
        itt_bytes = max(entries * ENTRY_BYTES, _ITT_ALIGN)
        try:
            lpi_base = self.lpis.alloc(events)
        except LinuxError as error:
            raise LinuxError("ENOMEM", error.reason) from None
        try:
            itt = self.allocator.alloc(itt_bytes)
        except Exception as error:
            self.lpis.free(lpi_base, events)
            raise LinuxError("ENOMEM", f"no memory for an ITT: {error}") from None
        device = ITSDevice(device_id, events, lpi_base, itt, itt_bytes)
        self.issue(Opcode.MAPD, DeviceID=device_id, V=1, Size=(entries - 1).bit_length() - 1,
                   ITT=itt >> 8)
        self.devices[device_id] = device
        return device

    def put_device(self, device):
        """Unmap a DeviceID that has no event left, unless it is shared."""
        if device.used or device.shared or self.devices.get(device.device_id) is not device:
            return
        self.issue(Opcode.MAPD, DeviceID=device.device_id)
        self.allocator.free(device.itt, device.itt_bytes)
        self.lpis.free(device.lpi_base, device.events)
        del self.devices[device.device_id]

    # Events

    def alloc_event(self, device):
        """Take the lowest free EventID of a device. Raises ENOSPC."""
        event = next((n for n in range(device.events) if n not in device.used), None)
        if event is None:
            raise LinuxError("ENOSPC", f"all {device.events} events of DeviceID "
                                       f"{device.device_id:#x} are taken")
        device.used.add(event)
        return event

    def activate(self, device, event, cpu=0):
        """Map an event to its LPI."""
        self.issue(Opcode.MAPTI, DeviceID=device.device_id, EventID=event,
                   pINTID=device.lpi_base + event, ICID=cpu)
        self.issue(Opcode.INV, DeviceID=device.device_id, EventID=event)

    def deactivate(self, device, event):
        """Take the mapping of an event away; a pending LPI is no longer pending."""
        self.issue(Opcode.DISCARD, DeviceID=device.device_id, EventID=event)
