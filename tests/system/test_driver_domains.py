"""Domains of the driver on the core: attach, PASIDs, replace under DMA, unmap, nesting, tags.

The same host code runs on the reference model, where everything happens at once.
"""

import json

import pytest

from smmu.params import Params
from smmu_sim.backend import ModelBackend, Transaction
from smmu_sim.bench.core import run_on_core
from smmu_sim.driver import (
    ContextDescriptorTable, Master, MemoryWindow, NestedDomain, PageAllocator, PageTable,
    SMMUv3Driver, Stage1Domain, Stage2Domain, entries)
from smmu_sim.memory import Memory

SID, OTHER = 0x42, 0x43
POOL = (0x4000_0000, 1 << 26)
IOVA, PAGES, PAGE = 0x10_0000, 8, 0x1000
PASID = 5
BLOCK = 2 << 20
RID_1, RID_2, PASID_1, PASID_2 = (0x8000_0000 + (n << 24) for n in range(4))
GUEST = 0x9000_0000


class Host:
    """The driver, and devices that read."""

    def __init__(self, backend):
        self.backend = backend
        self.driver = SMMUv3Driver(backend, PageAllocator(backend.memory, *POOL))
        self.driver.reset()

    def master(self, *sids, **options):
        master = Master(f"device {sids[0]:#x}", sids, **options)
        self.driver.add_master(master)
        return master

    def domain(self, pa):
        """A stage 1 domain with a few pages."""
        domain = Stage1Domain(self.driver)
        for n in range(PAGES):
            domain.map(IOVA + n * PAGE, pa + n * PAGE, PAGE)
        return domain

    def read(self, ssid=None, sid=SID, addr=IOVA):
        """Return the physical address that a read reaches, or None."""
        return self.backend.dma(Transaction(sid=sid, ssid=ssid, addr=addr, length=8)).pa

    def reads_during(self, change, ssids):
        """Change something while reads are on their way; return what each SSID met.

        That is three sets, without order: the addresses of reads that ended before the change, of
        those that started before some batch of its commands, and of those after it. Page n at
        ``pa`` is told as ``pa``; an abort is None.
        """
        queue, during = self.driver.command_queue, []
        issue = queue.issue

        def start():
            return [(transaction, self._start(transaction)) for transaction in (
                Transaction(sid=SID, ssid=ssid, length=8, addr=IOVA + n * PAGE)
                for n in range(PAGES) for ssid in ssids)]

        def issue_under_load(batch, sync=True):
            during.extend(start())
            issue(batch, sync)

        before = self._told(start(), ssids)
        queue.issue = issue_under_load
        change()
        queue.issue = issue
        during, after = self._told(during, ssids), self._told(start(), ssids)
        return list(zip(before, during, after, strict=True))

    def _start(self, transaction):
        if hasattr(self.backend, "submit_all"):
            return self.backend.submit_all([transaction])[0]
        return self.backend.dma(transaction)

    def _told(self, started, ssids):
        told = {ssid: set() for ssid in ssids}
        for transaction, result in started:
            if hasattr(self.backend, "submit_all"):
                self.backend.finish([result])
                result = self.backend.result(result)
            offset = transaction.addr - IOVA
            told[transaction.ssid].add(None if result.pa is None else result.pa - offset)
        return [sorted(told[ssid], key=lambda pa: pa or 0) for ssid in ssids]

    def events(self):
        self.backend.idle()
        return sorted({event.name for event in self.driver.service()})


def attach_and_replace(backend, report):
    """RID and PASIDs come, change and go while the device reads."""
    host = Host(backend)
    driver, master = host.driver, host.master(SID, OTHER, ssid_bits=4)
    rid, other, pasid, new = map(host.domain, (RID_1, RID_2, PASID_1, PASID_2))
    found = {"blocked": host.read()}
    driver.attach(master, driver.identity)
    driver.attach_pasid(master, PASID, pasid)
    found["beside identity"] = host.read(), host.read(PASID), host.read(sid=OTHER)
    report("attached")
    ssids = [None, PASID]
    found["identity to stage 1"] = host.reads_during(lambda: driver.attach(master, rid), ssids)
    found["stage 1 to identity"] = host.reads_during(
        lambda: driver.attach(master, driver.identity), ssids)
    driver.attach(master, rid)
    found["hitless"] = host.events()
    report("hitless")
    found["RID replaced"] = host.reads_during(lambda: driver.attach(master, other), ssids)
    found["PASID replaced"] = host.reads_during(
        lambda: driver.attach_pasid(master, PASID, new), ssids)
    found["with a break"] = host.events()
    driver.detach_pasid(master, PASID)
    found["PASID gone"] = host.read(), host.read(PASID), host.events()
    rid.free()
    pasid.free()
    reused = host.domain(PASID_1)
    found["reused"] = reused.asid
    driver.attach(master, reused)
    found["with the ASID of an old one"], = host.reads_during(lambda: None, [None])
    return found


