from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.bus.axi import AXI4
from smmu.bus.axil import AXI4Lite
from smmu.control import Control
from smmu.lib.snapshot_gate import SnapshotGate
from smmu.lib.stream_arbiter import StreamArbiter
from smmu.params import Params
from smmu.payloads import CounterIncrements, FaultRecord
from smmu.tbu.tbu import TBU
from smmu.tcu.tcu import TCU

__all__ = ["SMMU", "SLAVE_USER_BITS", "MASTER_USER_BITS", "TABLE_ID_BITS"]

SLAVE_USER_BITS = 56
MASTER_USER_BITS = 35
TABLE_ID_BITS = 6


class SMMU(wiring.Component):
    """An SMMUv3: translation buffers, translation control unit, registers and queues.

    Members
    -------
    s_axil : AXI4-Lite slave, 64-bit data, 20-bit address
        The register frame.
    m_axi_tbl : AXI4 master
        Every access that the SMMU makes for itself.
    s<n>_axi, m<n>_axi : AXI4 slave and master
        The traffic of device port n, untranslated and translated.
    irq_eventq, irq_gerror, irq_cmdq_sync, irq_priq : :py:`Out(1)`
        Pulses of one cycle.
    """

    def __init__(self, params: Params = Params()):
        self.params = params
        members = {
            "s_axil": In(AXI4Lite(addr_width=20, data_width=64)),
            "m_axi_tbl": Out(AXI4(
                id_width=TABLE_ID_BITS, addr_width=params.oas, data_width=params.data_width,
                awuser_width=2, aruser_width=2)),
            "irq_eventq": Out(1),
            "irq_gerror": Out(1),
            "irq_cmdq_sync": Out(1),
            "irq_priq": Out(1),
        }
        for number in range(params.ports):
            members[f"s{number}_axi"] = In(AXI4(
                id_width=params.id_width, addr_width=64, data_width=params.data_width,
                awuser_width=SLAVE_USER_BITS, aruser_width=SLAVE_USER_BITS))
            members[f"m{number}_axi"] = Out(AXI4(
                id_width=params.id_width, addr_width=params.oas, data_width=params.data_width,
                awuser_width=MASTER_USER_BITS, aruser_width=MASTER_USER_BITS))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.control = control = Control(p)
        m.submodules.tcu = tcu = TCU(p)
        m.submodules.snapshot_gate = gate = SnapshotGate()
        m.submodules.events = events = StreamArbiter(1 + p.ports, FaultRecord)

        connect(m, flipped(self.s_axil), control.s_axil)
        connect(m, control.m_axi_tbl, flipped(self.m_axi_tbl))
        connect(m, tcu.reads, control.reads)
        connect(m, control.data, tcu.data)
        connect(m, control.invalidations, tcu.invalidations)
        connect(m, tcu.events, events.i[0])
        connect(m, events.o, control.records)

        undecided, unfinished = [], []
        transactions, hits, misses = [], [], []
        for number in range(p.ports):
            m.submodules[f"tbu{number}"] = tbu = TBU(p)
            connect(m, flipped(getattr(self, f"s{number}_axi")), tbu.s)
            connect(m, tbu.m, flipped(getattr(self, f"m{number}_axi")))
            connect(m, tbu.read_requests, tcu.requests[2 * number])
            connect(m, tbu.write_requests, tcu.requests[2 * number + 1])
            connect(m, tcu.responses[2 * number], tbu.read_responses)
            connect(m, tcu.responses[2 * number + 1], tbu.write_responses)
            connect(m, tcu.tbu_invalidations[number], tbu.invalidations)
            connect(m, tbu.faults, events.i[1 + number])
            m.d.comb += [
                tbu.snapshot.eq(gate.o),
                tbu.smmuen.eq(control.smmuen),
                tbu.abort.eq(control.gbpa_abort),
                tbu.overrides.eq(control.gbpa_overrides),
            ]
            undecided.append(tbu.undecided)
            unfinished.append(tbu.unfinished)
            transactions.append(tbu.counts.transactions)
            hits.append(tbu.counts.hits)
            misses.append(tbu.counts.misses)

        m.d.comb += [
            gate.i.eq(control.snapshot),
            gate.clear.eq(tcu.tbus_clear),
            gate.tbu_undecided.eq(Cat(undecided).any()),
            gate.tbu_unfinished.eq(Cat(unfinished).any()),
            control.undecided.eq(gate.undecided),
            control.unfinished.eq(gate.unfinished),
            control.caches_busy.eq(tcu.caches_busy),
            control.walks_marked.eq(tcu.walks_marked),
            control.remap_query.eq(tcu.remap_query),
            tcu.remap_answer.eq(control.remap_answer),
            tcu.strtab.eq(control.strtab),
            tcu.table_attrs.eq(control.table_attrs),
            tcu.e2h.eq(control.e2h),
            tcu.recinvsid.eq(control.recinvsid),
            self.irq_eventq.eq(control.irq_eventq),
            self.irq_gerror.eq(control.irq_gerror),
            self.irq_cmdq_sync.eq(control.irq_cmdq_sync),
            self.irq_priq.eq(control.irq_priq),
        ]

        # The translation control unit leaves the fields of the translation buffers 0.
        outside = Signal(CounterIncrements)
        m.d.sync += [
            outside.transactions.eq(sum(transactions)),
            outside.utlb_hit.eq(sum(hits)),
            outside.utlb_miss.eq(sum(misses)),
            outside.faults.eq(events.o.valid & events.o.ready),
        ]
        m.d.comb += control.counts.eq(Cat(tcu.counts.as_value() | outside.as_value()))

        return m
