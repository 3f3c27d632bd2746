from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import Attributes, MemType, MSIConfig
from smmu.queues.table_master import TableWrite, WriteDone

__all__ = ["Interrupts"]

SYNC, EVENTQ, GERROR = range(3)


class Interrupts(wiring.Component):
    """Send the interrupts of the SMMU itself: wires, and one MSI at a time.

    Spec
        IHI 0070: 3.18, 6.3 (IRQ_CTRL, *_IRQ_CFG*). All are edges; a further one of the same source
        while its MSI still waits does not send another.
    Timing
        A wire pulses 1 cycle after its strobe. Waiting MSIs go in the order CMD_SYNC, event queue,
        GERROR; a later one starts when the response of the earlier one has come.
    Errors
        `aborts` for an MSI with an error response; later MSIs are sent as before.

    Members
    -------
    eventq_rise, gerror_rise : :py:`In(1)`
        Strobes: the reason is visible in the registers.
    eventq_irqen, gerror_irqen : :py:`In(1)`
    eventq_msi, gerror_msi : :py:`In(MSIConfig)`
    eventq_idle, gerror_idle : :py:`Out(1)`
        No MSI of this source waits or is on its way.
    sync_msis : :py:`In(stream.Signature(MSIConfig))`
        Sent whatever the address.
    sync_done : :py:`Out(1)`
        Strobe: the MSI of a CMD_SYNC is visible or was aborted.
    aborts : :py:`Out(3)`
        Strobes: CMD_SYNC, event queue, GERROR.
    writes : :py:`Out(stream.Signature(TableWrite))`
    write_done : :py:`In(WriteDone)`
    irq_eventq, irq_gerror : :py:`Out(1)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "eventq_rise": In(1), "gerror_rise": In(1),
            "eventq_irqen": In(1), "gerror_irqen": In(1),
            "eventq_msi": In(MSIConfig), "gerror_msi": In(MSIConfig),
            "eventq_idle": Out(1), "gerror_idle": Out(1),
            "sync_msis": In(stream.Signature(MSIConfig)),
            "sync_done": Out(1),
            "aborts": Out(3),
            "writes": Out(stream.Signature(TableWrite)),
            "write_done": In(WriteDone),
            "irq_eventq": Out(1), "irq_gerror": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        waiting = Signal(2)  # MSIs of the event queue, of GERROR
        source = Signal(3)   # one-hot: whose MSI is sent
        sources = ((self.eventq_rise & self.eventq_irqen, self.eventq_msi, self.irq_eventq,
                    self.eventq_idle),
                   (self.gerror_rise & self.gerror_irqen, self.gerror_msi, self.irq_gerror,
                    self.gerror_idle))
        choosing = Signal()
        wanting = Cat(self.sync_msis.valid, waiting)
        chosen = wanting & -wanting

        with m.If(choosing):
            m.d.sync += [source.eq(chosen), waiting.eq(waiting & ~chosen[1:])]
        for number, (happens, msi, wire, idle) in enumerate(sources):
            has_address = Signal(name=f"has_address_{number}")
            m.d.sync += [wire.eq(happens), has_address.eq(msi.addr != 0)]
            if self.params.msi:
                with m.If(happens & has_address):
                    m.d.sync += waiting[number].eq(1)
            m.d.comb += idle.eq(~waiting[number] & ~source[1 + number])

        self._send(m, source, choosing, wanting, chosen)
        return m

    def _send(self, m, source, choosing, wanting, chosen):
        msi, write, attrs = Signal(MSIConfig), self.writes.payload, Signal(Attributes)
        _decode_attributes(m, msi, attrs)
        m.d.comb += [
            write.addr.eq(msi.addr),
            write.word.eq(1),
            write.data.eq(msi.data.replicate(2)),
            write.last.eq(1),
            write.attrs.eq(attrs),
        ]
        with m.FSM():
            with m.State("Choose"):
                m.d.comb += [choosing.eq(1), self.sync_msis.ready.eq(1)]
                for number, config in (
                        (GERROR, self.gerror_msi), (EVENTQ, self.eventq_msi),
                        (SYNC, self.sync_msis.payload)):
                    with m.If(chosen[number]):
                        m.d.sync += msi.eq(config)
                with m.If(wanting.any()):
                    m.next = "Write"
            with m.State("Write"):
                m.d.comb += self.writes.valid.eq(1)
                with m.If(self.writes.ready):
                    m.next = "Await the response"
            with m.State("Await the response"):
                with m.If(self.write_done.valid):
                    m.d.comb += [
                        self.sync_done.eq(source[SYNC]),
                        self.aborts.eq(Mux(self.write_done.error, source, 0)),
                    ]
                    m.d.sync += source.eq(0)
                    m.next = "Choose"


def _decode_attributes(m, msi, attrs):
    """MemAttr as in the STE: two Device bits below 0b00, else outer and inner cacheability."""
    outer, inner = msi.MemAttr[2:], msi.MemAttr[:2]
    is_device, is_reserved = outer == 0, inner == 0
    base = MemType.NC.value - 1  # 1 NC, 2 WT, 3 WB
    m.d.comb += [
        attrs.outer.eq(Mux(is_device, inner, Mux(is_reserved, MemType.nGnRnE, base + outer))),
        attrs.inner.eq(Mux(is_device | is_reserved, attrs.outer, base + inner)),
        attrs.ra.eq(1),
        attrs.wa.eq(1),
        attrs.sh.eq(msi.SH),
    ]
