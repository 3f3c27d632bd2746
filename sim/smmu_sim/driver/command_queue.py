"""The command queue, producer side: batches, CMD_SYNC, recovery from errors."""

from smmu.formats.commands import CERROR, CommandHeader
from smmu.formats.core import bits, plain
from smmu.formats.registers import CMDQ_BASE

from smmu_sim.driver import commands
from smmu_sim.driver.command_log import CommandLog
from smmu_sim.driver.errors import CommandError, DriverError, QueueFull
from smmu_sim.driver.features import COMMAND_BATCH
from smmu_sim.driver.queue import Queue
from smmu_sim.fields import address

__all__ = ["CommandQueue"]

_ENTRY_SIZE = bits(CommandHeader) // 8
_MOST_ABORTS = 3  # fetches of one command that may fail


class CommandQueue:
    """Issue commands and wait for their completion.

    Parameters
    ----------
    registers, memory, allocator
        Where the SMMU is, and where the queue goes.
    log2size
        log2 of the number of entries; a batch of 64 must fit.
    sync_by_msi
        A CMD_SYNC overwrites its own entry with 0 when it completes, and the driver looks there;
        otherwise it looks at CMDQ_CONS.
    handle_errors
        Called while CMDQ_CONS shows an error, which may be an old one: looks at GERROR.CMDQ_ERR
        and calls :meth:`recover` if it is active.

    ``errors`` holds the commands that were refused since the last CMD_SYNC; the next one that
    completes raises the first of them. ``log`` is the :class:`CommandLog`.
    """

    def __init__(self, registers, memory, allocator, log2size, *, sync_by_msi=False,
                 handle_errors=lambda: None):
        if 1 << log2size <= COMMAND_BATCH:
            raise DriverError(f"log2size is {log2size}; more than {COMMAND_BATCH} commands must "
                              "fit the command queue")
        self.queue = Queue(memory, allocator, log2size, _ENTRY_SIZE)
        self.sync_by_msi, self.errors = sync_by_msi, []
        self.log = CommandLog()
        self.issued = self.syncs = 0
        self._registers, self._handle_errors = registers, handle_errors
        self._aborts = (None, 0)  # index and how often its fetch failed

    def set_up(self):
        """Write base and indexes. CMDQEN is 0."""
        queue = self.queue
        queue.prod = queue.cons = 0
        self._registers.write("CMDQ_BASE", LOG2SIZE=queue.log2size, RA=1,
                              ADDR=address(CMDQ_BASE, "ADDR", queue.base))
        self._registers.write("CMDQ_PROD", 0)
        self._registers.write("CMDQ_CONS", 0)

    def issue(self, batch, sync=True):
        """Issue commands in order, and with ``sync`` a CMD_SYNC behind them; wait for that.

        Raises :exc:`CommandError` if the SMMU refused one of them.
        """
        batch = list(batch)
        while True:
            part, batch = batch[:COMMAND_BATCH - 1], batch[COMMAND_BATCH - 1:]
            last = not batch
            pointer = self._insert(part, sync and last)
            if last:
                break
        if sync:
            self._wait_for(pointer)
            self._raise()

    def sync(self):
        """Wait until everything issued has completed."""
        self.issue([])

    def _insert(self, batch, with_sync):
        """Write entries and publish them; return the pointer to the last one."""
        queue = self.queue
        need = len(batch) + with_sync
        if need > queue.entries:
            raise QueueFull(f"{need} commands do not fit {queue.entries} entries")
        if queue.space < need:
            self._registers.wait_until(lambda: self._update_cons() or queue.space >= need,
                                       lambda: f"space for {need} commands")
        for command in batch:
            self._put(command)
        pointer = queue.prod
        if with_sync:
            self._put(commands.sync_with_msi(queue.addr(pointer)) if self.sync_by_msi
                      else commands.sync())
            self.syncs += 1
        self.issued += need
        if need:
            self._registers.write("CMDQ_PROD", WR=queue.prod)
        return pointer

    def _put(self, command):
        queue = self.queue
        queue.write(queue.prod, command)
        queue.prod = queue.advance(queue.prod)
        self.log.add(command)

    def _update_cons(self):
        cons = self._registers.fields("CMDQ_CONS")
        self.queue.cons = cons["RD"]
        if cons["ERR"] != CERROR.CERROR_NONE:
            self._handle_errors()

    def _wait_for(self, pointer):
        """Wait until the CMD_SYNC at ``pointer`` has completed."""
        queue = self.queue
        ahead = queue.distance(pointer, queue.prod)

        def passed():
            if self.sync_by_msi and queue.memory.read32(queue.addr(pointer)) == 0:
                queue.cons = queue.advance(pointer)
                return True
            self._update_cons()
            return not self.sync_by_msi and queue.used < ahead

        self._registers.wait_until(passed, lambda: (
            f"the CMD_SYNC at index {queue.index(pointer)}; CMDQ_CONS is at "
            f"{queue.index(queue.cons)}"))
        self._aborts = (None, 0)

    def _raise(self):
        if self.errors:
            first, self.errors = self.errors[0], []
            raise first

    def recover(self):
        """Let the queue go on after CMDQ_ERR: what stands at CONS becomes a CMD_SYNC if illegal.

        The caller acknowledges GERROR afterwards. A fetch that was aborted is tried again.
        """
        queue, cons = self.queue, self._registers.fields("CMDQ_CONS")
        code, pointer = CERROR(cons["ERR"]), cons["RD"]
        if code == CERROR.CERROR_NONE:
            return
        if code in (CERROR.CERROR_ABT, CERROR.CERROR_ATC_INV_SYNC):
            where, count = self._aborts
            self._aborts = (pointer, count + 1 if where == pointer else 1)
            if self._aborts[1] == _MOST_ABORTS:
                self._aborts = (None, 0)
                raise DriverError(f"{code.name} at index {queue.index(pointer)}, address "
                                  f"{queue.addr(pointer):#x}, {_MOST_ABORTS} times")
            return
        self.errors.append(CommandError(code, queue.index(pointer), queue.read(pointer)))
        queue.write(pointer, commands.sync())

    def decode(self, pointer):
        """Return opcode and raw command at a pointer."""
        raw = self.queue.read(pointer)
        return plain(CommandHeader).Op(raw), raw
