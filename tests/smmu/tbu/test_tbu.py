"""TBU: random traffic against a model of everything around it, and what each clock promises."""

import os
import random

import cocotb
import pytest

from smmu.params import Params
from smmu.tbu.tbu import TBU
from smmu_sim.bench.runner import run_cocotb
from tests.smmu.tbu.tbu_model import Pages, Port

CONFIGS = {
    "default": Params(),
    "small": Params(sidsize=8, ssidsize=0, utlb_entries=8, utlb_contexts=4, slots=4,
                    write_buffer_beats=0),
    "wide": Params(id_width=8, oas=40, utlb_entries=32),
}


def config():
    return CONFIGS[os.environ["TBU_CONFIG"]]


def random_user(rng, params):
    sid = rng.choice((1, 1, 1, 2, 3))
    ssv = rng.random() < 0.3 if params.ssidsize else 0
    user = sid | ssv << 52 | (rng.choice((0, 5)) << 32 if ssv else 0) | rng.getrandbits(2) << 54
    if rng.random() < 0.02:
        user |= 1 << 53
    if rng.random() < 0.02:
        user |= 1 << 30
    return user


def random_txn(rng, params, write, *, pool, long=0.1):
    burst = rng.choice((0, 1, 1, 1, 2))
    size = rng.randint(0, 3)
    length = rng.choice((1, 3, 7, 15)) if burst == 2 else rng.randrange(16) if burst == 0 else \
        rng.randrange(200) if rng.random() < long else rng.randrange(8)
    addr = rng.choice(pool) | rng.randrange(4096 >> size) << size
    if burst == 1:
        addr -= addr % 4096 if (addr % 4096) + ((length + 1) << size) > 4096 else 0
    cache = rng.choice((0, 1, 2, 3, 6, 7, 10, 11, 14, 15))
    return {"addr": addr, "len": length, "size": size, "burst": burst, "cache": cache,
            "id": rng.choice((0, 1, 2, 3, (1 << params.id_width) - 1)), "lock": rng.getrandbits(1),
            "prot": rng.getrandbits(3), "user": random_user(rng, params)}


def pool(rng, count=6):
    bases = [rng.getrandbits(48) >> 12 << 12 | (0xFFFF << 48 if rng.random() < 0.3 else 0)
             for _ in range(count)]
    return bases + [base ^ 1 << 12 for base in bases[:2]]


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.2, 0.6], msi=[0.0, 0.3])
async def random_traffic(dut, pause, msi):
    """Everything comes out once, in order, as translated or terminated; the barrier is exact."""
    params, rng = config(), random.Random(random.getrandbits(32))
    pages = Pages(rng, params, msi=msi)
    port = Port(dut, params, seed=rng.getrandbits(32), pages=pages, device_pause=pause,
                memory_pause=pause, tcu_pause=pause, w_late=pause, aw_late=0.9 * (pause > 0))
    await port.start()
    addresses = pool(rng)
    for _ in range(500):
        write = rng.random() < 0.5
        txn = random_txn(rng, params, write, pool=addresses)
        if msi and write and rng.random() < 0.5:
            offset = rng.choice((0x40, 0x44, 0x40, 0x44, 0x42, 0x48))
            txn.update(addr=txn["addr"] >> 12 << 12 | offset, len=0, size=rng.choice((2, 2, 2, 3)))
            txn["data"] = [(rng.getrandbits(64), rng.choice((0xF, 0xF0, 0xFF, 0xF, 0xF0, 7)))]
        port.submit(write, **txn)
    while not port.idle():
        assert port.now < 20000, port.stuck()
        await port.run(rng.randrange(1, 60))
        if port.snapshot_set is None and port.snapshot_at != port.now:
            port.snapshot()
    await port.run(30)
    assert port.done == 500
    assert port.snapshot_set is None and len(port.log) > 5
    wrong = [t for w in (True,) for t in port.entered[w]
             if t["left"] is None and any(v is None for v, _, _ in port.allowed(t))]
    assert len(port.faults) == len(wrong)
    assert sorted((f.input_addr, f.sid, f.pnu) for f in port.faults) == sorted(
        (t["addr"], t["user"] & 0xFFFF_FFFF, t["prot"] & 1) for t in wrong)


