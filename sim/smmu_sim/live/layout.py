"""Where everything of the live machine is: memory, frames, StreamIDs, interrupts."""

from dataclasses import dataclass

__all__ = ["DeviceFrame", "Layout", "GICV2M_FRAME", "GICV2M_SETSPI", "SMMU_FRAME_BYTES",
           "SPI_CMDQ_SYNC", "SPI_EVENTQ", "SPI_GERROR", "VIRTIO_FRAME_BYTES"]

_MIB = 1 << 20
_RAM_BASE = 0x4000_0000       # of QEMU's machine `virt`
_HOLE_BYTES = 16 * _MIB
_HOLE_BELOW_END = 64 * _MIB   # what the boot loader places at the end of RAM stays there

# QEMU's GICv2m has SPIs 48 to 111; its own devices are below 48, its platform bus below 176.
SPI_EVENTQ, SPI_GERROR, SPI_CMDQ_SYNC = 200, 201, 202
_SPI_DEVICES = 208

GICV2M_FRAME = 0x0802_0000
GICV2M_SETSPI = GICV2M_FRAME + 0x40

SMMU_FRAME_BYTES = 0x2_0000   # page 0 and page 1
VIRTIO_FRAME_BYTES = 0x200
_DEVICES_OFFSET, _DEVICE_STRIDE = 0x10_0000, 0x1_0000  # no two frames share a page of 64 KB
_ROGUE_OFFSET = 0x20_0000


@dataclass(frozen=True)
class DeviceFrame:
    """One virtio device: its kind and number, and its frame, SPI and StreamID."""

    kind: str
    virtio_id: int
    base: int
    spi: int
    sid: int


class Layout:
    """Addresses of the machine, in bytes.

    Attributes
    ----------
    ram_base, ram_bytes
        The guest's memory.
    hole, hole_bytes
        A part of it that the guest's kernel leaves alone. The frames are there.
    smmu
        The SMMU's frame.
    devices
        :class:`DeviceFrame` by kind: ``"rng"``, ``"blk"``, ``"net"``.
    rogue
        Registers with which software makes a device do one access:
        see :class:`smmu_sim.live.rogue.Rogue`.
    """

    def __init__(self, ram_mib=512):
        if not 256 <= ram_mib <= 3072:
            raise ValueError(f"ram_mib is {ram_mib}: expected 256 to 3072")
        self.ram_mib = ram_mib
        self.ram_base, self.ram_bytes = _RAM_BASE, ram_mib * _MIB
        self.hole = self.ram_base + self.ram_bytes - _HOLE_BELOW_END
        self.hole_bytes = _HOLE_BYTES
        self.smmu = self.hole
        self.rogue = self.hole + _ROGUE_OFFSET
        self.devices = {
            kind: DeviceFrame(kind, virtio_id,
                              self.hole + _DEVICES_OFFSET + number * _DEVICE_STRIDE,
                              _SPI_DEVICES + number, sid)
            for number, (kind, virtio_id, sid) in enumerate(
                [("rng", 4, 0x20), ("blk", 2, 0x120), ("net", 1, 0x210)])}

    @property
    def windows(self):
        """Where devices and the SMMU reach memory: (base, size) pairs; elsewhere accesses abort."""
        end, hole_end = self.ram_base + self.ram_bytes, self.hole + self.hole_bytes
        return [(self.ram_base, self.hole - self.ram_base), (hole_end, end - hole_end),
                (GICV2M_SETSPI, 4)]
