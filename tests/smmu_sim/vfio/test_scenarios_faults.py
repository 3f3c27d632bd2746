"""Scenarios 21 and 22: faults of a guest's stage 1; and page requests."""

import struct

import pytest
from smmu.formats.events import EventType

from smmu_sim.prot import Prot
from smmu_sim.vfio import OFFSET_SHIFT

ALL = ("v3", "V8", "V10", "V15")
CD, BUFFER = 0x4000_1000, 0x4400_0000
FAULTS, RESPONSES = 9 << OFFSET_SHIFT, 10 << OFFSET_SHIFT


# --- 21: overflow of the ring ---------------------------------------------------------------------

def index(value):
    return value.to_bytes(4, "little")


@pytest.mark.parametrize("generation", ["v3", "V10", "V15"])
def test_the_ring_overflows(guest, refused, generation):
    w = guest(generation)
    fds, (eventfd,) = w.eventfds(1)
    w.set_irqs(w.vfio, fds, index=5)
    for n in range(512):
        assert not w.vfio.function.read(0x5000_0000 + n * 0x1000, 8).ok
        w.driver.service()
    assert w.head(w.vfio) == 511 and eventfd.count == 511
    assert [error.name for error in w.vfio.faults.lost] == ["ENOSPC"]
    assert w.events() == [(EventType.F_TRANSLATION, 1)], "the host logs what the guest lost"
    refused("EINVAL", w.vfio.write, FAULTS, index(512))
    w.vfio.write(FAULTS, index(100))
    for _ in range(101):
        w.vfio.function.read(0x6000_0000, 8)
        w.driver.service()
    assert w.head(w.vfio) == 99 and eventfd.count == 611 and len(w.vfio.faults.lost) == 2


def test_v8_wants_to_be_told_the_version_first(guest):
    w = guest("V8")
    fds, (eventfd,) = w.eventfds(1)
    w.set_irqs(w.vfio, fds, index=5)
    w.vfio.function.read(0x5000_0000, 8)
    assert w.events() == [(EventType.F_TRANSLATION, 1)] and eventfd.count == 0
    w.vfio.write(10 << OFFSET_SHIFT, index(1))
    for _ in range(512):
        w.vfio.function.read(0x5000_0000, 8)
        w.driver.service()
    assert eventfd.count == 511 and w.head(w.vfio) == 511
    assert [error.name for error in w.vfio.faults.lost] == ["EINVAL", "EINVAL"]
    w.vfio.write((10 << OFFSET_SHIFT) + 4, index(1))
    w.vfio.function.read(0x5000_0000, 8)
    w.driver.service()
    assert eventfd.count == 512


# --- 22: transcoding ------------------------------------------------------------------------------

@pytest.mark.parametrize("generation", ALL)
def test_a_translation_fault_becomes_a_record(guest, generation):
    w = guest(generation)
    if generation == "V8":
        w.vfio.write(10 << OFFSET_SHIFT, index(1))
    assert not w.vfio.function.read(0xDEAD_0000, 8).ok
    w.driver.service()
    (record,) = w.records(w.vfio, 1)
    if generation == "v3":
        fields = struct.unpack("<IIQQIIIIII", record)
        assert fields[:6] == (1, 9, 0xDEAD_0000, 0, 0, 0) and fields[7:] == (0, 1, 0)
        return
    assert struct.unpack("<IIIIIIQQ", record[:40]) == (1, 0, 5, 2, 0, 1, 0xDEAD_0000, 0)
    assert record[40:] == bytes(len(record) - 40)


@pytest.mark.parametrize("generation", ["v3", "V10", "V15"])
def test_faults_of_stage_2_are_the_hosts(guest, generation):
    w = guest(generation)
    w.guest.stage1.map(0xDEAD_0000, 0x7000_0000, 0x1000)
    assert not w.vfio.function.write(0xDEAD_0000, bytes(8)).ok
    assert w.events() == [(EventType.F_TRANSLATION, 2)] and w.head(w.vfio) == 0


