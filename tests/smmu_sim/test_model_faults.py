"""The model's faults: each field of the records, their order, dispositions."""

import pytest

from smmu.formats.events import EventType
from smmu.formats.stream_table import S1DSS, STEConfig
from smmu.params import Params
from smmu_sim.backend import Transaction
from smmu_sim.model.smmu import Disposition
from smmu_sim.model.system import System

VA, IPA, PA = 0x12_3000, 0x4567_8000, 0x5000_0000
CD, TT, IN = 0, 1, 2
F_TRANSLATION, F_ADDR_SIZE = EventType.F_TRANSLATION, EventType.F_ADDR_SIZE
F_ACCESS, F_PERMISSION = EventType.F_ACCESS, EventType.F_PERMISSION
F_WALK_EABT = EventType.F_WALK_EABT
S1, S2, NESTED = STEConfig.S1_TRANS, STEConfig.S2_TRANS, STEConfig.NESTED
BYPASS = STEConfig.BYPASS


def nested_system(**cd):
    system = System()
    system.ste(config=NESTED)
    system.cd(**cd)
    system.map1(VA, IPA)
    system.map2(IPA, PA)
    return system


def fault_of(system, addr=VA, **more):
    """Return the only new event of an access that is aborted."""
    result = system.dma(addr, **more)
    assert not result.ok and result.pa is None
    [event] = system.events()
    return event


def stage1_fields(**more):
    return {"StreamID": 1, "RnW": 1, "CLASS": IN, "InputAddr": VA, **more}


def stage2_fields(use, ipa, **more):
    return {"StreamID": 1, "RnW": 1, "InputAddr": VA, "S2": 1, "IPA": ipa >> 12,
            **({"CLASS": use} if use else {}), **more}


@pytest.mark.parametrize("leaf, event", [
    ({"Valid": 0}, F_TRANSLATION), ({"Type": 0}, F_TRANSLATION), ({"AF": 0}, F_ACCESS),
    ({"AP": 0}, F_PERMISSION), ({"OA": 1 << 40 - 12}, F_ADDR_SIZE),
    # the order of the checks
    ({"OA": 1 << 40 - 12, "AF": 0, "AP": 0}, F_ADDR_SIZE), ({"AF": 0, "AP": 0}, F_ACCESS)])
def test_stage1_leaf_faults(leaf, event):
    system = nested_system(IPS=2)
    system.map1(VA, IPA, **leaf)
    assert fault_of(system) == (event, stage1_fields())
    assert fault_of(system, write=True, ssid=None)[1].get("RnW") is None


@pytest.mark.parametrize("leaf, event", [
    ({"Valid": 0}, F_TRANSLATION), ({"Type": 0}, F_TRANSLATION), ({"AF": 0}, F_ACCESS),
    ({"S2AP": 2}, F_PERMISSION), ({"OA": 1 << 40 - 12}, F_ADDR_SIZE),
    ({"OA": 1 << 40 - 12, "AF": 0, "S2AP": 0}, F_ADDR_SIZE), ({"AF": 0, "S2AP": 0}, F_ACCESS)])
@pytest.mark.parametrize("use", [CD, TT, IN])
def test_stage2_leaf_faults(use, leaf, event):
    system = nested_system()
    system.ste(config=NESTED, S2PS=2)
    where = {CD: system.CDS, TT: system.S1_TABLE, IN: IPA}[use]
    system.map2(where, where, **leaf)
    extra = {"TTRnW": 1} if event == F_PERMISSION and use == TT else {}
    assert fault_of(system) == (event, stage2_fields(use, where, **extra))


@pytest.mark.parametrize("values, ipa", [({"S2T0SZ": 33}, 1 << 31), ({"S2T0SZ": 32}, 1 << 32)])
def test_ipa_out_of_stage2_range(values, ipa):
    system = nested_system()
    system.ste(config=NESTED, **values)
    system.map1(VA, ipa)
    assert fault_of(system) == (F_TRANSLATION, stage2_fields(IN, ipa))
    system.map1(VA, ipa - 0x1000)
    assert system.dma(VA).ok


def test_s1contextptr_beyond_stage2_range():
    system = System()
    system.ste(config=NESTED, S1ContextPtr=1 << 40 - 6)
    assert fault_of(system) == (F_TRANSLATION, stage2_fields(CD, 1 << 40))


def test_aborted_stage1_descriptors():
    """FetchAddr is the PA of the descriptor, S2 is 0, CLASS is TT: stage 1 alone and nested."""
    for config in (S1, NESTED):
        system = nested_system()
        system.ste(config=config)
        where = system.S1_TABLE
        if config == NESTED:
            system.map2(system.S1_TABLE, 0x7000_0000)
            system.memory.poke(0x7000_0000, system.memory.peek(system.S1_TABLE, 4096))
            where = 0x7000_0000
        system.memory.abort_at(range(where, where + 8), "read")
        assert fault_of(system) == (F_WALK_EABT, {
            "StreamID": 1, "RnW": 1, "CLASS": TT, "InputAddr": VA, "FetchAddr": where >> 3})


