"""A virtual machine: memory, devices, a virtual SMMU and a virtual ITS, on a host."""

from smmu_sim.irq import ITS
from smmu_sim.linux_error import LinuxError
from smmu_sim.vmm.assigned_device import AssignedDevice
from smmu_sim.vmm.doorbells import find_doorbell
from smmu_sim.vmm.features import VirtualFeatures
from smmu_sim.vmm.guest_memory import GuestMemory
from smmu_sim.vmm.virtual_smmu import VirtualSMMU

__all__ = ["VM"]

MSI_WAYS = ("bind", "rmr", "remap")
_WINDOW = (0x0800_0000, 0x10_0000)   # the host driver's SW_MSI window
_ITS_BASE, _ITS_BYTES = 0x0808_0000, 0x2_0000
_RAM_BASE = 0x4000_0000
_SMMU_DEVICE_ID = 0xFFFF
_PAGE = 4096


class VM:
    """One virtual machine. Create it, :meth:`assign` devices, :meth:`start` it.

    Three ways bring the MSIs of devices to the guest. In each, the guest's write to the MSI-X
    table is trapped and the host programs the device:

    - ``"bind"``: the guest's page for its doorbell is told to the host (``bind_guest_msi``), which
      maps the physical doorbell behind it in stage 2. The device has the guest's IOVA.
    - ``"rmr"``: firmware tells the guest to keep the host's SW_MSI window mapped one to one; stage
      2 has the physical doorbell in the window. The device has an address in the window.
    - ``"remap"``: the remap unit of this project's SMMU sends the guest's doorbell page to the
      physical doorbell of each device. The device has the guest's IOVA.

    Parameters
    ----------
    host
        :class:`Host`.
    name
        For messages.
    interface
        How the monitor speaks to the host: an :class:`IOMMUFDInterface` or :class:`VFIOInterface`.
    ram
        Physical address and bytes of the guest's RAM, which it sees at ``ram_base``.
    msi
        "bind", "rmr" or "remap".

    Attributes
    ----------
    memory
        :class:`GuestMemory`.
    its
        The guest's :class:`ITS`, at ``0x0808_0000``.
    smmu
        The :class:`VirtualSMMU`, once started.
    devices
        The :class:`AssignedDevice`.
    rmrs
        ``(start, bytes)`` of each memory range that firmware wants mapped one to one.
    """

    def __init__(self, host, name, interface, *, ram, ram_base=_RAM_BASE, msi="rmr"):
        if msi not in MSI_WAYS:
            raise ValueError(f"msi is {msi!r}; it is one of {', '.join(MSI_WAYS)}")
        if msi not in interface.msi_ways:
            raise ValueError(f"msi is {msi!r}; {type(interface).__name__} can do "
                             f"{', '.join(interface.msi_ways)}")
        self.host, self.name, self.interface, self.msi = host, name, interface, msi
        self.memory = GuestMemory(host.machine.memory, ram_base, *ram, [(_ITS_BASE, _ITS_BYTES)])
        self.its = ITS(self.memory, _ITS_BASE, name=f"{name}'s ITS")
        self.smmu_device_id = _SMMU_DEVICE_ID
        self.trap_ipa = ram_base - _PAGE  # see Stage1Owner.configure
        self.devices, self.smmu = [], None
        self.rmrs = [_WINDOW] if msi == "rmr" else []
        self._doorbells = {}  # AssignedDevice: Doorbell, while its MSIs are on

    def assign(self, function, vsid, *, ssid_bits=0, can_stall=False):
        """Give a function of the host to the VM; return the :class:`AssignedDevice`.

        EBUSY and others: as of taking a device from the host.
        """
        device = AssignedDevice(
            function, vsid, self._vector_written, self.interface.write_command,
            ssid_bits=ssid_bits, can_stall=can_stall)
        self.devices.append(device)
        return device

    def start(self):
        """Take devices and memory from the host, and make the virtual SMMU: all devices bypass."""
        owner = self.interface.open(self)
        features = VirtualFeatures.from_hardware(
            self.interface.hardware, ats=False, stall=self.interface.stalls,
            substreams=self.interface.substreams)
        self.smmu = VirtualSMMU(
            features, self.memory, owner, [device.vsid for device in self.devices],
            clock=self.host.machine.backend, pump=self.host.service,
            msi_device_id=self.smmu_device_id)
        self.smmu.reset()

    def close(self):
        """End: the host has everything back. Devices are blocked until the host uses them."""
        for device in self.devices:
            self._disable(device)
        self.interface.close()
        self.smmu = None

    def service(self):
        """Carry events and interrupts from the host into the guest."""
        self.smmu.poll()
        for device in self.devices:
            for index in self.interface.take_interrupts(device):
                self._inject(device, index)

    # --- interrupts ------------------------------------------------------------------------------

    def _inject(self, device, index):
        """Deliver a vector as the guest's table says: what KVM does for an irqfd."""
        vector, doorbell = device.vectors[index], self._doorbells.get(device)
        if doorbell is None or not doorbell.contains(vector.addr):
            return
        target = doorbell.gpa + vector.addr - doorbell.giova
        if target == self.its.translater:
            self.memory.write(target, vector.data.to_bytes(4, "little"), device_id=device.vsid)

    def _vector_written(self, device, index):
        """The guest wrote an entry of the MSI-X table."""
        if not device.vectors[index].masked:
            if device not in self._doorbells:
                self._enable(device, device.vectors[index].addr)
            if device in self._doorbells:
                self._enable_vector(device, index)
        elif device in self._doorbells:
            self.interface.disable_vector(device, index)
            if all(vector.masked for vector in device.vectors):
                self._disable(device)

    def _enable_vector(self, device, index):
        try:
            self.interface.enable_vector(device, index)
        except LinuxError as error:
            self.smmu.refusals.append(error)
            return
        if self.msi == "remap":
            # The data stays the host's; the address is the one that stage 1 knows.
            device.function.vectors[index].addr = device.vectors[index].addr

    def _enable(self, device, giova):
        """The first vector of a device is unmasked: make its doorbell reachable.

        Without a doorbell behind the address, or if the host refuses it, the device sends nothing.
        """
        doorbell = find_doorbell(self.smmu, device.vsid, giova)
        if doorbell is None:
            return
        try:
            if self.msi == "bind":
                self.smmu.owner.bind_doorbell(device.vsid, *doorbell)
            elif self.msi == "remap":
                self.host.bind_doorbell(device.function, doorbell.gpa + (giova - doorbell.giova))
        except LinuxError as error:
            self.smmu.refusals.append(error)
            return
        self._doorbells[device] = doorbell

    def _disable(self, device):
        doorbell = self._doorbells.pop(device, None)
        if doorbell is None:
            return
        self.interface.disable_vectors(device)
        if self.msi == "bind":
            self.smmu.owner.unbind_doorbell(device.vsid, doorbell.giova)
        elif self.msi == "remap":
            self.host.unbind_doorbell(device.function, doorbell.gpa)
