"""What `smmu decode` calls illegal is what the reference model refuses, over random words."""

import random

import pytest

from smmu.formats.commands import Opcode
from smmu.formats.context_descriptor import CD
from smmu.formats.core import bits, fields, update
from smmu.formats.descriptors import BLOCK_LEVELS, GRANULES, level_shift
from smmu.formats.stream_table import STE
from smmu.params import Params

from smmu_sim import decode
from smmu_sim.decode.cd import cd_findings
from smmu_sim.decode.command import command_findings
from smmu_sim.decode.ste import ste_findings
from smmu_sim.memory import Memory
from smmu_sim.model import context_descriptor, stream_table
from smmu_sim.model.faults import EventType, Fault
from smmu_sim.model.queues import CommandQueue
from smmu_sim.model.tables import Table, walk

BUILDS = ["", "oas=44 gran16k=0", "s2p=0 hyp=0 xnx=0 fwb=0", "s1p=0 hyp=0 had=0", "ssidsize=0",
          "cd2l=0 ssidsize=4 vmid16=0 asid16=0", "ttendian=0 term_model=1", "oas=32 gran64k=0"]
COUNT = 2000
# Fields whose wrong values alone would make nearly every random structure illegal
PLAUSIBLE_STE = {"V": 1, "Config": (4, 5, 6, 7), "S1STALLD": 0, "S2AA64": 1, "S2HA": 0, "S2HD": 0,
                 "S2S": 0, "S2ENDI": 0, "S2TG": (0, 1, 2), "S2T0SZ": range(16, 40),
                 "S2SL0": (0, 1, 2), "S2PS": range(8), "S1CDMax": range(6), "STRW": (0, 2)}
PLAUSIBLE_CD = {"V": 1, "AA64": 1, "HA": 0, "HD": 0, "S": 0, "A": 1, "ENDI": 0,
                "T0SZ": range(16, 40), "T1SZ": range(16, 40), "TG0": (0, 1, 2), "TG1": (1, 2, 3)}
SMALL = {"S1ContextPtr": 1 << 20, "S2TTB": 1 << 24, "TTB0": 1 << 24, "TTB1": 1 << 24,
         "S2VMID": 256, "ASID": 256}  # and the first that is too large


def words(rng, struct, plausible):
    """A random structure; each plausible field is wild now and then."""
    raw = rng.getrandbits(bits(struct))
    values = {}
    for name, choice in plausible.items():
        if rng.random() > 0.06:
            values[name] = choice if isinstance(choice, int) else rng.choice(choice)
    for name, limit in SMALL.items():
        if name in fields(struct) and rng.random() > 0.1:
            values[name] = rng.choice((rng.randrange(limit), limit))
    return update(struct, raw, values)


@pytest.mark.parametrize("settings", BUILDS)
def test_stes(settings):
    params, rng, verdicts = Params.from_settings("default", settings), random.Random(1), set()
    for _ in range(COUNT):
        raw = words(rng, STE, PLAUSIBLE_STE)
        if rng.random() < 0.05:
            raw = update(STE, raw, {"Config": rng.randrange(4)})
        meant = stream_table.decode_ste(raw, params)
        expected = {None: ["C_BAD_STE"], False: ["abort"]}.get(meant, [])
        found = list(dict.fromkeys(each.effect for each in ste_findings(raw, params)
                                   if each.effect != "note"))
        assert found == expected, f"{raw:#x}"
        verdicts.add(tuple(expected))
    assert verdicts == {("C_BAD_STE",), ("abort",), ()}


@pytest.mark.parametrize("world", ["el1", "el2", "el2-e2h"])
@pytest.mark.parametrize("settings", BUILDS)
def test_cds(settings, world):
    params, rng, verdicts = Params.from_settings("default", settings), random.Random(2), set()
    for _ in range(COUNT):
        raw = words(rng, CD, PLAUSIBLE_CD)
        legal = context_descriptor.decode_cd(raw, params, world != "el1",
                                             world == "el2-e2h") is not None
        assert (not cd_findings(raw, params, world)) == legal, f"{raw:#x}"
        verdicts.add(legal)
    assert verdicts == {True, False}


