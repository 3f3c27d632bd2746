from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.formats.commands import CERROR, CMD_SYNC, CS
from smmu.params import Params
from smmu.payloads import CommandQueueUpdate, Invalidation, MSIConfig, QueueConfig
from smmu.queues.command_decoder import CommandDecoder
from smmu.queues.command_fetch import CommandFetch
from smmu.queues.queue_index import INDEX_BITS, QueueIndex
from smmu.queues.table_master import CommandData, CommandRead

__all__ = ["CommandQueue"]


class DecodedCommand(data.Struct):
    aborted: 1
    illegal: 1
    sync: 1
    invalidates: 1
    invalidation: Invalidation
    cs: 2
    msi: MSIConfig


class CommandQueue(wiring.Component):
    """Consume commands: send out invalidations, complete CMD_SYNC, stop at an error.

    Spec
        IHI 0070: 3.5 (queues), 4.1 (errors, recovery), 4.7 (CMD_SYNC), 6.3 (CMDQ_CONS).
    Timing
        One command every 2 cycles at most. CONS passes an invalidation once it was taken. A
        CMD_SYNC takes the barrier after all earlier invalidations, then waits for the caches, for
        walks that an invalidation caught, for events, and for the MSI of the CMD_SYNC before. With
        nothing in flight it needs 7 cycles from the end of the last sweep to CMDQ_CONS. CONS
        changes before the interrupt and the MSI.
    Errors
        CERROR_ILL and CERROR_ABT: CMDQ_CONS.ERR, one cycle later CMDQ_ERR is raised. What was read
        ahead is discarded.

    Members
    -------
    queue : :py:`In(QueueConfig)`
    update : :py:`Out(CommandQueueUpdate)`
    e2h : :py:`In(1)`
    reads : :py:`Out(stream.Signature(CommandRead))`
    data : :py:`In(CommandData stream)`
    invalidations : :py:`Out(stream.Signature(Invalidation))`
    hold : :py:`In(1)`
        Keep the payload of `invalidations`, whether it is valid or not.
    barrier : :py:`Out(1)`
        Set until `barrier_done`: wait for all transactions that came before.
    barrier_done : :py:`In(1)`
    caches_busy : :py:`In(1)`
        An invalidation is not carried out. Valid from the cycle after it was taken.
    walks_marked : :py:`In(1)`
        A walk is active that an invalidation caught. Valid once `caches_busy` is 0.
    mark_events : :py:`Out(1)`
        Strobe: `events_drained` is about the records so far, from the next cycle on.
    events_drained : :py:`In(1)`
    msis : :py:`Out(stream.Signature(MSIConfig))`
    msi_done : :py:`In(1)`
        Strobe: the MSI taken last is visible or was aborted.
    irq : :py:`Out(1)`
        Strobe for each completed CMD_SYNC with CS = SIG_IRQ.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "queue": In(QueueConfig),
            "update": Out(CommandQueueUpdate),
            "e2h": In(1),
            "reads": Out(stream.Signature(CommandRead)),
            "data": In(stream.Signature(CommandData, always_ready=True)),
            "invalidations": Out(stream.Signature(Invalidation)),
            "hold": In(1),
            "barrier": Out(1),
            "barrier_done": In(1),
            "caches_busy": In(1),
            "walks_marked": In(1),
            "mark_events": Out(1),
            "events_drained": In(1),
            "msis": Out(stream.Signature(MSIConfig)),
            "msi_done": In(1),
            "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = self.fetch = fetch = CommandFetch()
        connect(m, fetch.reads, flipped(self.reads))
        connect(m, flipped(self.data), fetch.data)
        m.d.comb += fetch.queue.eq(self.queue)
        # The command in work, the output register of the invalidations at the same time.
        self.command = Signal(DecodedCommand, reset_less=True)
        self.has_command = Signal()
        self.do_consume = Signal()
        self.can_run = Signal()  # enabled, and no error is active

        m.d.comb += self.can_run.eq(self.queue.enable & ~self.queue.error)
        self._decode(m)
        self._sequence(m)
        self._consume(m)
        self._signal(m)
        return m

    def _decode(self, m):
        """Take the next command when the one in work is consumed."""
        m.submodules.decoder = decoder = CommandDecoder(self.params)
        fetched, decoded = self.fetch.o.payload, self.command
        sync = CMD_SYNC(fetched.command)
        self.takes = Signal()  # the state takes commands

        m.d.comb += [
            decoder.command.eq(fetched.command),
            decoder.e2h.eq(self.e2h),
            self.fetch.o.ready.eq(
                self.takes & ~self.hold & (~self.has_command | self.do_consume)),
            self.invalidations.valid.eq(self.has_command & decoded.invalidates),
            self.invalidations.payload.eq(decoded.invalidation),
        ]
        with m.If(self.do_consume):
            m.d.sync += self.has_command.eq(0)
        with m.If(self.fetch.o.valid & self.fetch.o.ready):
            m.d.sync += [
                self.has_command.eq(1),
                decoded.aborted.eq(fetched.error),
                decoded.illegal.eq(decoder.illegal),
                decoded.sync.eq(decoder.sync & ~decoder.illegal & ~fetched.error),
                decoded.invalidates.eq(decoder.invalidates & ~decoder.illegal & ~fetched.error),
                decoded.invalidation.eq(decoder.invalidation),
                decoded.cs.eq(sync.CS),
                decoded.msi.addr.eq(sync.MSIAddress),
                decoded.msi.data.eq(sync.MSIData),
                decoded.msi.MemAttr.eq(sync.MSIAttr),
                decoded.msi.SH.eq(sync.MSH),
            ]

    def _sequence(self, m):
        command, update = self.command, self.update
        is_bad = command.aborted | command.illegal
        self.do_complete = Signal()  # the CMD_SYNC
        self.msi_pending = Signal()
        drop = Signal()

        with m.If(drop):
            m.d.sync += self.has_command.eq(0)
        with m.FSM():
            with m.State("Stopped"):
                m.d.comb += update.stopped.eq(1)
                with m.If(self.can_run):
                    m.next = "Run"
            with m.State("Run"):
                m.d.comb += [self.fetch.run.eq(1), self.takes.eq(self.can_run & ~(
                    self.has_command & (is_bad | command.sync)))]
                with m.If(self.has_command):
                    with m.If(is_bad):
                        m.next = "Tell the error"
                    with m.Elif(command.sync):
                        m.next = "Await transactions"
                    with m.Else():
                        m.d.comb += self.do_consume.eq(
                            ~command.invalidates | self.invalidations.ready)
                with m.Elif(~self.can_run):
                    m.next = "Discard"
            with m.State("Await transactions"):
                m.d.comb += [self.fetch.run.eq(1), self.barrier.eq(1)]
                with m.If(self.barrier_done):
                    m.next = "Await caches"
            with m.State("Await caches"):
                m.d.comb += self.fetch.run.eq(1)
                with m.If(~self.caches_busy & ~self.walks_marked):
                    m.next = "Mark events"
            with m.State("Mark events"):
                m.d.comb += [self.fetch.run.eq(1), self.mark_events.eq(1)]
                m.next = "Await events"
            with m.State("Await events"):
                m.d.comb += self.fetch.run.eq(1)
                with m.If(self.events_drained & ~self.msi_pending):
                    m.next = "Complete"
            with m.State("Complete"):
                m.d.comb += [
                    self.fetch.run.eq(1), self.do_complete.eq(1), self.do_consume.eq(1)]
                m.next = "Run"
            with m.State("Tell the error"):
                m.d.comb += [update.error.eq(1), drop.eq(1)]
                m.next = "Raise the error"
            with m.State("Raise the error"):
                m.d.comb += update.active.eq(1)
                m.next = "Discard"
            with m.State("Discard"):
                with m.If(self.fetch.idle):
                    m.next = "Stopped"
        m.d.comb += update.code.eq(
            Mux(command.aborted, CERROR.CERROR_ABT, CERROR.CERROR_ILL))

    def _consume(self, m):
        m.submodules.index = index = QueueIndex()
        cons = Signal(INDEX_BITS)  # CMDQ_CONS.RD, one cycle ahead
        m.d.comb += [
            index.log2size.eq(self.queue.log2size),
            self.update.cons.eq(cons),
        ]
        m.d.sync += self.update.advance.eq(self.do_consume)
        with m.If(self.update.stopped):
            m.d.sync += cons.eq(self.queue.cons)
        with m.Elif(self.do_consume):
            m.d.sync += cons.eq((cons + 1) & (index.index | index.wrap))

    def _signal(self, m):
        """Interrupt and MSI of a completed CMD_SYNC, after CMDQ_CONS has changed."""
        wants_irq = Signal()
        has_address = Signal()
        delayed = Signal(2)

        m.d.comb += wants_irq.eq(self.do_complete & (self.command.cs == CS.SIG_IRQ))
        m.d.sync += [delayed.eq(Cat(wants_irq, delayed)), self.irq.eq(delayed[1])]
        if not self.params.msi:
            return
        with m.If(self.fetch.o.ready & self.fetch.o.valid):
            m.d.sync += has_address.eq(
                CMD_SYNC(self.fetch.o.payload.command).MSIAddress != 0)
        with m.If(self.msi_done):
            m.d.sync += self.msi_pending.eq(0)
        with m.If(self.msis.ready):
            m.d.sync += self.msis.valid.eq(0)
        with m.If(wants_irq & has_address):
            m.d.sync += [
                self.msi_pending.eq(1),
                self.msis.valid.eq(1),
                self.msis.payload.eq(self.command.msi),
            ]
