"""Copy jobs: what is copied, what is recorded, what stops the engine."""

import pytest

from smmu_sim.devices import DMAEngine, DMAEngineDriver
from smmu_sim.devices.dma_engine import COMPLETION, DESCRIPTOR, DMAError
from smmu_sim.irq import MSIMessage

SOURCE, DESTINATION, DOORBELL = 0x40_0000, 0x50_0000, 0x2021_0040


@pytest.fixture
def messages(backend):
    found = []
    backend.memory.observe(range(DOORBELL, DOORBELL + 4),
                           lambda addr, data, device_id: found.append((data[0], device_id)))
    return found


@pytest.fixture
def engine(function):
    function.set_message(1, MSIMessage(DOORBELL, 0x77))
    return DMAEngine(function)


@pytest.fixture
def software(engine, function, backend, dma_alloc):
    return DMAEngineDriver(function, backend.memory, dma_alloc, size=8, vector=1)


@pytest.mark.parametrize("length", [1, 5, 4096, 10_000])
def test_a_job_copies_and_tells(software, backend, messages, length):
    data = bytes(n * 13 & 0xFF for n in range(length))
    backend.memory.poke(SOURCE + 3, data)
    software.submit([(SOURCE + 3, DESTINATION + 1, length, 0xC0)])
    assert backend.memory.peek(DESTINATION, length + 2) == b"\0" + data + b"\0"
    assert software.poll() == [(0xC0, DMAError.NONE, length)] and software.poll() == []
    assert messages == [(0x77, 0x42)]


def test_the_record_and_the_data_are_there_before_the_msi(software, backend, messages):
    seen = []
    backend.memory.observe(DOORBELL, lambda *_: seen.append(
        (backend.memory.peek(DESTINATION, 4), software.poll())))
    backend.memory.poke(SOURCE, b"data")
    software.submit([(SOURCE, DESTINATION, 4, 9)])
    assert seen == [(b"data", [(9, DMAError.NONE, 4)])]


def test_the_ring_wraps(software, engine, messages):
    cookies = []
    for n in range(20):
        software.submit([(SOURCE, DESTINATION, 8, 2 * n), (SOURCE, DESTINATION, 8, 2 * n + 1)])
        cookies += [completion.cookie for completion in software.poll()]
    assert cookies == list(range(40)) and engine.jobs == 40 and len(messages) == 40


def test_a_full_ring_is_refused(software, engine):
    engine.automatic = False
    software.submit([(SOURCE, DESTINATION, 8, n) for n in range(7)])
    with pytest.raises(ValueError, match="room for 0"):
        software.submit([(SOURCE, DESTINATION, 8, 7)])
    assert engine.run(limit=3) == 3 and len(software.poll()) == 3
    software.submit([(SOURCE, DESTINATION, 8, 7)])
    assert engine.run() == 5


def test_msis_only_for_jobs_that_ask(software, messages):
    software.submit([(SOURCE, DESTINATION, 8, 1)], interrupt=False)
    assert messages == [] and len(software.poll()) == 1


@pytest.mark.parametrize("pasid", [0, 5])
def test_the_pasid_is_for_data_only(software, backend, pasid):
    backend.transactions.clear()
    software.submit([(SOURCE, DESTINATION, 8, 1)], pasid=pasid)
    assert [(t.ssid, t.write) for t in backend.transactions] == [
        (None, False), (pasid, False), (pasid, True), (None, True), (None, True)]


@pytest.mark.parametrize("where, kind, error, copied", [
    (SOURCE + 4096, "read", DMAError.SOURCE_READ, 4096),
    (DESTINATION, "write", DMAError.DESTINATION_WRITE, 0)])
def test_an_error_response_stops_the_engine_and_is_reported(
        software, backend, messages, where, kind, error, copied):
    backend.memory.abort_at(where, kind)
    software.submit([(SOURCE, DESTINATION, 5000, 1), (SOURCE, DESTINATION, 8, 2)])
    assert software.error == (error, where)
    assert software.poll() == [(1, error, copied)]   # the second job was not begun
    assert messages == [(0x77, 0x42)]
    backend.memory.remove_aborts()
    software.submit([(SOURCE, DESTINATION, 8, 3)])
    assert software.poll() == []
    software.start()
    software.submit([(SOURCE, DESTINATION, 8, 4)])
    assert [completion.cookie for completion in software.poll()] == [4]
    assert software.error == (DMAError.NONE, 0)


def test_a_descriptor_that_cannot_be_fetched(software, backend, messages):
    backend.memory.abort_at(software._ring[1] + DESCRIPTOR.size, "read")
    software.submit([(SOURCE, DESTINATION, 8, 1), (SOURCE, DESTINATION, 8, 2)])
    assert software.error == (DMAError.DESCRIPTOR_FETCH, software._ring[1] + DESCRIPTOR.size)
    assert len(software.poll()) == 1 and len(messages) == 2


def test_a_record_that_cannot_be_written(software, backend, messages):
    backend.memory.abort_at(software._records[1] + COMPLETION.size, "write")
    software.submit([(SOURCE, DESTINATION, 8, n) for n in range(3)], interrupt=False)
    assert software.error == (DMAError.COMPLETION_WRITE, software._records[1] + COMPLETION.size)
    assert len(software.poll()) == 1 and len(messages) == 1


def test_the_first_of_two_errors_is_the_one_that_is_reported(software, backend):
    backend.memory.abort_at(SOURCE, "read")
    backend.memory.abort_at(software._records[1], "write")
    software.submit([(SOURCE, DESTINATION, 8, 1)])
    assert software.error == (DMAError.SOURCE_READ, SOURCE) and software.poll() == []


@pytest.mark.parametrize("length", [0, (1 << 20) + 1])
def test_a_bad_length_stops_the_engine(software, length):
    software.submit([(SOURCE, DESTINATION, length, 1)])
    assert software.poll() == [(1, DMAError.BAD_DESCRIPTOR, 0)]
    assert software.error[0] == DMAError.BAD_DESCRIPTOR


def test_a_disabled_engine_does_nothing_until_enabled(engine, software, function):
    function.bar_write(0, 0, bytes(4))
    software.submit([(SOURCE, DESTINATION, 8, 1)])
    assert software.poll() == []
    function.bar_write(0, 0, b"\1\0\0\0")
    assert len(software.poll()) == 1


def test_function_level_reset_resets_the_engine(software, engine, function):
    software.submit([(SOURCE, DESTINATION, 8, 1)])
    function.config_write(0x48, b"\x00\x80")
    assert engine.jobs == 0 and engine.registers["RING_BASE"] == 0