@pytest.mark.parametrize("settings", BUILDS)
def test_commands(settings):
    params, rng = Params.from_settings("default", settings), random.Random(3)
    queue, verdicts = CommandQueue(params, None, None, None), set()
    for number in range(COUNT):
        opcode = rng.choice(list(Opcode)) if number % 3 else number // 3 & 0xFF
        raw = rng.getrandbits(128) & ~0xFF | opcode
        if rng.random() < 0.9:
            raw &= ~(1 << 10)  # SSec
        if rng.random() < 0.5:
            raw &= ~(0x1F << 12 | 0x1F << 20)  # NUM, SCALE but its bit 5; of a CMD_SYNC: CS
        if rng.random() < 0.5:
            raw &= ~(3 << 72)  # TTL
        legal = queue.is_legal(raw)
        effects = {each.effect for each in command_findings(raw, params)}
        assert effects == (set() if legal else {"CERROR_ILL"}), f"{raw:#x}"
        verdicts.add(legal)
    assert verdicts == {True, False}


@pytest.mark.parametrize("granule", GRANULES)
@pytest.mark.parametrize("stage", [1, 2])
def test_descriptors(stage, granule):
    params, rng, seen = Params(), random.Random(4), set()
    for _ in range(COUNT):
        level, output_bits = rng.randrange(0 if granule != 16 else 1, 4), rng.choice([32, 40, 48])
        raw = rng.getrandbits(64) & ~(0xFFFF << 32 if rng.random() < 0.6 else 0)
        raw |= 1 if rng.random() < 0.8 else 0
        found = decode.decode_pte(raw, params, stage=stage, level=level, granule=granule,
                                  output_bits=output_bits)
        walked = _walk(raw, level, granule, output_bits)
        effects = [effect for effect in found.effects if effect != "F_ACCESS"]
        assert effects == ([] if walked is None else [walked]), f"{raw:#x} at level {level}"
        leaf = walked is None and ("block" in found.title or "page" in found.title)
        assert ("F_ACCESS" in found.effects) == (
            walked in (None, "F_ADDR_SIZE") and ("table" not in found.title)
            and not raw >> 10 & 1), f"{raw:#x}"
        if leaf and level in BLOCK_LEVELS[granule]:
            assert f"{1 << level_shift(level, granule):#x} bytes" in str(found.rows)
        seen.add(walked)
    assert seen == {None, "F_TRANSLATION", "F_ADDR_SIZE"}


def _walk(raw, level, granule, output_bits):
    """What the model makes of this descriptor alone: the name of its fault, or None."""
    memory, base = Memory(), 1 << 60
    memory.write64(base, raw)
    reads = []

    def locate(addr):
        reads.append(addr)
        return addr

    try:
        walk(memory, Table(base, granule, level, level_shift(level, granule) + 1, output_bits,
                           False), 0, locate, lambda event, pa: Fault(event))
    except Fault as fault:
        if len(reads) > 1:  # a descriptor behind this one
            return None
        return EventType(fault.event).name
    return None


def test_stall_rules_follow_the_stall_model():
    class Stalling:
        """A build of which only IDR0.STALL_MODEL differs."""

        def __init__(self, model):
            self.stall_model = model

        def __getattr__(self, name):
            return getattr(Params(), name)

    ste = update(STE, 0, {"V": 1, "Config": 6, "S2AA64": 1, "S2T0SZ": 24, "S2SL0": 1, "S2PS": 5})
    cd = update(CD, 0, {"V": 1, "AA64": 1, "A": 1, "T0SZ": 16, "EPD1": 1, "IPS": 5})
    expected = {0: (True, True), 1: (True, False), 2: (False, True)}  # without and with stall
    for model, verdicts in expected.items():
        params = Stalling(model)
        assert tuple(decode.decode_ste(update(STE, ste, {"S2S": s}), params).legal
                     for s in (0, 1)) == verdicts
        assert tuple(decode.decode_cd(update(CD, cd, {"S": s}), params).legal
                     for s in (0, 1)) == verdicts
    stalling = update(CD, cd, {"S": 1})
    assert not decode.decode_cd(stalling, Stalling(0), s1stalld=True).legal
    stage1 = update(STE, 0, {"V": 1, "Config": 5, "S1STALLD": 1})
    assert [decode.decode_ste(stage1, Stalling(model)).legal for model in (0, 1, 2)] == [
        True, False, False]
    resume = 0x44
    assert decode.decode_command(resume, Stalling(0)).legal
    assert not decode.decode_command(resume, Stalling(1)).legal
