"""The command queue: errors that are over, aborts, and the log."""

import pytest

from smmu.formats.commands import Opcode
from smmu.formats.registers import BY_NAME
from smmu_sim.driver import CommandError, DriverError, commands


def active(system):
    return system.backend.read32(BY_NAME["GERROR"].offset) \
        ^ system.backend.read32(BY_NAME["GERRORN"].offset)


@pytest.mark.parametrize("by_msi", [False, True])
def test_an_illegal_command(make, by_msi):
    """It becomes a CMD_SYNC, and the queue goes on."""
    system = make(sync_by_msi=by_msi)
    queue = system.driver.command_queue.queue
    batch = [commands.cfgi_ste(n) for n in range(3)] + [0xFF] + [commands.cfgi_ste(4)]
    start = queue.prod
    with pytest.raises(CommandError, match="CERROR_ILL"):
        system.driver.issue(batch)
    assert queue.read(start + 3) == commands.sync(), "it became a CMD_SYNC"
    assert active(system) == 0 and system.driver.errors.seen == ["CMDQ_ERR"]
    system.driver.sync()


def test_an_error_that_is_over_lets_other_global_errors_be(make):
    """CMDQ_CONS.ERR stays; only GERROR tells whether the queue stands still."""
    system = make(sync_by_msi=False)
    with pytest.raises(CommandError):
        system.driver.issue([0xFF])
    assert system.backend.read32(BY_NAME["CMDQ_CONS"].offset) >> 24 == 1
    events = system.driver.event_queue.queue
    system.backend.memory.abort_at(range(events.base, events.base + events.bytes), "write")
    system.read(0x1000, sid=0x1_0000)  # its record can't be written
    unrelated = active(system)
    assert unrelated
    system.driver.issue([commands.cfgi_all()])
    assert active(system) == unrelated and system.driver.errors.seen == ["CMDQ_ERR"]
    with pytest.raises(CommandError):
        system.driver.issue([0xFF])
    assert active(system) == unrelated, "only CMDQ_ERR was acknowledged"
    assert system.driver.errors.handle() == ["EVENTQ_ABT_ERR"]


def test_aborted_fetches_are_tried_three_times(make):
    system = make(sync_by_msi=False)
    queue, fetches = system.driver.command_queue.queue, []
    memory, read = system.backend.memory, system.backend.memory.read

    def fail(addr, size):
        if queue.base <= addr < queue.base + queue.bytes:
            fetches.append(addr)
        return read(addr, size)

    memory.abort_at(range(queue.base, queue.base + queue.bytes), "read")
    memory.read = fail
    with pytest.raises(DriverError, match="CERROR_ABT .* 3 times"):
        system.driver.sync()
    assert len(fetches) == 3
    memory.remove_aborts()
    system.driver.errors.handle()
    system.driver.sync()


def test_a_fetch_that_succeeds_at_last(make):
    """Failures count for one command, not for its place: that comes round again."""
    system = make(sync_by_msi=False, cmdq_log2size=7)
    queue, memory = system.driver.command_queue.queue, system.backend.memory
    places = []
    for _ in range(2):
        places.append(queue.prod)
        handle, fetches = memory.abort_at(queue.addr(queue.prod), "read"), []
        update = system.driver.command_queue._update_cons

        def look(handle=handle, fetches=fetches, update=update):
            fetches.append(1)
            if len(fetches) == 2:
                memory.remove(handle)
            update()

        system.driver.command_queue._update_cons = look
        system.driver.sync()
        system.driver.command_queue._update_cons = update
        for _ in range(2 * queue.entries - 1):
            system.driver.sync()
    assert places[0] == places[1]
    assert system.driver.errors.seen == ["CMDQ_ERR"] * 4


@pytest.mark.parametrize("by_msi", [False, True])
def test_the_log_is_what_the_queue_holds(make, by_msi):
    system = make(sync_by_msi=by_msi)
    driver = system.driver
    queue, start = driver.command_queue.queue, driver.command_queue.queue.prod
    with driver.log_commands() as heard:
        driver.issue([commands.cfgi_ste(1), commands.cfgi_ste(2)])
        driver.issue([commands.cfgi_ste(3)], sync=False)
    driver.sync()
    log = driver.command_queue.log
    assert list(log)[:2] == [commands.cfgi_ste(1), commands.cfgi_ste(2)] == heard[:2]
    assert log[3] == queue.read(start + 3) and len(log) == 5 and len(heard) == 4
    assert heard[2] & 0xFF == Opcode.CMD_SYNC
    assert driver.take_commands() == [*heard, log_of_last(queue, start + 4, by_msi)]
    assert driver.take_commands() == []


def log_of_last(queue, pointer, by_msi):
    """The CMD_SYNC as it was published; by MSI it has overwritten its own first word."""
    return commands.sync_with_msi(queue.addr(pointer)) if by_msi else commands.sync()


def test_the_log_is_bounded(system):
    for _ in range(1100):
        system.driver.issue([commands.cfgi_all()] * 60, sync=False)
    assert len(system.driver.command_queue.log) == 1 << 16
