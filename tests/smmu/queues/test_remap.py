"""The MSI doorbell remap: its lookup against a model, and the registers of its entries."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from smmu.formats.core import pack
from smmu.formats.registers import (
    BY_NAME, REMAP_DOORBELL, REMAP_IPA, REMAP_STREAMID, write_mask)
from smmu.params import Params
from smmu.payloads import RemapAccess, RemapAnswer, RemapQuery
from smmu.queues.remap import Remap, RemapEntry
from smmu.queues.remap_registers import RemapRegisters
from smmu_sim.bench.layout import pack as pack_payload
from smmu_sim.bench.layout import view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, StreamSink, StreamSource, reset

ENTRIES = 5
PARAMS = Params(remap_entries=ENTRIES, sidsize=10)
SIDS = [0, 1, 0x3FF, 0x401]                       # the last one is beyond SIDSIZE
PAGES = [0x8000, 0x8001, 0x8000 + (1 << 17), 0x4_8000, 0xF_FFFF_FFFF]
ALL = 0xFFFF_FFFF_FFFF_FFFF


class Model:
    """What is bound, and what a query is answered."""

    def __init__(self):
        self.enabled, self.entries = 0, [None] * ENTRIES

    def answer(self, sid, page):
        bound = [entry for entry in self.entries if self.enabled and entry and entry[1] == page]
        near = any(entry and entry[1] >> 18 == page >> 18 for entry in self.entries)
        hit = next((entry for entry in bound if entry[0] == sid), None)
        return {"hit": int(hit is not None), "bound": int(bool(bound)),
                "near": int(self.enabled and near), "doorbell": hit[2] if hit else 0}


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def lookups_against_a_model(dut):
    """One query per clock, answered exactly two clocks later, while entries change."""
    await reset(dut)
    model, expected = Model(), []
    query, answer = Pin(dut, "query"), Pin(dut, "answer")
    write, do_write, enable = Pin(dut, "write"), Pin(dut, "do_write"), Pin(dut, "enable")
    hits = 0
    for step in range(4000):
        sid, page = random.choice(SIDS[:3]), random.choice(PAGES)
        query.set(pack_payload(RemapQuery, {"sid": sid, "ipa": page}))
        expected.append(model.answer(sid, page))
        change = None
        do_write.set(0)
        if step % 40 == 20:  # quiet around changes: a query meets one state or the other
            change = {"entry": random.randrange(ENTRIES), "valid": random.randrange(2),
                      "sid": random.choice(SIDS), "doorbell": random.getrandbits(46),
                      "ipa": random.choice([*PAGES, PAGES[0] | 1 << 36])}
            write.set(pack_payload(RemapEntry, change))
            do_write.set(1)
            fits = change["sid"] < 1 << 10 and change["ipa"] < 1 << 36
            model.entries[change["entry"]] = (
                (change["sid"], change["ipa"], change["doorbell"])
                if change["valid"] and fits else None)
        elif step % 400 == 399:
            model.enabled ^= 1
            enable.set(model.enabled)
        await RisingEdge(dut.clk)
        # At this edge the answer of the query before the last is sampled.
        if len(expected) > 2:
            place = len(expected) - 3
            if not {0, 1, 2, 3} & {(place - 20) % 40, (place - 399) % 400, (place + 2 - 20) % 40,
                                   (place + 2 - 399) % 400}:
                found = view(RemapAnswer, answer.get())
                assert found == expected[place], (step, found, expected[place])
                hits += found.hit
    assert hits > 50


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def lower_entry_counts(dut):
    await reset(dut, enable=1)
    write, do_write = Pin(dut, "write"), Pin(dut, "do_write")
    for entry in (3, 1, 4):
        write.set(pack_payload(RemapEntry, {
            "entry": entry, "valid": 1, "sid": 7, "ipa": 9, "doorbell": 0x100 + entry}))
        do_write.set(1)
        await RisingEdge(dut.clk)
    do_write.set(0)
    Pin(dut, "query").set(pack_payload(RemapQuery, {"sid": 7, "ipa": 9}))
    for _ in range(4):
        await RisingEdge(dut.clk)
    assert view(RemapAnswer, Pin(dut, "answer").get()).doorbell == 0x101


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def registers_hold_and_commit(dut):
    """Halves are stored under their masks, zero after each reset; +0 unbinds, then binds."""
    names = ("REMAP_STREAMID", "REMAP_IPA", "REMAP_DOORBELL")
    for _ in range(2):
        await reset(dut)
        source = StreamSource(dut, "accesses", RemapAccess, pause_rate=0.3)
        sink = StreamSink(dut, "answers", 64, pause_rate=0.3)
        model = {(entry, word): 0 for entry in range(ENTRIES) for word in range(3)}
        writes = []

        async def watch(writes=writes):
            write, do_write, changed = (Pin(dut, n) for n in ("write", "do_write", "changed"))
            while True:
                await RisingEdge(dut.clk)
                if do_write.get():
                    writes.append((view(RemapEntry, write.get()), changed.get()))

        watching = cocotb.start_soon(watch())
        for _ in range(300):
            entry, word, halves = random.randrange(ENTRIES), random.randrange(3), \
                random.randrange(4)
            value, is_write = random.choice([ALL, random.getrandbits(64)]), random.randrange(2)
            writes.clear()
            await source.send({"write": is_write, "entry": entry, "word": word, "halves": halves,
                               "data": value})
            found = await sink.recv()
            if is_write:
                mask = write_mask(names[word], PARAMS) & sum(
                    0xFFFF_FFFF << 32 * half for half in (0, 1) if halves >> half & 1)
                model[entry, word] = model[entry, word] & ~mask | value & mask
            else:
                assert found == model[entry, word], names[word]
            if not (is_write and word == 0 and halves):
                assert not writes
                continue
            (first, early), (second, late) = writes
            assert (first.valid, first.entry, early, late) == (0, entry, 0, 1)
            assert second.entry == entry and second.valid == model[entry, 0] >> 63
            assert second.sid == model[entry, 0] & 0xFFFF_FFFF
            assert second.ipa == model[entry, 1] >> 12 & (1 << 44) - 1
            assert second.doorbell == model[entry, 2] >> 2 & (1 << 46) - 1
        watching.cancel()


def test_masks_keep_the_named_fields():
    """The registers store StreamID and V, the whole IPA page, and the doorbell below OAS."""
    assert write_mask("REMAP_STREAMID", PARAMS) == pack(
        REMAP_STREAMID, {"StreamID": 0xFFFF_FFFF, "V": 1})
    assert write_mask("REMAP_IPA", PARAMS) == pack(REMAP_IPA, {"IPA": (1 << 44) - 1})
    assert write_mask("REMAP_DOORBELL", PARAMS) == pack(REMAP_DOORBELL, {"ADDR": (1 << 46) - 1})
    assert BY_NAME["REMAP_IPA"].offset - BY_NAME["REMAP_STREAMID"].offset == 8


@pytest.mark.parametrize("seed", [1, 2])
def test_remap(seed):
    run_cocotb(Remap(PARAMS), __name__, seed=seed,
               testcase=["lookups_against_a_model", "lower_entry_counts"])


def test_remap_registers():
    run_cocotb(RemapRegisters(PARAMS), __name__, seed=1, testcase="registers_hold_and_commit")