def test_attach_and_replace(on_core):
    found = on_core(attach_and_replace)
    assert found["blocked"] is None
    assert found["beside identity"] == [IOVA, PASID_1, IOVA]
    undisturbed = [[PASID_1]] * 3
    for name, old, new in (("identity to stage 1", IOVA, RID_1),
                           ("stage 1 to identity", RID_1, IOVA)):
        rid, pasid = found[name]
        assert pasid == undisturbed
        assert (rid[0], rid[2]) == ([old], [new]) and set(rid[1]) <= {old, new}
    assert found["hitless"] == []
    # ASID and table of a CD stand in two words: the CD is invalid for a moment.
    rid, pasid = found["RID replaced"]
    assert (rid[0], rid[2], pasid) == ([RID_1], [RID_2], undisturbed)
    assert set(rid[1]) <= {RID_1, None, RID_2}
    rid, pasid = found["PASID replaced"]
    assert (rid, pasid[0], pasid[2]) == ([[RID_2]] * 3, [PASID_1], [PASID_2])
    assert set(pasid[1]) <= {PASID_1, None, PASID_2}
    assert found["with a break"] == ["C_BAD_CD"]
    assert found["PASID gone"] == [RID_2, None, ["C_BAD_CD"]]
    assert found["reused"] == 1, "the ASID of the first domain"
    assert found["with the ASID of an old one"] == [[PASID_1], [], [PASID_1]]


def unmap_and_nest(backend, report):
    """What was unmapped is never reached again; below a guest neither."""
    host = Host(backend)
    driver, master = host.driver, host.master(SID)
    domain = host.domain(RID_1)
    domain.map(BLOCK * 8, RID_2, BLOCK)
    driver.attach(master, domain)
    found = {"mapped": [host.read(addr=at) for at in (IOVA, BLOCK * 8, BLOCK * 8 + PAGE)]}
    found["during"], = host.reads_during(lambda: domain.unmap(IOVA, PAGES * PAGE), [None])
    found["unmapped"] = [host.read(addr=IOVA + n * PAGE) for n in range(PAGES)]
    domain.unmap(BLOCK * 8, BLOCK)
    found["block"] = host.read(addr=BLOCK * 8 + PAGE)
    domain.map(IOVA, RID_2, PAGE)
    found["mapped again"] = host.read()
    found["faults"] = host.events()
    report("stage 1")

    parent = Stage2Domain(driver, nest_parent=True)
    parent.map(0, GUEST, 4 * BLOCK)
    found["parent"] = (driver.attach(master, parent), host.read())[1]
    guest, cds = _guest_tables(host)
    ste = entries.stage1_ste(cds)
    driver.attach(master, NestedDomain(parent, (ste & (1 << 64) - 1, ste >> 64 & (1 << 64) - 1)))
    found["nested"] = host.read(), guest.iova_to_phys(IOVA)
    parent.unmap(2 * BLOCK, BLOCK)  # what the guest's page lies in; combined entries are cached
    found["unmapped below"] = host.read(), host.events()
    driver.remove_master(master)
    found["removed"] = host.read()
    for each in (domain, parent):
        each.free()
    found["tags"] = len(driver.asids.used | driver.vmids.used)
    return found


def _guest_tables(host):
    """Stage 1 of a guest in the first 4 MiB of its memory; IOVA goes to IPA 4 MiB."""
    window = MemoryWindow(host.backend.memory, 0, GUEST, 4 * BLOCK)
    allocator = PageAllocator(window, PAGE, 2 * BLOCK - PAGE)
    table = PageTable(window, allocator, oa_bits=host.driver.features.oas)
    table.map(IOVA, 2 * BLOCK, PAGE)
    cds = ContextDescriptorTable(window, allocator)
    cds.write(entries.cd(table, asid=1))  # as the host's first domain: the VMID tells them apart
    return table, cds


def test_unmap_and_nest(on_core):
    found = on_core(unmap_and_nest)
    assert found["mapped"] == [RID_1, RID_2, RID_2 + PAGE]
    before, during, after = found["during"]
    assert (before, after) == ([RID_1], [None]) and set(during) <= {None, RID_1}
    assert found["unmapped"] == [None] * PAGES and found["block"] is None
    assert found["mapped again"] == RID_2 and found["faults"] == ["F_TRANSLATION"]
    assert found["parent"] == GUEST + IOVA
    assert found["nested"] == [GUEST + 2 * BLOCK, 2 * BLOCK]
    assert found["unmapped below"] == [None, ["F_TRANSLATION"]]
    assert found["removed"] is None and found["tags"] == 0


@pytest.fixture(params=["model", "core", "core, slow memory"])
def on_core(request):
    """Run host code on the model, or on the core with fast or slow memory."""
    def run(function):
        """Return what `function` found, as JSON carries it."""
        if request.param == "model":
            backend = ModelBackend(Params(), Memory())
            backend.reset()
            return json.loads(json.dumps(function(backend, lambda _: None)))
        slow = {"latency": (1, 60), "out_of_order": True} if "slow" in request.param else {}
        return run_on_core(function, options=slow, seed=7)[0]

    return run
