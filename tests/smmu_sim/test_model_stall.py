"""Stalls in the reference model: who stalls, what is recorded, and what ends it."""

import pytest

from smmu.formats.commands import Opcode, pack_command
from smmu.formats.events import CLASS, EventType
from smmu.formats.registers import COUNTERS
from smmu.formats.stream_table import STEConfig
from smmu.params import Params
from smmu_sim.backend import ModelBackend, Resp, Transaction, TransactionStalled
from smmu_sim.memory import Memory
from smmu_sim.model.system import System

S1, S2, NESTED = STEConfig.S1_TRANS, STEConfig.S2_TRANS, STEConfig.NESTED
PAGE, PA = 0x5000, 0x60_0000


def make(stall_max=16, params=None):
    """A system whose stage 1 stalls, for the StreamIDs 1 and 2; nothing is mapped."""
    params = params or Params()
    system = System(params, ModelBackend(params, Memory(), stall=True, stall_max=stall_max))
    for sid in (1, 2):
        system.ste(sid)
    system.cd(S=1)
    return system


def submit(system, addr=PAGE, sid=1, **work):
    work = work or {"write": True, "data": b"\x5A" * 8}
    return system.backend.submit(Transaction(sid=sid, addr=addr, **work))


def resume(system, stag, sid=1, **action):
    system.command(pack_command(Opcode.CMD_RESUME, {"StreamID": sid, "STAG": stag, **action}))


def stall_term(system, sid=1):
    system.command(pack_command(Opcode.CMD_STALL_TERM, {"StreamID": sid}))


def stag_of(system):
    (_, record), = system.events()
    return record.get("STAG", 0)


def test_id_registers_say_that_transactions_can_stall():
    system = make(stall_max=5)
    assert system.field("IDR0", "STALL_MODEL") == 0 and system.field("IDR5", "STALL_MAX") == 5
    system.backend.reset()
    assert system.field("IDR0", "STALL_MODEL") == 0 and system.field("IDR5", "STALL_MAX") == 5


def test_without_the_option_the_model_terminates_only():
    system = System()
    assert system.field("IDR0", "STALL_MODEL") == 1 and system.field("IDR5", "STALL_MAX") == 0
    resume(system, 0, Ac=1)
    assert system.field("GERROR", "CMDQ_ERR") == 1


@pytest.mark.parametrize("stall_max", [0, 1 << 16])
def test_stall_max_that_the_register_cannot_hold_is_refused(stall_max):
    with pytest.raises(ValueError, match="stall_max"):
        ModelBackend(Params(), Memory(), stall=True, stall_max=stall_max)


def test_a_stalled_write_is_recorded_and_performed_after_retry():
    system = make()
    pending = submit(system, data=bytes(range(8)), write=True)
    assert not pending.done and pending.result is None
    (event, record), = system.events()
    assert event == EventType.F_TRANSLATION
    assert record == {"StreamID": 1, "Stall": 1, "STAG": 1, "CLASS": CLASS.IN, "InputAddr": PAGE}
    system.map1(PAGE, PA)
    assert not pending.done and system.memory.peek(PA, 8) == bytes(8)  # nothing retries early
    resume(system, 1, Ac=1)
    assert pending.done and pending.result.ok and pending.result.pa == PA
    assert system.memory.peek(PA, 8) == bytes(range(8))
    assert system.events() == []


def test_a_stalled_read_gets_its_data_after_retry():
    system = make()
    system.memory.poke(PA, b"contents")
    pending = submit(system, length=8)
    system.map1(PAGE, PA)
    resume(system, stag_of(system), Ac=1, Ab=1)  # Ac: Ab is ignored
    assert pending.result.data == b"contents"


def test_a_retry_that_faults_stalls_again_with_a_new_record():
    system = make()
    pending = submit(system)
    resume(system, stag_of(system), Ac=1)
    (_, record), = system.events()
    assert not pending.done and record["Stall"] == 1 and record["STAG"] == 2
    resume(system, 1, Ac=1)                      # the old STAG is free, it means nothing
    assert system.events() == [] and not pending.done


