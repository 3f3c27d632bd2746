"""The functional reference model of the SMMU, written from the architecture (IHI 0070)."""

from enum import Enum
from typing import NamedTuple

from smmu.formats.commands import CMD_RESUME, Opcode
from smmu.formats.core import plain
from smmu.formats.registers import COUNTERS, GBPA
from smmu_sim.model import attributes as attr
from smmu_sim.model.attributes import Overrides
from smmu_sim.model.faults import EventType, Fault, Policy, record_of
from smmu_sim.model.permissions import Access
from smmu_sim.model.queues import CommandQueue, EventQueue, Interrupts
from smmu_sim.model.registers import RegisterFile
from smmu_sim.model.remap import Remap
from smmu_sim.model.stalls import Stalls
from smmu_sim.model.translation import Mapping, Translator

__all__ = ["Disposition", "SMMU", "Translation"]

_gbpa = plain(GBPA)
_resume = plain(CMD_RESUME)

MAKES_ROOM = ("CR0", "EVENTQ_CONS", "GERRORN")  # for the record of a stalled transaction


class Disposition(Enum):
    """What becomes of a transaction."""

    PASS = "pass"
    ABORT = "abort"
    RAZ_WI = "read as zero, write ignored"
    STALL = "no answer yet"


class Translation(NamedTuple):
    """The answer to one transaction; all but ``disposition`` and ``record`` are for PASS.

    ``record`` is the event that the architecture wants recorded, as an integer, whether or not the
    queue took it; None if there is none, or if it stalls and waits for room in the queue.
    ``attributes`` are the complete ones behind ``cache`` and ``shareability``.
    """

    disposition: Disposition
    record: int | None = None
    pa: int | None = None
    cache: int = 0
    shareability: int = 0
    prot: int = 0
    device_id: int = 0
    msi: bool = False
    attributes: attr.Attributes | None = None

    @property
    def words(self):
        """The record as four 64-bit words, or None."""
        if self.record is None:
            return None
        return [self.record >> 64 * k & (1 << 64) - 1 for k in range(4)]


