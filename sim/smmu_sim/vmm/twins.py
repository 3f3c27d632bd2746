"""Guests on one machine that are alike: the same addresses, vSIDs, ASIDs and doorbells."""

from smmu_sim.machine import Machine
from smmu_sim.vmm.guest import Guest
from smmu_sim.vmm.host import Host
from smmu_sim.vmm.iommufd_interface import IOMMUFDInterface
from smmu_sim.vmm.vfio_interface import VFIOInterface
from smmu_sim.vmm.vm import VM

__all__ = ["Twins"]

_FIRST_VSID = 0x10
_FIRST_SID, _SIDS_OF_A_GUEST = 0x42, 0x10
_MIB = 1 << 20


class Twins:
    """A machine, its host, and VMs that run: guests have booted and have their devices.

    Device n of each guest is vSID ``0x10 + n`` for it; StreamIDs are ``0x42 + n`` for the first
    guest, ``0x52 + n`` for the second.

    Parameters
    ----------
    backend
        The SMMU, reset.
    msi
        As of :class:`VM`. With "bind" the VMs speak VFIO, otherwise iommufd.
    generation
        Of VFIO.
    guests, devices
        How many VMs, and devices in each.
    ram_bytes
        RAM of each guest.
    several_its
        The devices of a guest are at different ITSs, where the host has them.
    host_options, guest_options
        For the drivers of the host and of the guests.
    device_options
        ``ssid_bits`` and ``can_stall`` of all devices.

    Attributes
    ----------
    machine, host
        :class:`Machine`, :class:`Host`.
    vms, guests
        Lists of :class:`VM` and :class:`Guest`.
    """

    def __init__(self, backend, *, msi="rmr", generation="V15", guests=2, devices=1,
                 ram_bytes=16 * _MIB, several_its=False, host_options=None, guest_options=None,
                 device_options=None):
        self.machine = Machine(backend, guests=guests)
        self.host = Host(self.machine, **(host_options or {}))
        self.vms, self.guests = [], []
        device_options = device_options or {}
        for number in range(guests):
            interface = VFIOInterface(self.host, generation) if msi == "bind" else \
                IOMMUFDInterface(self.host)
            base, _ = self.machine.guest_ram(number)
            vm = VM(self.host, f"VM {number}", interface, ram=(base, ram_bytes), msi=msi)
            for n in range(devices):
                sid = _FIRST_SID + number * _SIDS_OF_A_GUEST + n
                function = self.machine.new_function(sid)
                its = n % len(self.machine.its) if several_its else 0
                self.host.add(function, its=its, **device_options)
                vm.assign(function, _FIRST_VSID + n, **device_options)
            vm.start()
            guest = Guest(vm, **(guest_options or {}))
            guest.boot()
            self.vms.append(vm)
            self.guests.append(guest)

    def service(self):
        """Let host, monitors and guests handle what has happened; return each guest's events."""
        self.host.service()
        for vm in self.vms:
            vm.service()
        return [guest.service() for guest in self.guests]
