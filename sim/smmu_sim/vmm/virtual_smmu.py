"""A virtual SMMUv3: registers that trap, queues in the guest's memory, no translation."""

from smmu.formats.commands import (
    CFGI_ALL_RANGE, CMD_CFGI_STE, CMD_CFGI_STE_RANGE, CMD_RESUME, CMD_STALL_TERM, Opcode,
    pack_command)
from smmu.formats.core import plain
from smmu.formats.registers import GBPA
from smmu_sim.backend import Interrupts as Wires
from smmu_sim.linux_error import LinuxError
from smmu_sim.model.queues import Interrupts
from smmu_sim.vmm.command_consumer import CommandConsumer, Refused
from smmu_sim.vmm.guest_events import GuestEvents
from smmu_sim.vmm.registers import VirtualRegisters
from smmu_sim.vmm.stage1 import ABORT, BAD_STE, BYPASS, Kind, effective_split, read_vste

__all__ = ["VirtualSMMU"]

_MOST_BATCHED = 63  # a block of HWPT_INVALIDATE, without its CMD_SYNC
_FORWARDED = {
    Opcode.CMD_TLBI_NH_ALL, Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_NH_VA,
    Opcode.CMD_TLBI_NH_VAA, Opcode.CMD_TLBI_NSNH_ALL}
_OF_A_STREAM = {Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL, Opcode.CMD_ATC_INV}
_streamid = plain(CMD_CFGI_STE).StreamID  # at one place in all commands
_leaf = plain(CMD_CFGI_STE).Leaf
_range, _resume = plain(CMD_CFGI_STE_RANGE).Range, plain(CMD_RESUME)


class _MSIPort:
    """How the virtual SMMU writes its own MSIs: with a DeviceID of its own."""

    def __init__(self, memory, device_id):
        self._memory, self._device_id = memory, device_id

    def write32(self, addr, value):
        self._memory.write(addr, value.to_bytes(4, "little"), device_id=self._device_id)


