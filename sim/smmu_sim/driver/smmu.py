"""The driver of one SMMUv3: probe, reset, streams, invalidation, events."""

from typing import NamedTuple

from smmu.formats.commands import Opcode
from smmu.formats.core import pack
from smmu.formats.descriptors import SH
from smmu.formats.registers import COUNTERS, GBPA, IRQ_CFG0

from smmu_sim.driver import commands, invalidation
from smmu_sim.driver.command_queue import CommandQueue
from smmu_sim.driver.context_descriptors import ContextDescriptorTable
from smmu_sim.driver.doorbell_remap import DoorbellRemap
from smmu_sim.driver.entries import ABORT
from smmu_sim.driver.errors import DriverError
from smmu_sim.driver.event_queue import EventQueue
from smmu_sim.driver.features import probe
from smmu_sim.driver.global_errors import GlobalErrors
from smmu_sim.driver.registers import Registers
from smmu_sim.driver.stream_table import StreamTable
from smmu_sim.fields import address
from smmu_sim.pagetable import PageTable

__all__ = ["MSI", "SMMUv3Driver"]

_WB = 1                  # cacheability code of CR1
_MEMATTR_NGNRE = 0b0001
_SPLIT = 8
_UPDATE = pack(GBPA, {"Update": 1})
_TWO_LEVEL_ABOVE = 8     # StreamID bits


class MSI(NamedTuple):
    """Where one of the SMMU's own interrupts is written to, and what."""

    addr: int
    data: int


