"""Reset in Linux's order with every feature, and the page request queue."""

from smmu.formats.core import plain
from smmu.formats.registers import BY_NAME, PRIQ_CONS
from smmu_sim.driver import MSI
from smmu_sim.driver.page_request_queue import PRIRecord

FULL = {"idr0": {"ATS": 1, "PRI": 1}, "idr1": {"PRIQS": 7}}
DOORBELL = 0x2021_0040


def test_order_of_writes_with_all_features(make):
    system = make(claim=FULL, sync_by_msi=False)
    names = [name for name, _ in system.backend.writes]
    assert names == [
        "CR0", "CR1", "CR2", "STRTAB_BASE", "STRTAB_BASE_CFG", "CMDQ_BASE", "CMDQ_PROD",
        "CMDQ_CONS", "CR0", "CMDQ_PROD", "CMDQ_PROD", "CMDQ_PROD", "EVENTQ_BASE", "EVENTQ_PROD",
        "EVENTQ_CONS", "CR0", "PRIQ_BASE", "PRIQ_PROD", "PRIQ_CONS", "CR0", "CR0", "IRQ_CTRL",
        "GERROR_IRQ_CFG0", "EVENTQ_IRQ_CFG0", "PRIQ_IRQ_CFG0", "IRQ_CTRL", "CR0"]
    writes = system.backend.writes
    assert [value for name, value in writes if name == "CR0"] == [0, 8, 0xC, 0xE, 0x1E, 0x1F]
    assert [value for name, value in writes if name == "IRQ_CTRL"] == [0, 7]
    assert dict(writes)["PRIQ_BASE"] == 1 << 62 | system.driver.page_request_queue.queue.base | 7


def test_syncs_before_the_event_queue(make):
    for hyp, count in ((1, 3), (0, 2)):
        system = make(claim={"idr0": {"Hyp": hyp}}, reset=False)
        system.driver.reset()
        assert system.names() == ["CFGI_STE_RANGE", "SYNC", *["EL2_ALL", "SYNC"] * hyp,
                                  "NSNH_ALL", "SYNC"]
        assert system.driver.command_queue.syncs == count


def test_order_of_the_msis(make):
    system = make(claim=FULL, msis={source: MSI(DOORBELL + 4 * n, n) for n, source in
                                    enumerate(("priq", "gerror", "eventq"))})
    names = [(name, value) for name, value in system.backend.writes if "_CFG" in name
             and name != "STRTAB_BASE_CFG"]
    assert [name for name, _ in names] == [
        "GERROR_IRQ_CFG0", "EVENTQ_IRQ_CFG0", "PRIQ_IRQ_CFG0",
        *(f"{source}_IRQ_CFG{n}" for source in ("EVENTQ", "GERROR", "PRIQ") for n in range(3))]
    assert [value for _, value in names] == [0, 0, 0, DOORBELL + 8, 2, 1, DOORBELL + 4, 1, 1,
                                             DOORBELL, 0, 1]


def test_without_the_features_their_registers_are_left_alone(system):
    assert not [name for name, _ in system.backend.writes if "PRIQ" in name]
    assert [value for name, value in system.backend.writes if name == "CR0"] == [0, 8, 0xC, 0xD]
    assert not hasattr(system.driver, "page_request_queue")


# --- page requests -------------------------------------------------------------------------------

def request(sid, group, addr=0x5000, ssid=None, last=0):
    return (sid | (ssid or 0) << 32 | 1 << 61 | last << 62 | (ssid is not None) << 63
            | (group | addr) << 64)


def deliver(system, entries, overflow=0):
    """Do what the SMMU would: write entries and PRIQ_PROD."""
    queue = system.driver.page_request_queue.queue
    for entry in entries:
        system.backend.memory.write(queue.addr(queue.prod), entry.to_bytes(16, "little"))
        queue.prod = queue.advance(queue.prod)
    value = queue.prod | overflow << 31
    system.backend.override["PRIQ_PROD"] = lambda _: value
    system.driver.service()


def test_page_requests_are_denied_group_by_group(make):
    system = make(claim=FULL)
    deliver(system, [request(0x42, 3), request(0x42, 3, last=1), request(0x43, 4, ssid=9, last=1)])
    assert system.commands() == [
        ("PRI_RESP", {"StreamID": 0x42, "PRGIndex": 3}),
        ("PRI_RESP", {"StreamID": 0x43, "PRGIndex": 4, "SSV": 1, "SubstreamID": 9})]
    queue = system.driver.page_request_queue
    assert queue.seen[2] == PRIRecord(0x43, 9, 0, 0, 1, 0, 1, 1, 4, 0x5000)
    last = [value for name, value in system.backend.writes if name == "PRIQ_CONS"][-1]
    assert plain(PRIQ_CONS).RD(last) == 3 and BY_NAME["PRIQ_CONS"].offset == 0x100CC


def test_lost_page_requests_are_acknowledged(make):
    system = make(claim=FULL)
    deliver(system, [request(0x42, 1, last=1)], overflow=1)
    queue = system.driver.page_request_queue
    last = [value for name, value in system.backend.writes if name == "PRIQ_CONS"][-1]
    assert plain(PRIQ_CONS).OVACKFLG(last) == 1 and queue.overflows == 1
    system.driver.service()
    assert queue.overflows == 1
