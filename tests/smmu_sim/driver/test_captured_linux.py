"""Our driver beside a recorded Linux: registers of the reset, attaching, unmapping.

What differs is asserted here as well, and explained in `sim/README.md`.
"""

import gzip
import itertools
import json
from pathlib import Path

import pytest

from smmu.formats.commands import TLBI, Opcode
from smmu.formats.context_descriptor import CD
from smmu.formats.core import from_bytes, plain, to_bytes, unpack
from smmu.formats.registers import BY_NAME, CMDQ_BASE, STRTAB_BASE
from smmu.formats.stream_table import L1STD, STE
from smmu.params import Params
from smmu_sim.driver import Stage1Domain
from smmu_sim.fields import address_of
from smmu_sim.memory import Memory

TRACE = Path(__file__).parents[2] / "traces" / "linux-7.2.13.jsonl.gz"
RNG, BLOCK_DEVICE = 0x20, 0x48  # the StreamIDs
SYNC, PREFETCH, NH_VA = Opcode.CMD_SYNC, Opcode.CMD_PREFETCH_CONFIG, Opcode.CMD_TLBI_NH_VA
TABLE = 2 << 20  # what a level 3 table maps
ENTRY = 16
PROD, CR0 = BY_NAME["CMDQ_PROD"].offset, BY_NAME["CR0"].offset
# Addresses are the recorded machine's.
HALVES = {BY_NAME[name].offset + at for name in ("STRTAB_BASE", "CMDQ_BASE", "EVENTQ_BASE")
          for at in (0, 4)}


class Recording:
    """The recorded scenario: register writes, batches of commands, memory at some moment."""

    def __init__(self):
        with gzip.open(TRACE, "rt") as lines:
            self.steps = json.loads(list(lines)[1])["steps"]
        self.writes = [step["reg"][1:] for step in self.steps if "reg" in step]
        registers = dict(self.writes)
        base = BY_NAME["CMDQ_BASE"].offset
        raw = registers[base] | registers[base + 4] << 32
        self.queue = address_of(CMDQ_BASE, "ADDR", raw)
        self.log2size = plain(CMDQ_BASE).LOG2SIZE(raw)
        self.batches = list(self._batches())

    def _batches(self):
        memory, last = Memory(), 0
        mask = (2 << self.log2size) - 1
        for step in self.steps:
            for addr, octets in step.get("mem", ()):
                memory.poke(addr, bytes.fromhex(octets))
            if step.get("reg", (0, 0))[1] == PROD:
                prod, batch = step["reg"][2], []
                while last != prod:
                    at = self.queue + (last & mask >> 1) * ENTRY
                    batch.append(int.from_bytes(memory.peek(at, ENTRY), "little"))
                    last = last + 1 & mask
                yield batch

    def memory(self, batches):
        """Return memory as it was when ``batches`` batches had been published."""
        memory, left = Memory(), batches
        for step in self.steps:
            for addr, octets in step.get("mem", ()):
                memory.poke(addr, bytes.fromhex(octets))
            left -= step.get("reg", (0, 0))[1] == PROD
            if not left:
                return memory
        raise AssertionError("the recording is shorter")


@pytest.fixture(scope="module")
def linux():
    """The recording."""
    return Recording()


@pytest.fixture
def recorded(make):
    """Our driver on an SMMU with the recorded one's features: no EL2, completion by CMDQ_CONS."""
    system = make(Params(oas=44), claim={"idr0": {"Hyp": 0}}, sync_by_msi=False, reset=False)
    system.driver.probe()
    return system


def opcode(command):
    return Opcode(command & 0xFF)


# --- reset ---------------------------------------------------------------------------------------

def changes(writes):
    """Register writes as the recording has them: 32 bits each, and only if the value changes."""
    values, found = {}, []
    for name, value in writes:
        register = BY_NAME[name]
        parts = [(register.offset, value & 0xFFFF_FFFF)]
        if register.width == 64:
            parts.append((register.offset + 4, value >> 32))
        for offset, part in parts:
            if values.get(offset, 0) != part:
                values[offset] = part
                found.append([offset, part])
    return found


def test_reset_writes_what_linux_wrote(linux, recorded):
    recorded.backend.writes.clear()
    recorded.driver.reset()
    ours = changes(recorded.backend.writes)
    theirs = linux.writes[:len(ours)]
    assert [offset for offset, _ in ours] == [offset for offset, _ in theirs]
    for (offset, our), (_, their) in zip(ours, theirs, strict=True):
        if offset not in HALVES:
            assert our == their, f"register {offset:#x}"
        else:
            attributes = 0x1F if not offset & 4 else 0xFFFF_0000  # LOG2SIZE; RA, WA
            assert our & attributes == their & attributes
    assert [value for offset, value in ours if offset == CR0] == [8, 0xC, 0xD]


def test_the_writes_that_the_recording_lacks_change_nothing(recorded):
    recorded.backend.writes.clear()
    recorded.driver.reset()
    writes = recorded.backend.writes
    extra = [(name, value) for name, value in writes if value == 0]
    assert [name for name, _ in extra] == [
        "CR0", "CMDQ_PROD", "CMDQ_CONS", "EVENTQ_PROD", "EVENTQ_CONS", "IRQ_CTRL",
        "GERROR_IRQ_CFG0", "EVENTQ_IRQ_CFG0"]
    assert len(changes(writes)) == len(writes) - len(extra) + 3, "three have two halves"


