"""The GICv3 distributor's message-based SPIs."""

from smmu_sim.irq.register_frame import Register, RegisterFrame
from smmu_sim.irq.spi_doorbell import SPIDoorbell

__all__ = ["MBI"]

_TYPER, _SETSPI_NSR, _CLRSPI_NSR = 0x0004, 0x0040, 0x0048
_FRAME = 0x1_0000
_MBIS = 1 << 16


class MBI(SPIDoorbell):
    """GICD_SETSPI_NSR and GICD_CLRSPI_NSR at a distributor's ``base``; GICD_TYPER.MBIS is 1.

    Only the SPIs from ``spi_base`` on, ``spi_count`` of them, are given to messages (Linux 7.0:
    ``mbi-ranges``); writes of other numbers are counted and ignored. The other registers of a
    distributor are not modelled.
    """

    def __init__(self, memory, base, spi_base, spi_count):
        if base % _FRAME:
            raise ValueError(f"base is {base:#x}; a distributor is 64 KiB aligned")
        super().__init__(memory, base + _SETSPI_NSR, spi_base, spi_count)
        self.base, self.clrspi = base, base + _CLRSPI_NSR
        lines = (spi_base + spi_count - 1) // 32  # ITLinesNumber
        self._frame = RegisterFrame(memory, base, _FRAME, {
            _TYPER: Register(32, 0, _MBIS | lines), _CLRSPI_NSR: Register(32, 0x1FFF)},
            self._written)

    def _written(self, offset, value, _old):
        if offset == _CLRSPI_NSR:
            self.take_pending({value})
            self._frame[offset] = 0  # write-only
