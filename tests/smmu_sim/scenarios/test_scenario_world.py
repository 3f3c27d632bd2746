"""The frame of scenarios: checks, the spying backend, what is told, nothing left behind."""

import pytest

from smmu.formats.commands import Opcode
from smmu.formats.registers import BY_NAME
from smmu.params import Params

from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.driver import PageAllocator, SMMUv3Driver, commands, entries
from smmu_sim.linux_error import LinuxError
from smmu_sim.memory import BusAbort, Memory
from smmu_sim.scenarios.outcome import play_on
from smmu_sim.scenarios.registry import SCENARIOS, Scenario, scenario
from smmu_sim.scenarios.world import World

SID, IOVA, PAGE = 0x42, 0x10_0000, 0x8000_0000


def make_world(story=None):
    backend = ModelBackend(Params(), Memory())
    backend.reset()
    return World(backend, (lambda entry: None) if story is None else story.append)


def make_driver(world):
    driver = SMMUv3Driver(world.backend, PageAllocator(world.memory, 0x4000_0000, 1 << 24))
    driver.reset()
    return driver


def map_page(driver):
    table = driver.page_table()
    table.map(IOVA, PAGE, 0x1000)
    contexts = driver.context_table()
    driver.set_cd(contexts, entries.cd(table, asid=0x21))
    driver.set_ste(SID, entries.stage1_ste(contexts))


def texts(story, kind):
    return [entry["text"] for entry in story if entry["kind"] == kind]


# --- checks ---------------------------------------------------------------------------------------

def play(function):
    return play_on(ModelBackend(Params(), Memory()),
                   Scenario("test", "a test", function, False, "", False))


def test_a_failed_check_fails_the_scenario_and_lets_it_go_on():
    def scenario_of_two(world):
        world.check("one", False, "why")
        world.check("two", True)

    outcome = play(scenario_of_two)
    assert [check.ok for check in outcome.checks] == [False, True]
    assert not outcome.ok and outcome.failures == ["one: why"]


def test_expect_tells_both_values():
    outcome = play(lambda world: world.expect("sum", 5, 0x42))
    assert outcome.failures == ["sum: expected 0x42, found 0x5"]
    assert play(lambda world: world.expect("sum", [5, None], [5, None])).ok


def test_a_scenario_without_checks_is_not_ok():
    assert not play(lambda world: None).ok


def test_an_exception_is_a_failed_check_that_tells_where():
    def broken(world):
        world.check("first", True)
        raise KeyError("nothing there")

    outcome = play(broken)
    assert not outcome.ok
    assert "KeyError" in outcome.failures[0] and "test_scenario_world.py" in outcome.failures[0]


@pytest.mark.parametrize("raised, ok", [("EINVAL", True), ("EBUSY", False), (None, False)])
def test_refused_wants_the_right_errno(raised, ok):
    def call():
        if raised:
            raise LinuxError(raised, "as the test wants")

    assert play(lambda world: world.refused("the call", "EINVAL", call)).ok is ok


def test_refused_lets_other_exceptions_through():
    def call():
        raise ValueError("no errno")

    assert "ValueError" in play(
        lambda world: world.refused("the call", "EINVAL", call)).failures[0]


# --- the spy --------------------------------------------------------------------------------------

def test_commands_are_seen_as_the_smmu_sees_them():
    world = make_world()
    driver = make_driver(world)
    world.commands()
    for n in range(300):  # the queue of 256 entries wraps
        driver.issue([commands.cfgi_ste(n), commands.tlbi(Opcode.CMD_TLBI_NH_ASID, VMID=7, ASID=n)])
    seen = world.commands()
    assert [(c.name, c.StreamID) for c in seen[0::2]] == [
        ("CMD_CFGI_STE", n) for n in range(300)]
    assert [(c.VMID, c.ASID) for c in seen[1::2]] == [(7, n) for n in range(300)]
    assert world.commands() == []
    driver.issue([commands.cfgi_ste(1)])
    assert [c.name for c in world.commands(syncs=True)] == ["CMD_CFGI_STE", "CMD_SYNC"]


def test_commands_can_be_chosen_by_name():
    world = make_world()
    driver = make_driver(world)
    driver.issue([commands.cfgi_ste(1), commands.cfgi_cd(1, 2)])
    assert [c.SubstreamID for c in world.commands("CMD_CFGI_CD")] == [2]


def test_register_writes_are_noted_in_order():
    world = make_world()
    world.backend.write32(BY_NAME["CR1"].offset, 0xD75)
    world.backend.write64(BY_NAME["STRTAB_BASE"].offset, 0x4000_0000)
    assert world.writes() == [("CR1", 0xD75), ("STRTAB_BASE", 0x4000_0000)]
    assert world.writes() == []


