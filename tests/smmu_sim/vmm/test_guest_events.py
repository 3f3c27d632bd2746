"""A guest's event queue."""

from smmu.formats.core import pack
from smmu.formats.events import CLASS, EventType, pack_event
from smmu.formats.registers import (
    CR0, EVENTQ_BASE)
from smmu_sim.driver import commands
from smmu_sim.driver.smmu import MSI
from smmu_sim.vmm import Kind

VSID = 0x10
RAM, SIZE = 0x4000_0000, 64 << 20
VITS = 0x0808_0000
DOORBELL = VITS + 0x1_0040
MSI_DEVICE_ID = 0xFFFF


def fault(n=0, **values):
    return {"InputAddr": 0x1000 * n, "CLASS": CLASS.IN, "RnW": 1, **values}


def test_events_reach_the_guests_driver_with_an_interrupt(new_bench):
    bench = new_bench()
    driver = bench.driver(msis={"eventq": MSI(DOORBELL, 9)})
    driver.reset()
    arrivals = []
    bench.memory.mmio.observe(range(DOORBELL, DOORBELL + 4),
                              lambda *arrival: arrivals.append(arrival))
    bench.event(EventType.F_TRANSLATION, **fault(0xBAD))
    event, = driver.service()
    assert (event.name, event.StreamID, event.InputAddr) == ("F_TRANSLATION", VSID, 0xBAD000)
    assert arrivals == [(DOORBELL, b"\x09\0\0\0", MSI_DEVICE_ID)]
    assert bench.smmu.interrupts().eventq == 1


def test_the_event_queue_overflows(new_bench):
    bench = new_bench()
    bench.start()
    for n in range(6):                                     # into 4 entries
        bench.event(EventType.F_TRANSLATION, **fault(n))
    assert bench.field("EVENTQ_PROD", "WR") == 4 and bench.field("EVENTQ_PROD", "OVFLG") == 1
    bench.write("EVENTQ_CONS", bench.read("EVENTQ_PROD"))
    bench.event(EventType.F_TRANSLATION, **fault(9))
    assert bench.field("EVENTQ_PROD", "WR") == 5
    assert bench.record(0) == pack_event(EventType.F_TRANSLATION, {"StreamID": VSID, **fault(9)})


def test_stall_records_wait_for_room(new_bench):
    bench = new_bench(stalls=True)
    bench.start()
    for n in range(4):
        bench.event(EventType.F_TRANSLATION, **fault(n))
    for stag in (1, 2):
        bench.event(EventType.F_TRANSLATION, **fault(stag, Stall=1, STAG=stag))
    assert bench.field("EVENTQ_PROD", "OVFLG") == 0
    bench.write("EVENTQ_CONS", 1)
    assert bench.field("EVENTQ_PROD", "WR") == 5
    bench.write("EVENTQ_CONS", 5)
    assert bench.field("EVENTQ_PROD", "WR") == 6
    assert bench.record(1) == pack_event(EventType.F_TRANSLATION, {
        "StreamID": VSID, **fault(2, Stall=1, STAG=2)})


def test_an_event_queue_outside_of_the_guests_memory_gives_a_global_error(new_bench):
    bench = new_bench()
    bench.start(EVENTQEN=0)
    bench.write("EVENTQ_BASE", RAM + SIZE | pack(EVENTQ_BASE, {"LOG2SIZE": 4}))
    bench.write("IRQ_CTRL", 1)
    bench.write("CR0", pack(CR0, {"SMMUEN": 1, "EVENTQEN": 1}))
    bench.event(EventType.F_TRANSLATION, **fault())
    assert bench.field("GERROR", "EVENTQ_ABT_ERR") == 1
    assert bench.field("EVENTQ_PROD", "WR") == 0 and bench.smmu.interrupts().gerror == 1


def test_events_of_the_old_configuration_keep_their_name(new_bench):
    bench = new_bench()
    bench.ste()
    bench.start()
    record = pack_event(EventType.C_BAD_CD, {"StreamID": VSID})
    bench.owner.pending.append(record)                     # happened, not yet taken
    bench.ste(V=0)
    bench.command(commands.cfgi_ste(VSID))
    assert bench.record() == record and bench.smmu.state(VSID).kind is Kind.FAULT


def test_nothing_is_recorded_while_smmuen_is_0(new_bench):
    bench = new_bench()
    bench.start(SMMUEN=0)
    bench.event(EventType.C_BAD_SUBSTREAMID)
    assert bench.field("EVENTQ_PROD", "WR") == 0
