"""The register file of a virtual SMMU."""

from smmu.formats.registers import OWN_FRAME
from smmu_sim.model.registers import RegisterFile

__all__ = ["VirtualRegisters"]


class VirtualRegisters(RegisterFile):
    """Registers as the architecture has them, with the guards of SMMUv3.2 (IHI 0070: 6).

    ID registers read ``features.ids``. The implementation-defined frame of the host's SMMU is not
    there: it reads as zero and ignores writes.
    """

    def __init__(self, features, on_write):
        self._ids = features.ids
        super().__init__(features, on_write)

    def reset(self):
        """Set the reset values."""
        self._at = {offset: entry for offset, entry in self._at.items() if offset < OWN_FRAME}
        for key, register, _ in self._at.values():
            self._values[key] = self._ids[register.name] if register.reset is None \
                else register.reset