class VirtualSMMU:
    """The SMMU that a guest sees. It is a :class:`Backend` for the guest's driver, without DMA.

    Registers, guards and acknowledgements are emulated (IHI 0070: 6, v3.2). Commands are taken from
    the guest's memory: CFGI_STE* make the monitor read vSTEs and hand them to ``owner``; TLBI,
    CFGI_CD* and ATC_INV are collected and handed over at the next CMD_SYNC at the latest;
    CMD_SYNC is completed here. Translation is the physical SMMU's alone.

    A configuration that gives an event in place of a translation (vSTE.V = 0, a bad StreamID, a
    table that can't be read) has no counterpart in a nested STE: the owner lets such a device run
    into an invalid CD, and the event about that becomes the one that the guest must get.

    Parameters
    ----------
    features
        :class:`VirtualFeatures`.
    memory
        :class:`GuestMemory`.
    owner
        :class:`Stage1Owner`: what the host does.
    streams
        The vSIDs of the devices that exist. Commands about others do nothing.
    clock
        Has ``wait(clocks)`` and ``idle()``: the backend behind it all.
    pump
        Called when time passes, and before a configuration changes: lets the host handle its
        interrupts, so that ``owner.events()`` is complete.
    msi_device_id
        What the guest's interrupt controller sees as the origin of the virtual SMMU's own MSIs.

    ``refusals`` holds the :exc:`LinuxError` of what the host refused: of a configuration, and the
    device is then treated as if its STE were illegal; or of invalidations, and the first of them
    is then an illegal command.
    """

    def __init__(self, features, memory, owner, streams, *, clock=None, pump=lambda: None,
                 msi_device_id=None):
        self.params, self.memory, self.owner = features, memory, owner
        self.streams = tuple(streams)
        self.refusals = []
        self._clock, self._pump = clock, pump
        self.registers = VirtualRegisters(features, self._written)
        self._interrupts = Interrupts(features, _MSIPort(memory, msi_device_id), self.registers)
        self._events = GuestEvents(features, memory, self.registers, self._interrupts)
        self._commands = CommandConsumer(features, memory, self.registers, self._interrupts,
                                         self._execute)
        self._batch = []      # (pointer, or None for the monitor's own; command)
        self._current = {}    # vSID: VSTE in force
        self._enabled = False

    # --- the register slave ----------------------------------------------------------------------

    def reset(self):
        """Put registers into their reset state: all devices bypass."""
        self._batch.clear()
        self.registers.reset()
        self._interrupts.reset()
        self._events.reset()
        self._configure_all()

    def read32(self, offset):
        return self.registers.read32(offset)

    def read64(self, offset):
        return self.registers.read64(offset)

    def write32(self, offset, value):
        self.registers.write32(offset, value)

    def write64(self, offset, value):
        self.registers.write64(offset, value)

    def wait(self, clocks=1):
        """Let time pass."""
        if self._clock:
            self._clock.wait(clocks)
        self.poll()

    def idle(self):
        """Let the hardware, and the host's handlers, finish."""
        if self._clock:
            self._clock.idle()
        self.poll()

    def interrupts(self):
        """Return the pulses of the virtual interrupt wires so far."""
        return Wires(**self._interrupts.pulses)

    def _written(self, key):
        if key in ("CR0", "GBPA"):
            if self.registers.smmuen != self._enabled or key == "GBPA" and not self._enabled:
                self._configure_all()
        if key == "CR0" and not self.registers.cmdqen:
            # What was consumed is finished; there is no queue to stop any more.
            self._batch = [(None, command) for _, command in self._batch]
            self._flush()
        if key in ("CR0", "CMDQ_PROD", "GERRORN"):
            self._commands.run()
        if key in ("CR0", "EVENTQ_CONS", "GERRORN"):
            self._events.retry()

    # --- configuration ---------------------------------------------------------------------------

    def state(self, vsid):
        """Return the :class:`VSTE` in force for a vSID."""
        return self._current[vsid]

    def _wanted(self, vsid):
        if self.registers.smmuen:
            return read_vste(self.registers, self.memory, self.params, vsid)
        return ABORT if plain(GBPA).ABORT(self.registers["GBPA"]) else BYPASS

    def _configure_all(self):
        """SMMUEN, or GBPA while that is 0, has changed."""
        self._configure(self.streams)
        self._enabled = self.registers.smmuen

    def _configure(self, vsids):
        for vsid in vsids:
            wanted, current = self._wanted(vsid), self._current.get(vsid)
            if wanted == current:
                # The physical STE is the same; CFGI_STE makes the CDs go as well.
                if wanted.kind is Kind.TRANSLATE:
                    self._collect(None, pack_command(Opcode.CMD_CFGI_CD_ALL, {"StreamID": vsid}))
                continue
            if wanted.kind is not Kind.FAULT or current is None or current.kind is not Kind.FAULT:
                wanted = self._hand_over(vsid, wanted)
            # What has happened until now belongs to the old configuration.
            self.poll()
            self._current[vsid] = wanted

    def _hand_over(self, vsid, wanted):
        try:
            self.owner.configure(vsid, wanted)
        except LinuxError as error:
            self.refusals.append(error)
            self.owner.configure(vsid, BAD_STE)
            return BAD_STE
        return wanted

    # --- commands --------------------------------------------------------------------------------

    def _execute(self, opcode, command, pointer):
        if opcode in _FORWARDED:
            self._collect(pointer, command)
        elif opcode in _OF_A_STREAM:
            if _streamid(command) in self.streams:
                self._collect(pointer, command)
        elif opcode in (Opcode.CMD_CFGI_STE, Opcode.CMD_CFGI_STE_RANGE):
            self._flush()
            self._configure(self._streams_of(opcode, command))
        elif opcode == Opcode.CMD_SYNC:
            self._flush()
            self.poll()
        elif opcode == Opcode.CMD_RESUME:
            self.owner.resume(_resume.StreamID(command), _resume.STAG(command),
                              bool(_resume.Ac(command)))
        elif opcode == Opcode.CMD_STALL_TERM:
            self.owner.terminate_stalls(plain(CMD_STALL_TERM).StreamID(command))
        # What is left are hints.

    def _streams_of(self, opcode, command):
        """Return the devices that a CFGI_STE* is about; none while nothing is configured."""
        if not self._enabled:
            return ()
        first, order = _streamid(command), 0
        if opcode == Opcode.CMD_CFGI_STE_RANGE:
            order = _range(command) + 1
            if order == CFGI_ALL_RANGE + 1:
                return self.streams
        elif not _leaf(command):
            order = effective_split(self.registers)  # all that the L1STD is for
        return [vsid for vsid in self.streams if vsid >> order == first >> order]

    def _collect(self, pointer, command):
        self._batch.append((pointer, command))
        if len(self._batch) == _MOST_BATCHED:
            self._flush()

    def _flush(self):
        """Hand what was collected to the host."""
        batch, self._batch = self._batch, []
        while batch:
            try:
                done = self.owner.invalidate([command for _, command in batch])
            except LinuxError as error:
                self.refusals.append(error)
                done = 0
            if done < len(batch) and batch[done][0] is not None:
                raise Refused(batch[done][0])
            batch = batch[done + 1:]

    # --- events ----------------------------------------------------------------------------------

    def poll(self):
        """Take what the host reports into the guest's event queue."""
        self._pump()
        for record in self.owner.events():
            if self._enabled:
                self._events.take(record, self._current)
