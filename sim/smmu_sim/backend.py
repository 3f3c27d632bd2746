"""What host software and replays run on: one SMMU with its memory and devices, without time."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from smmu_sim.memory import BusAbort
from smmu_sim.model import SMMU, Disposition

__all__ = ["Backend", "Burst", "Interrupts", "ModelBackend", "Pending", "Resp", "Result",
           "Transaction", "TransactionStalled"]


class Resp(IntEnum):
    """AXI responses."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class Burst(IntEnum):
    """AxBURST."""

    FIXED = 0
    INCR = 1
    WRAP = 2


@dataclass(kw_only=True, slots=True)
class Transaction:
    """One AXI transaction of a device.

    A write carries ``data``, a read asks for ``length`` bytes. ``size`` is AxSIZE; None takes the
    widest transfer that the length and the address allow on 64 bits.
    """

    sid: int
    addr: int
    ssid: int | None = None  # None: no SubstreamID
    write: bool = False
    data: bytes | None = None
    length: int | None = None
    strobes: int | None = None  # one bit for each byte of a write; None: all
    priv: bool = False  # AxPROT[0]
    nonsecure: bool = True  # AxPROT[1], carried through
    instr: bool = False  # AxPROT[2]
    cache: int = 0b0011  # AxCACHE
    shareability: int = 0
    atst: bool = False  # already translated by ATS
    burst: Burst = Burst.INCR
    size: int | None = None
    port: int = 0

    def __post_init__(self):
        if self.write:
            if self.data is None:
                raise ValueError("a write needs data")
            self.length = len(self.data)
        elif self.length is None:
            raise ValueError("a read needs a length")
        if self.size is None:
            self.size = 3
            while self.size and (self.length | self.addr) & (1 << self.size) - 1:
                self.size -= 1

    def pieces(self):
        """Yield (offset in the data, offset from the address, bytes) of each piece in order."""
        if self.burst == Burst.INCR:
            yield 0, 0, self.length
            return
        step = 1 << self.size
        for start in range(0, self.length, step):
            if self.burst == Burst.FIXED:
                yield start, 0, step
            else:
                base = self.addr - self.addr % self.length
                yield start, base + (self.addr - base + start) % self.length - self.addr, step


@dataclass(kw_only=True, slots=True)
class Result:
    """How a transaction ended.

    ``pa`` is the translated address, None if nothing reached the memory side; the fields below it
    mean something only if ``pa`` does. ``ok`` is ``resp == OKAY``; a read-as-zero, write-ignored
    termination is ``ok`` without a ``pa``.
    """

    resp: Resp
    data: bytes | None = None
    pa: int | None = None
    cache: int = 0
    shareability: int = 0
    prot: int = 0
    device_id: int = 0
    msi: bool = False

    @property
    def ok(self):
        return self.resp == Resp.OKAY


class Interrupts(NamedTuple):
    """Pulses of each interrupt wire since reset."""

    eventq: int
    gerror: int
    cmdq_sync: int
    priq: int


class Backend(Protocol):
    """An SMMU with its memory. All calls return when what they ask for is done.

    Register offsets are those of the register slave port: page 0 at 0, page 1 at 0x10000, the
    implementation-defined frame at 0x40000.
    """

    params: object
    memory: object

    def reset(self):
        """Reset the SMMU. Memory keeps its contents."""

    def write32(self, offset, value): ...

    def write64(self, offset, value): ...

    def read32(self, offset): ...

    def read64(self, offset): ...

    def dma(self, transaction) -> Result:
        """Perform one transaction of a device."""

    def wait(self, clocks=1):
        """Let the hardware proceed for some clocks."""

    def idle(self):
        """Let the hardware proceed until it has nothing to do: commands, records, transactions."""

    def interrupts(self) -> Interrupts:
        """Return the pulses so far."""


class Pending:
    """A transaction on its way. ``result`` is None until it has ended."""

    def __init__(self, transaction):
        self.transaction, self.result = transaction, None

    @property
    def done(self):
        return self.result is not None


class TransactionStalled(RuntimeError):
    """A caller that waits for a transaction which stalls would wait for ever.

    The transaction stays stalled; ``pending`` tells how it ends.
    """

    def __init__(self, pending):
        transaction = pending.transaction
        super().__init__(f"the access of StreamID {transaction.sid:#x} at {transaction.addr:#x} "
                         "stalled: start what may stall with submit()")
        self.pending = pending


class ModelBackend:
    """The reference model as a :class:`Backend`. Everything happens at once.

    Parameters
    ----------
    params, memory
        The build that it models, and its memory.
    stall
        Let transactions stall: IDR0.STALL_MODEL reads 0 and not what ``params`` says, since the RTL
        only terminates so far. ``submit`` starts a transaction that may stall.
    stall_max
        IDR5.STALL_MAX: stalls that are recorded and not yet resumed.
    """

    def __init__(self, params, memory, *, stall=False, stall_max=16):
        if not 0 < stall_max < 1 << 16:
            raise ValueError(f"stall_max is {stall_max}: expected 1 to 65535 (IDR5.STALL_MAX)")
        self.params = params
        self.memory = memory
        self.model = SMMU(params, memory, stall_max if stall else 0)

    def reset(self):
        self.model.reset()

    def write32(self, offset, value):
        self.model.write32(offset, value)

    def write64(self, offset, value):
        self.model.write64(offset, value)

    def read32(self, offset):
        return self.model.read32(offset)

    def read64(self, offset):
        return self.model.read64(offset)

    def wait(self, clocks=1):
        pass

    def idle(self):
        pass

    def interrupts(self):
        return Interrupts(**self.model.interrupts)

    def submit(self, transaction):
        """Start a transaction and return its :class:`Pending`, which has ended unless it stalls.

        A stalled write is performed, and its data reach memory, when software has it retried.
        """
        pending = Pending(transaction)

        def end(answer):
            pending.result = self._perform(transaction, answer)

        answer = self.model.translate(transaction, end)
        if answer.disposition != Disposition.STALL:
            end(answer)
        return pending

    def dma(self, transaction):
        """Perform one transaction of a device.

        Raises :exc:`TransactionStalled` if it stalls, since nobody could resume it meanwhile.
        """
        pending = self.submit(transaction)
        if not pending.done:
            raise TransactionStalled(pending)
        return pending.result

    def _perform(self, transaction, answer):
        """Do what the SMMU decided about a transaction."""
        if answer.disposition == Disposition.ABORT:
            return Result(resp=Resp.SLVERR)
        if answer.disposition == Disposition.RAZ_WI:
            return Result(
                resp=Resp.OKAY, data=None if transaction.write else bytes(transaction.length)
            )
        result = Result(
            resp=Resp.OKAY,
            pa=answer.pa,
            cache=answer.cache,
            shareability=answer.shareability,
            prot=answer.prot,
            device_id=answer.device_id,
            msi=answer.msi,
        )
        try:
            result.data = self._access(transaction, answer)
        except BusAbort:
            result.resp = Resp.SLVERR
        return result

    def _access(self, transaction, answer):
        data = bytearray()
        for start, position, count in transaction.pieces():
            addr = answer.pa + position
            if transaction.write:
                strobes = transaction.strobes
                if strobes is not None:
                    strobes = strobes >> start & (1 << count) - 1
                self.memory.write(
                    addr, transaction.data[start : start + count], strobes, answer.device_id
                )
            else:
                data += self.memory.read(addr, count)
        return None if transaction.write else bytes(data)
