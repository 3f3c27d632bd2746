"""Raw commands of a guest: what becomes of each, batches, errors."""

import pytest

from smmu.formats.commands import COMMANDS, Opcode, pack_command
from smmu.formats.core import fields
from smmu_sim.driver import Stage2Domain, TimedOut
from smmu_sim.driver.raw_invalidation import convert
from smmu_sim.linux_error import LinuxError
from tests.smmu_sim.driver.guests import ASID, VMID

VSID, SID = 0x10, 0x42
SYNC = ("SYNC", {})


def sid_of(vsid):
    return {VSID: SID}[vsid]


def guest(name, **fields):
    return pack_command(Opcode[f"CMD_{name}"], fields)


@pytest.fixture
def parent(system):
    """A nest parent with VMID 7."""
    return Stage2Domain(system.driver, nest_parent=True, vmid=VMID)


BATCH = [guest("TLBI_NSNH_ALL"), guest("TLBI_NH_ASID", ASID=ASID, VMID=8),
         guest("CFGI_CD", StreamID=VSID, SubstreamID=3, Leaf=1),
         guest("CFGI_CD_ALL", StreamID=VSID)]


def test_a_batch(make):
    """On an SMMU that claims to have ATS."""
    system = make(claim={"idr0": {"ATS": 1}})
    parent = Stage2Domain(system.driver, nest_parent=True, vmid=VMID)
    batch = [*BATCH[:3], guest("ATC_INV", StreamID=VSID, Size=52)]
    assert system.driver.viommu_invalidate(parent, batch, sid_of) == 4
    assert system.commands() == [
        ("NH_ALL", {"VMID": VMID}), ("NH_ASID", {"VMID": VMID, "ASID": ASID}),
        ("CFGI_CD", {"StreamID": SID, "SubstreamID": 3, "Leaf": 1}),
        ("ATC_INV", {"StreamID": SID, "Size": 52}), SYNC]


@pytest.mark.parametrize("opcode", list(Opcode), ids=lambda o: o.name)
def test_what_a_guest_may_send(opcode):
    raw = int(opcode) | 0x10 << 32
    tagged = {Opcode.CMD_TLBI_NH_ALL, Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_NH_VA,
              Opcode.CMD_TLBI_NH_VAA}
    streams = {Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL, Opcode.CMD_ATC_INV}
    if opcode in tagged | {Opcode.CMD_TLBI_NSNH_ALL}:
        assert convert(raw, VMID, sid_of) >> 32 & 0xFFFF == VMID
    elif opcode in streams:
        assert convert(raw, VMID, sid_of) == int(opcode) | SID << 32
    else:
        with pytest.raises(LinuxError, match=f"EIO: command {int(opcode):#x} is not one"):
            convert(raw, VMID, sid_of)


def test_the_rest_of_a_command_is_the_guests():
    raw = guest("TLBI_NH_VA", VMID=0xFFFF, ASID=0x1234, Address=0xABCDE, NUM=3, SCALE=2, TTL=3,
                TG=1, Leaf=1)
    assert convert(raw, VMID, sid_of) == raw & ~(0xFFFF << 32) | VMID << 32
    everything = (1 << 128) - 1 & ~0xFF | Opcode.CMD_TLBI_NSNH_ALL
    assert convert(everything, VMID, sid_of) == guest("TLBI_NH_ALL", VMID=VMID)


@pytest.mark.parametrize("mode, done", [("upstream", 0), ("strict", 2)])
def test_a_bad_command_in_the_middle(system, parent, mode, done):
    with pytest.raises(LinuxError, match="EIO") as caught:
        system.driver.viommu_invalidate(
            parent, [*BATCH[:2], guest("CFGI_STE", StreamID=VSID), BATCH[0]], sid_of, mode)
    assert caught.value.done == 2, "user space is told 2, whatever was done"
    assert len(system.commands()) == (done + 1 if done else 0)


@pytest.mark.parametrize("mode, executed", [("upstream", 63), ("strict", 100)])
def test_blocks_of_63(system, parent, mode, executed):
    count = 150
    assert system.driver.viommu_invalidate(parent, [BATCH[0]] * count, sid_of, mode) == count
    names = system.names()
    assert [at for at, name in enumerate(names) if name == "SYNC"] == [63, 127, 152]
    with pytest.raises(LinuxError, match="EIO") as caught:
        system.driver.viommu_invalidate(
            parent, [BATCH[0]] * 100 + [guest("CFGI_CD", StreamID=0x11)], sid_of, mode)
    assert caught.value.done == 100
    assert system.names().count("NH_ALL") == executed


def test_an_unknown_streamid(system, parent):
    with pytest.raises(LinuxError, match="EIO: the guest has no StreamID 0x11") as caught:
        system.driver.viommu_invalidate(parent, [guest("CFGI_CD_ALL", StreamID=0x11)], sid_of)
    assert caught.value.done == 0 and system.commands() == []


def test_nothing_and_nonsense(system, parent):
    with pytest.raises(LinuxError, match="EINVAL: there is no command") as caught:
        system.driver.viommu_invalidate(parent, [], sid_of)
    assert caught.value.done == 0
    with pytest.raises(LinuxError, match="EINVAL: mode is 'lax'"):
        system.driver.viommu_invalidate(parent, BATCH, sid_of, "lax")


def test_an_illegal_command_is_the_guests_problem(system, parent):
    """This SMMU has no ATS, so ATC_INV is illegal; Linux skips it and goes on."""
    batch = [BATCH[1], guest("ATC_INV", StreamID=VSID), BATCH[0]]
    assert system.driver.viommu_invalidate(parent, batch, sid_of) == 3
    assert [error.code.name for error in system.driver.refused] == ["CERROR_ILL"]
    system.driver.sync()


def test_a_queue_that_stands_still(system, parent):
    def never(batch, sync=True):
        raise TimedOut("timed out")

    system.driver.command_queue.issue = never
    with pytest.raises(LinuxError, match="ETIMEDOUT") as caught:
        system.driver.viommu_invalidate(parent, BATCH, sid_of)
    assert caught.value.done == 0


def test_layouts_keep_the_streamid_in_one_place():
    """`convert` replaces it by the layout of one command."""
    assert len({fields(COMMANDS[opcode])["StreamID"] for opcode in (
        Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL, Opcode.CMD_ATC_INV)}) == 1
