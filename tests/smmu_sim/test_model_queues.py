"""The model's queues, global errors, MSIs and interrupt wires."""

import pytest

from smmu.formats.commands import CS, CERROR, Opcode, pack_command
from smmu.formats.core import fields, pack
from smmu.formats.registers import BY_NAME, CMDQ_BASE, CMDQ_CONS, EVENTQ_BASE, GERROR, IRQ_CTRL
from smmu.params import Params
from smmu_sim.model.system import System

MSI_ADDR = 0x6000_0000
SYNC = pack_command(Opcode.CMD_SYNC)


def error(name):
    return fields(GERROR)[name].mask


def active(system):
    return system.read("GERROR") ^ system.read("GERRORN")


def acknowledge(system):
    system.write("GERRORN", system.read("GERROR"))


LEGAL_OPCODES = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23,
                 0x28, 0x2A, 0x30, 0x46}


def test_every_opcode():
    for opcode in range(256):
        for ssec in (0, 1):
            system = System()
            system.command(opcode | ssec << 10)
            illegal = opcode not in LEGAL_OPCODES or ssec
            assert active(system) == (error("CMDQ_ERR") if illegal else 0), hex(opcode)
            assert system.field("CMDQ_CONS", "RD") == (0 if illegal else 1)
            if illegal:
                assert system.field("CMDQ_CONS", "ERR") == CERROR.CERROR_ILL


@pytest.mark.parametrize("params, opcodes", [
    ({"s2p": 0, "hyp": 0, "xnx": 0, "fwb": 0}, {0x20, 0x21, 0x22, 0x23, 0x28, 0x2A}),
    ({"s1p": 0, "hyp": 0, "had": 0},
     {0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23})])
def test_opcodes_of_absent_stages(params, opcodes):
    for opcode in sorted(LEGAL_OPCODES):
        system = System(Params(**params))
        system.command(opcode)
        assert bool(active(system)) == (opcode in opcodes), hex(opcode)


@pytest.mark.parametrize("values, legal", [
    ({}, True), ({"TG": 0, "TTL": 2}, True),
    ({"TG": 1}, False), ({"TG": 2}, False), ({"TG": 3}, False),
    ({"TG": 1, "NUM": 1}, True), ({"TG": 1, "SCALE": 1}, True), ({"TG": 1, "SCALE": 32}, False),
    ({"TG": 1, "TTL": 1}, True), ({"TG": 3, "TTL": 1}, True), ({"TG": 2, "TTL": 1}, False),
    ({"TG": 2, "TTL": 1, "NUM": 1}, True), ({"TG": 2, "TTL": 2}, True),
    ({"TG": 1, "TTL": 3}, True)])
@pytest.mark.parametrize("opcode", [
    Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_VAA, Opcode.CMD_TLBI_EL2_VA, Opcode.CMD_TLBI_EL2_VAA,
    Opcode.CMD_TLBI_S2_IPA])
def test_range_legality(opcode, values, legal):
    system = System()
    system.command(pack_command(opcode, values))
    assert bool(active(system)) == (not legal)


def test_range_fields_are_ignored_elsewhere():
    system = System()
    system.command(pack_command(Opcode.CMD_TLBI_NH_ALL, {"TG": 1}))
    assert not active(system)


@pytest.mark.parametrize("cs, legal", [(0, True), (1, True), (2, True), (3, False)])
def test_sync_completion_signals(cs, legal):
    system = System()
    system.command(pack_command(Opcode.CMD_SYNC, {"CS": cs}))
    assert bool(active(system)) == (not legal)
    assert system.backend.interrupts().cmdq_sync == (cs == CS.SIG_IRQ)


def test_error_stops_and_the_acknowledge_resumes():
    system = System()
    system.command(SYNC, 0xFF, SYNC)
    assert system.field("CMDQ_CONS", "RD") == 1 and active(system) == error("CMDQ_ERR")
    system.enable(CMDQEN=0)
    assert active(system) == error("CMDQ_ERR")  # disabling does not clear it
    system.enable()
    assert system.field("CMDQ_CONS", "RD") == 1
    system.memory.poke(system.CMDQ + 16, SYNC.to_bytes(16, "little"))
    acknowledge(system)
    assert system.field("CMDQ_CONS", "RD") == 3 and not active(system)
    # The next one toggles GERROR back.
    system.command(0xFF)
    assert system.read("GERROR") == 0 and active(system) == error("CMDQ_ERR")


