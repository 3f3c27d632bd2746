"""Fault handlers, records, page requests, with devices that really fault."""

import pytest

from smmu.formats.events import EventType, pack_event
from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.driver import Event
from smmu_sim.iommu import DomainType, Fault, FaultType, PageResponse
from smmu_sim.iommu.fault_records import FaultPerm, FaultReason, ResponseCode, fault_of_event
from smmu_sim.linux_error import LinuxError
from smmu_sim.machine import Machine
from smmu_sim.memory import Memory

A, B = Machine.DEVICE_A, Machine.DEVICE_B
ADDR = 0xDEAD_0000


def words(data, size=4):
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]


# --- records -------------------------------------------------------------------------------------

def test_scenario_22_an_event_becomes_a_record():
    event = Event(pack_event(EventType.F_TRANSLATION, {
        "StreamID": A, "RnW": 1, "InputAddr": ADDR}))
    data = fault_of_event(event).to_bytes()
    assert len(data) == 64
    assert words(data[:24]) == [1, 0, 5, 2, 0, 1]
    assert words(data[24:], 8) == [ADDR, 0, 0, 0, 0]
    stage2 = Event(pack_event(EventType.F_TRANSLATION, {
        "StreamID": A, "RnW": 1, "S2": 1, "InputAddr": ADDR}))
    assert fault_of_event(stage2) is None


FAULT = Fault(FaultType.DMA_UNRECOV, FaultPerm.WRITE, addr=ADDR, pasid=3,
              reason=FaultReason.WALK_EABT, fetch_addr=0x1238)


def test_records_of_each_generation():
    v8, v15 = FAULT.to_bytes("V8"), FAULT.to_bytes("V15")
    assert len(v8) == 48 and words(v8[:24]) == words(v15[:24]) == [1, 0, 4, 7, 3, 2]
    assert words(v8[24:], 8) == [ADDR, 0x1238, 0] and words(v15[24:40], 8) == [ADDR, 0]
    v3 = FAULT.to_bytes("G1")
    assert len(v3) == 48 and words(v3[:8]) == [1, 8] and words(v3[8:24], 8) == [ADDR, 0x1238]
    assert words(v3[24:]) == [3, 0, 1, 1, 2, 0]


def test_page_requests_of_each_generation():
    fault = Fault(FaultType.PAGE_REQ, FaultPerm.READ | FaultPerm.PRIV, addr=0x5000, pasid=3,
                  grpid=0x77)
    for generation, size in (("V8", 48), ("V15", 64)):
        data = fault.to_bytes(generation)
        assert len(data) == size and words(data[:24]) == [2, 0, 3, 3, 0x77, 9]
        assert words(data[24:48], 8) == [0x5000, 0, 0]
    assert words(fault.to_bytes("G1")[24:]) == [3, 0x77, 1, 1, 9, 0]
    middle = Fault(FaultType.PAGE_REQ, FaultPerm.READ, addr=0x5000, last=False)
    assert words(middle.to_bytes()[:24]) == [2, 0, 0, 0, 0, 1]


def test_responses_have_24_bytes(fails):
    response = PageResponse(0x77, ResponseCode.FAILURE, 3)
    data = response.to_bytes()
    assert words(data) == [24, 1, 1, 3, 0x77, 2] and PageResponse.from_bytes(data) == response
    assert PageResponse.from_bytes(PageResponse(1, ResponseCode.SUCCESS).to_bytes()).pasid is None
    unknown = data[:20] + b"\x09\0\0\0"
    assert PageResponse.from_bytes(unknown).code is ResponseCode.INVALID
    for at, value in ((0, 23), (4, 2), (8, 2)):
        wrong = data[:at] + bytes([value, 0, 0, 0]) + data[at + 4 :]
        fails("EINVAL", PageResponse.from_bytes, wrong)
    fails("EINVAL", PageResponse.from_bytes, data[:20])


# --- handlers ------------------------------------------------------------------------------------

