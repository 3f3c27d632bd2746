"""A monitor's side of /dev/iommu: ioctls by name, with the data they point to."""

from smmu_sim.iommufd.uapi import LAYOUTS, NUMBERS

__all__ = ["IOMMUFDClient"]


class IOMMUFDClient:
    """Packs ioctls of one open /dev/iommu.

    Parameters
    ----------
    iommufd
        The open file: ``ioctl(number, bytearray)``.
    process
        The process that has it open: ``read(va, size)``, ``write(va, data)``.
    scratch
        Address and size of memory of that process for what ioctls point to.
    """

    def __init__(self, iommufd, process, scratch):
        self.iommufd, self.process = iommufd, process
        self._scratch, self._scratch_size = scratch

    def call(self, name, **fields):
        """Perform ``IOMMU_<name>``; return the struct as the kernel left it.

        Raises :exc:`LinuxError`; then its ``reply`` is the struct.
        """
        name = f"IOMMU_{name}"
        argument = LAYOUTS[name].pack(**fields)
        try:
            self.iommufd.ioctl(NUMBERS[name], argument)
        except OSError as error:
            error.reply = LAYOUTS[name].unpack(argument)
            raise
        return LAYOUTS[name].unpack(argument)

    def put(self, data):
        """Store bytes where an ioctl may point to; return the address. Valid until the next."""
        if len(data) > self._scratch_size:
            raise ValueError(f"{len(data)} bytes do not fit the {self._scratch_size} of scratch")
        self.process.write(self._scratch, bytes(data))
        return self._scratch

    def take(self, size):
        """Return the first bytes at that place."""
        return self.process.read(self._scratch, size)