class SMMU:
    """Registers, queues and translation of one SMMU over ``memory``.

    No configuration, translation or table entry is kept from one transaction to the next, so every
    change of memory counts at once; the architecture allows that. Commands are consumed within the
    register write that releases them.

    ``stall_max`` above 0 is IDR5.STALL_MAX, and IDR0.STALL_MODEL is 0 instead of 1: transactions
    can stall. What ends one is done within the register write that brings it about.
    """

    def __init__(self, params, memory, stall_max=0):
        self.params = params
        self.memory = memory
        self.stalls = Stalls(stall_max, self._again)
        self.registers = RegisterFile(params, self._written, stall_max)
        self._interrupts = Interrupts(params, memory, self.registers)
        self.event_queue = EventQueue(params, memory, self.registers, self._interrupts)
        self.command_queue = CommandQueue(
            params,
            memory,
            self.registers,
            self._interrupts,
            self._stall_command if stall_max else None,
        )
        self.remap = Remap(params, self.registers)
        self.translator = Translator(params, memory, self.registers, self.remap, stall_max > 0)

    def reset(self):
        """Put everything but memory into its reset state. What is stalled ends with abort."""
        self.registers.reset()
        self.stalls.terminate(Translation(Disposition.ABORT))
        self._interrupts.reset()
        self.remap.reset()

    @property
    def interrupts(self):
        """Pulses of each interrupt wire since reset."""
        return self._interrupts.pulses

    # The register slave

    def read32(self, offset):
        return self.registers.read32(offset)

    def read64(self, offset):
        return self.registers.read64(offset)

    def write32(self, offset, value):
        self.registers.write32(offset, value)

    def write64(self, offset, value):
        self.registers.write64(offset, value)

    def _written(self, key):
        if key == "CR0" and not self.registers.smmuen:
            self.stalls.terminate(Translation(Disposition.ABORT))
        if key in MAKES_ROOM:
            self.stalls.wake()
        if key in ("CR0", "CMDQ_PROD", "GERRORN"):
            self.command_queue.run()
        elif key[0] == "REMAP_STREAMID":
            self.remap.commit(key[1])

    # Transactions

    def translate(self, transaction, end=None):
        """Decide about a transaction and record its event. Return a :class:`Translation`.

        If it stalls, ``end(translation)`` is called when it has an answer.
        """
        self._count("transactions")
        return self._attempt(transaction, end)

    def _again(self, transaction, end):
        """Translate a transaction that stalled; return None if it still does."""
        answer = self._attempt(transaction, end)
        return None if answer.disposition == Disposition.STALL else answer

    def _attempt(self, transaction, end):
        overrides = Overrides()
        try:
            if transaction.atst:  # there is no ATS
                raise Fault(EventType.F_TRANSL_FORBIDDEN)
            if not self.registers.smmuen:
                overrides = self._gbpa_overrides()
                mapping = self._bypass(transaction, overrides)
            else:
                stream = self.translator.stream(transaction.sid)
                overrides = stream.overrides
                mapping = self.translator.translate(
                    transaction, stream, self._access(transaction, overrides)
                )
        except Fault as fault:
            if self._is_stall(fault):
                return self._stall(transaction, overrides, fault, end)
            return self._terminate(transaction, overrides, fault)
        return self._pass(transaction, overrides, mapping)

    @staticmethod
    def _access(transaction, overrides):
        return Access(
            transaction.write,
            attr.instruction(transaction.instr, transaction.write, overrides),
            attr.privileged(transaction.priv, overrides),
        )

    def _gbpa_overrides(self):
        gbpa = self.registers["GBPA"]
        overrides = Overrides()
        if self.params.attr_types_ovr:
            overrides = overrides._replace(
                MTCFG=_gbpa.MTCFG(gbpa),
                MemAttr=_gbpa.MemAttr(gbpa),
                ALLOCCFG=_gbpa.ALLOCCFG(gbpa),
                SHCFG=_gbpa.SHCFG(gbpa),
            )
        if self.params.attr_perms_ovr:
            overrides = overrides._replace(PRIVCFG=_gbpa.PRIVCFG(gbpa), INSTCFG=_gbpa.INSTCFG(gbpa))
        return overrides

    def _bypass(self, transaction, overrides):
        """SMMUEN is 0."""
        if _gbpa.ABORT(self.registers["GBPA"]) or transaction.addr >> self.params.oas:
            raise Fault(None)
        device = attr.incoming(transaction.cache, transaction.shareability)
        return Mapping(transaction.addr, attr.override(device, overrides))

    def _pass(self, transaction, overrides, mapping):
        access = self._access(transaction, overrides)
        return Translation(
            Disposition.PASS,
            pa=mapping.pa,
            cache=attr.axcache(mapping.attributes, transaction.write),
            shareability=attr.outgoing_shareability(mapping.attributes),
            prot=access.privileged | transaction.nonsecure << 1 | access.instruction << 2,
            device_id=transaction.sid,
            msi=mapping.msi,
            attributes=mapping.attributes,
        )

    def _terminate(self, transaction, overrides, fault):
        self._count("faults")
        record, disposition = fault.event is not None, Disposition.ABORT
        if fault.policy == Policy.STAGE1:
            record = bool(fault.context.record)
            if not fault.context.abort:
                disposition = Disposition.RAZ_WI
        elif fault.policy == Policy.STAGE2:
            record = bool(fault.context.record)
        if not record:
            return Translation(disposition)
        if fault.event == EventType.F_UUT:  # shows what came in
            overrides = Overrides()
        access = self._access(transaction, overrides)
        event = record_of(fault, transaction, access.privileged, access.instruction)
        self.event_queue.write(event)
        return Translation(disposition, event)

    # Stalls

    @staticmethod
    def _is_stall(fault):
        return fault.policy in (Policy.STAGE1, Policy.STAGE2) and fault.context.stall

    def _stall(self, transaction, overrides, fault, end):
        """Record a fault that stalls. Without room for the record, let the transaction wait."""
        stag = self.stalls.next_stag()
        fault.values |= {"Stall": 1, "STAG": stag}
        access = self._access(transaction, overrides)
        event = record_of(fault, transaction, access.privileged, access.instruction)
        if self.stalls.full or not self.event_queue.write(event, stall=True):
            self.stalls.wait(transaction, end)
            return Translation(Disposition.STALL)
        self._count("faults")
        self.stalls.hold(stag, transaction, end)
        return Translation(Disposition.STALL, event)

    def _stall_command(self, command):
        """Consume CMD_RESUME or CMD_STALL_TERM."""
        streamid, abort = _resume.StreamID(command), Translation(Disposition.ABORT)
        if _resume.Op(command) == Opcode.CMD_STALL_TERM:
            self.stalls.terminate(abort, streamid)
            return
        answer = None  # translate anew
        if not _resume.Ac(command):
            abort_wanted = _resume.Ab(command) or self.params.term_model
            answer = abort if abort_wanted else Translation(Disposition.RAZ_WI)
        self.stalls.resume(streamid, _resume.STAG(command), answer)

    def _count(self, name):
        self.registers["COUNTER", COUNTERS.index(name)] += 1