def test_what_is_told_of_a_device_that_gets_stage_1():
    story = []
    world = make_world(story)
    driver = make_driver(world)
    map_page(driver)
    world.read(SID, IOVA + 8)
    world.read(SID, IOVA + 0x1000)
    driver.service()
    assert "CR0 = 0x8: CMDQEN=1" in texts(story, "register")
    assert "CMD_CFGI_STE StreamID=0x42 Leaf=1" in texts(story, "command")
    changes = [line for entry in story if entry["kind"] == "structure" for line in entry["lines"]]
    assert "Config: ABORT -> S1_TRANS" in changes
    assert "ASID: 0 -> 0x21" in changes
    assert texts(story, "device") == [
        f"0x42 reads 8 bytes at {IOVA + 8:#x}: OKAY at {PAGE + 8:#x}",
        f"0x42 reads 8 bytes at {IOVA + 0x1000:#x}: SLVERR"]
    assert texts(story, "interrupt") == ["wire eventq"]
    event, = texts(story, "event")
    assert event.startswith("F_TRANSLATION StreamID=0x42")
    assert f"InputAddr={IOVA + 0x1000:#x}" in event


def test_a_changed_ste_is_told_by_its_fields():
    story = []
    world = make_world(story)
    driver = make_driver(world)
    driver.set_ste(SID, entries.bypass_ste())
    story.clear()
    driver.set_ste(SID, entries.bypass_ste(SHCFG=3))
    assert [(entry["text"], entry["lines"]) for entry in story if entry["kind"] == "structure"] == [
        ("STE of 0x42 changes", ["SHCFG: INCOMING -> ISH"])]


def test_an_ste_that_is_invalid_in_between_is_compared_when_it_is_valid_again():
    story = []
    world = make_world(story)
    driver = make_driver(world)
    map_page(driver)
    story.clear()
    contexts = driver.context_table()
    driver.set_ste(SID, entries.stage1_ste(contexts, S1CIR=0))
    told = [entry for entry in story if entry["text"].startswith("STE")]
    assert [entry["text"] for entry in told] == [
        "STE of 0x42 is invalid (V = 0)", "STE of 0x42 changes, and is valid"]
    assert told[1]["lines"][0].startswith("S1ContextPtr: ") and len(told[1]["lines"]) == 2


def test_nested_cds_are_found_through_stage_2():
    from smmu_sim.scenarios import find_scenario

    story = []
    outcome = play_on(ModelBackend(Params(), Memory()), find_scenario("bind-guest-msi"),
                      story.append)
    assert outcome.ok
    told = [entry for entry in story if entry["kind"] == "structure"
            and entry["text"].startswith("CD of 0x42")]
    assert any("ASID: 1 -> 0x21" in entry["lines"] or "ASID: 0 -> 0x21" in entry["lines"]
               for entry in told)


def test_an_illegal_command_is_told_with_its_error():
    story = []
    world = make_world(story)
    driver = make_driver(world)
    driver.issue([0xFF], sync=False)
    assert "reserved opcode 0xff  (CERROR_ILL)" in texts(story, "command")


def test_quiet_parts_are_one_line():
    story = []
    world = make_world(story)
    with world.quietly("the driver"):
        make_driver(world)
    assert [(entry["kind"], entry["text"]) for entry in story] == [("note", "the driver")]
    world.backend.write32(BY_NAME["CR1"].offset, 0)
    assert len(story) == 2


# --- nothing is left behind -----------------------------------------------------------------------

def test_closing_restores_memory_observers_and_windows():
    memory = Memory()
    backend = ModelBackend(Params(), memory)
    backend.reset()
    world, seen = World(backend), []
    world.memory.windows = [(0x1000, 0x2000)]
    world.memory.write32(0x1000, 5)
    world.memory.observe(range(0x1000, 0x1004), lambda *told: seen.append(told))
    world.memory.abort_at(0x1800)
    with pytest.raises(BusAbort):
        memory.read32(0x4000)
    world.close()
    assert memory.windows is None and memory.read32(0x1000) == 0 and memory.read32(0x1800) == 0
    memory.write32(0x1000, 7)
    assert seen == []


def test_scenarios_do_not_disturb_each_other():
    from smmu_sim.scenarios import find_scenario

    backend = ModelBackend(Params(), Memory())
    for name in ("rmr-nested", "host-msi", "rmr-nested", "fault-record", "host-msi"):
        outcome = play_on(backend, find_scenario(name))
        assert outcome.ok, (name, outcome.failures)


def test_start_over_is_a_reset_with_empty_memory():
    world = make_world()
    driver = make_driver(world)
    map_page(driver)
    assert world.read(SID, IOVA).pa == PAGE
    world.start_over()
    assert world.memory.peek(0x4000_0000, 4096) == bytes(4096)
    assert world.backend.dma(Transaction(sid=SID, addr=IOVA, length=4)).pa == IOVA  # bypass


# --- the registry ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name, shows", [("Upper", "x"), ("under_score", "x"), ("", "x"),
                                         ("host-msi", "x"), ("fresh", ""), ("fresh", "a\nb")])
def test_bad_names_and_texts_are_refused(name, shows):
    from smmu_sim.scenarios import all_scenarios

    assert all_scenarios()
    with pytest.raises(ValueError):
        scenario(name, shows)
    assert "fresh" not in SCENARIOS


def test_lacking_names_the_parameter_and_the_least_value():
    each = Scenario("test", "a test", None, True, "", False, {"ssidsize": 4, "s2p": 1})
    assert each.lacking(Params()) == []
    assert each.lacking(Params(ssidsize=2)) == ["ssidsize = 2: expected at least 4"]
