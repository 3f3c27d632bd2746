"""A stage-1 block over stage-2 pages is cached in pieces: one TLBI by address removes them all."""

import pytest

from smmu.formats.commands import Opcode
from smmu.formats.descriptors import TLBI_TG, Granule
from smmu_sim.backend import Transaction
from smmu_sim.bench.core import run_on_core
from smmu_sim.benchmark.setup import ASID, IOVA, PAGE, VMID, Bench
from smmu_sim.driver import commands, entries
from smmu_sim.prot import Prot

SID = 0x31
BLOCK = 1 << 21
OLD, NEW = 0x8000_0000, 0x8020_0000
PAGES = (0, 1, 7, 100, 511)


def move_block(backend, report, ranged, upper):
    """Host code: move a 2 MB block, invalidate by one address in it; where its pages are then."""
    bench = Bench(backend)
    driver = bench.driver
    stage2 = driver.page_table(stage=2, granule=Granule.G4K)
    stage2.map(0x4000_0000, 0x4000_0000, 1 << 23, Prot(), levels=[3])
    stage2.map(OLD, OLD, 2 * BLOCK, Prot(), levels=[3])
    table = driver.page_table(granule=Granule.G4K)
    table.map(IOVA, OLD, BLOCK, Prot(), levels=[2])
    contexts = driver.context_table()
    driver.set_cd(contexts, entries.cd(table, asid=ASID))
    driver.set_ste(SID, entries.nested_ste(contexts, stage2, vmid=VMID))

    def places():
        work = [Transaction(sid=SID, addr=IOVA + page * PAGE, length=8) for page in PAGES]
        return [backend.dma(transaction).pa for transaction in work + work]

    before = places()
    leaf = table.lookup(IOVA)
    table.write_descriptor(leaf.addr, table.leaf_descriptor(2, NEW, Prot()))
    named = IOVA + (BLOCK - PAGE if upper else 0)
    command = commands.tlbi_range(
        Opcode.CMD_TLBI_NH_VA, named, PAGE, granule=12, ril=False, ASID=ASID, VMID=VMID)[0]
    if ranged:  # one granule of the level of the block, the address aligned to the block
        command = commands.tlbi_range(
            Opcode.CMD_TLBI_NH_VA, IOVA, PAGE, granule=12, ril=False, ASID=ASID, VMID=VMID,
            TG=TLBI_TG["G4K"], TTL=2)[0]
    driver.issue([command])
    return [before, places()]


@pytest.mark.parametrize("ranged, upper", [(False, False), (False, True), (True, False)])
def test_one_tlbi_removes_every_piece_of_a_block(ranged, upper):
    (before, after), _ = run_on_core(move_block, {"ranged": ranged, "upper": upper}, seed=1)
    assert before == 2 * [OLD + page * PAGE for page in PAGES]
    assert after == 2 * [NEW + page * PAGE for page in PAGES]