def test_rules_of_registration(host, fails):
    device, faults = host.device(), host.iommu.faults
    fails("EINVAL", faults.register, host.device(B, add=False), print)
    fails("EINVAL", faults.unregister, host.device(0x50, add=False))
    fails("EINVAL", faults.report, device, FAULT)
    faults.unregister(device)
    faults.register(device, print)
    fails("EBUSY", faults.register, device, print)
    faults.unregister(device)
    faults.register(device, print)


def test_a_device_s_faults_go_to_its_handler_alone(host):
    first, second = host.device(A), host.device(B)
    seen = []
    host.iommu.faults.register(first, seen.append)
    host.write(first, ADDR)
    host.write(second, ADDR)
    assert [event.StreamID for event in host.driver.service()] == [B]
    [fault] = seen
    assert (fault.reason, fault.addr, fault.perm) == (FaultReason.PTE_FETCH, ADDR, FaultPerm.WRITE)
    host.iommu.faults.unregister(first)
    host.write(first, ADDR)
    assert host.events() == ["F_TRANSLATION"] and len(seen) == 1


def test_stage_2_faults_are_the_hosts(host):
    device, seen = host.device(), []
    host.iommu.faults.register(device, seen.append)
    host.iommu.attach_device(
        host.iommu.alloc_domain(device, DomainType.UNMANAGED, stage=2), device)
    host.write(device, ADDR)
    assert host.events() == ["F_TRANSLATION"] and seen == []


def test_a_handler_that_refuses_leaves_the_event_to_the_log(host):
    device = host.device()

    def full(fault):
        raise LinuxError("ENOSPC", "the ring is full")

    host.iommu.faults.register(device, full)
    host.write(device, ADDR)
    assert host.events() == ["F_TRANSLATION"] and "the ring is full" in host.iommu.warnings[0]


def test_a_removed_device_has_no_handler(host):
    device = host.device()
    host.iommu.faults.register(device, print)
    host.iommu.remove_device(device)
    host.iommu.add_device(device)
    host.iommu.faults.register(device, print)


# --- page requests -------------------------------------------------------------------------------

def request(grpid=0x77, pasid=3, last=True):
    return Fault(FaultType.PAGE_REQ, FaultPerm.WRITE, addr=0x5000, pasid=pasid, grpid=grpid,
                 last=last)


@pytest.fixture
def answered(host):
    """What the driver was told to answer."""
    answers = []
    host.driver.page_response = lambda master, grpid, code: answers.append((grpid, code))
    return answers


def test_a_page_request_is_pending_until_its_answer(host, fails, answered):
    device, faults = host.device(), host.iommu.faults
    faults.register(device, print)
    faults.report(device, request())
    faults.report(device, request(0x78, last=False))
    assert [fault.grpid for fault in faults.pending(device)] == [0x77]
    fails("EBUSY", faults.unregister, device)
    for wrong in (PageResponse(0x78, 0, 3), PageResponse(0x77, 0), PageResponse(0x77, 0, 4)):
        fails("EINVAL", faults.respond, device, wrong)
    faults.respond(device, PageResponse(0x77, ResponseCode.SUCCESS, 3).to_bytes())
    fails("EINVAL", faults.respond, device, PageResponse(0x77, 0, 3))
    assert answered == [(0x77, 0)] and faults.pending(device) == []
    faults.unregister(device)


def test_a_refused_page_request_is_not_pending(host, fails):
    device, faults = host.device(), host.iommu.faults

    def full(fault):
        raise LinuxError("ENOSPC", "full")

    faults.register(device, full)
    fails("ENOSPC", faults.report, device, request())
    assert faults.pending(device) == []
    faults.unregister(device)


def test_removal_and_unbinding_answer_what_is_pending(host, answered):
    device, faults = host.device(), host.iommu.faults
    faults.register(device, print)
    for grpid, pasid in ((1, 3), (2, 4), (3, 3)):
        faults.report(device, request(grpid, pasid))
    faults.drain(device, 3)
    assert answered == [(1, 1), (3, 1)]
    host.iommu.remove_device(device)
    assert answered[2:] == [(2, 1)] and faults.pending(device) == []