@pytest.mark.parametrize("use", [CD, TT, IN])
def test_aborted_stage2_descriptors(use):
    system = nested_system()
    where = {CD: 0x1_0000_0000, TT: 0x1_4000_0000, IN: IPA}[use]  # each in a gigabyte of its own
    if use == CD:
        system.ste(config=NESTED, S1ContextPtr=where >> 6)
    elif use == TT:
        system.cd(TTB0=where >> 4)
    slot = system.S2_TABLE + 8 * (where >> 30)
    system.memory.abort_at(slot, "read")
    assert fault_of(system) == (F_WALK_EABT, {
        "StreamID": 1, "RnW": 1, "InputAddr": VA, "S2": 1, "FetchAddr": slot >> 3,
        **({"CLASS": use} if use else {})})


@pytest.mark.parametrize("offset, aborts", [(0, True), (31, True), (32, False), (63, False)])
def test_fetches_of_ste_and_cd_are_32_bytes(offset, aborts):
    system = System()
    system.ste()
    system.cd()
    system.map1(VA, PA)
    for base, event in ((system.STRTAB + 64, EventType.F_STE_FETCH),
                        (system.CDS, EventType.F_CD_FETCH)):
        handle = system.memory.abort_at(base + offset, "read")
        if aborts:
            assert fault_of(system) == (event, {"StreamID": 1, "FetchAddr": base >> 3})
        else:
            assert system.dma(VA).pa == PA
        system.memory.remove(handle)


@pytest.mark.parametrize("term_model, a, r, disposition, recorded", [
    (0, 0, 0, Disposition.RAZ_WI, False), (0, 0, 1, Disposition.RAZ_WI, True),
    (0, 1, 0, Disposition.ABORT, False), (0, 1, 1, Disposition.ABORT, True),
    (1, 1, 0, Disposition.ABORT, False), (1, 1, 1, Disposition.ABORT, True)])
def test_disposition_of_stage1_faults(term_model, a, r, disposition, recorded):
    system = System(Params(term_model=term_model))
    system.ste()
    system.cd(A=a, R=r)
    for leaf in ({"Valid": 0}, {"AF": 0}, {"AP": 0}, {"OA": (1 << 36) - 1}):
        system.map1(VA, PA, **leaf)
        system.cd(A=a, R=r, IPS=0)
        for write in (False, True):
            result = system.dma(VA, write=write)
            assert result.pa is None
            assert result.ok == (disposition == Disposition.RAZ_WI)
            assert result.data == (bytes(8) if result.ok and not write else None)
            assert len(system.events()) == recorded


@pytest.mark.parametrize("s2r", [0, 1])
@pytest.mark.parametrize("use", [CD, TT, IN])
def test_disposition_of_stage2_faults(s2r, use):
    """CD.A and CD.R don't count."""
    system = nested_system(A=0, R=1 - s2r)
    system.ste(config=NESTED, S2R=s2r)
    where = {CD: system.CDS, TT: system.S1_TABLE, IN: IPA}[use]
    system.map2(where, where, AF=0)
    assert not system.dma(VA).ok
    assert len(system.events()) == s2r


@pytest.mark.parametrize("config, more", [(BYPASS, {}), (S2, {}), (S1, {"S1CDMax": 1}),
                                          (NESTED, {"S1CDMax": 1})])
def test_bypass_of_stage1_beyond_the_address_size(config, more):
    """Recorded and aborted whatever S2R says; S2 is 0."""
    system = System(Params(oas=40))
    system.ste(config=config, S1DSS=S1DSS.BYPASS, S2R=0, **more)
    addr = 1 << 40
    assert fault_of(system, addr, priv=True) == (
        F_ADDR_SIZE, {"StreamID": 1, "RnW": 1, "PnU": 1, "CLASS": IN, "InputAddr": addr})


def test_record_words():
    """The record of the model's own answer, as four words: EV-5 of the architecture's layout."""
    system = System()
    system.ste(9)
    system.cd(A=1)
    answer = system.backend.model.translate(Transaction(
        sid=9, addr=0x12_3456_7ABC, write=True, data=bytes(4)))
    assert answer.disposition == Disposition.ABORT
    assert answer.words == [0x0000_0009_0000_0010, 0x0000_0200_0000_0000, 0x12_3456_7ABC, 0]


def test_faults_without_ssv():
    """F_STREAM_DISABLED, F_TRANSL_FORBIDDEN and C_BAD_SUBSTREAMID have no SSV; others do."""
    system = System()
    system.ste(S1CDMax=2, S1DSS=S1DSS.SSID0)
    system.cd(1, V=0)
    assert fault_of(system, ssid=0) == (EventType.F_STREAM_DISABLED, {"StreamID": 1})
    assert fault_of(system, ssid=4) == (
        EventType.C_BAD_SUBSTREAMID, {"StreamID": 1, "SubstreamID": 4})
    assert fault_of(system, ssid=1) == (
        EventType.C_BAD_CD, {"StreamID": 1, "SSV": 1, "SubstreamID": 1})
    assert fault_of(system, streamid=2, ssid=1) == (
        EventType.C_BAD_STE, {"StreamID": 2, "SSV": 1, "SubstreamID": 1})


@pytest.mark.parametrize("smmuen", [0, 1])
def test_translated_input_is_forbidden(smmuen):
    system = System()
    system.enable(SMMUEN=smmuen)
    system.ste(config=BYPASS)
    forbidden = {"StreamID": 1, "InputAddr": VA}
    assert fault_of(system, atst=True, ssid=3, priv=True) == (
        EventType.F_TRANSL_FORBIDDEN, {**forbidden, "RnW": 1})
    assert fault_of(system, atst=True, write=True) == (EventType.F_TRANSL_FORBIDDEN, forbidden)
