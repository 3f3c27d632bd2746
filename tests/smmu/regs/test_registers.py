"""The register frame: access, reset value and guard of each register, generated from the table."""

import os
import random

import cocotb
import pytest

from smmu.formats.core import fields, pack
from smmu.formats.registers import (
    BY_NAME, CR0, GBPA, IRQ_CTRL, OPTIONAL, REGISTERS, id_values, implemented, write_mask)
from smmu.params import Params
from smmu.payloads import (
    CommandQueueUpdate, CounterIncrements, EventQueueUpdate, MemType, QueueConfig, RemapAccess,
    StrtabConfig, WalkAttributes)
from smmu.regs.registers import Registers
from smmu_sim.bench.axi_lite import AxiLiteMaster
from smmu_sim.bench.bus import Bus
from smmu_sim.bench.layout import pack as pack_payload
from smmu_sim.bench.layout import view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, StreamSink, StreamSource

BUILDS = {
    "default": {},
    "lean": {"msi": 0, "st_level": 0, "sidsize": 6, "oas": 40, "attr_types_ovr": 0,
             "attr_perms_ovr": 0, "s2p": 0, "hyp": 0, "xnx": 0, "remap_entries": 3},
}
ALL = 0xFFFF_FFFF_FFFF_FFFF
PROTOCOL = ("CR0", "IRQ_CTRL", "GBPA", "REMAP_CTRL")  # have a test of their own
FRAME_END = 0x5_0000


def params():
    return Params(**BUILDS[os.environ["BUILD"]])


class Software:
    """Register accesses by name, and the other inputs of the component at rest."""

    def __init__(self, dut, w_delay=0):
        self.dut = dut
        self.bus = Bus(dut)
        self.axil = AxiLiteMaster(self.bus, w_delay=w_delay)

    async def start(self):
        await self.bus.reset()
        Pin(self.dut, "cmdq_update").set(pack_payload(CommandQueueUpdate, {"stopped": 1}))
        Pin(self.dut, "eventq_update").set(pack_payload(EventQueueUpdate, {"stopped": 1}))
        for name in ("smmuen_done", "gbpa_done", "gerror_msi_idle", "eventq_msi_idle"):
            Pin(self.dut, name).set(1)
        await self.bus.clocks(2)

    async def read(self, name):
        register = BY_NAME[name]
        read = self.axil.read64 if register.width == 64 else self.axil.read32
        return await read(register.offset)

    async def write(self, name, value):
        register = BY_NAME[name]
        write = self.axil.write64 if register.width == 64 else self.axil.write32
        await write(register.offset, value & (1 << register.width) - 1)


def start_value(name):
    register = BY_NAME[name]
    return id_values(params()).get(name, register.reset or 0)


