"""A PCI function: configuration space, BARs with an MSI-X table, DMA."""

from smmu_sim.backend import Resp, Result
from smmu_sim.devices.bus_master import BusMaster
from smmu_sim.devices.config_space import ConfigSpace
from smmu_sim.devices.msix import MSIX

__all__ = ["PCIFunction"]

_VENDOR, _DEVICE = 0x13B5, 0xFF80
_OTHER_CLASS = 0xFF0000
_REGISTER_BAR_BYTES = _MSIX_BAR_BYTES = 0x1_0000
_RID_MASK = 0xFFFF


class PCIFunction(BusMaster):
    """One function. BAR 0 has what the device on it brings, BAR 4 the MSI-X table and PBA.

    It starts as an enumerated one: memory decoding and bus mastering are on, MSI-X is off and
    every vector is masked. Requests without bus mastering, or with a PASID while the PASID
    capability is there and off, do not leave the function: they end with DECERR.

    Parameters
    ----------
    backend, sid, name, port, payload
        As for :class:`BusMaster`.
    vectors
        Size of the MSI-X table.
    rid
        Requester ID, 16 bits; by default the low bits of the StreamID.
    pasid_bits
        Width of the PASID capability; 0: there is none, and PASIDs are sent unchecked.
    vendor, device, class_code
        What configuration space says.

    Attributes
    ----------
    vectors
        The MSI-X table: ``vectors[n].addr``, ``.data``, ``.masked``, ``.pending``, ``.message``.
    config
        :class:`ConfigSpace`.
    registers
        What is behind BAR 0: ``read(offset, size) -> bytes``, ``write(offset, data)``,
        ``reset()``. None at first.
    """

    REGISTER_BAR, MSIX_BAR = 0, 4
    TABLE_OFFSET, PBA_OFFSET = 0, 0x8000

    def __init__(self, backend, sid, *, name, vectors=8, rid=None, pasid_bits=0, port=0,
                 payload=256, vendor=_VENDOR, device=_DEVICE, class_code=_OTHER_CLASS):
        super().__init__(backend, sid, name=name, port=port, payload=payload)
        self.rid = sid & _RID_MASK if rid is None else rid
        if self.rid >> 16:
            raise ValueError(f"rid is {rid:#x}; a requester ID has 16 bits")
        self.pasid_bits, self.registers = pasid_bits, None
        self.bars = {self.REGISTER_BAR: _REGISTER_BAR_BYTES, self.MSIX_BAR: _MSIX_BAR_BYTES}
        self.msix = MSIX(vectors, lambda message: self.write_message(*message))
        self.config = ConfigSpace(
            vendor=vendor, device=device, class_code=class_code, bars=self.bars, vectors=vectors,
            table_bar=self.MSIX_BAR, pba_offset=self.PBA_OFFSET, pasid_bits=pasid_bits,
            on_msix=self.msix.control, on_reset=self.reset)
        self.config.enable()

    @property
    def vectors(self):
        return self.msix.vectors

    @property
    def bdf(self):
        """Bus, device and function: ``"00:08.2"``."""
        return f"{self.rid >> 8:02x}:{self.rid >> 3 & 0x1F:02x}.{self.rid & 7}"

    def reset(self):
        """Function-level reset: configuration, MSI-X and the device. Bus mastering is off."""
        self.config.reset()
        self.msix.reset()
        if self.registers is not None:
            self.registers.reset()

    # DMA

    def transfer(self, transactions):
        allowed = self.config.bus_master and not (
            self.pasid_bits and not self.config.pasid_enabled
            and any(transaction.ssid is not None for transaction in transactions))
        if not allowed:
            return [Result(resp=Resp.DECERR) for _ in transactions]
        return super().transfer(transactions)

    # Interrupts

    def trigger(self, vector):
        """Raise an interrupt: send the vector's message and return the :class:`Result`.

        None if nothing was sent: the vector or the function is masked (then it is pending and
        sent when unmasked), or MSI-X is off.
        """
        return self.msix.trigger(vector)

    def set_message(self, vector, message):
        """Do what a kernel does to use a vector: write the message, unmask it, turn MSI-X on."""
        self.vectors[vector].message = message
        self.vectors[vector].masked = False
        if not self.msix.enabled:
            self.config.set_msix(True)

    # Software's accesses

    def config_read(self, offset, size):
        """Return bytes of configuration space."""
        return self.config.read(offset, size)

    def config_write(self, offset, data):
        """Write bytes of configuration space."""
        self.config.write(offset, data)

    def bar_read(self, bar, offset, size):
        """Return bytes of a BAR. Without memory decoding all ones, as from an empty bus."""
        self._check(bar, offset, size)
        if not self.config.memory_space:
            return b"\xff" * size
        if bar == self.MSIX_BAR:
            image = bytearray(_MSIX_BAR_BYTES)
            image[:len(self.msix.table)] = self.msix.table
            image[self.PBA_OFFSET:self.PBA_OFFSET + len(self.msix.pba)] = self.msix.pba
            return bytes(image[offset:offset + size])
        return bytes(size) if self.registers is None else self.registers.read(offset, size)

    def bar_write(self, bar, offset, data):
        """Write bytes of a BAR. The PBA is read-only; without memory decoding nothing happens."""
        self._check(bar, offset, len(data))
        if not self.config.memory_space:
            return
        if bar == self.MSIX_BAR:
            self.msix.write_table(offset, data)
        elif self.registers is not None:
            self.registers.write(offset, data)

    def _check(self, bar, offset, size):
        if bar not in self.bars or offset < 0 or size <= 0 or offset + size > self.bars[bar]:
            raise ValueError(f"{self.name}: {size} bytes at {offset:#x} of BAR {bar}")
