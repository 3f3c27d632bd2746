"""Who gets an event: stalls, guests, the fault handler, the host's log."""

import pytest

from smmu.formats.events import EVENTS, CLASS, EventType, pack_event
from smmu_sim.backend import Transaction
from smmu_sim.driver import NestedDomain, Stage1Domain, Stage2Domain
from smmu_sim.linux_error import LinuxError
from tests.smmu_sim.driver.guests import IPA, VMID, GuestMemory

SID, VSID = 0x42, 0x10
FORWARDED = {EventType.C_BAD_STE, EventType.F_STREAM_DISABLED, EventType.C_BAD_SUBSTREAMID,
             EventType.C_BAD_CD, EventType.F_TRANSLATION, EventType.F_ADDR_SIZE,
             EventType.F_ACCESS, EventType.F_PERMISSION}


def record(system, event, sid=SID, **fields):
    """Let the SMMU write a record."""
    system.backend.model.event_queue.write(pack_event(event, {"StreamID": sid, **fields}))


# --- stalls --------------------------------------------------------------------------------------

@pytest.fixture
def stalling(make):
    """A stalling device with PASID 3, whose page 0x5000 is not mapped yet; it wants to write."""
    system = make(stall=True)
    system.device = system.master(SID, ssid_bits=4, can_stall=True)
    system.domain = Stage1Domain(system.driver)
    system.domain.map(0x1000, 0x8000_1000, 0x1000)
    system.driver.attach_pasid(system.device, 3, system.domain)
    system.requests = []
    system.driver.on_stall(lambda request, master: system.requests.append((request, master)))
    system.start = lambda: system.backend.submit(Transaction(
        sid=SID, ssid=3, addr=0x5000, write=True, data=b"data"))
    system.commands()
    return system


def test_stall_round_trip(stalling):
    """The page is mapped while the access waits; then it completes."""
    pending = stalling.start()
    assert not pending.done and stalling.events() == []
    (request, master), = stalling.requests
    assert master is stalling.device
    assert (request.pasid, request.addr, request.perm, request.last) == (3, 0x5000, 2, True)
    stalling.domain.map(0x5000, 0x9000_0000, 0x1000)
    stalling.driver.page_response(master, request.grpid, "SUCCESS")
    assert stalling.commands() == [("RESUME", {"StreamID": SID, "Ac": 1, "STAG": request.grpid}
                                    if request.grpid else {"StreamID": SID, "Ac": 1})]
    assert pending.done and pending.result.pa == 0x9000_0000
    assert stalling.driver.events.pending == {}


@pytest.mark.parametrize("code", [1, "INVALID", 2, "FAILURE"])
def test_a_negative_answer_aborts(stalling, code):
    pending = stalling.start()
    stalling.events()
    (request, master), = stalling.requests
    stalling.driver.page_response(master, request.grpid, code)
    assert stalling.commands()[0][1]["Ab"] == 1
    assert pending.done and not pending.result.ok


def test_answers_that_make_no_sense(stalling):
    stalling.start()
    stalling.events()
    (request, master), = stalling.requests
    for args in ((request.grpid + 1, 0), (request.grpid, 3), (request.grpid, "YES")):
        with pytest.raises(LinuxError, match="EINVAL"):
            stalling.driver.page_response(master, *args)
    stalling.driver.page_response(master, request.grpid, 0)
    with pytest.raises(LinuxError, match="EINVAL: device has no page request"):
        stalling.driver.page_response(master, request.grpid, 0)


@pytest.mark.parametrize("handler", [None, lambda request, master: False])
def test_without_anybody_to_answer_the_driver_aborts(stalling, handler):
    stalling.driver.on_stall(handler)
    pending = stalling.start()
    assert stalling.events() == ["F_TRANSLATION"]
    assert pending.done and not pending.result.ok
    assert [event.name for event in stalling.driver.event_log] == ["F_TRANSLATION"]


def test_a_device_that_is_removed_waits_no_longer(stalling):
    pending = stalling.start()
    stalling.events()
    stalling.driver.remove_master(stalling.device)
    assert pending.done and not pending.result.ok and stalling.driver.events.pending == {}


def test_stalls_of_unknown_devices_are_logged_only(stalling):
    record(stalling, EventType.F_TRANSLATION, sid=0x99, Stall=1, STAG=5)
    assert stalling.events() == ["F_TRANSLATION"] and stalling.commands() == []