def random_invalidation(rng, pages, addresses):
    """A TLBI or CFGI for something that is known."""
    sid, ssv, ssid = rng.choice(list(pages.contexts))
    tag = pages.context(sid, ssv, ssid)[0]
    if rng.random() < 0.25:
        return {"cfg": 1, "sid": sid, "sid_ignore": rng.choice((0, 0, 1, 0xFFFF_FFFF)),
                "match_ssid": rng.getrandbits(1), "ssid": rng.choice((ssid, 0))}
    by_asid = rng.getrandbits(1)
    by_addr = rng.random() < 0.8
    command = {"el2": int(tag["world"] != 0), "va": not tag["ipa"], "ipa": tag["ipa"],
               "match_vmid": rng.getrandbits(1), "vmid": tag["vmid"], "match_asid": by_asid,
               "asid": tag["asid"], "keep_global": by_asid and not by_addr}
    if by_addr:
        base = rng.choice(addresses) ^ rng.choice((0, 0, 1 << 12, 0x55 << 56))
        command.update(match_addr=1, addr=base >> 12)
        if rng.random() < 0.3:
            tg = rng.randint(1, 3)  # the address is aligned to the granule
            command.update(tg=tg, num=rng.randrange(4), scale=rng.randrange(3),
                           addr=base >> 12 + 2 * (tg - 1) << 2 * (tg - 1))
    return command


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.3])
async def invalidations_under_traffic(dut, pause):
    """What enters after an invalidation never uses what it covers, whatever is on its way."""
    params, rng = config(), random.Random(random.getrandbits(32))
    pages = Pages(rng, params, faults=0.0)
    port = Port(dut, params, seed=rng.getrandbits(32), pages=pages, device_pause=pause,
                memory_pause=pause, tcu_pause=pause, w_late=pause, tcu_delay=(1, 8),
                memory_delay=(1, 5))
    await port.start()
    addresses = pool(rng)
    for _ in range(700):
        write = rng.random() < 0.5
        txn = random_txn(rng, params, write, pool=addresses, long=0.0)
        port.submit(write, **txn | {"len": 0, "burst": 1})
    while not port.idle():
        assert port.now < 20000, port.stuck()
        await port.run(rng.choice((1, 2, 3, 4, 5, 10, 20)))
        if pages.contexts and not port.invalidated:
            for _ in range(rng.choice((1, 1, 2))):
                port.invalidate(random_invalidation(rng, pages, addresses))
    assert port.done == 700 and max(pages.floor.values()) > 5


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(every=[2, 50])
async def smmuen_and_gbpa_change_under_traffic(dut, every):
    """Each transaction goes by what SMMUEN and GBPA were when it entered."""
    params, rng = config(), random.Random(random.getrandbits(32))
    port = Port(dut, params, seed=rng.getrandbits(32), pages=Pages(rng, params))
    port.smmuen = 0
    await port.start()
    addresses = [*pool(rng, 3), *(rng.getrandbits(params.oas) >> 12 << 12 for _ in range(5))]
    for _ in range(600):
        write = rng.random() < 0.5
        port.submit(write, **random_txn(rng, params, write, pool=addresses, long=0.02))
    while not port.idle():
        assert port.now < 20000, port.stuck()
        await port.run(rng.randrange(1, every))
        port.smmuen, port.abort = rng.getrandbits(1), int(rng.random() < 0.2)
        port.overrides = {"MemAttr": rng.getrandbits(4), "MTCFG": rng.getrandbits(1),
                          "ALLOCCFG": rng.getrandbits(4), "SHCFG": rng.getrandbits(2),
                          "PRIVCFG": rng.getrandbits(2), "INSTCFG": rng.getrandbits(2)}
        if port.snapshot_set is None and port.snapshot_at != port.now:
            port.snapshot()
    assert port.done == 600


def quiet(dut, rng, params, **options):
    """A port without pauses whose pages all translate."""
    pages = Pages(rng, params, faults=0.0)
    lookup = pages.lookup

    def allowed(*args):
        verdict, translation = lookup(*args)
        translation["perms"] = dict.fromkeys(translation["perms"], 1)
        return verdict, translation
    pages.lookup = allowed
    return Port(dut, params, seed=1, pages=pages, device_pause=0, memory_pause=0, tcu_pause=0,
                w_late=0, fill_rate=1, **{"tcu_delay": (5, 5), "memory_delay": (1, 1), **options})


