"""The host's kernel on a machine, as far as a monitor needs it."""

from smmu_sim.driver import Master, SMMUv3Driver
from smmu_sim.iommu import IOMMU, Device
from smmu_sim.irq import ITSDomain
from smmu_sim.vmm.features import HardwareInfo

__all__ = ["Host"]


class Host:
    """Driver, IOMMU core and interrupt domains of a :class:`Machine`; the SMMU is in service.

    Parameters
    ----------
    machine
        :class:`Machine`, whose ITSs have drivers.
    driver_options
        For :class:`SMMUv3Driver`.

    Attributes
    ----------
    driver, iommu
        :class:`SMMUv3Driver`, :class:`IOMMU`.
    irqs
        An :class:`ITSDomain` for each ITS of the machine.
    devices
        ``{function: Device}``.
    """

    def __init__(self, machine, **driver_options):
        self.machine = machine
        self.driver = SMMUv3Driver(machine.backend, machine.allocator, **driver_options)
        self.driver.probe()
        self.driver.reset()
        self.iommu = IOMMU()
        self.irqs = [ITSDomain(its, self.iommu) for its in machine.its]
        self.devices, self._its = {}, {}

    @property
    def hardware(self):
        """The :class:`HardwareInfo` of the SMMU."""
        return HardwareInfo.from_registers(self.machine.backend.read32)

    def add(self, function, *, its=0, ssid_bits=0, can_stall=False):
        """Probe a function; its interrupts go to ITS number ``its``. Return the Device."""
        master = Master(function.name, [function.sid], ssid_bits=ssid_bits, can_stall=can_stall,
                        pci=not can_stall)
        device = Device(function.name, master, self.driver, msi_domain=self.irqs[its],
                        rid=function.sid & 0xFFFF, max_pasids=1 << ssid_bits if ssid_bits else 0)
        self.iommu.add_device(device)
        self.devices[function], self._its[function] = device, its
        return device

    def irq_domain(self, function):
        """Return the :class:`ITSDomain` that a function's interrupts go to."""
        return self.irqs[self._its[function]]

    def bind_doorbell(self, function, ipa):
        """Let a guest's doorbell at ``ipa`` be the physical one of this function.

        The core's remap unit does it, which knows devices apart: no entry in stage 2 is needed.
        """
        self.driver.remap.bind(function.sid, ipa, self.irq_domain(function).its.translater)

    def unbind_doorbell(self, function, ipa):
        """Undo :meth:`bind_doorbell`."""
        self.driver.remap.unbind(function.sid, ipa)

    def service(self):
        """Do what the interrupts of SMMU and devices ask for."""
        self.machine.backend.idle()
        self.driver.service()
        for irqs in self.irqs:
            irqs.service()
