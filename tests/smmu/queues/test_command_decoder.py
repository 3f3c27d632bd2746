"""Which commands are legal, and what each invalidation matches, for several builds."""

import os
import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from smmu.formats.commands import COMMANDS, CS, TLBI, Opcode, pack_command
from smmu.formats.core import fields, pack
from smmu.params import Params
from smmu.payloads import Invalidation
from smmu.queues.command_decoder import CommandDecoder
from smmu_sim.bench.layout import view
from smmu_sim.bench.runner import run_cocotb
from smmu_sim.bench.stream import Pin, reset

BUILDS = {
    "both": {},
    "stage 1": {"s2p": 0, "hyp": 0, "xnx": 0},
    "stage 2": {"s1p": 0, "hyp": 0, "had": 0},
}
SSEC = 1 << 10
NEEDS_S1 = {Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL, Opcode.CMD_TLBI_NH_ALL,
            Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_VAA}
NEEDS_HYP = {Opcode.CMD_TLBI_EL2_ALL, Opcode.CMD_TLBI_EL2_ASID, Opcode.CMD_TLBI_EL2_VA,
             Opcode.CMD_TLBI_EL2_VAA}
NEEDS_S2 = {Opcode.CMD_TLBI_S12_VMALL, Opcode.CMD_TLBI_S2_IPA}
ALWAYS = {Opcode.CMD_PREFETCH_CONFIG, Opcode.CMD_PREFETCH_ADDR, Opcode.CMD_CFGI_STE,
          Opcode.CMD_CFGI_STE_RANGE, Opcode.CMD_TLBI_NSNH_ALL, Opcode.CMD_SYNC}
BY_ADDRESS = {Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_VAA, Opcode.CMD_TLBI_EL2_VA,
              Opcode.CMD_TLBI_EL2_VAA, Opcode.CMD_TLBI_S2_IPA}
# What a command matches: fields of `Invalidation` that are 1.
MATCHES = {
    Opcode.CMD_CFGI_STE: {"cfg"},
    Opcode.CMD_CFGI_STE_RANGE: {"cfg"},
    Opcode.CMD_CFGI_CD: {"cfg", "match_ssid"},
    Opcode.CMD_CFGI_CD_ALL: {"cfg"},
    Opcode.CMD_TLBI_NH_ALL: {"va", "match_vmid"},
    Opcode.CMD_TLBI_NH_ASID: {"va", "match_vmid", "match_asid", "keep_global"},
    Opcode.CMD_TLBI_NH_VA: {"va", "match_vmid", "match_asid", "match_addr"},
    Opcode.CMD_TLBI_NH_VAA: {"va", "match_vmid", "match_addr"},
    Opcode.CMD_TLBI_EL2_ALL: {"el2", "va"},
    Opcode.CMD_TLBI_EL2_ASID: {"el2", "va", "match_asid", "keep_global"},
    Opcode.CMD_TLBI_EL2_VA: {"el2", "va", "match_asid", "match_addr"},
    Opcode.CMD_TLBI_EL2_VAA: {"el2", "va", "match_addr"},
    Opcode.CMD_TLBI_S12_VMALL: {"va", "ipa", "match_vmid"},
    Opcode.CMD_TLBI_S2_IPA: {"ipa", "match_vmid", "match_addr"},
    Opcode.CMD_TLBI_NSNH_ALL: {"va", "ipa"},
}
FLAGS = {"cfg", "el2", "va", "ipa", "match_vmid", "match_asid", "keep_global", "match_addr",
         "match_ssid"}


def params():
    return Params(**BUILDS[os.environ["BUILD"]])


def implemented():
    p = params()
    return (ALWAYS | (NEEDS_S1 if p.s1p else set()) | (NEEDS_S2 if p.s2p else set())
            | (NEEDS_HYP if p.hyp else set()))