async def warm(port, write, addresses, **fields):
    """Fetch translations into the micro-TLB."""
    for addr in addresses:
        port.submit(write, addr=addr, **fields)
        while not port.idle():
            assert port.now < 5000, port.stuck()
            await port.run(1)
    await port.run(10)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def hits_take_three_clocks_one_per_clock(dut):
    params = config()
    port = quiet(dut, random.Random(1), params, memory_delay=(3, 40))
    await port.start()
    addresses = [page << 30 for page in (1, 2, 3)]
    for write in (False, True):
        await warm(port, write, addresses, user=1)
        first = port.now
        txns = [port.submit(write, addr=addresses[k % 3] + 8 * k, id=k % 16, user=1)
                for k in range(40)]
        await port.run(120)
        assert [txn["left"] - txn["accepted"] for txn in txns] == [3] * 40
        assert [txn["accepted"] - txns[0]["accepted"] for txn in txns] == list(range(40))
        assert first <= txns[0]["accepted"] <= first + 3


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bypass_takes_three_clocks(dut):
    params = config()
    port = quiet(dut, random.Random(1), params)
    port.smmuen = 0
    await port.start()
    await port.run((1 << params.id_width) + 4)
    for write in (False, True):
        txns = [port.submit(write, addr=0x1000 * k, id=k % 16, user=1) for k in range(20)]
        await port.run(60)
        assert [txn["left"] - txn["accepted"] for txn in txns] == [3] * 20


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def hits_of_other_ids_pass_a_miss(dut):
    """Reads always; writes as far as the write buffer reaches."""
    params = config()
    port = quiet(dut, random.Random(1), params)
    await port.start()
    for write in (False, True):
        await warm(port, write, [1 << 30], user=1)
        port.tcu_delay = 200, 200
        miss = port.submit(write, addr=5 << 30, id=1, user=1, len=15)
        hits = [port.submit(write, addr=(1 << 30) + 8 * k, id=2, user=1) for k in range(4)]
        same = port.submit(write, addr=(1 << 30) + 0x100, id=1, user=1)
        await port.run(100)
        passes = not write or params.write_buffer_beats
        for hit in hits:
            assert (hit["left"] is not None) == bool(passes)
            assert not passes or hit["left"] - hit["accepted"] <= 4
            assert not passes or hit["done"] is not None
        assert same["left"] is None and miss["left"] is None
        await port.run(300)
        port.tcu_delay = 5, 5
        assert miss["done"] < same["done"] and miss["left"] < same["left"]
        await port.run(20)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def invalidations_and_answers_do_not_wait_for_axi(dut):
    params = config()
    port = quiet(dut, random.Random(1), params)
    await port.start()
    await port.run((1 << params.id_width) + 4)
    for write in (False, True):
        for k in range(12):
            port.submit(write, addr=k << 30, id=k, user=1)
    port.memory_pause = 1.0
    await port.run(100)
    assert not any(port.requests.values()), "answers were not taken"
    for _ in range(5):
        port.invalidate({"va": 1, "ipa": 1})
    await port.run(12)
    assert port.invalidation is None and not port.invalidated
    port.memory_pause = 0
    await port.run(200)
    assert port.idle()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def what_waits_for_downstream_is_undecided(dut):
    params = config()
    port = quiet(dut, random.Random(1), params)
    await port.start()
    for write in (False, True):
        await warm(port, write, [1 << 30], user=1)
        port.memory_pause = 1.0
        await port.run(2)
        txns = [port.submit(write, addr=1 << 30, user=1, id=k) for k in range(2)]
        await port.run(20)
        assert txns[1]["accepted"] is not None
        port.snapshot()
        await port.run(20)
        assert port.get("undecided") and port.get("unfinished")
        port.memory_pause = 0
        await port.run(40)
        assert port.snapshot_set is None and txns[1]["done"] is not None


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_the_middle(dut):
    """Nothing is left of what was under way; the micro-TLBs are empty."""
    params = config()
    rng = random.Random(2)
    port = Port(dut, params, seed=1, pages=Pages(rng, params, faults=0.0))
    addresses = pool(rng)
    for length in (104, 155, 184):
        await port.start()
        for name in ("s__rvalid", "s__bvalid", "m__arvalid", "m__awvalid", "m__wvalid",
                     "read_requests__valid", "write_requests__valid", "faults__valid"):
            assert not port.get(name), name
        assert not port.get("undecided") and not port.get("unfinished")
        for leaf in {key[0] for key in port.pages.known}:
            port.pages.generation[leaf] += 1
            port.pages.floor[leaf] += 1
        for _ in range(100):
            write = rng.random() < 0.5
            port.submit(write, **random_txn(rng, params, write, pool=addresses))
        await port.run(length + (1 << params.id_width))
        assert port.done
        port.reset_state()


TESTS = {
    "random": ["random_traffic"],
    "changes": ["invalidations_under_traffic", "smmuen_and_gbpa_change_under_traffic"],
    "timing": ["hits_take_three_clocks_one_per_clock", "bypass_takes_three_clocks",
               "hits_of_other_ids_pass_a_miss", "invalidations_and_answers_do_not_wait_for_axi",
               "what_waits_for_downstream_is_undecided", "reset_in_the_middle"],
}


@pytest.mark.parametrize("name", ["default", "small", "wide"])
@pytest.mark.parametrize("tests", ["changes", "timing"])
@pytest.mark.parametrize("seed", [1])
def test_changes_and_timing(name, tests, seed):
    run_cocotb(TBU(CONFIGS[name]), __name__, seed=seed, extra_env={"TBU_CONFIG": name},
               testcase=TESTS[tests])


@pytest.mark.parametrize("name", ["default", "small"])
@pytest.mark.parametrize("seed", [1, 2])
def test_random(name, seed):
    run_cocotb(TBU(CONFIGS[name]), __name__, seed=seed, extra_env={"TBU_CONFIG": name},
               testcase=["random_traffic"])