@pytest.mark.parametrize("action, term_model, resp", [
    ({"Ab": 1}, 0, Resp.SLVERR), ({}, 0, Resp.OKAY), ({}, 1, Resp.SLVERR),
    ({"Ab": 1}, 1, Resp.SLVERR)])
def test_resume_terminates_with_abort_or_as_raz_wi(action, term_model, resp):
    system = make(params=Params(term_model=term_model))
    system.cd(S=1, A=1)
    write, read = submit(system), submit(system, length=4)
    system.map1(PAGE, PA)
    for stag in (1, 2):
        resume(system, stag, **action)
    assert write.result.resp == read.result.resp == resp
    assert write.result.pa is read.result.pa is None
    assert read.result.data == (bytes(4) if resp == Resp.OKAY else None)
    assert system.memory.peek(PA, 8) == bytes(8)
    assert len(system.events()) == 2             # ending them records nothing


@pytest.mark.parametrize("sid, stag", [(2, 1), (1, 2), (1, 0)])
def test_resume_of_another_stream_or_stag_does_nothing(sid, stag):
    system = make()
    pending = submit(system)
    resume(system, stag, sid, Ab=1)
    assert not pending.done and system.field("GERROR", "CMDQ_ERR") == 0


def test_stall_term_aborts_what_is_stalled_of_one_stream():
    system = make()
    mine, other = [submit(system), submit(system, 0x7000)], submit(system, sid=2)
    stall_term(system)
    assert [each.result.resp for each in mine] == [Resp.SLVERR] * 2 and not other.done
    late = submit(system)
    assert not late.done                         # what stalls later is not covered
    stall_term(system, 2)
    assert other.result.resp == Resp.SLVERR and not late.done


def test_smmuen_0_aborts_everything_and_nothing_stalls_then():
    system = make(stall_max=1)
    stalled = [submit(system), submit(system, sid=2), submit(system, 0x7000)]
    assert len(system.events()) == 1             # two wait without a record
    system.enable(SMMUEN=0)
    assert [each.result.resp for each in stalled] == [Resp.SLVERR] * 3
    assert submit(system).result.pa == PAGE      # GBPA: bypass
    system.enable()
    assert system.events() == []
    submit(system)
    assert len(system.events()) == 1             # its place in STALL_MAX is free again


def test_no_more_than_stall_max_are_recorded():
    system = make(stall_max=2)
    pending = [submit(system, PAGE + 0x1000 * n) for n in range(4)]
    assert [record["STAG"] for _, record in system.events()] == [1, 2]
    resume(system, 2, Ab=1)
    (_, record), = system.events()               # the next in order
    assert record["InputAddr"] == PAGE + 0x2000 and record["STAG"] == 3
    assert [each.done for each in pending] == [False, True, False, False]
    stall_term(system)
    assert all(each.done for each in pending) and system.events() == []


def test_what_waits_for_room_is_translated_anew():
    system = make(stall_max=1)
    submit(system)
    waiting = submit(system, 0x7000)
    system.map1(0x7000, PA)
    resume(system, stag_of(system), Ab=1)
    assert waiting.result.pa == PA and system.events() == []


def test_a_stall_event_waits_while_the_queue_is_full_and_causes_no_overflow():
    system = make(stall_max=200)
    pending = [submit(system, length=8) for _ in range(66)]
    assert system.field("EVENTQ_PROD", "OVFLG") == 0
    assert len(system.events()) == 64            # reading them makes room
    assert [record["STAG"] for _, record in system.events()] == [65, 66]
    assert not any(each.done for each in pending)


def test_a_stall_event_waits_while_the_queue_is_off():
    system = make()
    system.enable(EVENTQEN=0)
    pending = submit(system)
    assert not pending.done
    system.enable()
    assert [record["Stall"] for _, record in system.events()] == [1]


def test_a_stall_event_survives_a_bus_error_of_the_queue():
    system = make()
    handle = system.memory.abort_at(range(system.EVENTQ, system.EVENTQ + 32), "write")
    pending = submit(system)
    assert system.field("GERROR", "EVENTQ_ABT_ERR") == 1 and not pending.done
    system.memory.remove(handle)
    assert system.events() == []
    system.write("GERRORN", system.read("GERROR"))
    assert [record["Stall"] for _, record in system.events()] == [1]


