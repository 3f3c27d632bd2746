"""VFIODevice: a PCI function in the hands of a user process."""

from functools import partial

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.bar import BAR
from smmu_sim.vfio.config_space import VirtualConfigSpace
from smmu_sim.vfio.device_interrupts import DeviceInterrupts
from smmu_sim.vfio.device_regions import DeviceRegions
from smmu_sim.vfio.layouts import Layout, copy_from_user, copy_to_user
from smmu_sim.vfio.msix import MSIXInterrupts
from smmu_sim.vfio.nested_faults import NestedFaults
from smmu_sim.vfio.numbers import IOCTL
from smmu_sim.vfio.single_interrupt import SingleInterrupt

__all__ = ["DEVICE_INFO", "VFIODevice"]

DEVICE_INFO = Layout("vfio_device_info", 16, argsz=(0, "I"), flags=(4, "I"),
                     num_regions=(8, "I"), num_irqs=(12, "I"))
_RESET, _PCI = 1, 2
_COMMAND = 4
_ENTRY_BYTES = 16  # of an MSI-X table


class VFIODevice:
    """One device that VFIO's PCI driver has; a file for user space once a group opened it.

    Bus mastering is off when it is opened: user space turns it on in configuration space.

    Parameters
    ----------
    device
        The IOMMU core's :class:`Device`.
    function
        The :class:`PCIFunction`.
    process
        Who will have it open.
    irq_domain
        Where the host allocates its vectors; by default the device's ``msi_domain``.
    device_id
        Its DeviceID at the interrupt controller; by default its StreamID.
    name
        For GROUP_GET_DEVICE_FD; by default the device's.

    Attributes
    ----------
    faults
        :class:`NestedFaults` while it is open in a container for nesting, else None.
    """

    def __init__(self, device, function, process, *, irq_domain=None, device_id=None, name=None):
        self.device, self.function, self.process = device, function, process
        self.irq_domain = device.msi_domain if irq_domain is None else irq_domain
        self.device_id = device.master.sids[0] if device_id is None else device_id
        self.name = device.name if name is None else name
        self.container = self.faults = self._on_release = None
        self.regions = self.interrupts = self.msix = self.request = None

    @property
    def is_open(self):
        return self.container is not None

    def open(self, container, on_release=lambda: None):
        """Give the device to user space. EBUSY: it is open. Else as of the fault handler."""
        if self.is_open:
            raise LinuxError("EBUSY", f"{self.name} is open")
        self.config = VirtualConfigSpace(self.function.config, self.function.bars, self.reset)
        self.regions = DeviceRegions(self._bars(), self.config)
        self.msix = MSIXInterrupts(self.process, self.device, self.device_id, self.irq_domain,
                                   self.function)
        self.request = SingleInterrupt(self.process)
        self.interrupts = DeviceInterrupts(self.msix, self.request)
        if container.nesting:
            self.faults = NestedFaults(container, self.device, self.process)
            self.faults.add_to(self.regions, self.interrupts)
        self.container, self._on_release = container, on_release

    def _bars(self):
        function, bars = self.function, {}
        for number, size in function.bars.items():
            start = function.TABLE_OFFSET
            table = range(start, start + _ENTRY_BYTES * len(function.vectors)) \
                if number == function.MSIX_BAR else range(0)
            bars[number] = BAR(size, partial(function.bar_read, number),
                               partial(function.bar_write, number), table)
        return bars

    def ioctl(self, number, argument=None):
        """Perform one ioctl; return 0.

        EBADF: not open. ENOTTY: unknown number. Else as of the ioctl.
        """
        if not self.is_open:
            raise LinuxError("EBADF", f"{self.name} is not open")
        if number == IOCTL.DEVICE_GET_INFO:
            return self._get_info(argument)
        if number == IOCTL.DEVICE_GET_REGION_INFO:
            return self.regions.get_info(argument)
        if number == IOCTL.DEVICE_GET_IRQ_INFO:
            return self.interrupts.get_info(argument)
        if number == IOCTL.DEVICE_SET_IRQS:
            return self.interrupts.set(argument)
        if number == IOCTL.DEVICE_RESET:
            return self.reset()
        raise LinuxError("ENOTTY", f"ioctl {number:#x} is not one of a device")

    def _get_info(self, argument):
        fields = DEVICE_INFO.unpack(copy_from_user(argument, 0, DEVICE_INFO.size))
        if fields["argsz"] < DEVICE_INFO.size:
            raise LinuxError("EINVAL", f"argsz {fields['argsz']}; at least {DEVICE_INFO.size}")
        copy_to_user(argument, DEVICE_INFO.pack(
            argsz=fields["argsz"], flags=_RESET | _PCI, num_regions=self.regions.count,
            num_irqs=self.interrupts.count))
        return 0

    def reset(self):
        """VFIO_DEVICE_RESET: a function-level reset. Configuration and MSI-X stay as they are."""
        config, (command,) = self.function.config, self.function.config.read(_COMMAND, 1)
        self.function.reset()
        config.write(_COMMAND, bytes([command]))
        self.msix.restore()
        return 0

    def ask_back(self):
        """What the host does when it needs the device: signal the request interrupt."""
        if self.is_open:
            self.request.signal()

    # --- what a file descriptor offers -----------------------------------------------------------

    def read(self, offset, count):
        """pread; see :class:`DeviceRegions`. EBADF: not open."""
        return self._open_regions().read(offset, count)

    def write(self, offset, data):
        """pwrite; see :class:`DeviceRegions`. EBADF: not open."""
        return self._open_regions().write(offset, data)

    def mmap(self, offset, size, writable=False):
        """mmap; see :class:`DeviceRegions`. EBADF: not open."""
        return self._open_regions().mmap(offset, size, writable)

    def _open_regions(self):
        if not self.is_open:
            raise LinuxError("EBADF", f"{self.name} is not open")
        return self.regions

    def release(self):
        """What closing the last descriptor does: no DMA, interrupts off, fault handler gone."""
        if not self.is_open:
            return
        self.config.set_bus_master(False)
        self.msix.release()
        if self.faults is not None:
            self.faults.release()
        self.container = self.faults = None
        self._on_release()
