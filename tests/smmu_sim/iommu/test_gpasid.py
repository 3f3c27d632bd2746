"""Guest PASID bind: both structs, and the rules of VT-d."""

import pytest

from smmu_sim.iommu import DomainType, GuestPASIDBinding, GuestPASIDs, VTDEngine, VTDFlag
from smmu_sim.machine import Machine

B = Machine.DEVICE_B
ROOT = 0x4010_0000
BINDING = GuestPASIDBinding(gpgd=ROOT, hpasid=9, addr_width=48, gpasid=3)


# --- the struct ----------------------------------------------------------------------------------

def put(data, offset, value, size=4):
    return data[:offset] + value.to_bytes(size, "little") + data[offset + size :]


def test_the_struct_of_5_9(fails):
    data = BINDING.to_bytes()
    assert len(data) == 72
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, 56, 4)]
    assert words == [72, 1, 1, 48, 1, 0, ROOT, 0, 9, 0, 3, 0, 0, 0]
    assert GuestPASIDBinding.from_bytes(data) == BINDING
    without = BINDING._replace(gpasid=None)
    assert GuestPASIDBinding.from_bytes(without.to_bytes()) == without
    vtd = BINDING._replace(vtd_flags=VTDFlag.SRE, pat=7, emt=9)
    assert vtd.to_bytes()[56:] == bytes([1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0])


def test_the_struct_of_5_5(fails):
    data = BINDING.to_bytes("5.5")
    assert len(data) == 72
    assert data[:48] == b"".join(value.to_bytes(size, "little") for value, size in (
        (1, 4), (1, 4), (1, 8), (ROOT, 8), (9, 8), (3, 8), (48, 4), (0, 4)))
    assert GuestPASIDBinding.from_bytes(data, "5.5") == BINDING
    assert GuestPASIDBinding.from_bytes(put(data, 0, 7), "5.5") == BINDING  # nothing is checked
    assert GuestPASIDBinding.from_bytes(put(data, 44, 1, 1), "5.5") == BINDING
    fails("EFAULT", GuestPASIDBinding.from_bytes, data[:71], "5.5")


@pytest.mark.parametrize("offset, value, size", [
    (0, 55, 4),    # argsz
    (4, 2, 4),     # version
    (8, 2, 4),     # format
    (16, 2, 8),    # flags
    (48, 1, 1), (55, 1, 1)])  # padding
def test_checks_of_5_9(fails, offset, value, size):
    data = put(BINDING.to_bytes(), offset, value, size)
    fails("EINVAL", GuestPASIDBinding.from_bytes, data)


def test_memory_that_is_not_there(fails):
    data = BINDING.to_bytes()
    fails("EFAULT", GuestPASIDBinding.from_bytes, data[:55])
    fails("EFAULT", GuestPASIDBinding.from_bytes, data[:60])
    short = GuestPASIDBinding.from_bytes(put(data, 0, 56)[:56])
    assert short.argsz == 56 and short.hpasid == 9
    assert GuestPASIDBinding.from_bytes(put(data, 0, 100) + bytes(28)).argsz == 100


# --- VT-d's rules --------------------------------------------------------------------------------

class VTD:
    """Devices with 20 bits of PASIDs on VT-d's engine; the domain is a nest parent."""

    def __init__(self, host, **capabilities):
        self.device = host.device(max_pasids=1 << 20, rid=0x42)
        self.domain = host.iommu.alloc_domain(self.device, DomainType.UNMANAGED, nest_parent=True,
                                              ia_bits=40)
        self.engine = VTDEngine(**capabilities)
        self.calls = GuestPASIDs(self.engine)

    def bind(self, **changes):
        self.calls.bind(self.domain, self.device, BINDING._replace(**changes).to_bytes())


@pytest.fixture
def vtd(host):
    return VTD(host)


def test_a_driver_without_the_call(host, fails):
    device = host.device()
    calls = GuestPASIDs()
    fails("ENODEV", calls.bind, device.group.domain, device, BINDING)
    fails("ENODEV", calls.unbind, device.group.domain, device, 9)