async def decode(dut, command, e2h=1):
    """Return (illegal, sync, invalidates, invalidation)."""
    Pin(dut, "command").set(command)
    Pin(dut, "e2h").set(e2h)
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    return (*(Pin(dut, name).get() for name in ("illegal", "sync", "invalidates")),
            view(Invalidation, Pin(dut, "invalidation").get()))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_opcode(dut):
    """Legal only what this build has; reserved bits do not matter; SSec is always illegal."""
    await reset(dut)
    for opcode in range(256):
        legal = opcode in implemented()
        for noise in (0, random.getrandbits(120) << 8 & ~SSEC):
            if opcode == Opcode.CMD_SYNC:
                noise &= ~pack(COMMANDS[opcode], {"CS": 3})
            if opcode in BY_ADDRESS:
                noise |= pack(TLBI, {"NUM": 1})
            illegal, sync, invalidates, _ = await decode(dut, noise | opcode)
            assert illegal == (not legal), hex(opcode)
            if legal:
                assert sync == (opcode == Opcode.CMD_SYNC)
                assert invalidates == (opcode in MATCHES)
            assert (await decode(dut, noise | opcode | SSEC))[0] == 1, hex(opcode)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sync_signals(dut):
    await reset(dut)
    for cs in range(4):
        illegal, sync, *_ = await decode(dut, pack_command(Opcode.CMD_SYNC, {"CS": cs}))
        assert illegal == (cs not in list(CS)) and sync


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def range_rules(dut):
    """One granule without its level is illegal; so is level 1 of 16K granules."""
    await reset(dut)
    for opcode in sorted((BY_ADDRESS | {Opcode.CMD_TLBI_NSNH_ALL}) & implemented()):
        for tg in range(4):
            for ttl in range(4):
                for num, scale in ((0, 0), (1, 0), (0, 1), (31, 31)):
                    illegal, _, _, found = await decode(dut, pack_command(
                        opcode, {"TG": tg, "TTL": ttl, "NUM": num, "SCALE": scale}))
                    bad = (opcode in BY_ADDRESS and tg and not num and not scale
                           and (ttl == 0 or (tg, ttl) == (2, 1)))
                    assert illegal == bool(bad), (opcode, tg, ttl, num, scale)
                    if opcode in BY_ADDRESS and not bad:
                        assert (found.tg, found.num, found.scale) == \
                            ((tg, num, scale) if tg else (0, 0, 0))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def invalidations(dut):
    """The matching flags and the fields of random commands."""
    await reset(dut)
    for _ in range(400):
        opcode = random.choice(sorted(implemented() & set(MATCHES)))
        values = {name: random.getrandbits(field.width)
                  for name, field in fields(COMMANDS[opcode]).items() if name not in ("Op", "SSec")}
        if "NUM" in values:
            values["NUM"] |= 1
        e2h = random.randrange(2)
        illegal, _, invalidates, found = await decode(dut, pack_command(opcode, values), e2h)
        assert not illegal and invalidates
        expected = set(MATCHES[opcode])
        if not params().s2p:
            expected.discard("match_vmid")
        if opcode == Opcode.CMD_TLBI_EL2_VA and not e2h:
            expected.discard("match_asid")
        assert {flag for flag in FLAGS if found[flag]} == expected, opcode
        if "cfg" in expected:
            assert found.sid == values["StreamID"]
            assert found.sid_ignore == (
                (2 << values["Range"]) - 1 if opcode == Opcode.CMD_CFGI_STE_RANGE else 0)
            assert "match_ssid" not in expected or found.ssid == values["SubstreamID"]
        else:
            assert (found.vmid, found.asid, found.addr) == \
                (values["VMID"], values["ASID"], values["Address"])
            assert found.leaf == values["Leaf"]


@pytest.mark.parametrize("build", BUILDS)
def test_command_decoder(build):
    run_cocotb(CommandDecoder(Params(**BUILDS[build])), __name__, extra_env={"BUILD": build},
               seed=2)