def test_reset_ends_what_is_stalled():
    system = make()
    pending = submit(system)
    system.backend.reset()
    assert pending.result.resp == Resp.SLVERR


def test_invalidations_do_not_wake_stalled_transactions():
    system = make()
    pending = submit(system)
    system.map1(PAGE, PA)
    system.command(pack_command(Opcode.CMD_TLBI_NSNH_ALL),
                   pack_command(Opcode.CMD_CFGI_STE_RANGE, {"Range": 31}),
                   pack_command(Opcode.CMD_SYNC))
    assert not pending.done


# Who stalls

@pytest.mark.parametrize("s2s, s, fault_in, stalls", [
    (1, 0, "stage 2", True), (0, 1, "stage 2", False), (0, 1, "stage 1", True),
    (1, 0, "stage 1", False), (1, 0, "table", True), (0, 1, "table", False),
    (1, 0, "cd", True), (0, 1, "cd", False)])
def test_the_stage_that_faults_decides(s2s, s, fault_in, stalls):
    system = make()
    system.ste(1, NESTED, S2S=s2s, **({"S1ContextPtr": 0x20_0000_0000 >> 6}
                                      if fault_in == "cd" else {}))
    system.cd(S=s, **({"TTB0": 0x20_0000_0000 >> 4} if fault_in == "table" else {}))
    if fault_in == "stage 2":
        system.map1(PAGE, 0x20_0000_0000)        # stage 2 maps the first 8 GB
    pending = submit(system)
    (_, record), = system.events()
    assert record.get("Stall", 0) == stalls and pending.done != stalls
    assert record.get("S2", 0) == (fault_in != "stage 1")
    if stalls:
        stall_term(system)
        assert pending.result.resp == Resp.SLVERR


@pytest.mark.parametrize("leaf, work, event", [
    ({"AP": 3}, {"write": True, "data": bytes(8)}, EventType.F_PERMISSION),
    ({"AF": 0}, {"length": 8}, EventType.F_ACCESS),
    ({"OA": 1 << 35}, {"length": 8}, EventType.F_ADDR_SIZE)])
def test_each_of_the_four_faults_stalls(leaf, work, event):
    system = make()
    system.cd(S=1, IPS=2)
    system.map1(PAGE, PA, **leaf)
    pending = submit(system, **work)
    (found, record), = system.events()
    assert found == event and record["Stall"] == 1 and not pending.done


def test_a_stall_is_recorded_although_r_is_0_and_ends_as_raz_wi_only_on_demand():
    system = make()
    system.cd(S=1, R=0, A=0)
    pending = submit(system)
    assert not pending.done and len(system.events()) == 1
    system.ste(1, S2, S2S=1, S2R=0)
    pending = submit(system, 0x20_0000_0000)
    assert not pending.done and len(system.events()) == 1


@pytest.mark.parametrize("break_it", [
    lambda system: system.memory.abort_at(system.S1_TABLE, "read"),       # F_WALK_EABT
    lambda system: system.memory.abort_at(system.CDS, "read"),            # F_CD_FETCH
    lambda system: system.cd(S=1, V=0),                                   # C_BAD_CD
    lambda system: system.ste(1, V=0)])                                   # C_BAD_STE
def test_other_faults_never_stall(break_it):
    system = make()
    break_it(system)
    pending = submit(system)
    (_, record), = system.events()
    assert pending.result.resp == Resp.SLVERR and "Stall" not in record


def test_bypass_of_stage_1_beyond_oas_never_stalls():
    system = make()
    system.ste(1, NESTED, S2S=1, S1CDMax=1, S1DSS=1)
    pending = submit(system, 1 << 50)
    (event, record), = system.events()
    assert event == EventType.F_ADDR_SIZE and "Stall" not in record and pending.done