class SMMUv3Driver:
    """Drive one SMMUv3.

    :meth:`probe` and :meth:`reset` come first; then streams are attached with :meth:`set_ste`.
    Nothing runs by itself: :meth:`service` is what an interrupt handler would do.

    Parameters
    ----------
    backend
        The register slave, and ``wait(clocks)``.
    allocator
        :class:`PageAllocator` for queues and tables. Its memory is that of the backend, or what a
        guest sees of it.
    msis
        ``{"eventq": MSI, "gerror": MSI}``: these interrupts are MSIs, others are wires.
    sync_by_msi
        How CMD_SYNC tells of its end; by default as an MSI where the SMMU can and is coherent.
    cmdq_log2size, eventq_log2size
        Sizes of the queues, if the SMMU can do that.
    two_level
        Make a two-level stream table; by default if there are more than 8 StreamID bits.
    e2h
        CR2.E2H.
    timeout
        Clocks after which a wait gives up.
    """

    def __init__(self, backend, allocator, *, msis=None, sync_by_msi=None, cmdq_log2size=8,
                 eventq_log2size=7, two_level=None, e2h=False, timeout=200_000):
        unknown = set(msis or ()) - {"eventq", "gerror"}
        if unknown:
            raise DriverError(f"msis has {sorted(unknown)}; it knows eventq and gerror")
        self.allocator, self.memory = allocator, allocator.memory
        self.registers = Registers(backend, timeout)
        self.features = None
        self._msis, self._sync_by_msi, self._e2h = msis or {}, sync_by_msi, e2h
        self._log2sizes, self._two_level = (cmdq_log2size, eventq_log2size), two_level
        self._handlers = {}

    # --- probe and reset -------------------------------------------------------------------------

    def probe(self):
        """Decide what the SMMU can do, and make queues and stream table.

        Raises :exc:`ProbeError` with the reason if it cannot be driven.
        """
        self.features = features = probe(self.registers)
        by_msi = features.MSI and features.COHACC if self._sync_by_msi is None \
            else self._sync_by_msi
        if (by_msi or self._msis) and not features.MSI:
            raise DriverError("IDR0.MSI is 0: this SMMU sends no MSIs")
        cmdq, eventq = self._log2sizes
        self.command_queue = CommandQueue(
            self.registers, self.memory, self.allocator, min(cmdq, features.CMDQS),
            sync_by_msi=by_msi, handle_errors=lambda: self.errors.handle())
        self.event_queue = EventQueue(self.registers, self.memory, self.allocator,
                                      min(eventq, features.EVENTQS))
        self.errors = GlobalErrors(self.registers, self.command_queue)
        two_level = features.SIDSIZE > _TWO_LEVEL_ABOVE if self._two_level is None \
            else self._two_level
        if two_level and not features.two_level_stream_table:
            raise DriverError("IDR0.ST_LEVEL is 0: the stream table must be linear")
        self.stream_table = StreamTable(self.memory, self.allocator, features.SIDSIZE,
                                        _SPLIT if two_level else None)
        self.remap = DoorbellRemap(self.registers, self.sync)
        return features

    def reset(self):
        """Bring the SMMU into service, in Linux's order. All streams abort that were not set."""
        if self.features is None:
            self.probe()
        registers = self.registers
        if registers.field("CR0", "SMMUEN"):
            self.set_gbpa(ABORT=1)
        registers.write_acknowledged("CR0")
        registers.write("CR1", TABLE_SH=SH.ISH, TABLE_OC=_WB, TABLE_IC=_WB,
                        QUEUE_SH=SH.ISH, QUEUE_OC=_WB, QUEUE_IC=_WB)
        registers.write("CR2", PTM=1, RECINVSID=1, E2H=self._e2h)
        self.stream_table.set_up(registers)

        self.command_queue.set_up()
        enables = {"CMDQEN": 1}
        registers.write_acknowledged("CR0", **enables)
        self.errors.handle()
        self.issue([commands.cfgi_all()])
        if self.features.Hyp:
            self.issue([commands.tlbi(Opcode.CMD_TLBI_EL2_ALL)])
        self.issue([commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])

        self.event_queue.set_up()
        enables["EVENTQEN"] = 1
        registers.write_acknowledged("CR0", **enables)
        self._set_up_interrupts()
        registers.write_acknowledged("CR0", **enables, SMMUEN=1)

    def _set_up_interrupts(self):
        registers = self.registers
        registers.write_acknowledged("IRQ_CTRL")
        for source in ("gerror", "eventq") if self.features.MSI else ():
            registers.write(f"{source.upper()}_IRQ_CFG0")
        for source, msi in self._msis.items():
            name = f"{source.upper()}_IRQ_CFG"
            registers.write(name + "0", ADDR=address(IRQ_CFG0, "ADDR", msi.addr))
            registers.write(name + "1", DATA=msi.data)
            registers.write(name + "2", MemAttr=_MEMATTR_NGNRE)
        registers.write_acknowledged("IRQ_CTRL", EVENTQ_IRQEN=1, GERROR_IRQEN=1)

    def disable(self, *, abort=True):
        """Turn translation off: transactions abort, or bypass."""
        self.set_gbpa(ABORT=int(abort))
        self.registers.write_acknowledged("CR0")

    def set_gbpa(self, **fields):
        """Change fields of GBPA and wait until they count."""
        self.registers.poll("GBPA", lambda value: not value & _UPDATE, "lose Update")
        self.registers.write("GBPA", self.registers.read("GBPA"), **fields, Update=1)
        self.registers.poll("GBPA", lambda value: not value & _UPDATE, "lose Update")

    # --- commands --------------------------------------------------------------------------------

    def issue(self, batch, sync=True):
        """Issue commands and, with ``sync``, wait until they are complete."""
        self.command_queue.issue(batch, sync)

    def sync(self):
        """Wait until all commands are complete."""
        self.command_queue.sync()

    # --- streams ---------------------------------------------------------------------------------

    def set_ste(self, sid, ste):
        """Make ``ste`` the STE of a StreamID; return the number of CMD_SYNCs it took.

        No transaction sees a mixture. See :mod:`smmu_sim.driver.entries` for what to pass.
        """
        return self.stream_table.write(
            sid, ste, lambda leaf: self.issue([commands.cfgi_ste(sid, leaf)]))

    def detach(self, sid):
        """Let a StreamID abort silently."""
        return self.set_ste(sid, ABORT)

    def context_table(self, substreamid_bits=0, fmt=None):
        """Return a new CD table in the driver's memory."""
        if substreamid_bits > self.features.SSIDSIZE:
            raise DriverError(f"substreamid_bits is {substreamid_bits}; IDR1.SSIDSIZE is "
                              f"{self.features.SSIDSIZE}")
        return ContextDescriptorTable(self.memory, self.allocator, substreamid_bits, fmt)

    def set_cd(self, table, cd, ssid=0, *, sids=()):
        """Make ``cd`` a CD of a table that the STEs of ``sids`` point to."""
        def invalidate(ssid, leaf):
            if sids:
                self.issue([commands.cfgi_cd(sid, ssid, leaf) for sid in sids])

        return table.write(cd, ssid, invalidate)

    # --- page tables -----------------------------------------------------------------------------

    def page_table(self, **options):
        """Return a new :class:`PageTable` in the driver's memory, no larger than the SMMU can."""
        options.setdefault("granule", self.features.granules[0])
        options.setdefault("ia_bits", min(48, self.features.oas) if options.get("stage") == 2
                           else 48)
        options.setdefault("oa_bits", self.features.oas)
        if options["granule"] not in self.features.granules:
            raise DriverError(f"granule {options['granule']!r} is not one of "
                              f"{[g.name for g in self.features.granules]}")
        return PageTable(self.memory, self.allocator, **options)

    def unmap(self, table, addr, size, *, asid=None, vmid=0, nested=True):
        """Unmap a range, invalidate it, and free tables that became empty; return the bytes.

        Stage 1 needs the ``asid``; stage 2 the ``vmid`` and whether a stage 1 may lie over it.
        """
        removed = table.unmap(addr, size)
        if not removed.size:
            return 0
        leaf_size = next(iter(removed.leaves)) if len(removed.leaves) == 1 else None
        common = {"granule": table.granule, "ril": self.features.RIL, "vmid": vmid,
                  "leaf": not removed.tables, "leaf_size": leaf_size}
        if table.stage == 1:
            if asid is None:
                raise DriverError("unmapping in stage 1 needs the ASID")
            batch = invalidation.stage1_range(addr, size, asid=asid, e2h=self._e2h, **common)
        else:
            batch = invalidation.stage2_range(addr, size, nested=nested, **common)
        self.issue(batch)
        table.release(removed)
        return removed.size

    # --- interrupts ------------------------------------------------------------------------------

    def on_event(self, sid, handler):
        """Let ``handler(event)`` have the events of a StreamID; None takes it away."""
        if handler is None:
            self._handlers.pop(sid, None)
        else:
            self._handlers[sid] = handler

    def service(self):
        """Do what the interrupts ask for; return the events that no handler took."""
        self.errors.handle()
        left = []
        for event in self.event_queue.drain():
            handler = self._handlers.get(event.StreamID)
            if handler is None:
                left.append(event)
            else:
                handler(event)
        return left

    def counters(self):
        """Return ``{name: value}`` of the counters in the implementation-defined frame."""
        return {name: self.registers.read("COUNTER", n) for n, name in enumerate(COUNTERS)}