def test_aborted_command_fetch():
    system = System()
    handle = system.memory.abort_at(range(system.CMDQ + 16, system.CMDQ + 32), "read")
    system.command(SYNC, SYNC)
    assert system.field("CMDQ_CONS", "RD") == 1
    assert system.field("CMDQ_CONS", "ERR") == CERROR.CERROR_ABT
    acknowledge(system)
    assert active(system) == error("CMDQ_ERR")
    system.memory.remove(handle)
    acknowledge(system)
    assert system.field("CMDQ_CONS", "RD") == 2


@pytest.mark.parametrize("log2size, base, effective", [
    (0, 0x2_0020, 0x2_0020), (1, 0x2_0020, 0x2_0020), (3, 0x2_0060, 0x2_0000)])
def test_command_queue_wraps_and_is_aligned(log2size, base, effective):
    system = System()
    system.enable(CMDQEN=0)
    system.write("CMDQ_BASE", base | pack(CMDQ_BASE, {"LOG2SIZE": log2size}))
    system.enable()
    system.CMDQ, system.LOG2_QUEUE = effective, log2size
    for index in range(1, 5 << log2size):
        system.command(SYNC)
        assert system.field("CMDQ_CONS", "RD") == index % (2 << log2size)


def test_log2size_is_limited_by_cmdqs():
    system = System(Params(cmdqs=2))
    system.LOG2_QUEUE = 2
    system.command(*[SYNC] * 3)
    system.command(*[SYNC] * 3)
    assert system.field("CMDQ_CONS", "RD") == 6
    assert system.field("CMDQ_BASE", "LOG2SIZE") == 6  # as written


def test_illegal_command_indexes_stop():
    system = System()
    system.write("CMDQ_PROD", 65 + 10)
    assert system.field("CMDQ_CONS", "RD") == 0 and not active(system)


def fault(system):
    """Cause one C_BAD_STE."""
    assert not system.dma(0, streamid=9).ok


@pytest.mark.parametrize("log2size", [0, 1, 3])
def test_event_queue_overflow(log2size):
    system = System()
    system.enable(EVENTQEN=0)
    system.write("EVENTQ_BASE", system.EVENTQ | pack(EVENTQ_BASE, {"LOG2SIZE": log2size}))
    system.enable()
    system.LOG2_QUEUE = log2size
    size = 1 << log2size
    for _ in range(size):
        fault(system)
    assert system.read("EVENTQ_PROD") == size  # full, no overflow
    fault(system)
    overflow = 1 << 31
    assert system.read("EVENTQ_PROD") == size | overflow
    fault(system)
    assert system.read("EVENTQ_PROD") == size | overflow  # not acknowledged: not toggled again
    # Space without an acknowledge: records go on.
    system.write("EVENTQ_CONS", 1)
    fault(system)
    prod = (size + 1) % (2 * size)
    assert system.read("EVENTQ_PROD") == prod | overflow
    # Acknowledged while full: the next loss toggles OVFLG back.
    system.write("EVENTQ_CONS", 1 | overflow)
    fault(system)
    assert system.read("EVENTQ_PROD") == prod
    assert not active(system)


def test_illegal_event_indexes_count_as_full():
    system = System()
    system.write("EVENTQ_CONS", 3)
    fault(system)
    assert system.read("EVENTQ_PROD") == 1 << 31


def test_disabled_event_queue_loses_records_silently():
    system = System()
    system.enable(EVENTQEN=0)
    fault(system)
    assert system.read("EVENTQ_PROD") == 0
    system.enable()
    fault(system)
    assert system.read("EVENTQ_PROD") == 1


def test_aborted_event_write():
    system = System()
    handle = system.memory.abort_at(system.EVENTQ, "write")
    fault(system)
    assert active(system) == error("EVENTQ_ABT_ERR") and system.read("EVENTQ_PROD") == 0
    system.memory.remove(handle)
    fault(system)  # nothing is written while the error is active
    assert system.read("EVENTQ_PROD") == 0
    acknowledge(system)
    fault(system)
    assert system.read("EVENTQ_PROD") == 1


