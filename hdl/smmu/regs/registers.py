from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.bus.axil import AXI4Lite
from smmu.formats import registers as formats
from smmu.formats.core import fields, unpack
from smmu.formats.stream_table import SHCFG
from smmu.params import Params
from smmu.payloads import (
    CommandQueueUpdate, CounterIncrements, EventQueueUpdate, MSIConfig, Overrides, QueueConfig,
    RemapAccess, StrtabConfig, WalkAttributes)
from smmu.regs.accesses import Accesses
from smmu.regs.effective import Effective
from smmu.regs.global_errors import GlobalErrors
from smmu.regs.guards import guards, runs
from smmu.regs.register_port import ADDR_BITS

__all__ = ["Registers"]

# Registers whose writes follow a protocol of their own.
SPECIAL = ("CR0", "IRQ_CTRL", "GBPA")


class Registers(wiring.Component):
    """Hold the registers: table-driven decoding, guards, Update and acknowledge protocols.

    Spec
        IHI 0070: 6.3 with the "ignored" choices of SMMUv3.2; the implementation-defined frame.
    Timing
        One access at a time, 2 cycles from its arrival to its effect; the registers of the remap
        and the counters take as long as those do. GERROR changes 1 cycle after a raise, a queue
        register 1 cycle after its update.
    Errors
        Whatever is not an access that the architecture defines reads 0 and writes nothing: also
        a 64-bit write of two 32-bit registers.

    Members
    -------
    s_axil : AXI4-Lite slave, 64-bit data, 20-bit address
    smmuen, gbpa_abort : :py:`Out(1)`; gbpa_overrides : :py:`Out(Overrides)`
        New values, at once; acknowledged when the barrier says so.
    smmuen_changing, gbpa_changing : :py:`Out(1)`
        A new value waits for its acknowledge.
    smmuen_done, gbpa_done : :py:`In(1)`
        Strobe: no transaction can take a decision by the old value any more.
    strtab : :py:`Out(StrtabConfig)`; table_attrs : :py:`Out(WalkAttributes)`; e2h, recinvsid
        The configuration of the walks.
    cmdq, eventq : :py:`Out(QueueConfig)`
    cmdq_update : :py:`In(CommandQueueUpdate)`; eventq_update : :py:`In(EventQueueUpdate)`
    gerror_msi, eventq_msi : :py:`Out(MSIConfig)`; gerror_irqen, eventq_irqen : :py:`Out(1)`
    gerror_msi_idle, eventq_msi_idle : :py:`In(1)`
        No MSI of this source waits or is on its way.
    msi_aborts : :py:`In(3)`
        Strobes: the MSI of a CMD_SYNC, of the event queue, of GERROR was aborted.
    gerror_rise : :py:`Out(1)`
        Strobe: GERROR has a new active error which interrupts.
    counts : :py:`In(CounterIncrements)`
    remap, remap_data : as in `Accesses`
    remap_enable : :py:`Out(1)`
    remap_changed : :py:`Out(1)`
        Strobe: `remap_enable` has been written in the cycle before.
    remap_busy : :py:`In(1)`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "s_axil": In(AXI4Lite(addr_width=ADDR_BITS, data_width=64)),
            "smmuen": Out(1), "smmuen_changing": Out(1), "smmuen_done": In(1),
            "gbpa_abort": Out(1), "gbpa_overrides": Out(Overrides),
            "gbpa_changing": Out(1), "gbpa_done": In(1),
            "strtab": Out(StrtabConfig), "table_attrs": Out(WalkAttributes),
            "e2h": Out(1), "recinvsid": Out(1),
            "cmdq": Out(QueueConfig), "cmdq_update": In(CommandQueueUpdate),
            "eventq": Out(QueueConfig), "eventq_update": In(EventQueueUpdate),
            "gerror_msi": Out(MSIConfig), "eventq_msi": Out(MSIConfig),
            "gerror_irqen": Out(1), "eventq_irqen": Out(1),
            "gerror_msi_idle": In(1), "eventq_msi_idle": In(1),
            "msi_aborts": In(3), "gerror_rise": Out(1),
            "counts": In(CounterIncrements),
            "remap": Out(stream.Signature(RemapAccess)),
            "remap_data": In(stream.Signature(64)),
            "remap_enable": Out(1), "remap_changed": Out(1), "remap_busy": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        self._make_values()
        self._access(m)
        for register in self.registers:
            if register.access == "RW" and register.name not in SPECIAL:
                self._write(m, register)
        self._acknowledge(m)
        self._gbpa(m)
        self._queue_updates(m)
        self._errors(m)
        self._outputs(m)
        return m

    def _make_values(self):
        """Make `value`: each register that is not part of an array."""
        constants = formats.id_values(self.params)
        self.registers = [
            register for register in formats.implemented(self.params) if register.count == 1]
        self.value, self.words = {}, {}
        for register in formats.REGISTERS:
            if register.count != 1:
                continue
            if register.name in constants:
                self.value[register.name] = C(constants[register.name], register.width)
            else:
                self.value[register.name] = Signal(
                    register.struct, name=register.name,
                    init=unpack(register.struct, register.reset & self._stored(register)))
        for register in self.registers:
            word, offset = divmod(register.offset, 8)
            self.words.setdefault(word, {})[offset // 4] = register

    def _stored(self, register):
        """The bits of the register that software can write in this build."""
        return formats.write_mask(register.name, self.params)

    def _access(self, m):
        m.submodules.accesses = accesses = Accesses(self.params)
        connect(m, flipped(self.s_axil), accesses.s_axil)
        connect(m, accesses.remap, flipped(self.remap))
        connect(m, flipped(self.remap_data), accesses.remap_data)
        self.accesses = accesses
        self.selects = {word: Signal(name=f"select_{8 * word:x}") for word in self.words}

        for word, select in self.selects.items():
            m.d.sync += select.eq(accesses.word == word)
        m.d.comb += [
            accesses.counts.eq(self.counts),
            accesses.value.eq(self._selected()),
        ]

    def _selected(self):
        """The 64-bit word that is selected."""
        result = C(0, 64)
        for word, places in self.words.items():
            value = Cat(self._reading(places[0]) if 0 in places else C(0, 32),
                        self._reading(places[1]) if 1 in places else [])
            result = result | Mux(self.selects[word], value, 0)
        return result

    def _reading(self, register):
        if register.name == "REMAP_CTRL":
            busy = fields(register.struct)["BUSY"]
            return self.value[register.name].as_value() | self.remap_busy << busy.lsb
        return Value.cast(self.value[register.name])

    def _strobe(self, register, half=0):
        """This half of the register is written, if its guard lets it be."""
        word, offset = divmod(register.offset, 8)
        low, high = self.accesses.halves
        if register.width == 64:
            wanted = (low, high)[half]
        else:
            wanted = high & ~low if offset else low & ~high
        return self.accesses.writes & self.selects[word] & wanted

    def _written(self, register):
        """The data of a write, at the register's own bits."""
        start = register.offset % 8 * 8
        return self.accesses.data[start:start + register.width]

    def _write(self, m, register):
        value, written = self.value[register.name].as_value(), self._written(register)
        for guarded, is_open in self._guards(register):
            mask = guarded & self._stored(register)
            for half in range(register.width // 32):
                with m.If(self._strobe(register, half) & is_open):
                    for start, stop in runs(mask & 0xFFFF_FFFF << 32 * half):
                        m.d.sync += value[start:stop].eq(written[start:stop])

    def _guards(self, register):
        """Yield (bits of the register, whether they can be written)."""
        for mask, enables in guards(register):
            is_open = C(1)
            for enable in enables:
                is_open = is_open & self._off(enable)
            yield mask, is_open

    def _off(self, enable):
        """The enable and its acknowledge are both 0."""
        name = "CR0" if enable in fields(formats.CR0) else "IRQ_CTRL"
        return ~self.value[name][enable] & ~self.value[name + "ACK"][enable]

    def _acknowledge(self, m):
        """CR0 and IRQ_CTRL: a field in the middle of its update is not written."""
        cr0, irq_ctrl = self.value["CR0"], self.value["IRQ_CTRL"]
        settled = {
            "SMMUEN": self.smmuen_done,
            "EVENTQEN": cr0.EVENTQEN | self.eventq_update.stopped,
            "CMDQEN": cr0.CMDQEN | self.cmdq_update.stopped,
            "GERROR_IRQEN": irq_ctrl.GERROR_IRQEN | self.gerror_msi_idle,
            "EVENTQ_IRQEN": irq_ctrl.EVENTQ_IRQEN | self.eventq_msi_idle,
        }
        for name in ("CR0", "IRQ_CTRL"):
            register = formats.BY_NAME[name]
            value, ack = self.value[name], self.value[name + "ACK"]
            for enable, field in fields(register.struct).items():
                if not field.mask & self._stored(register):
                    continue
                changing = Signal(name=f"{enable}_changing")
                m.d.comb += changing.eq(value[enable] != ack[enable])
                with m.If(changing):
                    with m.If(settled[enable]):
                        m.d.sync += ack[enable].eq(value[enable])
                with m.Elif(self._strobe(register)):
                    m.d.sync += value[enable].eq(self._written(register)[field.lsb])
                if enable == "SMMUEN":
                    m.d.comb += self.smmuen_changing.eq(changing)

    def _gbpa(self, m):
        register = formats.BY_NAME["GBPA"]
        value, update = self.value["GBPA"], fields(register.struct)["Update"]
        written = self._written(register)
        m.d.comb += self.gbpa_changing.eq(value.Update)
        with m.If(value.Update):
            with m.If(self.gbpa_done):
                m.d.sync += value.Update.eq(0)
        with m.Elif(self._strobe(register) & written[update.lsb]):
            for start, stop in runs(self._stored(register)):
                m.d.sync += value.as_value()[start:stop].eq(written[start:stop])

    def _queue_updates(self, m):
        cons, prod = self.value["CMDQ_CONS"], self.value["EVENTQ_PROD"]
        with m.If(self.cmdq_update.advance):
            m.d.sync += cons.RD.eq(self.cmdq_update.cons)
        with m.If(self.cmdq_update.error):
            m.d.sync += cons.ERR.eq(self.cmdq_update.code)
        with m.If(self.eventq_update.advance):
            m.d.sync += prod.WR.eq(self.eventq_update.prod)
        with m.If(self.eventq_update.overflow
                  & (prod.OVFLG == self.value["EVENTQ_CONS"].OVACKFLG)):
            m.d.sync += prod.OVFLG.eq(~prod.OVFLG)

    def _errors(self, m):
        m.submodules.errors = self.errors = errors = GlobalErrors()
        m.d.comb += [
            errors.raises.CMDQ_ERR.eq(self.cmdq_update.active),
            errors.raises.EVENTQ_ABT_ERR.eq(self.eventq_update.abort),
            errors.GERRORN.eq(self.value["GERRORN"]),
            self.value["GERROR"].eq(errors.GERROR),
            self.gerror_rise.eq(errors.rise),
        ]
        if self.params.msi:
            m.d.comb += [
                errors.raises.MSI_CMDQ_ABT_ERR.eq(self.msi_aborts[0]),
                errors.raises.MSI_EVENTQ_ABT_ERR.eq(self.msi_aborts[1]),
                errors.raises.MSI_GERROR_ABT_ERR.eq(self.msi_aborts[2]),
            ]

    def _outputs(self, m):
        value, params = self.value, self.params
        m.submodules.effective = effective = Effective(params)
        for name in ("CR1", "STRTAB_BASE", "STRTAB_BASE_CFG", "CMDQ_BASE", "EVENTQ_BASE"):
            m.d.comb += getattr(effective, name).eq(value[name])

        active = self.errors.active
        for name, error in (("CMDQ", active.CMDQ_ERR), ("EVENTQ", active.EVENTQ_ABT_ERR)):
            queue = getattr(self, name.lower())
            m.d.comb += [
                queue.eq(getattr(effective, name.lower())),
                queue.enable.eq(value["CR0"][f"{name}EN"]),
                queue.error.eq(error),
                queue.prod.eq(value[f"{name}_PROD"].WR),
                queue.cons.eq(value[f"{name}_CONS"].RD),
            ]
        for msi, name in ((self.gerror_msi, "GERROR"), (self.eventq_msi, "EVENTQ")):
            m.d.comb += [
                msi.addr.eq(value[f"{name}_IRQ_CFG0"].ADDR),
                msi.data.eq(value[f"{name}_IRQ_CFG1"].DATA),
                msi.MemAttr.eq(value[f"{name}_IRQ_CFG2"].MemAttr),
                msi.SH.eq(value[f"{name}_IRQ_CFG2"].SH),
            ]

        gbpa = value["GBPA"]
        for name in fields(Overrides):
            m.d.comb += self.gbpa_overrides[name].eq(gbpa[name])
        if not params.attr_types_ovr:
            m.d.comb += self.gbpa_overrides.SHCFG.eq(SHCFG.INCOMING)
        remap_ctrl = formats.BY_NAME["REMAP_CTRL"]
        m.d.sync += self.remap_changed.eq(self._strobe(remap_ctrl))
        m.d.comb += [
            self.strtab.eq(effective.strtab),
            self.table_attrs.eq(effective.table_attrs),
            self.gbpa_abort.eq(gbpa.ABORT),
            self.e2h.eq(value["CR2"].E2H),
            self.recinvsid.eq(value["CR2"].RECINVSID),
            self.smmuen.eq(value["CR0"].SMMUEN),
            self.gerror_irqen.eq(value["IRQ_CTRL"].GERROR_IRQEN),
            self.eventq_irqen.eq(value["IRQ_CTRL"].EVENTQ_IRQEN),
            self.remap_enable.eq(value["REMAP_CTRL"].ENABLE),
        ]
