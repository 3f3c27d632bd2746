"""A user process with an open /dev/iommu: packed ioctls, as a monitor performs them."""

from smmu_sim.iommufd import IOMMUFD, Process, VFIODeviceFile
from smmu_sim.iommufd.constants import (
    DataType, HWPTFlag, InvalidateType, MapFlag, OptionOp, VEventQType, VIOMMUType)
from smmu_sim.iommufd.uapi import (
    HWPT_ARM_SMMUV3, IOVA_RANGE, LAYOUTS, NUMBERS, VIOMMU_ARM_SMMUV3_INVALIDATE)
from smmu_sim.iommufd.vfio_uapi import ATTACH_PT, BIND_IOMMUFD, DETACH_PT, PT_PASID
from smmu_sim.iommufd.vfio_uapi import NUMBERS as VFIO_NUMBERS
from smmu_sim.linux_error import LinuxError

__all__ = ["IOMMUFDUser"]

_SCRATCH, _SCRATCH_BYTES = 0x7D00_0000_0000, 0x4000
_VA = 0x7F00_0000_0000        # physical memory is mapped from here on
_WORD = (1 << 64) - 1


class IOMMUFDUser:
    """One process and its iommufd.

    Parameters
    ----------
    host
        The scenario's :class:`Host`.
    options
        Of :class:`IOMMUFD`.

    Attributes
    ----------
    process, iommufd
        :class:`Process`, :class:`IOMMUFD`.
    ids
        ``{Device: id}`` of the bound devices.
    """

    def __init__(self, host, name="monitor", **options):
        self.host = host
        self.process = Process(host.world.memory, name, allocator=host.machine.allocator)
        self.process.map_anonymous(_SCRATCH, _SCRATCH_BYTES)
        self.iommufd = IOMMUFD(host.iommu, self.process, **options)
        self.ids, self._files = {}, {}

    def call(self, name, **fields):
        """Perform ``IOMMU_<name>``; return the struct as the kernel left it.

        A :class:`LinuxError` has it as ``reply``.
        """
        layout, number = LAYOUTS[f"IOMMU_{name}"], NUMBERS[f"IOMMU_{name}"]
        argument = layout.pack(**fields)
        try:
            self.iommufd.ioctl(number, argument)
        except LinuxError as error:
            error.reply = layout.unpack(argument)
            raise
        return layout.unpack(argument)

    def put(self, data):
        """Store bytes where an ioctl may point to; return the address."""
        self.process.write(_SCRATCH, bytes(data))
        return _SCRATCH

    def file(self, fd):
        """Return an open file."""
        return self.process.file(fd)

    # --- devices ---------------------------------------------------------------------------------

    def bind(self, device):
        """VFIO_DEVICE_BIND_IOMMUFD; return the device's id."""
        file = VFIODeviceFile(device, self.process)
        argument = BIND_IOMMUFD.pack(iommufd=self.iommufd.fd)
        file.ioctl(VFIO_NUMBERS["VFIO_DEVICE_BIND_IOMMUFD"], argument)
        self._files[device] = file
        self.ids[device] = BIND_IOMMUFD.unpack(argument).out_devid
        return self.ids[device]

    def attach(self, device, pt_id, pasid=None):
        """VFIO_DEVICE_ATTACH_IOMMUFD_PT, which replaces what is attached; return the HWPT's id."""
        argument = ATTACH_PT.pack(pt_id=pt_id, pasid=pasid or 0,
                                  flags=0 if pasid is None else PT_PASID)
        self._files[device].ioctl(VFIO_NUMBERS["VFIO_DEVICE_ATTACH_IOMMUFD_PT"], argument)
        return ATTACH_PT.unpack(argument).pt_id

    def detach(self, device):
        """VFIO_DEVICE_DETACH_IOMMUFD_PT."""
        self._files[device].ioctl(VFIO_NUMBERS["VFIO_DEVICE_DETACH_IOMMUFD_PT"],
                                  DETACH_PT.pack())

    # --- memory ----------------------------------------------------------------------------------

    def ioas(self):
        """IOAS_ALLOC; return its id."""
        return self.call("IOAS_ALLOC").out_ioas_id

    def map(self, ioas, iova, physical, size):
        """IOAS_MAP at a fixed IOVA; the process gets the memory mapped first."""
        va = _VA + physical
        if not any(m.va <= va and va + size <= m.va + m.size for m in self.process.mappings):
            self.process.mmap(va, physical, size)
        self.call("IOAS_MAP", ioas_id=ioas, user_va=va, length=size, iova=iova,
                  flags=MapFlag.FIXED_IOVA | MapFlag.READABLE | MapFlag.WRITEABLE)

    def unmap(self, ioas, iova, size):
        """IOAS_UNMAP; return the bytes."""
        return self.call("IOAS_UNMAP", ioas_id=ioas, iova=iova, length=size).length

    def iova_ranges(self, ioas):
        """IOAS_IOVA_RANGES; return [(first, last)]."""
        most = 16
        reply = self.call("IOAS_IOVA_RANGES", ioas_id=ioas, num_iovas=most,
                          allowed_iovas=self.put(bytes(most * IOVA_RANGE.size)))
        data = self.process.read(_SCRATCH, reply.num_iovas * IOVA_RANGE.size)
        ranges = [IOVA_RANGE.unpack(data[at:at + IOVA_RANGE.size])
                  for at in range(0, len(data), IOVA_RANGE.size)]
        return [(each.start, each.last) for each in ranges]

    def allow(self, ioas, *ranges):
        """IOAS_ALLOW_IOVAS."""
        data = b"".join(bytes(IOVA_RANGE.pack(start=first, last=last)) for first, last in ranges)
        self.call("IOAS_ALLOW_IOVAS", ioas_id=ioas, num_iovas=len(ranges),
                  allowed_iovas=self.put(data))

    # --- translation -----------------------------------------------------------------------------

    def hwpt(self, device, pt_id, flags=0, **fields):
        """HWPT_ALLOC; return its id."""
        return self.call("HWPT_ALLOC", flags=flags, dev_id=self.ids[device], pt_id=pt_id,
                         **fields).out_hwpt_id

    def nest_parent(self, device, ioas):
        """HWPT_ALLOC of a nest parent."""
        return self.hwpt(device, ioas, HWPTFlag.NEST_PARENT)

    def viommu(self, device, parent):
        """VIOMMU_ALLOC; return its id."""
        return self.call("VIOMMU_ALLOC", type=VIOMMUType.ARM_SMMUV3, dev_id=self.ids[device],
                         hwpt_id=parent).out_viommu_id

    def vdevice(self, device, viommu, vsid):
        """VDEVICE_ALLOC; return its id."""
        return self.call("VDEVICE_ALLOC", viommu_id=viommu, dev_id=self.ids[device],
                         virt_id=vsid).out_vdevice_id

    def nested(self, device, viommu, word0, word1=0, *, fault_id=None, length=None, flags=0):
        """HWPT_ALLOC from a VIOMMU, with the two words of a vSTE; return its id."""
        data = bytes(HWPT_ARM_SMMUV3.pack(ste=(word0, word1)))[:length]
        if fault_id is not None:
            flags |= HWPTFlag.FAULT_ID_VALID
        return self.hwpt(device, viommu, flags, data_type=DataType.ARM_SMMUV3,
                         data_len=len(data), data_uptr=self.put(data), fault_id=fault_id or 0)

    def veventq(self, viommu, depth=16):
        """VEVENTQ_ALLOC; return its file."""
        return self.file(self.call("VEVENTQ_ALLOC", viommu_id=viommu, veventq_depth=depth,
                                   type=VEventQType.ARM_SMMUV3).out_veventq_fd)

    def fault_queue(self):
        """FAULT_QUEUE_ALLOC; return (id, file)."""
        reply = self.call("FAULT_QUEUE_ALLOC")
        return reply.out_fault_id, self.file(reply.out_fault_fd)

    def invalidate(self, viommu, commands):
        """HWPT_INVALIDATE with raw commands; return (name of the error or None, entry_num)."""
        data = b"".join(bytes(VIOMMU_ARM_SMMUV3_INVALIDATE.pack(
            cmd=(command & _WORD, command >> 64))) for command in commands)
        try:
            reply = self.call("HWPT_INVALIDATE", hwpt_id=viommu, data_uptr=self.put(data),
                              data_type=InvalidateType.VIOMMU_ARM_SMMUV3, entry_num=len(commands),
                              entry_len=VIOMMU_ARM_SMMUV3_INVALIDATE.size)
        except LinuxError as error:
            return error.name, error.reply.entry_num
        return None, reply.entry_num

    # --- options ---------------------------------------------------------------------------------

    def set_option(self, option, value, object_id=0):
        """IOMMU_OPTION, SET."""
        self.call("OPTION", option_id=option, op=OptionOp.SET, val64=value, object_id=object_id)

    def get_option(self, option, object_id=0):
        """IOMMU_OPTION, GET; return the value."""
        return self.call("OPTION", option_id=option, op=OptionOp.GET, object_id=object_id).val64
