"""A monitor's devices and memory through iommufd and VFIO's character devices (generation G3)."""

from smmu_sim.iommufd import IOMMUFD, Process, VFIODeviceFile
from smmu_sim.vfio.msix import MSIXInterrupts
from smmu_sim.vmm.character_device import CharacterDevice
from smmu_sim.vmm.interface import Interface
from smmu_sim.vmm.iommufd_client import IOMMUFDClient
from smmu_sim.vmm.iommufd_stage1 import IOMMUFDStage1
from smmu_sim.vmm.msi_vectors import MSIVectors

__all__ = ["IOMMUFDInterface"]

_SCRATCH_BYTES = 4096
_COMMAND = 0x04  # offset of PCI's command register


class IOMMUFDInterface(Interface):
    """How a :class:`VM` speaks to iommufd; one for each VM.

    Parameters
    ----------
    host
        :class:`Host`.
    stalls
        Carry page faults of stalled transactions to the guest, where the host has them.
    options
        For :class:`IOMMUFD`.

    Attributes
    ----------
    iommufd
        The open /dev/iommu.
    """

    msi_ways = ("rmr", "remap")
    substreams = True

    def __init__(self, host, *, stalls=True, **options):
        super().__init__(host, Process(host.machine.memory, "monitor"))
        self.stalls = stalls
        self.iommufd = IOMMUFD(host.iommu, self.process, **options)
        self._owner, self._files, self._msix = None, [], []

    @property
    def hardware(self):
        """What GET_HW_INFO said."""
        return self._owner.hardware

    def open(self, vm):
        """See :class:`Interface`; the owner is an :class:`IOMMUFDStage1`."""
        ram, trap, scratch = self._map(vm.memory)
        client = IOMMUFDClient(self.iommufd, self.process, (scratch, _SCRATCH_BYTES))
        owner = self._owner = IOMMUFDStage1(client, trap_ipa=vm.trap_ipa, stalls=self.stalls)
        owner.map(vm.memory.base, ram, vm.memory.size)
        owner.map(vm.trap_ipa, trap, _SCRATCH_BYTES, writable=False)
        for assigned in vm.devices:
            self._open(owner, assigned)
        return owner

    def _open(self, owner, assigned):
        device = self.host.devices[assigned.function]
        file = VFIODeviceFile(device, self.process)
        self._files.insert(0, file)
        character_device = CharacterDevice(file)
        owner.add_device(assigned.vsid, character_device,
                         character_device.bind(self.iommufd.fd))
        # The character device has VFIO's SET_IRQS as well; here the call is short.
        msix = MSIXInterrupts(self.process, device, assigned.function.sid,
                              self.host.irq_domain(assigned.function), assigned.function)
        self._msix.append(msix)
        self._vectors[assigned] = MSIVectors(
            self.process, len(assigned.vectors),
            lambda flags, _index, start, fds: msix.set(flags, start, len(fds), fds))

    def close(self):
        """See :class:`Interface`."""
        for msix in self._msix:
            msix.release()
        self._owner.close()
        for file in self._files:
            self.process.close(file.fd)
        self.process.close(self.iommufd.fd)
        self._files, self._msix = [], []
        super().close()

    def write_command(self, device, value):
        """See :class:`Interface`. VFIO passes these bits on to the function's own register."""
        device.function.config_write(_COMMAND, value.to_bytes(2, "little"))
