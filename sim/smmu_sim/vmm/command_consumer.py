"""The consumer of a guest's command queue (IHI 0070: 4)."""

from smmu.formats.commands import CERROR, CS, CMD_SYNC, CommandHeader, Opcode
from smmu.formats.core import plain, update
from smmu.formats.registers import CMDQ_BASE, CMDQ_CONS, CMDQ_PROD
from smmu_sim.memory import BusAbort
from smmu_sim.model.queues import COMMAND_BYTES, CommandQueue, Ring

__all__ = ["CommandConsumer", "Refused"]

_header, _sync = plain(CommandHeader), plain(CMD_SYNC)
_STALLS = {Opcode.CMD_RESUME, Opcode.CMD_STALL_TERM}


class Refused(Exception):
    """The host refused a command; ``pointer`` is where it stands in the guest's queue."""

    def __init__(self, pointer):
        super().__init__(pointer)
        self.pointer = pointer


class CommandConsumer:
    """Take commands out of the guest's memory and have them executed.

    ``execute(opcode, command, pointer)`` carries out one legal command; it may raise
    :exc:`Refused`, also about an earlier one: the queue stops there with CERROR_ILL, as if all
    behind it had not been fetched. An aborted fetch gives CERROR_ABT.
    """

    def __init__(self, features, memory, registers, interrupts, execute):
        self._features, self._memory = features, memory
        self._registers, self._interrupts, self._execute = registers, interrupts, execute
        self._rules = CommandQueue(features, memory, registers, interrupts)

    def _ring(self):
        base = self._registers["CMDQ_BASE"]
        return Ring(plain(CMDQ_BASE).ADDR(base) << 5, plain(CMDQ_BASE).LOG2SIZE(base),
                    self._features.cmdqs, COMMAND_BYTES, self._features.oas)

    def _cons(self):
        return plain(CMDQ_CONS).RD(self._registers["CMDQ_CONS"])

    def _set_cons(self, **values):
        registers = self._registers
        registers["CMDQ_CONS"] = update(CMDQ_CONS, registers["CMDQ_CONS"], values)

    def is_legal(self, command):
        """Whether the command is none of those that give CERROR_ILL on the virtual SMMU."""
        opcode = _header.Op(command)
        if opcode in _STALLS:
            return self._features.stall and not _header.SSec(command)
        if opcode == Opcode.CMD_ATC_INV:
            return bool(self._features.ats) and not _header.SSec(command)
        return self._rules.is_legal(command)

    def run(self):
        """Consume commands until there is none, or one is in error."""
        registers, ring = self._registers, self._ring()
        while registers.cmdqen and not registers.active("CMDQ_ERR"):
            cons = self._cons()
            if not 0 < ring.used(plain(CMDQ_PROD).WR(registers["CMDQ_PROD"]), cons) <= ring.size:
                return
            try:
                octets = self._memory.read(ring.addr(cons), COMMAND_BYTES)
            except BusAbort:
                self._stop(CERROR.CERROR_ABT)
                return
            command = int.from_bytes(octets, "little")
            if not self.is_legal(command):
                self._stop(CERROR.CERROR_ILL)
                return
            opcode = Opcode(_header.Op(command))
            try:
                self._execute(opcode, command, cons)
            except Refused as refused:
                self._set_cons(RD=refused.pointer)
                self._stop(CERROR.CERROR_ILL)
                return
            self._set_cons(RD=ring.next(cons))
            if opcode == Opcode.CMD_SYNC and _sync.CS(command) == CS.SIG_IRQ:
                self._interrupts.sync(command)

    def _stop(self, error):
        self._set_cons(ERR=error)
        self._interrupts.error("CMDQ_ERR")
