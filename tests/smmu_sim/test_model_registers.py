"""The model's register slave: reset values, masks, guards, halves, Update protocols."""

import pytest

from smmu.formats.core import fields, pack
from smmu.formats.registers import (
    BY_NAME, CMDQ_CONS, CR0, CR1, EVENTQ_PROD, GBPA, IRQ_CTRL, REGISTERS,
)
from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.memory import Memory
from smmu_sim.model.system import System

ONES32, ONES64 = (1 << 32) - 1, (1 << 64) - 1


@pytest.fixture
def backend():
    return ModelBackend(Params(), Memory())


def at(name, index=0):
    return BY_NAME[name].at(index)


@pytest.mark.parametrize("name, value", [
    ("IDR0", 0x094C321B), ("IDR1", 0x0E730410), ("IDR3", 0x1514), ("IDR5", 0x75), ("AIDR", 2),
    ("GBPA", 0x1000), ("CIDR0", 0x0D), ("CIDR1", 0xF0), ("CIDR2", 0x05), ("CIDR3", 0xB1),
    ("IMP_ID", 0x534D4D55), ("IMP_VERSION", 1), ("REMAP_COUNT", 16)])
def test_reset_values(backend, name, value):
    assert backend.read32(at(name)) == value
    backend.write32(at(name), ONES32)
    if BY_NAME[name].access == "RO":
        assert backend.read32(at(name)) == value


def test_everything_else_resets_to_zero(backend):
    for register in REGISTERS:
        if register.reset is not None and register.name != "GBPA":
            for index in range(register.copies(backend.params)):
                assert backend.read64(register.at(index) & ~7) >> 8 * (register.at(index) & 4) \
                    & (1 << register.width) - 1 == 0


# What reads back after all ones were written in a state where the register is open
STORED = {
    "CR0": 0b1101, "CR1": 0xFFF, "CR2": 0b11, "IRQ_CTRL": 0b101, "GERRORN": 0b1_1011_0101,
    "STRTAB_BASE": 1 << 62 | (1 << 48) - 64, "STRTAB_BASE_CFG": 0x307FF,
    "CMDQ_BASE": 1 << 62 | (1 << 48) - 1, "EVENTQ_BASE": 1 << 62 | (1 << 48) - 1,
    "CMDQ_PROD": 0xFFFFF, "CMDQ_CONS": 0x7F0FFFFF, "EVENTQ_PROD": 0x800FFFFF,
    "EVENTQ_CONS": 0x800FFFFF, "GERROR_IRQ_CFG0": (1 << 48) - 4, "GERROR_IRQ_CFG1": ONES32,
    "GERROR_IRQ_CFG2": 0x3F, "EVENTQ_IRQ_CFG0": (1 << 48) - 4, "EVENTQ_IRQ_CFG1": ONES32,
    "EVENTQ_IRQ_CFG2": 0x3F, "GBPA": 0x1F3F1F, "REMAP_CTRL": 1,
}


@pytest.mark.parametrize("name", STORED)
def test_bits_that_are_stored(backend, name):
    register = BY_NAME[name]
    if register.width == 64:
        backend.write64(at(name), ONES64)
        assert backend.read64(at(name)) == STORED[name]
        assert backend.read32(at(name) + 4) == STORED[name] >> 32
    else:
        backend.write32(at(name), ONES32)
        assert backend.read32(at(name)) == STORED[name]


@pytest.mark.parametrize("params, name, stored", [
    ({"oas": 40}, "STRTAB_BASE", 1 << 62 | (1 << 40) - 64),
    ({"st_level": 0, "sidsize": 6}, "STRTAB_BASE_CFG", 0x7FF),
    ({"msi": 0}, "EVENTQ_IRQ_CFG0", 0), ({"msi": 0}, "GERROR_IRQ_CFG1", 0),
    ({"hyp": 0, "s2p": 0, "xnx": 0, "fwb": 0}, "CR2", 2),
    ({"attr_types_ovr": 0}, "GBPA", 0x1F1000), ({"attr_perms_ovr": 0}, "GBPA", 0x103F1F)])
def test_bits_that_features_take_away(params, name, stored):
    backend = ModelBackend(Params(**params), Memory())
    write, read = ((backend.write64, backend.read64) if BY_NAME[name].width == 64
                   else (backend.write32, backend.read32))
    write(at(name), ONES64 if BY_NAME[name].width == 64 else ONES32)
    assert read(at(name)) == stored


# register -> the CR0 or IRQ_CTRL field that closes it
GUARDS = {
    "CR2": "SMMUEN", "STRTAB_BASE": "SMMUEN", "STRTAB_BASE_CFG": "SMMUEN", "CMDQ_BASE": "CMDQEN",
    "CMDQ_CONS": "CMDQEN", "EVENTQ_BASE": "EVENTQEN", "EVENTQ_PROD": "EVENTQEN",
    "GERROR_IRQ_CFG0": "GERROR_IRQEN", "GERROR_IRQ_CFG1": "GERROR_IRQEN",
    "GERROR_IRQ_CFG2": "GERROR_IRQEN", "EVENTQ_IRQ_CFG0": "EVENTQ_IRQEN",
    "EVENTQ_IRQ_CFG1": "EVENTQ_IRQEN", "EVENTQ_IRQ_CFG2": "EVENTQ_IRQEN",
}
OTHERS = ["CMDQ_PROD", "EVENTQ_CONS", "GERRORN"]


