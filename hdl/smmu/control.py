from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.bus.axi import AXI4
from smmu.bus.axil import AXI4Lite
from smmu.params import Params
from smmu.payloads import (
    CounterIncrements, FaultRecord, Invalidation, Overrides, RemapAnswer, RemapQuery, StrtabConfig,
    TableData, TableRead, WalkAttributes)
from smmu.queues.barrier import Barrier
from smmu.queues.command_queue import CommandQueue
from smmu.queues.event_queue import EventQueue
from smmu.queues.interrupts import Interrupts
from smmu.queues.invalidation_arbiter import InvalidationArbiter
from smmu.queues.remap import Remap
from smmu.queues.remap_flush import RemapFlush
from smmu.queues.remap_registers import RemapRegisters
from smmu.queues.table_master import TableMaster
from smmu.regs.registers import Registers

__all__ = ["Control"]


class Control(wiring.Component):
    """Everything that software sees but the translation: registers, queues, interrupts, remap.

    Timing
        As the parts say. `remap_answer` comes 2 cycles after `remap_query`.

    Members
    -------
    s_axil : AXI4-Lite slave
        The register frame.
    m_axi_tbl : AXI4 manager
        All accesses of the SMMU itself.
    irq_eventq, irq_gerror, irq_cmdq_sync, irq_priq : :py:`Out(1)`
        Pulses of one cycle; `irq_priq` is 0.
    reads : :py:`In(stream.Signature(TableRead))`
    data : :py:`Out(stream.Signature(TableData))`
        Reads of walks.
    records : :py:`In(stream.Signature(FaultRecord))`
        Not more than one register may lie between these and a record's acceptance elsewhere.
    invalidations : :py:`Out(stream.Signature(Invalidation))`
    caches_busy : :py:`In(1)`
        An invalidation is not carried out. Valid from the cycle after its transfer.
    walks_marked : :py:`In(1)`
        A walk is active that an invalidation caught.
    snapshot : :py:`Out(1)`
        Strobe: mark what is in the translation buffers.
    undecided, unfinished : :py:`In(1)`
        What is left of it. Valid from the second cycle after the snapshot on.
    remap_query : :py:`In(RemapQuery)`
    remap_answer : :py:`Out(RemapAnswer)`
    smmuen, gbpa_abort : :py:`Out(1)`
    gbpa_overrides : :py:`Out(Overrides)`
    strtab : :py:`Out(StrtabConfig)`
    table_attrs : :py:`Out(WalkAttributes)`
    e2h, recinvsid : :py:`Out(1)`
        Configuration. The first three change at any time, the others while SMMUEN is 0.
    counts : :py:`In(CounterIncrements)`
    """

    def __init__(self, params: Params = Params()):
        self.params = params
        super().__init__({
            "s_axil": In(AXI4Lite(addr_width=20, data_width=64)),
            "m_axi_tbl": Out(AXI4(id_width=6, addr_width=params.oas, data_width=params.data_width,
                                  awuser_width=2, aruser_width=2)),
            "irq_eventq": Out(1), "irq_gerror": Out(1), "irq_cmdq_sync": Out(1), "irq_priq": Out(1),
            "reads": In(stream.Signature(TableRead)),
            "data": Out(stream.Signature(TableData)),
            "records": In(stream.Signature(FaultRecord)),
            "invalidations": Out(stream.Signature(Invalidation)),
            "caches_busy": In(1), "walks_marked": In(1),
            "snapshot": Out(1), "undecided": In(1), "unfinished": In(1),
            "remap_query": In(RemapQuery), "remap_answer": Out(RemapAnswer),
            "smmuen": Out(1), "gbpa_abort": Out(1), "gbpa_overrides": Out(Overrides),
            "strtab": Out(StrtabConfig), "table_attrs": Out(WalkAttributes),
            "e2h": Out(1), "recinvsid": Out(1),
            "counts": In(CounterIncrements),
        })

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.registers = self.registers = Registers(params)
        m.submodules.command_queue = self.commands = CommandQueue(params)
        m.submodules.event_queue = self.events = EventQueue()
        m.submodules.interrupts = self.interrupts = Interrupts(params)
        m.submodules.table_master = self.master = TableMaster(params)
        m.submodules.invalidation_arbiter = self.arbiter = InvalidationArbiter()
        self._outside(m)
        self._queues(m)
        self._interrupts(m)
        self._barrier(m)
        self._remap(m)
        return m

    def _outside(self, m):
        registers, master = self.registers, self.master
        connect(m, flipped(self.s_axil), registers.s_axil)
        connect(m, master.m_axi, flipped(self.m_axi_tbl))
        connect(m, flipped(self.reads), master.reads)
        connect(m, master.data, flipped(self.data))
        connect(m, flipped(self.records), self.events.records)
        connect(m, self.arbiter.o, flipped(self.invalidations))
        m.d.comb += registers.counts.eq(self.counts)
        for name in ("smmuen", "gbpa_abort", "gbpa_overrides", "strtab", "table_attrs", "e2h",
                     "recinvsid"):
            m.d.comb += getattr(self, name).eq(getattr(registers, name))

    def _queues(self, m):
        registers, commands, events = self.registers, self.commands, self.events
        connect(m, commands.reads, self.master.command_reads)
        connect(m, self.master.command_data, commands.data)
        connect(m, events.writes, self.master.records)
        connect(m, commands.invalidations, self.arbiter.commands)
        m.d.comb += [
            commands.queue.eq(registers.cmdq),
            registers.cmdq_update.eq(commands.update),
            commands.e2h.eq(registers.e2h),
            commands.hold.eq(self.arbiter.hold),
            commands.caches_busy.eq(self.caches_busy),
            commands.walks_marked.eq(self.walks_marked),
            events.queue.eq(registers.eventq),
            registers.eventq_update.eq(events.update),
            events.write_done.eq(self.master.record_done),
            events.mark.eq(commands.mark_events),
            commands.events_drained.eq(events.drained),
        ]

    def _interrupts(self, m):
        registers, interrupts = self.registers, self.interrupts
        connect(m, self.commands.msis, interrupts.sync_msis)
        connect(m, interrupts.writes, self.master.msis)
        m.d.comb += [
            interrupts.eventq_rise.eq(self.events.rise),
            interrupts.gerror_rise.eq(registers.gerror_rise),
            interrupts.eventq_irqen.eq(registers.eventq_irqen),
            interrupts.gerror_irqen.eq(registers.gerror_irqen),
            interrupts.eventq_msi.eq(registers.eventq_msi),
            interrupts.gerror_msi.eq(registers.gerror_msi),
            interrupts.write_done.eq(self.master.msi_done),
            registers.eventq_msi_idle.eq(interrupts.eventq_idle),
            registers.gerror_msi_idle.eq(interrupts.gerror_idle),
            registers.msi_aborts.eq(interrupts.aborts),
            self.commands.msi_done.eq(interrupts.sync_done),
            self.irq_eventq.eq(interrupts.irq_eventq),
            self.irq_gerror.eq(interrupts.irq_gerror),
            self.irq_cmdq_sync.eq(self.commands.irq),
        ]

    def _barrier(self, m):
        registers, commands = self.registers, self.commands
        m.submodules.barrier = barrier = Barrier()
        m.d.comb += [
            barrier.sync.eq(commands.barrier),
            commands.barrier_done.eq(barrier.sync_done),
            barrier.smmuen.eq(registers.smmuen_changing),
            registers.smmuen_done.eq(barrier.smmuen_done),
            barrier.gbpa.eq(registers.gbpa_changing),
            registers.gbpa_done.eq(barrier.gbpa_done),
            self.snapshot.eq(barrier.snapshot),
            barrier.undecided.eq(self.undecided),
            barrier.unfinished.eq(self.unfinished),
        ]

    def _remap(self, m):
        registers = self.registers
        m.submodules.remap = remap = Remap(self.params)
        m.submodules.remap_registers = entries = RemapRegisters(self.params)
        m.submodules.remap_flush = flush = RemapFlush()
        connect(m, registers.remap, entries.accesses)
        connect(m, entries.answers, registers.remap_data)
        connect(m, flush.flushes, self.arbiter.flushes)
        m.d.comb += [
            remap.enable.eq(registers.remap_enable),
            remap.do_write.eq(entries.do_write),
            remap.write.eq(entries.write),
            remap.query.eq(self.remap_query),
            self.remap_answer.eq(remap.answer),
            flush.changed.eq(entries.changed | registers.remap_changed),
            flush.caches_busy.eq(self.caches_busy),
            registers.remap_busy.eq(flush.busy),
        ]