def single():
    return [register for register in implemented(params()) if register.count == 1]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def reset_values_and_access(dut):
    """Each register starts right, keeps what it stores, ignores the rest; also after a reset."""
    software = Software(dut)
    for _ in range(2):
        await software.start()
        for register in single():
            if register.name == "GBPA" and not params().attr_types_ovr:
                continue
            assert await software.read(register.name) == start_value(register.name), register.name
        for register in single():
            if register.name in PROTOCOL:
                continue
            stored = write_mask(register.name, params())
            for value in (ALL, 0x5A5A_A5A5_1234_8765, random.getrandbits(64)):
                await software.write(register.name, value)
                expected = value & stored | start_value(register.name) & ~stored
                assert await software.read(register.name) == expected, register.name


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def halves_and_strobes(dut):
    """Halves of 64-bit registers are separate; any other strobes, and two registers at once, don't
    write."""
    software = Software(dut)
    await software.start()
    for register in single():
        if register.width != 64 or register.access != "RW":
            continue
        stored, offset = write_mask(register.name, params()), register.offset
        await software.axil.write64(offset, 0)
        await software.axil.write32(offset, 0xFFFF_FFFF)
        assert await software.axil.read64(offset) == stored & 0xFFFF_FFFF
        await software.axil.write32(offset + 4, 0xFFFF_FFFF)
        await software.axil.write32(offset, 0)
        assert await software.axil.read64(offset) == stored & ~0xFFFF_FFFF
        assert await software.axil.read32(offset + 4) == stored >> 32
        for strobes in (0, 1, 0x7F, 0x1F, 0xFE, 0xF8, 0x3C, 0x33, 0x30):
            assert await software.axil.write(offset, ALL, strobes) == 0
            assert await software.axil.read64(offset) == stored & ~0xFFFF_FFFF, hex(strobes)
    for first, second in (("CR1", "CR2"), ("CMDQ_PROD", "CMDQ_CONS")):
        offset = BY_NAME[first].offset
        before = await software.axil.read64(offset)
        await software.axil.write64(offset, ALL)
        assert await software.axil.read64(offset) == before
        for name, strobes in ((first, 0x0E), (first, 0x1F), (second, 0x70), (second, 0xF8)):
            await software.axil.write(BY_NAME[name].offset, ALL, strobes)
            assert await software.axil.read64(offset) == before


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def everything_else_is_zero(dut):
    """RES0: optional registers, gaps, the counter group, beyond the last entry and counter."""
    software = Software(dut)
    await software.start()
    taken = {register.offset & ~7 for register in single()}
    for register in REGISTERS:
        taken |= {register.at(index) for index in range(register.copies(params()))}
    free = [offset for offset in range(0, 0x2000, 8) if offset not in taken]
    free += [0x1_0000 + offset for offset in range(0, 0x200, 8)]
    free += [register.offset & ~7 for register in OPTIONAL]
    free += [BY_NAME["REMAP_STREAMID"].at(params().remap_entries), 0x4_1FF8, 0x4_1018,
             BY_NAME["COUNTER"].at(BY_NAME["COUNTER"].count)]
    free += [random.randrange(0, FRAME_END, 8) for _ in range(200)]
    for offset in set(free) - taken:
        for strobes in (0xFF, 0x0F, 0xF0):
            assert await software.axil.write(offset, ALL, strobes) == 0
        assert await software.axil.read(offset) == (0, 0), hex(offset)


def guards(register):
    """Yield (mask, names of the enables that must be 0), by the text of the table."""
    for part in register.guard.split(";"):
        pattern, _, condition = part.rpartition(":")
        prefix = pattern.strip().removesuffix("*")
        mask = sum(field.mask for name, field in fields(register.struct).items()
                   if name.startswith(prefix))
        yield mask, condition.strip().split("=")[:-1]


