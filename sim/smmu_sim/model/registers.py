"""The register slave: what reads back, what a write stores, and when not (IHI 0070: 6)."""

from smmu.formats.core import fields, plain, update
from smmu.formats.registers import (
    CR0,
    CR1,
    CR2,
    GBPA,
    GERROR,
    IDR0,
    IDR5,
    IRQ_CTRL,
    REMAP_CTRL,
    id_values,
    implemented,
    write_mask,
)

__all__ = ["RegisterFile"]

_cr0 = plain(CR0)
_cr2 = plain(CR2)
_gbpa = plain(GBPA)
_irq = plain(IRQ_CTRL)

FULL = {32: (1 << 32) - 1, 64: (1 << 64) - 1}
GBPA_UPDATE = fields(GBPA)["Update"].mask
CR1_TABLE = sum(fields(CR1)[name].mask for name in ("TABLE_IC", "TABLE_OC", "TABLE_SH"))
CR1_QUEUE = sum(fields(CR1)[name].mask for name in ("QUEUE_IC", "QUEUE_OC", "QUEUE_SH"))
REMAP_BUSY = fields(REMAP_CTRL)["BUSY"].mask
STALL_AND_TERMINATE = 0
ACKNOWLEDGES = {"CR0": "CR0ACK", "IRQ_CTRL": "IRQ_CTRLACK"}


class RegisterFile:
    """Registers by name (``registers["CR0"]``), and the accesses of the slave port.

    Every Update takes effect at once: CR0ACK and IRQ_CTRLACK follow, GBPA.Update is always 0.
    Elements of an array are ``(name, index)``. ``on_write(key)`` is called after each write that
    was not ignored. ``stall_max`` above 0 makes the ID registers say that transactions can stall.
    """

    def __init__(self, params, on_write=lambda key: None, stall_max=0):
        self.params = params
        self.stall_max = stall_max
        self.on_write = on_write
        self._at = {}  # offset of a 32-bit word -> (key, register, its lowest bit)
        self._masks = {}
        for register in implemented(params):
            for index in range(register.copies(params)):
                key = register.name if register.count == 1 else (register.name, index)
                for half in range(register.width // 32):
                    self._at[register.at(index) + 4 * half] = key, register, 32 * half
        for register in implemented(params):
            self._masks[register.name] = write_mask(register.name, params)
        self._masks["GBPA"] &= ~GBPA_UPDATE
        self._values = {}
        self.reset()

    def reset(self):
        """Set the reset values."""
        decided = id_values(self.params)
        if self.stall_max:
            decided["IDR0"] = update(IDR0, decided["IDR0"], {"STALL_MODEL": STALL_AND_TERMINATE})
            decided["IDR5"] = update(IDR5, decided["IDR5"], {"STALL_MAX": self.stall_max})
        for key, register, _ in self._at.values():
            self._values[key] = decided[register.name] if register.reset is None else register.reset

    def __getitem__(self, key):
        return self._values[key]

    def __setitem__(self, key, value):
        self._values[key] = value

    # Software's accesses. What is not a register reads as zero and ignores writes.

    def read32(self, offset):
        if offset not in self._at:
            return 0
        key, _, lsb = self._at[offset]
        return self._values[key] >> lsb & FULL[32]

    def read64(self, offset):
        """Read the aligned 64 bits at ``offset``. The port has no read size: both words answer."""
        if offset & 7:
            return 0
        return self.read32(offset) | self.read32(offset + 4) << 32

    def write32(self, offset, value):
        if offset in self._at:
            key, register, lsb = self._at[offset]
            kept = self._values[key] & ~(FULL[32] << lsb)
            self._write(key, register, kept | (value & FULL[32]) << lsb)

    def write64(self, offset, value):
        """Write one 64-bit register. Over two 32-bit registers it is ignored."""
        key, register, lsb = self._at.get(offset, (None, None, None))
        if key is not None and register.width == 64 and lsb == 0:
            self._write(key, register, value & FULL[64])

    def _write(self, key, register, value):
        mask = self._writable(register.name, value)
        if mask == 0:
            return
        self._values[key] = self._values[key] & ~mask | value & mask
        if register.name in ACKNOWLEDGES:
            self._values[ACKNOWLEDGES[register.name]] = self._values[key]
        self.on_write(key)

    def _writable(self, name, value):
        """Return the bits of ``name`` that a write of ``value`` stores now."""
        mask = self._masks[name]
        if name == "CR1":
            queues_off = not (self.cmdqen or self.eventqen)
            return mask & ((0 if self.smmuen else CR1_TABLE) | (CR1_QUEUE if queues_off else 0))
        if name == "GBPA":
            return mask if value & GBPA_UPDATE else 0
        closed = {
            "CR2": self.smmuen,
            "STRTAB_BASE": self.smmuen,
            "STRTAB_BASE_CFG": self.smmuen,
            "CMDQ_BASE": self.cmdqen,
            "CMDQ_CONS": self.cmdqen,
            "EVENTQ_BASE": self.eventqen,
            "EVENTQ_PROD": self.eventqen,
            "GERROR_IRQ_CFG0": self.gerror_irqen,
            "GERROR_IRQ_CFG1": self.gerror_irqen,
            "GERROR_IRQ_CFG2": self.gerror_irqen,
            "EVENTQ_IRQ_CFG0": self.eventq_irqen,
            "EVENTQ_IRQ_CFG1": self.eventq_irqen,
            "EVENTQ_IRQ_CFG2": self.eventq_irqen,
        }
        return 0 if closed.get(name) else mask

    # Fields that others ask for

    @property
    def smmuen(self):
        return _cr0.SMMUEN(self._values["CR0"])

    @property
    def cmdqen(self):
        return _cr0.CMDQEN(self._values["CR0"])

    @property
    def eventqen(self):
        return _cr0.EVENTQEN(self._values["CR0"])

    @property
    def gerror_irqen(self):
        return _irq.GERROR_IRQEN(self._values["IRQ_CTRL"])

    @property
    def eventq_irqen(self):
        return _irq.EVENTQ_IRQEN(self._values["IRQ_CTRL"])

    @property
    def e2h(self):
        return _cr2.E2H(self._values["CR2"])

    @property
    def recinvsid(self):
        return _cr2.RECINVSID(self._values["CR2"])

    def active(self, error):
        """Whether the global error ``error`` (a field name of GERROR) is active."""
        return bool((self["GERROR"] ^ self["GERRORN"]) & fields(GERROR)[error].mask)

    def activate(self, error):
        """Toggle ``error`` unless it is active, and return whether that was done."""
        if self.active(error):
            return False
        self["GERROR"] ^= fields(GERROR)[error].mask
        return True
