"""The measurements. Each is host code for `bench.core.run_on_core` and returns figures."""

import random
import time

from smmu.formats.commands import Opcode
from smmu_sim.benchmark.setup import ASID, IOVA, PAGE, Bench
from smmu_sim.driver import commands

__all__ = ["commands_per_clock", "hits", "large", "misses", "nested", "speed"]

SID = 0x20


def _rate(transfers):
    """Translations per clock: between the first and the last address that came out."""
    clocks = sorted(transfer.downstream.valid_at for transfer in transfers)
    return (len(clocks) - 1) / (clocks[-1] - clocks[0])


def hits(backend, report, count=1000):
    """Throughput and latency of micro-TLB hits, in each direction and both at once."""
    bench = Bench(backend)
    bench.stage1(SID, 8)
    figures = {}
    for name, make in (("reads", bench.read), ("writes", bench.write)):
        bench.run([make(SID, page) for page in range(8)])
        bench.run([make(SID, page) for page in range(8)])
        single = bench.run([make(SID, 0)])[0]
        figures[f"hit_latency_{name}"] = single.latency
        transfers = bench.run([
            make(SID, random.randrange(8), 8 * random.randrange(512)) for _ in range(count)])
        figures[f"hits_per_clock_{name}"] = _rate(transfers)
        report(name)
    mixed = [random.choice((bench.read, bench.write))(SID, random.randrange(8))
             for _ in range(2 * count)]
    transfers = bench.run(mixed)
    figures["hits_per_clock_both"] = _rate(transfers)
    report("both directions")
    return figures


def large(backend, report, pages=256, count=1000):
    """Random access over more pages than a micro-TLB holds, all of them in the main TLB."""
    bench = Bench(backend)
    bench.stage1(SID, pages)
    bench.run([bench.read(SID, page) for page in range(pages)])
    report("warm")
    before = backend.tables.reads
    transfers = bench.run([bench.read(SID, random.randrange(pages)) for _ in range(count)])
    figures = {
        "reads_per_access_256_pages": (backend.tables.reads - before) / count,
        "translations_per_clock_256_pages": _rate(transfers)}
    # One access alone: the micro-TLB doesn't hold the page, the main TLB does.
    latencies = []
    for page in random.sample(range(pages), 40):
        latencies.append(bench.run([bench.read(SID, page)])[0].latency)
    figures["main_tlb_hit_latency"] = min(x for x in latencies if x > min(latencies) or len(
        set(latencies)) == 1)
    report("random access")
    return figures


def misses(backend, report, count=64):
    """Many misses at once against the same one by one; a hit behind a miss. Latency 100."""
    bench = Bench(backend)
    bench.stage1(SID, 2 * count + 16)
    bench.run([bench.read(SID, 2 * count + page) for page in (0, 1)])  # walk caches are warm
    start = backend.now
    for page in range(count):
        bench.run([bench.read(SID, page)])
    single = backend.now - start
    report("one by one")
    transfers = bench.run([bench.read(SID, count + page) for page in range(count)])
    together = max(t.finished for t in transfers) - min(t.accepted for t in transfers)
    report("together")
    hit = bench.read(SID, 2 * count)
    bench.run([hit])
    behind = bench.run([bench.read(SID, 2 * count + 9), hit])
    return {
        "misses_speedup_64": single / together,
        "clocks_per_miss_together": together / count,
        "hit_behind_miss_latency": behind[1].latency,
        "miss_latency_100": behind[0].latency}


def nested(backend, report):
    """Table reads of nested 4 KB misses, four levels by four."""
    bench = Bench(backend)
    bench.nested(SID, 1024)
    figures = {}
    bench.run([bench.read(SID, 0)])  # the configuration is known from here on
    bench.driver.issue([commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])
    figures["nested_cold_reads"] = bench.reads_during([bench.read(SID, 3)])
    figures["nested_adjacent_reads"] = bench.reads_during([bench.read(SID, 4)])
    figures["nested_sequential_reads"] = bench.reads_during(
        [bench.read(SID, page) for page in range(5, 69)]) / 64
    report("nested")
    start = len(backend.tables.records)
    bench.driver.issue([commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)])
    bench.run([bench.read(SID, 100)])
    walk = [record for record in backend.tables.records[start:]
            if not record.write and record.len == 0]
    gaps = [after.valid_at - before.finished for before, after in zip(walk, walk[1:])]
    figures["data_to_next_address_worst"] = max(gaps)
    figures["data_to_next_address_best"] = min(gaps)
    return figures


def commands_per_clock(backend, report):
    """Clocks for 63 TLBI_NH_VA and a CMD_SYNC; a CMD_SYNC alone."""
    bench = Bench(backend)
    bench.stage1(SID, 8)
    bench.run([bench.read(SID, page) for page in range(8)])
    figures = {}
    tlbis = [
        commands.tlbi_range(Opcode.CMD_TLBI_NH_VA, IOVA + number * PAGE, PAGE, granule=12,
                            ril=False, ASID=ASID)[0] for number in range(63)]
    for name, batch in (("alone", []), ("63_tlbi", tlbis)):
        start = len(backend.tables.records)
        ends = []
        bench.driver.command_queue.issue(batch, sync=False)
        before = backend.interrupts().cmdq_sync
        bench.driver.command_queue.issue([commands.sync_with_msi(0x4800_0000, 1)], sync=False)
        while backend.interrupts().cmdq_sync == before:
            backend.wait(1)
        ends.append(backend.now)
        first = backend.tables.records[start].valid_at
        figures[f"sync_{name}_clocks"] = ends[0] - first
    figures["clocks_per_tlbi_nh_va"] = (
        figures["sync_63_tlbi_clocks"] - figures["sync_alone_clocks"]) / 63
    report("commands")
    return figures


def speed(backend, report, count=3000):
    """Simulated clocks per second of wall time, with traffic in both directions."""
    bench = Bench(backend)
    bench.stage1(SID, 64)
    work = [random.choice((bench.read, bench.write))(SID, random.randrange(64))
            for _ in range(count)]
    clocks, start = backend.now, time.perf_counter()
    bench.run(work)
    seconds = time.perf_counter() - start
    report("speed")
    return {"simulated_clocks_per_second": (backend.now - clocks) / seconds}