def interrupts_on(system, addr=MSI_ADDR):
    for index, source in enumerate(("GERROR", "EVENTQ")):
        system.write(f"{source}_IRQ_CFG0", addr + 4 * index if addr else 0)
        system.write(f"{source}_IRQ_CFG1", 0xA0 + index)
    system.write("IRQ_CTRL", pack(IRQ_CTRL, {"GERROR_IRQEN": 1, "EVENTQ_IRQEN": 1}))


def test_event_interrupt_when_the_queue_becomes_non_empty():
    system = System()
    fault(system)
    interrupts_on(system)
    assert system.backend.interrupts().eventq == 0  # nothing pending is replayed
    fault(system)
    assert system.backend.interrupts().eventq == 0
    system.events()
    fault(system)
    fault(system)
    assert system.backend.interrupts().eventq == 1
    assert system.memory.read64(MSI_ADDR) == 0xA1 << 32


def test_gerror_interrupt_and_msi():
    system = System()
    interrupts_on(system)
    system.command(0xFF)
    assert system.backend.interrupts().gerror == 1
    assert system.memory.read32(MSI_ADDR) == 0xA0


@pytest.mark.parametrize("msi", [0, 1])
def test_address_0_or_no_msi_suppresses_only_the_msi(msi):
    system = System(Params(msi=msi))
    system.memory.abort_at(range(0, 4), "write")
    interrupts_on(system, addr=0)
    fault(system)
    system.command(pack_command(Opcode.CMD_SYNC, {"CS": CS.SIG_IRQ}))
    assert system.backend.interrupts() == (1, 0, 1, 0) and not active(system)


def test_disabled_interrupts():
    system = System()
    interrupts_on(system)
    system.write("IRQ_CTRL", 0)
    fault(system)
    system.command(0xFF)
    assert system.backend.interrupts() == (0, 0, 0, 0)
    assert system.memory.read64(MSI_ADDR) == 0


def test_sync_msi_and_its_order():
    system = System()
    seen = []
    system.memory.observe(range(MSI_ADDR, MSI_ADDR + 4), lambda addr, data, device_id: seen.append(
        (data, device_id, system.field("CMDQ_CONS", "RD"))))
    system.command(pack_command(Opcode.CMD_SYNC, {
        "CS": CS.SIG_IRQ, "MSIAddress": MSI_ADDR >> 2, "MSIData": 0xCAFE0001}))
    assert seen == [((0xCAFE0001).to_bytes(4, "little"), None, 1)]


def test_msi_addresses_are_truncated_to_oas():
    system = System(Params(oas=40))
    system.command(pack_command(Opcode.CMD_SYNC, {
        "CS": CS.SIG_IRQ, "MSIAddress": (1 << 44 | MSI_ADDR) >> 2, "MSIData": 7}))
    assert system.memory.read32(MSI_ADDR) == 7


def test_aborted_msis():
    system = System()
    interrupts_on(system)
    system.memory.abort_at(range(MSI_ADDR + 4, MSI_ADDR + 16), "write")
    fault(system)
    assert active(system) == error("MSI_EVENTQ_ABT_ERR")
    assert system.backend.interrupts() == (1, 1, 0, 0)
    assert system.memory.read32(MSI_ADDR) == 0xA0  # the GERROR MSI about it
    system.command(pack_command(Opcode.CMD_SYNC, {
        "CS": CS.SIG_IRQ, "MSIAddress": MSI_ADDR + 8 >> 2}))
    assert active(system) == error("MSI_EVENTQ_ABT_ERR") | error("MSI_CMDQ_ABT_ERR")
    assert system.field("CMDQ_CONS", "RD") == 1  # it is consumed all the same
    acknowledge(system)
    system.memory.abort_at(MSI_ADDR, "write")
    pulses = system.backend.interrupts().gerror
    system.command(0xFF)
    assert active(system) == error("CMDQ_ERR") | error("MSI_GERROR_ABT_ERR")
    assert system.backend.interrupts().gerror == pulses + 1  # none for the GERROR MSI itself


def test_prod_written_while_disabled_counts_when_enabled():
    system = System()
    system.enable(CMDQEN=0)
    system.command(SYNC)
    assert system.field("CMDQ_CONS", "RD") == 0
    system.write("CMDQ_CONS", pack(CMDQ_CONS, {"RD": 0}))
    system.enable()
    assert system.field("CMDQ_CONS", "RD") == 1
    assert BY_NAME["CMDQ_CONS"].guard == "CMDQEN=0"
