"""Accesses of any length as bursts that AXI allows."""

import pytest

from smmu.params import Params
from smmu_sim.backend import ModelBackend, Resp, TransactionStalled
from smmu_sim.devices import BusMaster
from smmu_sim.memory import Memory
from smmu_sim.model.system import System


@pytest.fixture
def master(backend):
    return BusMaster(backend, 0x42, name="A")


@pytest.mark.parametrize("addr, length", [
    (0x1000, 1), (0x1FFF, 2), (0x1003, 1000), (0x1000, 4096), (0x1F80, 0x100), (0x10FF, 3)])
def test_bursts_cross_no_boundary_and_carry_every_byte(master, backend, addr, length):
    data = bytes(n * 7 & 0xFF for n in range(length))
    assert master.write(addr, data).ok
    assert backend.memory.peek(addr, length) == data
    result = master.read(addr, length)
    assert result.ok and result.data == data and result.pa == addr
    for transaction in backend.transactions:
        end = transaction.addr + transaction.length - 1
        assert transaction.addr // 256 == end // 256
        assert transaction.length >> transaction.size <= 256


def test_transactions_carry_stream_substream_privilege_and_memory_type(master, backend):
    master.read(0x1000, 4, pasid=5, priv=True)
    master.write(0x1000, bytes(4))
    read, write = backend.transactions
    assert (read.sid, read.ssid, read.priv, read.cache) == (0x42, 5, True, 3)
    assert (write.sid, write.ssid, write.priv, write.cache) == (0x42, None, False, 3)


def test_a_message_is_one_32_bit_write_of_device_type_without_pasid(master, backend):
    result = master.write_message(0x2021_0040, 5)
    transaction, = backend.transactions
    assert result.ok and transaction.data == b"\5\0\0\0" and transaction.size == 2
    assert transaction.cache == 0 and transaction.ssid is None and result.device_id == 0x42


def test_an_error_in_one_burst_is_that_of_the_access(master, backend):
    backend.memory.abort_at(0x1150)
    result = master.read(0x1000, 0x300)
    assert result.resp == Resp.SLVERR and result.data is None
    assert master.write(0x1000, bytes(0x300)).resp == Resp.SLVERR
    assert master.read(0x1000, 0x100).ok


def test_many_accesses_have_a_result_each(master, backend):
    backend.memory.abort_at(0x2000)
    results = master.read_all([(0x1000, 300), (0x2000, 4), (0x3000, 4)])
    assert [result.ok for result in results] == [True, False, True]
    assert len(results[0].data) == 300


def test_all_bursts_go_to_dma_all_at_once_where_there_is_one(backend):
    batches = []
    backend.dma_all = lambda batch: batches.append(batch) or [backend.dma(t) for t in batch]
    master = BusMaster(backend, 1, name="A")
    master.write_all([(0x1000, bytes(512)), (0x3000, bytes(4))])
    assert [len(batch) for batch in batches] == [3]


@pytest.mark.parametrize("payload", [0, 4, 100, 512])
def test_impossible_payloads_are_refused(backend, payload):
    with pytest.raises(ValueError, match="payload"):
        BusMaster(backend, 1, name="A", payload=payload)


def test_an_access_of_no_bytes_is_refused(master):
    with pytest.raises(ValueError, match="0 bytes"):
        master.write(0x1000, b"")


def test_what_may_stall_is_submitted():
    system = System(Params(), ModelBackend(Params(), Memory(), stall=True))
    system.ste(1)
    system.cd(S=1)
    master = BusMaster(system.backend, 1, name="A")
    with pytest.raises(TransactionStalled):
        master.write(0x5000, bytes(4))
    pending = master.submit(0x5000, data=b"data")
    assert not pending.done
    system.map1(0x6000, 0x60_0000)
    assert master.submit(0x6000, length=4).result.ok