def test_commands_of_the_reset(linux, recorded, make):
    recorded.driver.reset()
    ours = recorded.driver.take_commands()
    assert ours == linux.batches[0] + linux.batches[1]
    here = make(reset=False, sync_by_msi=False)
    here.driver.reset()
    assert here.driver.take_commands() == [
        *linux.batches[0], int(Opcode.CMD_TLBI_EL2_ALL), ours[-1], *linux.batches[1]], \
        "this SMMU has EL2"


# --- attaching -----------------------------------------------------------------------------------

def structures(memory, stream_table, sid):
    """Return the STE of a StreamID and its CD."""
    l1std = memory.read64(stream_table + 8 * (sid >> 8))
    ste = from_bytes(STE, memory.read(address_of(L1STD, "L2Ptr", l1std) + 64 * (sid & 0xFF), 64))
    return ste, from_bytes(CD, memory.read(address_of(STE, "S1ContextPtr", ste), 64))


def attach_both(system):
    """Attach the two devices, as Linux did; return the commands for each and the domains."""
    system.driver.reset()
    batches, domains = [], []
    for sid in (RNG, BLOCK_DEVICE):
        master = system.master(sid, name=f"{sid:#x}")
        domains.append(Stage1Domain(system.driver))
        system.driver.attach(master, domains[-1])
        batches.append(system.driver.take_commands())
    return batches, domains


def test_attaching_takes_the_same_commands(linux, recorded):
    batches, _ = attach_both(recorded)
    groups = [linux.batches[2:7], linux.batches[7:12]]
    for ours, theirs in zip(batches, groups, strict=True):
        assert ours == list(itertools.chain(*theirs))
        assert opcode(ours[-1]) == PREFETCH


def test_a_new_level_2_table_is_announced_here(recorded):
    """Linux sends no CFGI_STE for it."""
    recorded.driver.reset()
    recorded.driver.take_commands()
    recorded.driver.ensure_ste(RNG)
    assert recorded.commands() == [("CFGI_STE", {"StreamID": RNG}), ("SYNC", {})]


def test_ste_and_cd_differ_in_addresses_and_unused_memory_types(linux, recorded):
    attach_both(recorded)
    registers, base = dict(linux.writes), BY_NAME["STRTAB_BASE"].offset
    their_table = address_of(STRTAB_BASE, "ADDR", registers[base] | registers[base + 4] << 32)
    memory = linux.memory(12)
    for sid in (RNG, BLOCK_DEVICE):
        ste, cd = structures(memory, their_table, sid)
        our_ste, our_cd = structures(
            recorded.backend.memory, recorded.driver.stream_table.base, sid)
        assert differences(STE, our_ste, ste) == {"S1ContextPtr"}
        assert differences(CD, our_cd, cd) == {"TTB0", "MAIR0", "MAIR1"}
        theirs, ours = (to_bytes(CD, raw)[24:32].hex() for raw in (cd, our_cd))
        assert (theirs, ours) == ("44ff04f4ffffffff", "44ff040000000000"), "three types are used"


def differences(struct, one, other):
    one, other = unpack(struct, one), unpack(struct, other)
    return {name for name in one if one[name] != other[name]}


# --- unmapping -----------------------------------------------------------------------------------

def unmappings(linux):
    """Yield (ASID, IOVA, pages, batch) of each unmapping that was recorded."""
    for batch in linux.batches[12:]:
        command, sync = batch
        assert (opcode(command), opcode(sync)) == (NH_VA, SYNC), "one range and a CMD_SYNC each"
        tlbi = unpack(TLBI, command)
        yield (tlbi["ASID"], tlbi["Address"] << 12, tlbi["NUM"] + 1 << tlbi["SCALE"], batch)


def test_unmapping_takes_the_same_commands(linux, recorded):
    """All recorded unmappings, one after another.

    Linux keeps tables that became empty. Here a page that stays stands for that.
    """
    _, domains = attach_both(recorded)
    found = list(unmappings(linux))
    touched = {(iova >> 12) + n for _, iova, pages, _ in found for n in range(pages)}
    for table in {page << 12 & -TABLE for page in touched}:
        stays = next(page for page in range(table >> 12, table + TABLE >> 12)
                     if page not in touched)
        for domain in domains:
            domain.map(stays << 12, 0x8000_0000, 0x1000)
    for asid, iova, pages, theirs in found:
        domain = domains[asid - 1]
        domain.map(iova, 0x9000_0000, pages << 12)
        recorded.driver.take_commands()
        assert domain.unmap(iova, pages << 12) == pages << 12
        assert recorded.driver.take_commands() == theirs
    assert len(found) == 350


def test_an_empty_table_goes_at_once_here(linux, recorded):
    """So its last page is not a leaf invalidation: the table's pointer goes too."""
    _, domains = attach_both(recorded)
    asid, iova, pages, theirs = next(unmappings(linux))
    domains[asid - 1].map(iova, 0x9000_0000, pages << 12)
    recorded.driver.take_commands()
    domains[asid - 1].unmap(iova, pages << 12)
    (command, sync) = recorded.driver.take_commands()
    assert sync == theirs[1]
    assert differences(TLBI, command, theirs[0]) == {"Leaf", "TTL", "SCALE"}