async def set_enable(software, enable, value):
    name, struct = ("CR0", CR0) if enable in fields(CR0) else ("IRQ_CTRL", IRQ_CTRL)
    await software.write(name, pack(struct, {enable: value}))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def each_guard(dut):
    """While an enable or its acknowledge is 1, exactly its fields ignore writes."""
    software = Software(dut)
    await software.start()
    done = {"SMMUEN": "smmuen_done", "GERROR_IRQEN": "gerror_msi_idle",
            "EVENTQ_IRQEN": "eventq_msi_idle", "CMDQEN": "cmdq_update",
            "EVENTQEN": "eventq_update"}
    idle = {enable: Pin(dut, pin).get() for enable, pin in done.items()}
    for register in single():
        if not register.guard or register.name == "GBPA":
            continue
        stored = write_mask(register.name, params())
        for enable in done:
            open_bits = stored
            for mask, enables in guards(register):
                if enable in enables:
                    open_bits &= ~mask
            await software.write(register.name, 0)
            await set_enable(software, enable, 1)
            await software.write(register.name, ALL)
            assert await software.read(register.name) == open_bits, (register.name, enable)
            Pin(dut, done[enable]).set(0)  # the acknowledge of the disabling is held up
            await set_enable(software, enable, 0)
            await software.write(register.name, 0)
            assert await software.read(register.name) == 0
            await software.write(register.name, ALL)
            assert await software.read(register.name) == open_bits, (register.name, enable)
            Pin(dut, done[enable]).set(idle[enable])
            await software.write(register.name, ALL)
            assert await software.read(register.name) == stored, (register.name, enable)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def acknowledges(dut):
    """Fields of CR0 and IRQ_CTRL are acknowledged one by one; a second change is ignored."""
    software = Software(dut)
    await software.start()
    for name in ("CR0", "IRQ_CTRL"):
        stored = write_mask(name, params())
        for _ in range(20):
            value = random.getrandbits(32)
            await software.write(name, value)
            assert await software.read(name) == value & stored
            assert await software.read(name + "ACK") == value & stored
    smmuen = pack(CR0, {"SMMUEN": 1})
    await software.write("CR0", 0)
    Pin(dut, "smmuen_done").set(0)
    everything = pack(CR0, {"SMMUEN": 1, "CMDQEN": 1, "EVENTQEN": 1})
    await software.write("CR0", everything)
    assert await software.read("CR0ACK") == everything & ~smmuen
    await software.write("CR0", 0)
    assert await software.read("CR0") == smmuen
    assert await software.read("CR0ACK") == 0
    Pin(dut, "smmuen_done").set(1)
    assert await software.read("CR0ACK") == smmuen


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def gbpa_update(dut):
    software = Software(dut)
    await software.start()
    update, stored = pack(GBPA, {"Update": 1}), write_mask("GBPA", params())
    before = await software.read("GBPA")
    await software.write("GBPA", ALL & ~update)
    assert await software.read("GBPA") == before
    Pin(dut, "gbpa_done").set(0)
    await software.write("GBPA", ALL)
    assert await software.read("GBPA") == stored
    await software.write("GBPA", update)
    assert await software.read("GBPA") == stored
    assert Pin(dut, "gbpa_abort").get() == 1
    Pin(dut, "gbpa_done").set(1)
    assert await software.read("GBPA") == stored & ~update


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def effective_values(dut):
    """Sizes are limited, bases aligned, attribute codes known; the registers keep the rest."""
    software = Software(dut)
    await software.start()
    p = params()
    keep = (1 << p.oas) - 1
    for _ in range(60):
        base, config, cr1 = (random.getrandbits(bits) for bits in (64, 32, 32))
        if random.random() < 0.8:
            config &= ~0x38  # LOG2SIZE below 8
        for name, value in (("STRTAB_BASE", base), ("STRTAB_BASE_CFG", config), ("CR1", cr1),
                            ("CMDQ_BASE", base), ("EVENTQ_BASE", base)):
            await software.write(name, value)
        await software.bus.clocks(3)
        log2size, split = config & 63, config >> 6 & 31
        split = split if split in (8, 10) else 6
        two_level = p.st_level and config >> 16 & 3 == 1
        align = max(8 << log2size - split, 64) if two_level and log2size > split else \
            64 if two_level else 64 << log2size
        found = view(StrtabConfig, Pin(dut, "strtab").get())
        assert found.base << 6 == base & keep & ~63 & -align
        assert (found.log2size, found.split, found.fmt, found.ra) == \
            (min(log2size, p.sidsize), split, two_level, base >> 62 & 1)
        attrs = view(WalkAttributes, Pin(dut, "table_attrs").get())
        codes = [cr1 >> lsb & 3 for lsb in (0, 2, 4, 6, 8, 10)]
        assert [attrs.ic, attrs.oc, attrs.sh] == [codes[3] % 3, codes[4] % 3, codes[5]]
        types = [MemType.NC, MemType.WB, MemType.WT, MemType.NC]
        for name, largest, size in (("cmdq", p.cmdqs, 16), ("eventq", p.eventqs, 32)):
            found = view(QueueConfig, Pin(dut, name).get())
            assert found.log2size == min(base & 31, largest)
            assert found.base << 5 == base & keep & ~31 & -max(32, size << found.log2size)
            assert (found.attrs.inner, found.attrs.outer, found.attrs.sh) == \
                (types[codes[0]], types[codes[1]], codes[2])


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def gerror_protocol(dut):
    """An error is raised by inversion unless it is active; GERROR's own MSI does not interrupt."""
    software = Software(dut)
    await software.start()
    msi_aborts, rise = Pin(dut, "msi_aborts"), Pin(dut, "gerror_rise")
    seen, acknowledged = 0, 0
    bits = [1 << 4, 1 << 5, 1 << 7]
    for _ in range(40):
        number = random.randrange(3)
        active = (seen ^ acknowledged) & bits[number]
        msi_aborts.set(1 << number)
        await software.bus.clocks(1)
        msi_aborts.set(0)
        await software.bus.clocks(1)
        if params().msi:
            assert rise.get() == (not active and number != 2)
            seen ^= 0 if active else bits[number]
            assert await software.read("GERROR") == seen
        if random.random() < 0.5:
            acknowledged = seen
            await software.write("GERRORN", seen)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(w_delay=[-3, 0, 4])