def test_the_record_shows_substream_privilege_and_direction():
    system = make()
    system.ste(1, S1CDMax=2)
    system.cd(3, S=1)
    system.backend.submit(Transaction(sid=1, ssid=3, addr=PAGE, length=4, priv=True, instr=True))
    (_, record), = system.events()
    assert record == {"StreamID": 1, "SSV": 1, "SubstreamID": 3, "Stall": 1, "STAG": 1, "PnU": 1,
                      "InD": 1, "RnW": 1, "CLASS": CLASS.IN, "InputAddr": PAGE}


# Which structures are illegal

@pytest.mark.parametrize("stall", [False, True])
@pytest.mark.parametrize("config, ste, cd, legal_with_stalls", [
    (S1, {"S1STALLD": 1}, {}, True), (S1, {"S1STALLD": 1}, {"S": 1}, False),
    (NESTED, {"S1STALLD": 1}, {}, True), (NESTED, {"S1STALLD": 1}, {"S": 1}, False),
    (S1, {}, {"S": 1}, True), (S2, {"S2S": 1}, {}, True), (NESTED, {"S2S": 1}, {"S": 1}, True)])
def test_stall_bits_are_legal_only_where_transactions_can_stall(
        stall, config, ste, cd, legal_with_stalls):
    system = System(Params(), ModelBackend(Params(), Memory(), stall=stall))
    system.ste(1, config, **ste)
    system.cd(**cd)
    system.map1(PAGE, PA)
    pending = submit(system)
    events = [event for event, _ in system.events()]
    if stall and legal_with_stalls:
        assert pending.result.ok and events == []
    else:
        bad_cd = cd.get("S") and not ste.get("S2S") and (stall or not ste)
        assert events == [EventType.C_BAD_CD if bad_cd else EventType.C_BAD_STE]
        assert pending.result.resp == Resp.SLVERR


def test_the_same_cd_is_illegal_for_one_stream_and_legal_for_another():
    system = make()
    system.ste(2, S1STALLD=1)
    system.map1(PAGE, PA)
    assert submit(system).result.ok
    assert submit(system, sid=2).result.resp == Resp.SLVERR
    assert submit(system).result.ok
    assert [event for event, _ in system.events()] == [EventType.C_BAD_CD]


def test_stall_bits_of_a_stage_that_is_off_are_ignored():
    system = System()
    system.ste(1, S1, S2S=1)
    system.ste(2, S2, S1STALLD=1)
    system.cd()
    system.map1(PAGE, PA)
    assert submit(system).result.ok and submit(system, sid=2).result.ok


# The backend

def test_dma_of_what_stalls_raises_and_leaves_it_stalled():
    system = make()
    with pytest.raises(TransactionStalled, match="submit") as raised:
        system.backend.dma(Transaction(sid=1, addr=PAGE, length=4))
    pending = raised.value.pending
    system.map1(PAGE, PA)
    resume(system, stag_of(system), Ac=1)
    assert pending.result.pa == PA


def test_submit_has_ended_at_once_if_nothing_stalls():
    system = make()
    system.map1(PAGE, PA)
    pending = submit(system)
    assert pending.done and pending.result.pa == PA


def test_a_bus_abort_after_retry_reaches_the_device():
    system = make()
    pending = submit(system)
    system.map1(PAGE, PA)
    system.memory.abort_at(PA, "write")
    resume(system, stag_of(system), Ac=1)
    assert pending.result.resp == Resp.SLVERR and pending.result.pa == PA


def test_counters_count_a_stalled_transaction_once():
    system = make()
    submit(system)
    system.map1(PAGE, PA)
    resume(system, 1, Ac=1)
    assert system.read("COUNTER", COUNTERS.index("transactions")) == 1
    assert system.read("COUNTER", COUNTERS.index("faults")) == 1


def test_stags_of_outstanding_stalls_differ_after_65536_of_them():
    system = make()
    first = submit(system)
    assert stag_of(system) == 1
    system.backend.model.stalls._last_stag = 0xFFFF  # as after 65535 stalls
    submit(system)
    submit(system)
    assert [record.get("STAG", 0) for _, record in system.events()] == [0, 2]
    assert not first.done
