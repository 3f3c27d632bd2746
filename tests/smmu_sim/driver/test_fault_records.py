"""Events as the fault reports of 2019 to 2021."""

import pytest

from smmu.formats.events import EVENTS, EventType, pack_event
from smmu_sim.driver import Event, FaultReason, FaultRecord, fault_record

SID = 0x42
PASID, ADDR, FETCH = 1, 2, 4
READ, WRITE, EXEC, PRIV = 1, 2, 4, 8


def event(kind, **fields):
    return Event(pack_event(EventType[kind], {"StreamID": SID, **fields}))


@pytest.mark.parametrize("kind, fields, expected", [
    ("C_BAD_SUBSTREAMID", {"SubstreamID": 9}, FaultRecord(FaultReason.PASID_INVALID, PASID, 9)),
    ("F_CD_FETCH", {"FetchAddr": 0x1000 >> 3},
     FaultRecord(FaultReason.PASID_FETCH, FETCH, fetch_addr=0x1000)),
    ("C_BAD_CD", {}, FaultRecord(FaultReason.BAD_PASID_ENTRY)),
    ("C_BAD_CD", {"SSV": 1, "SubstreamID": 3}, FaultRecord(FaultReason.BAD_PASID_ENTRY, PASID, 3)),
    ("F_WALK_EABT", {"InputAddr": 0x5000, "FetchAddr": 0x8000 >> 3, "PnU": 1},
     FaultRecord(FaultReason.WALK_EABT, ADDR | FETCH, 0, WRITE | PRIV, 0x5000, 0x8000)),
    ("F_TRANSLATION", {"InputAddr": 0xDEAD_0000, "RnW": 1},
     FaultRecord(FaultReason.PTE_FETCH, ADDR, 0, READ, 0xDEAD_0000)),
    ("F_ADDR_SIZE", {"InputAddr": 0x5000, "SSV": 1, "SubstreamID": 3},
     FaultRecord(FaultReason.OOR_ADDRESS, ADDR | PASID, 3, WRITE, 0x5000)),
    ("F_ACCESS", {"InputAddr": 0x5000, "RnW": 1, "InD": 1},
     FaultRecord(FaultReason.ACCESS, ADDR, 0, READ | EXEC, 0x5000)),
    ("F_PERMISSION", {"InputAddr": 0x5000}, FaultRecord(FaultReason.PERMISSION, ADDR, 0, WRITE,
                                                        0x5000)),
])
def test_records(kind, fields, expected):
    assert fault_record(event(kind, **fields), "V8") == expected
    quirk = expected._replace(fetch_addr=0)
    assert fault_record(event(kind, **fields), "V15") == quirk, "V15 leaves the fetch address 0"


@pytest.mark.parametrize("kind", ["F_WALK_EABT", "F_TRANSLATION", "F_ADDR_SIZE", "F_ACCESS",
                                  "F_PERMISSION"])
def test_faults_of_stage_2_stay_with_the_host(kind):
    assert fault_record(event(kind, S2=1)) is None
    assert fault_record(event(kind, S2=0)) is not None


def test_all_other_events_stay_with_the_host():
    reported = {kind.name for kind in EVENTS if fault_record(event(kind.name))}
    assert reported == {"C_BAD_SUBSTREAMID", "F_CD_FETCH", "C_BAD_CD", "F_WALK_EABT",
                        "F_TRANSLATION", "F_ADDR_SIZE", "F_ACCESS", "F_PERMISSION"}
    assert fault_record(Event(0xE5)) is None


def test_numbers_of_the_reasons():
    assert [int(reason) for reason in FaultReason] == list(range(9))
    assert [reason.number("G1") for reason in FaultReason] == [0, 2, 4, 6, 8, 9, 10, 11, 12]
    assert [reason.number("V15") for reason in FaultReason] == list(range(9))
