"""The GICv2m frame: MSIs that raise SPIs."""

from smmu_sim.irq.layouts import MSI_TYPER
from smmu_sim.irq.register_frame import Register, RegisterFrame
from smmu_sim.irq.spi_doorbell import SPIDoorbell

__all__ = ["GICv2m"]

_MSI_TYPER, _SETSPI_NS, _IIDR = 0x008, 0x040, 0xFCC
_FRAME = 0x1000
_ARM = 0x43B  # JEP106 code in MSI_IIDR


class GICv2m(SPIDoorbell):
    """A frame of 4 KiB with MSI_TYPER, MSI_SETSPI_NS and MSI_IIDR.

    The data of a message is the number of the SPI. A number that is not the frame's is counted and
    ignored. There is no isolation between devices.
    """

    def __init__(self, memory, base, spi_base, spi_count):
        if base % _FRAME:
            raise ValueError(f"base is {base:#x}; a frame is 4 KiB aligned")
        super().__init__(memory, base + _SETSPI_NS, spi_base, spi_count)
        self.base = base
        typer = MSI_TYPER.pack(first=spi_base, count=spi_count)
        self._frame = RegisterFrame(memory, base, _FRAME, {
            _MSI_TYPER: Register(32, 0, typer), _IIDR: Register(32, 0, _ARM)},
            lambda offset, value, old: None)