def test_a_write_without_permission(guest):
    w = guest()
    w.guest.stage1.map(0xDEAD_0000, BUFFER, 0x1000, Prot(write=False))
    assert not w.vfio.function.write(0xDEAD_0008, bytes(8), priv=True).ok
    w.driver.service()
    (record,) = w.records(w.vfio, 1)
    assert struct.unpack("<IIIIIIQQ", record[:40]) == (1, 0, 6, 2, 0, 2 | 8, 0xDEAD_0008, 0)


def test_a_bad_cd_reaches_the_guest(guest):
    w = guest()
    w.guest.memory.write(CD, bytes(64))
    w.driver.issue([])
    w.table("bypass")
    w.table()
    assert not w.vfio.function.read(0x10_0000, 8).ok
    w.driver.service()
    assert struct.unpack("<IIII", w.records(w.vfio, 1)[0][:16])[2] == 2


# --- page requests --------------------------------------------------------------------------------

def stalled(w, addr=0x5000_0000):
    """Let the device write where nothing is mapped, and tell user space of it."""
    pending = w.vfio.function.submit(addr, data=b"12345678")
    w.driver.service()
    return pending


def respond(w, position, code, grpid, **more):
    """User space puts one response into the ring and moves head."""
    fields = {"argsz": 24, "version": 1, "flags": 0, "pasid": 0} | more
    area = w.vfio.mmap(RESPONSES + 4096, 12288, writable=True)
    area.write(24 * position, struct.pack("<6I", *fields.values(), grpid, code))
    w.vfio.write(RESPONSES, index(position + 1))
    w.driver.sync()


def test_a_stalled_access_is_a_page_request_and_goes_on_when_answered(guest):
    w = guest(stall=True)
    fds, (eventfd,) = w.eventfds(1)
    w.set_irqs(w.vfio, fds, index=5)
    pending = stalled(w)
    assert not pending.done and eventfd.count == 1
    first, = w.records(w.vfio, 1)
    kind, _, flags, pasid, grpid, perm, addr = struct.unpack("<IIIIIIQ", first[:32])
    assert (kind, flags, pasid, perm, addr) == (2, 2, 0, 2, 0x5000_0000)
    w.guest.stage1.map(0x5000_0000, BUFFER, 0x1000)
    respond(w, 0, 0, grpid)
    assert pending.done and pending.result.ok
    assert w.guest.memory.read(BUFFER, 8) == b"12345678"
    again = stalled(w, 0x6000_0000)
    grpid, = struct.unpack_from("<I", w.records(w.vfio, 2)[1], 16)
    respond(w, 1, 1, grpid)
    assert again.done and not again.result.ok


def test_responses_that_make_no_sense_change_nothing(guest):
    w = guest(stall=True)
    pending = stalled(w)
    grpid, = struct.unpack_from("<I", w.records(w.vfio, 1)[0], 16)
    respond(w, 0, 0, grpid + 1)
    respond(w, 1, 0, grpid, version=2)
    respond(w, 2, 0, grpid, argsz=23)
    respond(w, 3, 0, grpid, flags=1, pasid=3)
    assert [error.name for error in w.vfio.faults.refused] == ["EINVAL"] * 4
    assert not pending.done
    respond(w, 4, 0, grpid)
    w.driver.service()
    assert w.vfio.read(RESPONSES + 16, 4) == index(5)


def test_closing_the_device_ends_what_waits(guest):
    w = guest(stall=True)
    pending = stalled(w)
    w.vfio.release()
    w.driver.sync()
    assert pending.done and not pending.result.ok


@pytest.mark.parametrize("generation", ["v3", "V8", "V10"])
def test_early_generations_cannot_answer_page_requests(guest, generation):
    w = guest(generation, stall=True)
    pending = stalled(w)
    w.driver.sync()
    assert pending.done and not pending.result.ok
    assert [error.name for error in w.vfio.faults.lost] == ["EOPNOTSUPP"]
