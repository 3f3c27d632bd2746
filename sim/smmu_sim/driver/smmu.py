"""The driver of one SMMUv3: probe, reset, streams, domains, invalidation, events."""

from collections import deque
from typing import NamedTuple

from smmu.formats.core import pack
from smmu.formats.registers import COUNTERS, GBPA

from smmu_sim.driver import commands, entries, invalidation
from smmu_sim.driver.attachments import Attachments
from smmu_sim.driver.bring_up import bring_up
from smmu_sim.driver.command_queue import CommandQueue
from smmu_sim.driver.context_descriptors import ContextDescriptorTable
from smmu_sim.driver.domain import BlockedDomain, IdentityDomain
from smmu_sim.driver.domain_interface import DomainInterface
from smmu_sim.driver.doorbell_remap import DoorbellRemap
from smmu_sim.driver.errors import DriverError
from smmu_sim.driver.event_queue import EventQueue
from smmu_sim.driver.event_router import EventRouter
from smmu_sim.driver.features import probe
from smmu_sim.driver.global_errors import GlobalErrors
from smmu_sim.driver.masters import MasterTree
from smmu_sim.driver.page_request_queue import PageRequestQueue
from smmu_sim.driver.registers import Registers
from smmu_sim.driver.stream_table import StreamTable
from smmu_sim.driver.tags import TagAllocator
from smmu_sim.pagetable import PageTable

__all__ = ["MSI", "SMMUv3Driver"]

_SPLIT = 8
_REFUSED_KEPT = 1024
_UPDATE = pack(GBPA, {"Update": 1})
_TWO_LEVEL_ABOVE = 8     # StreamID bits
_SOURCES = ("eventq", "gerror", "priq")


class MSI(NamedTuple):
    """Where one of the SMMU's own interrupts is written to, and what."""

    addr: int
    data: int


class SMMUv3Driver(DomainInterface):
    """Drive one SMMUv3.

    :meth:`probe` and :meth:`reset` come first. Then devices are added and attached to domains
    (:meth:`add_master`, :meth:`attach`); or single STEs are written with :meth:`set_ste`.
    Nothing runs by itself: :meth:`service` is what an interrupt handler would do.

    Parameters
    ----------
    backend
        The register slave, and ``wait(clocks)``.
    allocator
        :class:`PageAllocator` for queues and tables. Its memory is that of the backend, or what a
        guest sees of it.
    msis
        ``{"eventq": MSI, "gerror": MSI, "priq": MSI}``, or some of them: these interrupts are
        MSIs, others are wires.
    sync_by_msi
        How CMD_SYNC tells of its end; by default as an MSI where the SMMU can and is coherent.
    cmdq_log2size, eventq_log2size
        Sizes of the queues, if the SMMU can do that.
    two_level
        Make a two-level stream table; by default if there are more than 8 StreamID bits.
    e2h
        CR2.E2H.
    rmr_sids
        StreamIDs that firmware lets devices use all the time (reserved memory): they bypass from
        the first moment on.
    timeout
        Clocks after which a wait gives up.
    """

    def __init__(self, backend, allocator, *, msis=None, sync_by_msi=None, cmdq_log2size=8,
                 eventq_log2size=7, two_level=None, e2h=False, rmr_sids=(), timeout=200_000):
        unknown = set(msis or ()) - set(_SOURCES)
        if unknown:
            raise DriverError(f"msis has {sorted(unknown)}; it knows {', '.join(_SOURCES)}")
        self.allocator, self.memory = allocator, allocator.memory
        self.registers = Registers(backend, timeout)
        self.features, self.refused = None, deque(maxlen=_REFUSED_KEPT)
        self.e2h = e2h
        self._msis, self._sync_by_msi = msis or {}, sync_by_msi
        self._log2sizes, self._two_level = (cmdq_log2size, eventq_log2size), two_level
        self._rmr_sids, self._running = tuple(rmr_sids), False
        self.attachments = Attachments(self)
        self.events = EventRouter(self.find_master, self.issue)

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
            sync_by_msi=by_msi, handle_errors=lambda: self.errors.handle_command_queue())
        self.event_queue = EventQueue(self.registers, self.memory, self.allocator,
                                      min(eventq, features.EVENTQS))
        self.errors = GlobalErrors(self.registers, self.command_queue)
        two_level = features.SIDSIZE > _TWO_LEVEL_ABOVE if self._two_level is None \
            else self._two_level
        if two_level and not features.two_level_stream_table:
            raise DriverError("IDR0.ST_LEVEL is 0: the stream table must be linear")
        self.stream_table = StreamTable(self.memory, self.allocator, features.SIDSIZE,
                                        _SPLIT if two_level else None)
        for sid in self._rmr_sids:
            self.stream_table.write(sid, entries.bypass_ste(), lambda leaf: None)
        if features.PRI:
            self.page_request_queue = PageRequestQueue(
                self.registers, self.memory, self.allocator, features.PRIQS, self.issue)
        self.asids = TagAllocator("ASID", features.asid_bits, "EBUSY")
        self.vmids = TagAllocator("VMID", features.vmid_bits, "ENOSPC")
        self.masters = MasterTree(features.SIDSIZE)
        self.identity, self.blocked = IdentityDomain(self), BlockedDomain(self)
        self.remap = DoorbellRemap(self.registers, self.sync)
        return features

    def reset(self):
        """Bring the SMMU into service, in Linux's order. All streams abort that were not set."""
        if self.features is None:
            self.probe()
        self._running = False
        bring_up(self, self._msis)
        self._running = True

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
        return self.set_ste(sid, entries.ABORT)

    def ensure_ste(self, sid):
        """Return the address of an STE; its level 2 table is made if need be."""
        def invalidate():
            if self._running:
                self.issue([commands.cfgi_ste(sid, False)])

        return self.stream_table.ensure(sid, invalidate)

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
            batch = invalidation.stage1_range(addr, size, asid=asid, e2h=self.e2h, **common)
        else:
            batch = invalidation.stage2_range(addr, size, nested=nested, **common)
        self.issue(batch)
        table.release(removed)
        return removed.size

    # --- interrupts ------------------------------------------------------------------------------

    def service(self):
        """Do what the interrupts ask for; return the events that no handler took."""
        self.errors.handle()
        left = [event for event in self.event_queue.drain() if not self.events.route(event)]
        if self.features.PRI:
            self.page_request_queue.drain()
        return left

    def counters(self):
        """Return ``{name: value}`` of the counters in the implementation-defined frame."""
        return {name: self.registers.read("COUNTER", n) for n, name in enumerate(COUNTERS)}

