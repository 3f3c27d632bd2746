"""A driver on the reference model, and one on a model that claims more features than it has."""

import pytest

from smmu.formats.commands import COMMANDS, Opcode
from smmu.formats.core import fields, unpack, update
from smmu.formats.registers import BY_NAME, IDR0, IDR1
from smmu.formats.stream_table import STE
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.driver import Master, PageAllocator, SMMUv3Driver
from smmu_sim.memory import Memory

POOL = (0x4000_0000, 0x1000_0000)
NAMES = {register.offset: register.name for register in BY_NAME.values()}
ACKNOWLEDGED = {"CR0ACK": "CR0", "IRQ_CTRLACK": "IRQ_CTRL"}


class Recorder(ModelBackend):
    """The model. ``writes`` lists register writes; ``override[name](value)`` changes a read."""

    def __init__(self, params, stall):
        super().__init__(params, Memory(), stall=stall)
        self.writes, self.override = [], {}

    def read32(self, offset):
        name = NAMES.get(offset)
        value = super().read32(offset)
        return self.override[name](value) if name in self.override else value

    def write32(self, offset, value):
        self.writes.append((NAMES[offset], value))
        super().write32(offset, value)

    def write64(self, offset, value):
        self.writes.append((NAMES[offset], value))
        super().write64(offset, value)

    def claim(self, idr0=(), idr1=()):
        """Claim features that the model lacks: all commands are legal, all enables acknowledged."""
        self.override["IDR0"] = lambda value: update(IDR0, value, dict(idr0))
        self.override["IDR1"] = lambda value: update(IDR1, value, dict(idr1))
        for name, written in ACKNOWLEDGED.items():
            self.override[name] = lambda value, written=written: next(
                (v for n, v in reversed(self.writes) if n == written), value)
        self.model.command_queue.is_legal = lambda command: True


class System:
    """A driver with its backend."""

    def __init__(self, params=None, claim=None, reset=True, stall=False, **options):
        self.backend = Recorder(params or Params(), stall)
        if claim is not None:
            self.backend.claim(**claim)
        self.driver = SMMUv3Driver(
            self.backend, PageAllocator(self.backend.memory, *POOL), **options)
        if reset:
            self.driver.reset()
            self.driver.take_commands()

    def master(self, *sids, name="device", **options):
        """Add a device; the default StreamID is 0x42."""
        master = Master(name, sids or (0x42,), **options)
        self.driver.add_master(master)
        self.driver.take_commands()
        return master

    def read(self, addr, ssid=None, sid=0x42):
        """Return the physical address that a read reaches, or None."""
        return self.backend.dma(Transaction(sid=sid, ssid=ssid, addr=addr, length=4)).pa

    def commands(self):
        """Return what was issued since the last call, as :func:`decode` has it."""
        return [decode(raw) for raw in self.driver.take_commands()]

    def names(self):
        """Return the names of the commands since the last call, without hints."""
        return [name for name, _ in self.commands() if name != "PREFETCH_CONFIG"]

    def events(self):
        """Return the names of the events that nobody took."""
        return [event.name for event in self.driver.service()]

    def ste(self, sid=0x42):
        """Return the fields of an STE that are not 0."""
        return {name: value for name, value in
                unpack(STE, self.driver.stream_table.read(sid)).items() if value}

    def accept(self, **changes):
        """Change fields of the features that the driver found."""
        self.driver.features = type(self.driver.features)(
            **{**vars(self.driver.features), **changes})


def decode(raw):
    """Return the name of a command and its fields that are not 0; addresses are in bytes."""
    opcode = Opcode(raw & 0xFF)
    struct = COMMANDS[opcode]
    found = {name: value for name, value in unpack(struct, raw).items()
             if value and name not in ("Op", "CS", "MSH", "MSIAttr", "MSIAddress")}
    if "Address" in found:
        found["Address"] <<= fields(struct)["Address"].lsb % 64
    return opcode.name.removeprefix("CMD_").removeprefix("TLBI_"), found


@pytest.fixture
def make():
    """Make a :class:`System`."""
    return System


@pytest.fixture
def system():
    """A driver after reset."""
    return System()
