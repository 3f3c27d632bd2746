"""Queues, global errors and the SMMU's own interrupts (IHI 0070: 3.5, 3.18, 4, 7)."""

from smmu.formats.commands import CERROR, CS, CMD_SYNC, TLBI, CommandHeader, Opcode
from smmu.formats.core import fields, plain, update
from smmu.formats.descriptors import TLBI_TG
from smmu.formats.registers import (
    CMDQ_BASE,
    CMDQ_CONS,
    CMDQ_PROD,
    EVENTQ_BASE,
    EVENTQ_CONS,
    EVENTQ_PROD,
    IRQ_CFG0,
    IRQ_CFG1,
)
from smmu_sim.memory import BusAbort

__all__ = ["CommandQueue", "EventQueue", "Interrupts"]

COMMAND_BYTES = 16
EVENT_BYTES = 32
SCALE_MASK = 31  # bit 5 exists only with DS

_header = plain(CommandHeader)
_sync = plain(CMD_SYNC)
_tlbi = plain(TLBI)
_cfg0 = plain(IRQ_CFG0)
_cfg1 = plain(IRQ_CFG1)

HINTS = {Opcode.CMD_PREFETCH_CONFIG, Opcode.CMD_PREFETCH_ADDR}
CONFIGURATION = {Opcode.CMD_CFGI_STE, Opcode.CMD_CFGI_STE_RANGE}
CONTEXTS = {Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL}
STAGE1 = {
    Opcode.CMD_TLBI_NH_ALL,
    Opcode.CMD_TLBI_NH_ASID,
    Opcode.CMD_TLBI_NH_VA,
    Opcode.CMD_TLBI_NH_VAA,
}
STAGE2 = {Opcode.CMD_TLBI_S12_VMALL, Opcode.CMD_TLBI_S2_IPA}
EL2 = {
    Opcode.CMD_TLBI_EL2_ALL,
    Opcode.CMD_TLBI_EL2_ASID,
    Opcode.CMD_TLBI_EL2_VA,
    Opcode.CMD_TLBI_EL2_VAA,
}
STALLS = {Opcode.CMD_RESUME, Opcode.CMD_STALL_TERM}
BY_ADDRESS = {
    Opcode.CMD_TLBI_NH_VA,
    Opcode.CMD_TLBI_NH_VAA,
    Opcode.CMD_TLBI_EL2_VA,
    Opcode.CMD_TLBI_EL2_VAA,
    Opcode.CMD_TLBI_S2_IPA,
}


class Ring:
    """Index arithmetic of a queue of ``2**log2size`` entries; that bit of an index wraps."""

    def __init__(self, base, log2size, limit, entry_bytes, oas):
        self.log2size = min(log2size, limit)
        self.entry_bytes = entry_bytes
        self.base = base & -max(32, entry_bytes << self.log2size) & (1 << oas) - 1
        self._index_mask = (2 << self.log2size) - 1

    def used(self, prod, cons):
        """Return the number of entries; above ``size`` the indexes are not legal."""
        return prod - cons & self._index_mask

    @property
    def size(self):
        return 1 << self.log2size

    def next(self, index):
        return index + 1 & self._index_mask

    def addr(self, index):
        return self.base + (index & self.size - 1) * self.entry_bytes


class Interrupts:
    """Interrupt wires, MSIs and global errors."""

    def __init__(self, params, memory, registers):
        self.params = params
        self.memory = memory
        self.registers = registers
        self.reset()

    def reset(self):
        self.pulses = {"eventq": 0, "gerror": 0, "cmdq_sync": 0, "priq": 0}

    def eventq(self):
        """The event queue became non-empty."""
        if self.registers.eventq_irqen:
            self.pulses["eventq"] += 1
            self._configured_msi("EVENTQ", "MSI_EVENTQ_ABT_ERR")

    def sync(self, command):
        """A CMD_SYNC with CS=SIG_IRQ completed."""
        self.pulses["cmdq_sync"] += 1
        self._msi(_sync.MSIAddress(command) << 2, _sync.MSIData(command), "MSI_CMDQ_ABT_ERR")

    def error(self, name):
        """Activate the global error ``name`` unless it is active."""
        if (
            self.registers.activate(name)
            and name != "MSI_GERROR_ABT_ERR"
            and self.registers.gerror_irqen
        ):
            self.pulses["gerror"] += 1
            self._configured_msi("GERROR", "MSI_GERROR_ABT_ERR")

    def _configured_msi(self, source, error):
        if self.params.msi:
            self._msi(
                _cfg0.ADDR(self.registers[f"{source}_IRQ_CFG0"]) << 2,
                _cfg1.DATA(self.registers[f"{source}_IRQ_CFG1"]),
                error,
            )

    def _msi(self, addr, data, error):
        if not (self.params.msi and addr):
            return
        try:
            self.memory.write32(addr & (1 << self.params.oas) - 1, data)
        except BusAbort:
            self.error(error)


