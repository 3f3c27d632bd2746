"""Guests in VMs on the core: boot, DMA, unmap, events, MSIs by each way; two guests side by side.

The same host code runs on the reference model; what devices and guests see must be the same.
"""

import pytest

from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.bench.core import run_on_core
from smmu_sim.memory import Memory
from smmu_sim.vmm import Soak, Twins

PAGE = 0x1000
STEPS = 250
MEMORY = {"latency": (2, 40), "out_of_order": True, "pause_rate": 0.1}
WAYS = {
    "rmr": {"msi": "rmr"},
    "remap": {"msi": "remap", "devices": 2, "several_its": True},
    "vfio-V15": {"msi": "bind", "generation": "V15"},
    "vfio-v3": {"msi": "bind", "generation": "v3"}}


def guest_at_work(backend, report, options):
    """Boot a guest, let its devices work and fail; return what was seen, step by step."""
    twins = Twins(backend, guests=1, **options)
    guest, = twins.guests
    seen, interrupts = [], []

    def note(step, *results):
        twins.service()
        seen.append([step, [[result.ok, result.pa, result.device_id] for result in results],
                     [repr(event) for event in guest.events], interrupts.copy()])
        guest.events.clear()
        interrupts.clear()
        report(step)

    for device in guest.devices:
        function, dma = device.function, guest.dma(device)
        phys = guest.alloc(4 * PAGE)
        iova = dma.map_page(phys, 4 * PAGE)
        note("write", *[function.write(iova + n * PAGE, bytes([n + 1]) * 64) for n in range(4)])
        assert guest.memory.read(phys + PAGE, 64) == b"\2" * 64
        assert function.read(iova + 3 * PAGE, 64).data == b"\4" * 64
        note("beyond", function.read(iova + 4 * PAGE, 8), function.write(iova - 8, bytes(8)))

        guest.request_irqs(device, 2, lambda each, vector: interrupts.append([each.vsid, vector]))
        note("msi", function.trigger(1), function.trigger(0))

        dma.unmap_page(iova, 4 * PAGE)
        note("unmapped", function.read(iova, 8), function.write(iova + 2 * PAGE, bytes(8)))
        iova = dma.map_page(phys, 2 * PAGE)
        note("again", function.read(iova, 8), function.trigger(1))

        core = guest.devices[device]
        guest.driver.attach(core.master, guest.driver.blocked)
        note("blocked", function.read(iova, 8))
        guest.driver.set_ste(device.vsid, 0)
        note("illegal", function.read(iova, 8), function.write(iova, bytes(8), pasid=1))
        guest.driver.attach(core.master, core.group.domain.hw)
        note("attached", function.read(iova, 8), function.trigger(0))
    assert not twins.host.driver.event_log and not twins.vms[0].smmu.refusals
    twins.vms[0].close()
    return seen


def soak(backend, report, seed, count, options):
    """Let two guests work for some steps; return what was done."""
    done = dict(Soak(backend, seed, **options).run(count))
    report(done)
    return done


def on_the_model(function, **arguments):
    backend = ModelBackend(Params(), Memory())
    backend.reset()
    return function(backend, lambda report: None, **arguments)


@pytest.mark.parametrize("way", WAYS)
def test_a_guest_sees_on_the_core_what_it_sees_on_the_model(way):
    arguments = {"options": WAYS[way]}
    expected = on_the_model(guest_at_work, **arguments)
    found, _ = run_on_core(guest_at_work, arguments, options=MEMORY, seed=1,
                           name=f"vmm-{way}")
    assert found == expected
    by_step = {step: (results, events, interrupts) for step, results, events, interrupts in found}
    assert len(by_step) == 8 and all(by_step["write"][0])
    assert by_step["unmapped"][1] and "F_TRANSLATION" in by_step["unmapped"][1][0]
    assert len(by_step["illegal"][1]) == 2 and by_step["blocked"][1] == []
    assert [vector for _, vector in by_step["msi"][2]] == [0, 1]


@pytest.mark.parametrize("seed, way", [(1, "rmr"), (2, "remap"), (3, "vfio-V15")])
def test_nothing_crosses_over_on_the_core(seed, way):
    options = {name: value for name, value in WAYS[way].items() if name != "devices"}
    arguments = {"seed": seed, "count": STEPS, "options": options}
    expected = on_the_model(soak, **arguments)
    done, _ = run_on_core(soak, arguments, options=MEMORY, seed=seed, name=f"vmm-soak-{way}")
    assert done.pop("in flight") > 5 * STEPS
    assert done == expected and done["same vSID and IOVA"]