# --- accesses that stall -------------------------------------------------------------------------

PAGE, HERE = 0x5000, 0x6000_0000


class Stalling:
    """A host whose devices stall; a device with an UNMANAGED domain for the RID and PASID 3."""

    def __init__(self, make_host):
        self.host = make_host(backend=ModelBackend(Params(), Memory(), stall=True))
        self.iommu, self.faults = self.host.iommu, self.host.iommu.faults
        self.device = self.host.device(can_stall=True)
        self.rid, self.three = (self.iommu.alloc_domain(self.device, DomainType.UNMANAGED)
                                for _ in range(2))
        self.iommu.attach_device(self.rid, self.device)
        self.iommu.attach_device_pasid(self.three, self.device, 3)

    def access(self, pasid=3):
        """Start a write that stalls, and let the driver see it."""
        pending = self.host.functions[self.device].submit(PAGE, data=b"12345678", pasid=pasid)
        assert pending.result is None
        self.left = self.host.driver.service()
        return pending

    def answer(self, fault, code):
        self.host.driver.page_response(self.device.master, fault.grpid, code)


@pytest.fixture
def stalling(make_host):
    return Stalling(make_host)


def test_an_access_that_stalls_goes_on_after_a_good_answer(stalling):
    seen = []
    stalling.faults.register(stalling.device, seen.append)
    pending = stalling.access()
    [fault] = seen
    assert (fault.type, fault.addr, fault.pasid) == (FaultType.PAGE_REQ, PAGE, 3)
    assert fault.perm == FaultPerm.WRITE and fault.last
    stalling.three.map(PAGE, HERE, 0x1000)
    stalling.faults.respond(stalling.device, PageResponse(fault.grpid, ResponseCode.SUCCESS, 3))
    assert pending.result.ok and pending.result.pa == HERE


@pytest.mark.parametrize("code", [ResponseCode.INVALID, ResponseCode.FAILURE])
def test_an_access_that_stalls_aborts_after_a_bad_answer(stalling, code):
    seen = []
    stalling.faults.register(stalling.device, seen.append)
    pending = stalling.access()
    stalling.faults.respond(stalling.device, PageResponse(seen[0].grpid, code, 3))
    assert not pending.result.ok


def test_an_access_that_nobody_handles_aborts_at_once(stalling):
    assert not stalling.access().result.ok
    assert [event.name for event in stalling.left] == ["F_TRANSLATION"]
    assert "has no fault handler" in stalling.iommu.warnings[0]


@pytest.mark.parametrize("pasid", [None, 3])
def test_the_domain_of_the_pasid_is_asked_first(stalling, pasid):
    seen = {}
    for name, domain in ((None, stalling.rid), (3, stalling.three)):
        domain.fault_handler = lambda device, fault, name=name: seen.update({name: (device, fault)})
    stalling.faults.register(stalling.device, print)
    pending = stalling.access(pasid)
    assert list(seen) == [pasid] and seen[pasid][0] is stalling.device
    {None: stalling.rid, 3: stalling.three}[pasid].map(PAGE, HERE, 0x1000)
    stalling.answer(seen[pasid][1], 0)
    assert pending.result.pa == HERE and stalling.faults.pending(stalling.device) == []


def test_a_domain_that_refuses_lets_the_access_abort(stalling):
    def full(device, fault):
        raise LinuxError("ENOMEM", "no room")

    stalling.three.fault_handler = full
    assert not stalling.access().result.ok and "no room" in stalling.iommu.warnings[0]


def test_removal_ends_what_stalls(stalling):
    stalling.faults.register(stalling.device, lambda fault: None)
    pending = stalling.access()
    stalling.iommu.detach_device_pasid(stalling.three, stalling.device, 3)
    stalling.iommu.remove_device(stalling.device)
    assert not pending.result.ok
