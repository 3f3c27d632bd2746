"""Two guests that are as alike as can be: no access and no interrupt crosses over."""

import pytest
from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.memory import Memory
from smmu_sim.vmm import CrossedOver, Soak

STEPS = 250


def new_soak(seed, **options):
    backend = ModelBackend(Params(), Memory())
    backend.reset()
    return Soak(backend, seed, **options)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("options", [
    {"msi": "rmr"}, {"msi": "remap", "several_its": True}, {"msi": "bind", "generation": "v3"},
    {"msi": "bind", "generation": "V8"}, {"msi": "bind", "generation": "V15"}],
    ids=lambda options: "-".join(str(value) for value in options.values()))
def test_nothing_crosses_over(seed, options):
    done = new_soak(seed, **options).run(STEPS)
    assert set(done) >= {"map", "read", "write", "unmap", "unmapped", "foreign", "invalidate",
                         "interrupt", "same vSID and IOVA"}
    assert sum(done.values()) > STEPS // 2


def test_both_guests_have_the_same_numbers():
    soak = new_soak(1)
    one, other = soak.twins.guests
    assert [(device.vsid, core.group.domain.hw.asid, device.vectors[0].message)
            for device, core in one.devices.items()] == [
        (device.vsid, core.group.domain.hw.asid, device.vectors[0].message)
        for device, core in other.devices.items()]
    assert len({function.vectors[0].addr for function in soak.twins.machine.functions.values()}) \
        == 1                                           # all devices write to one address
    assert len({core.group.domain.hw.parent.vmid for core in soak.twins.host.devices.values()}) == 2


def test_a_wrong_vmid_would_be_found():
    soak = new_soak(1)
    one, other = (vm.devices[0].function.sid for vm in soak.twins.vms)
    stream_table = soak.twins.host.driver.stream_table
    soak.twins.host.driver.set_ste(one, stream_table.read(other))
    with pytest.raises(CrossedOver):
        soak.run(STEPS)


def test_an_interrupt_of_the_other_guest_would_be_found():
    soak = new_soak(1)
    device = soak.twins.vms[0].devices[0]
    soak.twins.vms[1].its.take_pending()
    soak.twins.vms[1].memory.write(soak.twins.vms[1].its.translater, bytes(4),
                                   device_id=device.vsid)
    with pytest.raises(CrossedOver, match="guest 1 has interrupts"):
        soak.run(STEPS)


def test_an_event_of_the_other_guest_would_be_found():
    soak = new_soak(1)
    soak.twins.vms[1].devices[0].function.read(0x1000, 8)
    with pytest.raises(CrossedOver, match="guest 1 has events"):
        soak.run(STEPS)


def test_a_write_to_another_place_would_be_found():
    soak = new_soak(1)
    sid = soak.twins.vms[0].devices[0].function.sid
    soak.twins.machine.memory.write(soak.twins.machine.HOST_RAM[0], b"x", device_id=sid)
    with pytest.raises(CrossedOver, match="astray"):
        soak.run(STEPS)