class EventQueue:
    """Writes event records."""

    def __init__(self, params, memory, registers, interrupts):
        self.params = params
        self.memory = memory
        self.registers = registers
        self.interrupts = interrupts

    def _ring(self):
        base = self.registers["EVENTQ_BASE"]
        return Ring(
            plain(EVENTQ_BASE).ADDR(base) << 5,
            plain(EVENTQ_BASE).LOG2SIZE(base),
            self.params.eventqs,
            EVENT_BYTES,
            self.params.oas,
        )

    def write(self, record, stall=False):
        """Write one record and return whether it was; else it is lost, as IHI 0070 7.2 says.

        The record of a stall is not lost: the caller keeps it, so no overflow is noted.
        """
        registers = self.registers
        if not registers.eventqen or registers.active("EVENTQ_ABT_ERR"):
            return False
        ring = self._ring()
        produced, consumed = registers["EVENTQ_PROD"], registers["EVENTQ_CONS"]
        prod, cons = plain(EVENTQ_PROD).WR(produced), plain(EVENTQ_CONS).RD(consumed)
        used = ring.used(prod, cons)
        if used >= ring.size:
            acknowledged = plain(EVENTQ_CONS).OVACKFLG(consumed)
            if not stall and plain(EVENTQ_PROD).OVFLG(produced) == acknowledged:
                registers["EVENTQ_PROD"] = produced ^ fields(EVENTQ_PROD)["OVFLG"].mask
            return False
        try:
            self.memory.write(ring.addr(prod), record.to_bytes(EVENT_BYTES, "little"))
        except BusAbort:
            self.interrupts.error("EVENTQ_ABT_ERR")
            return False
        registers["EVENTQ_PROD"] = update(EVENTQ_PROD, produced, {"WR": ring.next(prod)})
        if used == 0:
            self.interrupts.eventq()
        return True


class CommandQueue:
    """Consumes commands. There are no caches: most legal commands do nothing.

    ``on_stall_command(command)`` does what CMD_RESUME and CMD_STALL_TERM ask for; without it they
    are illegal.
    """

    def __init__(self, params, memory, registers, interrupts, on_stall_command=None):
        self.params = params
        self.on_stall_command = on_stall_command
        self.memory = memory
        self.registers = registers
        self.interrupts = interrupts

    def run(self):
        """Consume commands until there is none, or one is in error."""
        registers = self.registers
        base = registers["CMDQ_BASE"]
        ring = Ring(
            plain(CMDQ_BASE).ADDR(base) << 5,
            plain(CMDQ_BASE).LOG2SIZE(base),
            self.params.cmdqs,
            COMMAND_BYTES,
            self.params.oas,
        )
        while registers.cmdqen and not registers.active("CMDQ_ERR"):
            cons = plain(CMDQ_CONS).RD(registers["CMDQ_CONS"])
            if not 0 < ring.used(plain(CMDQ_PROD).WR(registers["CMDQ_PROD"]), cons) <= ring.size:
                return
            try:
                command = int.from_bytes(self.memory.read(ring.addr(cons), COMMAND_BYTES), "little")
            except BusAbort:
                self._stop(CERROR.CERROR_ABT)
                return
            if not self.is_legal(command):
                self._stop(CERROR.CERROR_ILL)
                return
            registers["CMDQ_CONS"] = update(
                CMDQ_CONS, registers["CMDQ_CONS"], {"RD": ring.next(cons)}
            )
            if _header.Op(command) == Opcode.CMD_SYNC and _sync.CS(command) == CS.SIG_IRQ:
                self.interrupts.sync(command)
            elif _header.Op(command) in STALLS:
                self.on_stall_command(command)

    def _stop(self, error):
        self.registers["CMDQ_CONS"] = update(CMDQ_CONS, self.registers["CMDQ_CONS"], {"ERR": error})
        self.interrupts.error("CMDQ_ERR")

    def is_legal(self, command):
        """Whether the command is none of those that give CERROR_ILL."""
        opcode = _header.Op(command)
        if _header.SSec(command):
            return False
        if opcode in HINTS or opcode in CONFIGURATION or opcode == Opcode.CMD_TLBI_NSNH_ALL:
            return True
        if opcode == Opcode.CMD_SYNC:
            return _sync.CS(command) in (CS.SIG_NONE, CS.SIG_IRQ, CS.SIG_SEV)
        if opcode in STALLS:
            return self.on_stall_command is not None
        if opcode in BY_ADDRESS and self.params.ril and not self._is_legal_range(command):
            return False
        if opcode in CONTEXTS or opcode in STAGE1:
            return bool(self.params.s1p)
        if opcode in STAGE2:
            return bool(self.params.s2p)
        return opcode in EL2 and bool(self.params.hyp)

    @staticmethod
    def _is_legal_range(command):
        """A range with NUM = SCALE = 0 must name a level; level 1 of 16K counts as none."""
        tg = _tlbi.TG(command)
        if tg == TLBI_TG.ANY or _tlbi.NUM(command) or _tlbi.SCALE(command) & SCALE_MASK:
            return True
        ttl = _tlbi.TTL(command)
        return not (ttl == 0 or ttl == 1 and tg == TLBI_TG.G16K)
