"""Waveforms of chosen moments of a recorded run: its first CMD_SYNC, and its first fault.

The simulation of a whole boot would fill a disk with its waveform. So a moment is cut out of the
trace: memory and registers as they were, then the one step, on the same core with cold caches. If
the SMMU's interrupts are MSIs, the first fault ends with the first MSI of the event queue.
"""

import gzip
import json
import struct
from pathlib import Path

from smmu.formats.commands import CommandHeader, Opcode
from smmu.formats.core import plain
from smmu.formats.registers import BY_NAME, CMDQ_BASE, CR0, EVENTQ_BASE
from smmu_sim.backend import Transaction
from smmu_sim.kept_waveform import keep_waveform
from smmu_sim.live.errors import LiveError
from smmu_sim.memory import Memory

__all__ = ["bring", "draw", "moments", "play_in_simulation", "repeat"]

_CR0, _IRQ_CTRL, _CMDQ_PROD, _CMDQ_CONS, _CMDQ_BASE, _EVENTQ_BASE, _EVENTQ_PROD, _MSI_ADDRESS = (
    BY_NAME[name].offset for name in (
        "CR0", "IRQ_CTRL", "CMDQ_PROD", "CMDQ_CONS", "CMDQ_BASE", "EVENTQ_BASE",
        "EVENTQ_PROD", "EVENTQ_IRQ_CFG0"))
_COMMAND_BYTES = 16


class _State:
    """Memory and registers as they are at one place of a trace."""

    def __init__(self):
        self.memory, self.registers, self.changes = Memory(), {}, []

    def follow(self, step):
        for addr, octets in step.get("mem", ()):
            self.memory.poke(addr, bytes.fromhex(octets))
            self.changes.append([addr, octets])
        if "reg" in step:
            _, offset, value = step["reg"]
            self.registers[offset] = value

    def moment(self, step):
        """Return what :func:`bring` needs for one step from here."""
        prod = self.registers.get(_CMDQ_PROD, 0)
        registers = self.registers | {_CMDQ_PROD: prod, _CMDQ_CONS: prod, _EVENTQ_PROD: 0}
        last = [offset for offset in (_IRQ_CTRL, _CR0) if offset in registers]
        order = [offset for offset in registers if offset not in last] + last
        return {"mem": self.changes[:], "step": step,
                "regs": [[offset, registers[offset]] for offset in order]}

    def publishes_sync(self, step):
        """Whether a step writes CMDQ_PROD, and a CMD_SYNC becomes visible."""
        if "reg" not in step or step["reg"][1] != _CMDQ_PROD \
                or not plain(CR0).CMDQEN(self.registers.get(_CR0, 0)):
            return False
        base = self.registers.get(_CMDQ_BASE, 0) | self.registers.get(_CMDQ_BASE + 4, 0) << 32
        start = plain(CMDQ_BASE).ADDR(base) << 5
        mask = (1 << plain(CMDQ_BASE).LOG2SIZE(base)) - 1
        first, end = self.registers.get(_CMDQ_PROD, 0), step["reg"][2]
        return any(plain(CommandHeader).Op(int.from_bytes(
            self.memory.peek(start + _COMMAND_BYTES * (index & mask), _COMMAND_BYTES),
            "little")) == Opcode.CMD_SYNC for index in range(first, max(first, end)))


def moments(trace):
    """Return ``{"cmd-sync": ..., "fault": ...}`` of a trace; what did not happen is left out.

    A fault that an MSI tells of is called ``"fault-msi"``.
    """
    with gzip.open(trace, "rt") as file:
        scenario = json.loads(file.read().splitlines()[1])
    found, state, faulted = {}, _State(), False
    for step in scenario["steps"]:
        if "cmd-sync" not in found and state.publishes_sync(step):
            found["cmd-sync"] = state.moment(step)
        if not faulted and step.get("event"):
            faulted = True
            name = "fault-msi" if state.registers.get(_MSI_ADDRESS) else "fault"
            found[name] = state.moment(step)
        state.follow(step)
    return found


def bring(backend, moment, windows):
    """Give a backend the memory and the registers of a moment; there is memory in ``windows``."""
    backend.memory.limit_to(windows)
    for addr, octets in moment["mem"]:
        backend.memory.poke(addr, bytes.fromhex(octets))
    for offset, value in moment["regs"]:
        backend.write32(offset, value)
        backend.idle()


def repeat(backend, step):
    """Do the step of a moment. LiveError: it goes otherwise than it was recorded."""
    if "reg" in step:
        _, offset, value = step["reg"]
        backend.write32(offset, value)
        backend.idle()
        _same("CMDQ_CONS", backend.read32(_CMDQ_CONS), value)
        return
    dma = step["dma"]
    result = backend.dma(Transaction(
        sid=dma["sid"], addr=dma["iova"], write=dma["write"], length=dma["len"],
        data=bytes(dma["len"]) if dma["write"] else None))
    backend.idle()
    _same("outcome", result.ok, step["expect"]["ok"])
    base = plain(EVENTQ_BASE).ADDR(backend.read64(_EVENTQ_BASE)) << 5
    record = backend.memory.peek(base, 8 * len(step["event"]))
    _same("event record", [f"{word:016x}" for word, in struct.iter_unpack("<Q", record)],
          step["event"])


def _same(what, found, expected):
    if found != expected:
        raise LiveError(f"the waveform shows something else: {what} is {found}, recorded was "
                        f"{expected}")


def play_in_simulation(backend, report, moment, windows):
    """Inside the simulation: bring the core to a moment, do the step; its times in ns.

    ``moment`` is the path of a file with one of :func:`moments`, as JSON.
    """
    from cocotb.utils import get_sim_time

    moment = json.loads(Path(moment).read_text())
    bring(backend, moment, windows)
    start = get_sim_time("ns")
    repeat(backend, moment["step"])
    return [start, get_sim_time("ns")]


def draw(trace, layout, config, settings, folder):
    """Simulate each moment of a trace; write VCDs and GTKWave save files; ``{what: path}``."""
    from smmu_sim.bench.core import build_core, run_host

    build = build_core(config, settings, waves=True)
    files = {}
    for name, moment in moments(trace).items():
        place = Path(folder) / f"{name}.json"
        place.write_text(json.dumps(moment))
        window, run = run_host(
            build, play_in_simulation, {"moment": str(place), "windows": layout.windows},
            config=config, settings=settings, waves=True, name=f"live-{name}")
        place.unlink()
        kept = keep_waveform(run, build, Path(folder) / f"{name}.vcd", window)
        files |= {f"first {name}, {what}": path for what, path in kept.items()}
    return files
