"""A VFIO character device, as a monitor uses it."""

from smmu_sim.iommufd.vfio_uapi import ATTACH_PT, BIND_IOMMUFD, DETACH_PT, NUMBERS

__all__ = ["CharacterDevice"]


class CharacterDevice:
    """One open /dev/vfio/devices/vfioN: ``file`` has ``ioctl(number, bytearray)``."""

    def __init__(self, file):
        self.file = file

    def _call(self, name, layout, **fields):
        argument = layout.pack(**fields)
        self.file.ioctl(NUMBERS[f"VFIO_DEVICE_{name}"], argument)
        return layout.unpack(argument)

    def bind(self, iommufd):
        """Bind it to an iommufd, by its descriptor; return the device's id there."""
        return self._call("BIND_IOMMUFD", BIND_IOMMUFD, iommufd=iommufd).out_devid

    def attach(self, pt_id):
        """Attach an IOAS or HWPT, in place of the present one if there is any."""
        self._call("ATTACH_IOMMUFD_PT", ATTACH_PT, pt_id=pt_id)

    def detach(self):
        """Block the device's DMA."""
        self._call("DETACH_IOMMUFD_PT", DETACH_PT)