def test_which_masters_stall(make):
    system = make(stall=True)
    assert system.master(SID, can_stall=True).stall_enabled
    calm = system.master(0x43, name="calm")
    assert not calm.stall_enabled
    system.driver.attach(calm, Stage1Domain(system.driver))
    assert system.ste(0x43)["S1STALLD"] == 1
    system.driver.attach(calm, Stage2Domain(system.driver))
    assert "S2S" not in system.ste(0x43)
    hasty = system.driver.find_master(SID)
    domain = Stage1Domain(system.driver)
    system.driver.attach(hasty, domain)
    assert "S1STALLD" not in system.ste(SID) and hasty.cd_table.read(0) >> 44 & 1
    system.driver.attach(hasty, Stage2Domain(system.driver))
    assert system.ste(SID)["S2S"] == 1
    forced = make(claim={"idr0": {"STALL_MODEL": 2}})
    assert forced.master().stall_enabled, "without being asked"


# --- guests --------------------------------------------------------------------------------------

@pytest.fixture
def nest(system):
    """A device that a guest has; its events go to ``system.guest_events``."""
    parent = Stage2Domain(system.driver, nest_parent=True, vmid=VMID)
    guest = GuestMemory(system, parent)
    system.guest_events = []
    system.device = system.master(SID)
    system.driver.attach(system.device, NestedDomain(
        parent, guest.ste_words(), vsid_of=lambda master: VSID,
        report=lambda event, vsid: system.guest_events.append((event.type, vsid))))
    return system


@pytest.mark.parametrize("event", list(EVENTS), ids=lambda event: event.name)
def test_events_that_reach_a_guest(nest, event):
    record(nest, event)
    left = nest.driver.service()
    assert bool(nest.guest_events) == (event in FORWARDED) == (not left)
    if event in FORWARDED:
        assert nest.guest_events == [(event, VSID)]
    else:
        assert list(nest.driver.event_log) == left


def test_stage_2_faults_are_the_hosts(nest):
    record(nest, EventType.F_TRANSLATION, S2=1, CLASS=CLASS.IN)
    assert nest.events() == ["F_TRANSLATION"] and nest.guest_events == []


def test_real_faults_of_a_guest(nest):
    assert nest.read(0xDEAD_0000) is None
    assert nest.events() == [] and nest.guest_events == [(EventType.F_TRANSLATION, VSID)]


def test_a_guest_that_takes_nothing(nest):
    nest.device.domain.report = lambda event, vsid: False
    record(nest, EventType.C_BAD_CD)
    assert nest.events() == ["C_BAD_CD"]
    nest.device.domain.report = None
    record(nest, EventType.C_BAD_CD)
    assert nest.events() == ["C_BAD_CD"]


def test_a_device_that_left_the_guest(nest):
    nest.driver.attach(nest.device, nest.device.domain.parent)
    record(nest, EventType.C_BAD_CD)
    assert nest.events() == ["C_BAD_CD"] and nest.guest_events == []
    assert nest.read(IPA) is not None


# --- handlers and the log ------------------------------------------------------------------------

def test_the_fault_handler_sees_known_masters_only(system):
    master, seen = system.master(SID), []
    system.driver.on_fault(lambda event, device: seen.append((event.name, device)))
    record(system, EventType.F_CD_FETCH)
    record(system, EventType.F_TRANSLATION, S2=1)
    record(system, EventType.C_BAD_STE, sid=0x99)
    assert system.events() == ["C_BAD_STE"]
    assert seen == [("F_CD_FETCH", master), ("F_TRANSLATION", master)]
    system.driver.on_fault(lambda event, device: False)
    record(system, EventType.F_CD_FETCH)
    assert system.events() == ["F_CD_FETCH"]


def test_a_handler_of_a_streamid_comes_first(system):
    system.master(SID)
    mine, faults = [], []
    system.driver.on_event(SID, mine.append)
    system.driver.on_fault(lambda event, device: faults.append(event))
    record(system, EventType.F_TRANSLATION)
    assert system.events() == [] and len(mine) == 1 and faults == []


def test_the_log_keeps_the_last_1024(make):
    system = make(eventq_log2size=11)
    for n in range(1030):
        record(system, EventType.C_BAD_STE, sid=n)
    assert len(system.events()) == 1030
    assert [event.StreamID for event in system.driver.event_log] == list(range(6, 1030))