def test_bind_makes_a_nested_entry_and_unbind_takes_it_away(vtd):
    vtd.bind()
    entry = vtd.engine.entries[vtd.device, 9]
    assert (entry.first_level, entry.second_level, entry.levels) == (ROOT, vtd.domain, 4)
    assert [what for what, _, _ in vtd.engine.flushes] == ["PASID cache", "IOTLB", "device TLB"]
    assert vtd.calls.host_pasid(vtd.device, 3) == 9
    vtd.engine.flushes.clear()
    vtd.calls.unbind_data(vtd.domain, vtd.device, BINDING.to_bytes())
    assert vtd.engine.entries == {}
    assert vtd.engine.flushes == [(what, vtd.device, 9) for what in (
        "PASID cache", "IOTLB", "device TLB")]
    vtd.calls.unbind(vtd.domain, vtd.device, 9)  # not bound: nothing happens
    assert len(vtd.engine.flushes) == 3


def test_guest_pasids_may_be_the_hosts(vtd, fails):
    vtd.bind(gpasid=None)
    assert vtd.calls.host_pasid(vtd.device, 9) == 9
    fails("ENOENT", vtd.calls.host_pasid, vtd.device, 3)
    vtd.bind(hpasid=10, gpasid=3)
    assert vtd.calls.host_pasid(vtd.device, 3) == 10
    fails("ENOENT", vtd.calls.host_pasid, vtd.device, 10)


@pytest.mark.parametrize("changes, error", [
    ({"format": 0}, "EINVAL"), ({"argsz": 71}, "EINVAL"), ({"vtd_flags": 0x80}, "EINVAL"),
    ({"hpasid": 0}, "EINVAL"), ({"hpasid": 1 << 20}, "EINVAL"),
    ({"addr_width": 57}, "EINVAL"), ({"addr_width": 39}, "EINVAL"),
    ({"gpgd": 1 << 40}, "EINVAL"),
    ({"vtd_flags": VTDFlag.PCD}, "EINVAL"), ({"vtd_flags": VTDFlag.PWT}, "EINVAL"),
    ({"vtd_flags": VTDFlag.EMTE}, "EINVAL"), ({"vtd_flags": VTDFlag.CD}, "EINVAL"),
    ({"vtd_flags": VTDFlag.SRE}, "EINVAL"), ({"vtd_flags": VTDFlag.EAFE}, "EINVAL")])
def test_vtd_refuses(vtd, fails, changes, error):
    fails(error, vtd.bind, **changes)
    assert vtd.engine.entries == {} and vtd.engine.flushes == []
    vtd.bind()


def test_vtd_can_what_the_hardware_can(host):
    vtd = VTD(host, five_levels=True, supervisor=True, extended_access=True)
    vtd.bind(addr_width=57, vtd_flags=VTDFlag.SRE | VTDFlag.EAFE | VTDFlag.WPE)
    assert vtd.engine.entries[vtd.device, 9].levels == 5


def test_vtd_without_nesting(host, fails):
    vtd = VTD(host, nesting=False)
    fails("EINVAL", vtd.bind)
    vtd.engine.nesting = True
    vtd.domain = host.iommu.alloc_domain(vtd.device, DomainType.UNMANAGED, stage=2)
    fails("EINVAL", vtd.bind)
    vtd.domain = host.iommu.alloc_domain(vtd.device, DomainType.IDENTITY)
    fails("EINVAL", vtd.bind)


def test_vtd_and_its_devices(host, vtd, fails):
    fails("EINVAL", vtd.calls.bind, vtd.domain, host.device(B), BINDING)  # 8 bits
    away = host.device(0x50, max_pasids=1 << 20, add=False)
    fails("EINVAL", vtd.calls.bind, vtd.domain, away, BINDING)
    platform = host.device(0x51, max_pasids=1 << 20)
    platform.master.pci = False
    fails("ENOTSUPP", vtd.calls.bind, vtd.domain, platform, BINDING)


def test_a_pasid_is_bound_once(vtd, fails):
    vtd.bind()
    fails("EBUSY", vtd.bind)
    vtd.calls = GuestPASIDs(vtd.engine)  # somebody else set the entry up
    fails("EBUSY", vtd.bind)
    fails("EINVAL", vtd.calls.unbind, vtd.domain, vtd.device, 0)
    fails("EINVAL", vtd.calls.unbind, vtd.domain, vtd.device, 1 << 20)


def test_faults_in_the_struct_come_first(vtd, fails):
    data = put(BINDING._replace(hpasid=0).to_bytes(), 48, 1, 1)
    assert "padding" in fails("EINVAL", vtd.calls.bind, vtd.domain, vtd.device, data).reason