@pytest.mark.parametrize("enable", ["SMMUEN", "CMDQEN", "EVENTQEN", "GERROR_IRQEN", "EVENTQ_IRQEN"])
@pytest.mark.parametrize("name", [*GUARDS, *OTHERS])
def test_guards(backend, name, enable):
    if enable in fields(CR0):
        backend.write32(at("CR0"), pack(CR0, {enable: 1}))
    else:
        backend.write32(at("IRQ_CTRL"), pack(IRQ_CTRL, {enable: 1}))
    if BY_NAME[name].width == 64:
        backend.write32(at(name) + 4, 0x1234)
        backend.write32(at(name), 0x40)
        assert backend.read64(at(name)) == (0 if GUARDS.get(name) == enable else 0x1234_0000_0040)
    else:
        value = 1
        backend.write32(at(name), value)
        assert backend.read32(at(name)) == (0 if GUARDS.get(name) == enable else value)


@pytest.mark.parametrize("enable, stored", [
    ("SMMUEN", 0x03F), ("CMDQEN", 0xFC0), ("EVENTQEN", 0xFC0)])
def test_cr1_has_two_guards(backend, enable, stored):
    assert pack(CR1, {"TABLE_IC": 3, "TABLE_OC": 3, "TABLE_SH": 3}) == 0xFC0
    backend.write32(at("CR0"), pack(CR0, {enable: 1}))
    backend.write32(at("CR1"), ONES32)
    assert backend.read32(at("CR1")) == stored


def test_acknowledges_show_what_is_implemented(backend):
    backend.write32(at("CR0"), ONES32)
    backend.write32(at("IRQ_CTRL"), ONES32)
    assert backend.read32(at("CR0ACK")) == 0b1101
    assert backend.read32(at("IRQ_CTRLACK")) == 0b101
    backend.write32(at("CR0ACK"), 0)
    assert backend.read32(at("CR0ACK")) == 0b1101


def test_gbpa_needs_update(backend):
    backend.write32(at("GBPA"), pack(GBPA, {"ABORT": 1}))
    assert backend.read32(at("GBPA")) == 0x1000
    backend.write32(at("GBPA"), pack(GBPA, {"ABORT": 1, "Update": 1}))
    assert backend.read32(at("GBPA")) == pack(GBPA, {"ABORT": 1})


@pytest.mark.parametrize("offset", [0x1F0, 0xC10, 0x21, 0x0A8, 0x0C0, 0x100, 0x10020, 0x20000,
                                    0x30000, 0x40010, 0x41000 + 16 * 32, 0x4FFF8])
def test_what_is_no_register_is_raz_wi(backend, offset):
    backend.write32(offset, ONES32)
    backend.write64(offset & ~7, ONES64)
    assert backend.read32(offset) == 0
    assert backend.read32(at("CR0")) == 0 and backend.read32(at("STATUSR")) == 0


def test_64_bit_write_over_two_registers_is_ignored(backend):
    backend.write64(at("CMDQ_PROD"), 5 << 32 | 5)
    backend.write64(at("STRTAB_BASE") + 4, 5)
    assert backend.read64(at("CMDQ_PROD")) == 0
    backend.write32(at("CMDQ_PROD"), 3)
    backend.write32(at("CMDQ_CONS"), 5)
    assert backend.read64(at("CMDQ_PROD")) == 5 << 32 | 3
    assert backend.read64(at("STRTAB_BASE")) == 0


def test_reset_restores_registers_interrupts_and_bindings():
    system = System()
    system.write("REMAP_STREAMID", 1 << 63 | 1)
    system.write("REMAP_CTRL", 1)
    system.backend.reset()
    assert system.read("CR0") == system.read("REMAP_CTRL") == system.read("REMAP_STREAMID") == 0
    assert system.read("GBPA") == 0x1000
    assert system.backend.interrupts() == (0, 0, 0, 0)
    system.write("REMAP_CTRL", 1)
    assert system.backend.model.remap.lookup(1, 0) is None


def test_masks_of_queue_indexes():
    assert pack(EVENTQ_PROD, {"WR": 0xFFFFF, "OVFLG": 1}) == STORED["EVENTQ_PROD"]
    assert pack(CMDQ_CONS, {"RD": 0xFFFFF, "ERR": 0x7F}) == STORED["CMDQ_CONS"]


@pytest.mark.parametrize("abort", [0, 1])
@pytest.mark.parametrize("addr, fits", [(0xFFFF_FFFF_F000, True), (0x1_0000_0000_0000, False)])
def test_traffic_while_smmuen_is_0(abort, addr, fits):
    system = System()
    system.enable(SMMUEN=0)
    system.write("GBPA", pack(GBPA, {"ABORT": abort, "SHCFG": 1, "PRIVCFG": 3, "Update": 1}))
    result = system.dma(addr, streamid=0xFFFF_FFFF, ssid=3)
    assert result.ok == (fits and not abort)
    if result.ok:
        assert result.pa == addr and result.prot == 0b011
    assert not system.events()
