"""A guest on iommufd: nest parent, VIOMMU, VDEVICE, and a nested HWPT of its tables."""

from smmu.formats.core import pack
from smmu.formats.stream_table import STE, STEConfig

from smmu_sim.fields import address
from smmu_sim.machine import Machine
from smmu_sim.scenarios.guest_tables import ASID, GuestTables
from smmu_sim.scenarios.iommufd_user import IOMMUFDUser

__all__ = ["NestedGuest", "vste_words"]

_WORD = (1 << 64) - 1


def vste_words(**fields):
    """Return the first two words of an STE, as a guest would write them."""
    raw = pack(STE, {"V": 1, "Config": STEConfig.S1_TRANS, **fields})
    return raw & _WORD, raw >> 64 & _WORD


class NestedGuest:
    """One guest with one device; its IOMMUFD is its own.

    Attributes
    ----------
    user
        :class:`IOMMUFDUser`.
    tables
        The guest's :class:`GuestTables`.
    ioas, parent, viommu, vdevice, hwpt
        Ids; the last two are None until :meth:`attach`.
    """

    def __init__(self, host, sid=0x42, vsid=0x10, number=0, *, asid=ASID, substreamid_bits=0,
                 can_stall=False, its=0, **options):
        self.host, self.sid, self.vsid = host, sid, vsid
        self.function, self.device = host.add(sid, ssid_bits=substreamid_bits, its=its,
                                              can_stall=can_stall)
        self.user = IOMMUFDUser(host, f"monitor {number}", **options)
        self.user.bind(self.device)
        self.tables = GuestTables(host, number, asid=asid, substreamid_bits=substreamid_bits)
        self.ioas = self.user.ioas()
        self.user.map(self.ioas, Machine.GUEST_RAM_IPA, *self.tables.ram)
        self.parent = self.user.nest_parent(self.device, self.ioas)
        self.user.attach(self.device, self.parent)
        self.viommu = self.user.viommu(self.device, self.parent)
        self.vdevice = self.hwpt = None

    def vste(self, **fields):
        """Return the words of the vSTE that has this guest's CD table."""
        contexts = self.tables.contexts
        if contexts.substreamid_bits:
            fields = {"S1CDMax": contexts.substreamid_bits, "S1Fmt": contexts.fmt, "S1DSS": 2,
                      **fields}
        return vste_words(S1ContextPtr=address(STE, "S1ContextPtr", contexts.base), **fields)

    def attach(self, *, fault_id=None, **fields):
        """Make the VDEVICE, and attach a nested HWPT with the guest's CD table."""
        if self.vdevice is None:
            self.vdevice = self.user.vdevice(self.device, self.viommu, self.vsid)
        self.hwpt = self.user.nested(self.device, self.viommu, *self.vste(**fields),
                                     fault_id=fault_id)
        self.user.attach(self.device, self.hwpt)
        self.host.world.commands()

    @property
    def stage2(self):
        """The driver's domain of the nest parent."""
        return self.user.iommufd.objects.get(self.parent).domain.hw