async def random_accesses(dut, w_delay):
    """A model of the plain registers agrees, whichever of AW and W comes first."""
    software = Software(dut, w_delay)
    await software.start()
    plain = [register for register in single() if register.name not in PROTOCOL]
    model = {register.name: start_value(register.name) for register in plain}
    for _ in range(400):
        register = random.choice(plain)
        if random.random() < 0.5:
            value = random.getrandbits(register.width)
            await software.write(register.name, value)
            stored = write_mask(register.name, params())
            model[register.name] = model[register.name] & ~stored | value & stored
        assert await software.read(register.name) == model[register.name]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def counters_count_exactly(dut):
    """64-bit sums of random increments, read while others go on."""
    software = Software(dut)
    await software.start()
    pin, counter = Pin(dut, "counts"), BY_NAME["COUNTER"]
    names = list(CounterIncrements.as_shape().members)
    totals = dict.fromkeys(names, 0)
    for _ in range(300):
        step = {name: random.getrandbits(field.width) if random.random() < 0.7 else 0
                for name, field in fields(CounterIncrements).items()}
        pin.set(pack_payload(CounterIncrements, step))
        await software.bus.clocks(1)
        for name in names:
            totals[name] += step[name]
    pin.set(0)
    await software.bus.clocks(60)
    for index, name in enumerate(names):
        assert await software.axil.read64(counter.at(index)) == totals[name], name
        await software.axil.write64(counter.at(index), 0)
        assert await software.axil.read64(counter.at(index)) == totals[name]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def remap_port_and_ctrl(dut):
    """Accesses of entries go out with entry, word and halves; BUSY stands beside ENABLE."""
    software = Software(dut)
    await software.start()
    sink = StreamSink(dut, "remap", RemapAccess, pause_rate=0.5)
    source = StreamSource(dut, "remap_data", 64, pause_rate=0.5)
    for number, name in enumerate(("REMAP_STREAMID", "REMAP_IPA", "REMAP_DOORBELL")):
        for entry in (0, params().remap_entries - 1):
            offset = BY_NAME[name].at(entry)
            task = cocotb.start_soon(software.axil.write32(offset + 4, 0x1234_5678))
            found = await sink.recv()
            assert (found.write, found.entry, found.word, found.halves) == (1, entry, number, 2)
            assert found.data >> 32 == 0x1234_5678
            await source.send(0)
            await task
            task = cocotb.start_soon(software.axil.read64(offset))
            found = await sink.recv()
            assert (found.write, found.entry, found.word) == (0, entry, number)
            await source.send(0x1122_3344_5566_7788)
            assert await task == 0x1122_3344_5566_7788
    busy, enable = Pin(dut, "remap_busy"), Pin(dut, "remap_enable")
    for value in (1, 0):
        await software.write("REMAP_CTRL", value | 2)
        assert enable.get() == value
        busy.set(1 - value)
        assert await software.read("REMAP_CTRL") == value | (1 - value) << 1


@pytest.mark.parametrize("build", BUILDS)
def test_registers(build):
    run_cocotb(Registers(Params(**BUILDS[build])), __name__, axi=True, seed=3,
               extra_env={"BUILD": build})
