import itertools
import os
import random

import cocotb
from amaranth import Signal
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import RisingEdge, Timer

from smmu.params import Params
from smmu.payloads import LookupConfig, Overrides, Permissions, TLBKey, World
from smmu.tcu.lookup_key import LookupKey, incoming_permissions
from smmu_sim.bench.layout import pack, view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, reset


def range_is_legal(config, addr, oas):
    """SMMUV3 7.2, the rules that don't need a table."""
    if not config["s1"]:
        return addr < 1 << oas and addr < 1 << (64 - config["S2T0SZ"])
    half = 0 if config["world"] == World.EL2.value else addr >> 55 & 1
    if config[f"EPD{half}"]:
        return False
    top = 55 if config[f"TBI{half}"] else 63
    size = 64 - config[f"T{half}SZ"]
    sign = (addr & (1 << top + 1) - 1) >> size
    return sign == ((1 << top + 1 - size) - 1 if half else 0)


def random_case():
    """An address near the end of what its configuration allows."""
    config = {
        "s1": random.getrandbits(1), "s2": 1, "world": random.choice([0, 2, 3]),
        "vmid": random.getrandbits(16), "asid": random.getrandbits(16),
        "aset": random.getrandbits(1), "EPD0": int(random.random() < 0.1),
        "EPD1": int(random.random() < 0.1), "TBI0": random.getrandbits(1),
        "TBI1": random.getrandbits(1), "T0SZ": random.randrange(16, 40),
        "T1SZ": random.randrange(16, 40), "S2T0SZ": random.randrange(16, 40)}
    if not config["s1"]:
        config["world"] = 0
    upper = random.getrandbits(1)
    size = 64 - config[f"T{upper}SZ" if config["s1"] else "S2T0SZ"]
    addr = random.getrandbits(size)
    if upper:
        addr |= (1 << 64) - (1 << size)
    if random.random() < 0.3:
        addr ^= random.getrandbits(8) << 56
    if random.random() < 0.4:
        addr ^= 1 << random.choice([size, size - 1, 47, 48, 54, 55, 56, 63])
    return config, addr


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def random_addresses(dut):
    """The key and the verdict, one cycle after each input."""
    oas = int(os.environ["OAS"])
    await reset(dut)
    config_pin, addr_pin, key_pin, legal_pin = (
        Pin(dut, name) for name in ("config", "addr", "key", "legal"))
    previous, verdicts = None, []
    for _ in range(6000):
        config, addr = random_case()
        config_pin.set(pack(LookupConfig, config))
        addr_pin.set(addr)
        await RisingEdge(dut.clk)
        if previous:
            expected, found = previous[0], view(TLBKey, key_pin.get())
            assert legal_pin.get() == expected, f"{previous}"
            verdicts.append(expected)
            before, va = previous[1:]
            assert found.world.value == before["world"] and found.vmid == before["vmid"]
            assert found.ipa != before["s1"] and found.addr == va >> 12 & (1 << 36) - 1
            assert found.asid == (before["asid"] if before["s1"] else 0)
            assert found.aset == (before["aset"] if before["s1"] else 0)
            if before["world"] != World.EL2.value:
                assert found.va55 == (va >> 55 & before["s1"])
            else:
                assert found.va55 == 0
        previous = range_is_legal(config, addr, oas), config, addr
    assert 500 < sum(verdicts) < 5500


class PermissionsBox(Component):
    perms: In(Permissions)
    overrides: In(Overrides)
    incoming: Out(Permissions)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.incoming.eq(incoming_permissions(self.perms, self.overrides))
        m.d.sync += Signal().eq(1)
        return m


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def every_override(dut):
    """Each incoming access is allowed exactly if the access that it becomes is."""
    await reset(dut)
    perms_pin, overrides_pin, incoming_pin = (
        Pin(dut, name) for name in ("perms", "overrides", "incoming"))
    for PRIVCFG, INSTCFG in itertools.product(range(4), repeat=2):
        overrides_pin.set(pack(Overrides, {"PRIVCFG": PRIVCFG, "INSTCFG": INSTCFG}))
        for raw in range(64):
            perms_pin.set(raw)
            await Timer(1, "ns")
            perms, incoming = view(Permissions, raw), view(Permissions, incoming_pin.get())
            for privileged, access in itertools.product((0, 1), "rwx"):
                effective = {2: 0, 3: 1}.get(PRIVCFG, privileged)
                becomes = access if access == "w" else {2: "r", 3: "x"}.get(INSTCFG, access)
                assert incoming["up"[privileged] + access] == perms["up"[effective] + becomes]


def test_lookup_key():
    for oas in 48, 40:
        run_cocotb(LookupKey(Params(oas=oas)), __name__, testcase="random_addresses",
                   extra_env={"OAS": str(oas)})


def test_incoming_permissions():
    run_cocotb(PermissionsBox(), __name__, testcase="every_override")
