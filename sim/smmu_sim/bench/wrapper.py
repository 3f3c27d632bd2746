"""A Verilog module around a core with AXI ports which gathers them into a few vectors.

Reading and writing signals is what an agent in Python spends its time on. So the wrapper presents
all VALID and READY of the core as one vector, those towards the core as another, and the payload of
each channel as one vector; and it watches by itself what needs to be watched at each clock.
"""

import re
from dataclasses import dataclass, field

__all__ = ["BENCH", "Channel", "Port", "channel_table", "wrap"]

BENCH = "bench"  # name of the wrapper module

# The members of each channel besides VALID and READY, in AXI's order.
_ADDRESS = ["id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "region", "user"]
_MEMBERS = {
    "aw": _ADDRESS,
    "w": ["id", "data", "strb", "last", "user"],
    "b": ["id", "resp", "user"],
    "ar": _ADDRESS,
    "r": ["id", "data", "resp", "last", "user"],
}
_FROM_MASTER = ("aw", "w", "ar")


@dataclass
class Channel:
    """One channel: the vector that holds its payload, and where each member sits in it."""

    name: str
    driven: bool                # by the core
    width: int = 0
    members: dict = field(default_factory=dict)  # member: [lsb, width]
    in_bit: int = -1            # the core's VALID (or READY, if not driven) in `bench_out`
    out_bit: int = -1           # the other one in `bench_in`


@dataclass
class Port:
    """One AXI port of the core. ``master``: the core is the master."""

    name: str
    master: bool
    lite: bool
    channels: dict[str, Channel]


def channel_table(ports) -> dict[str, Port]:
    """Find the AXI ports among flat port names ({name: (direction, width)}), and lay them out."""
    table, in_bit, out_bit = {}, 0, 0
    for valid in ports:
        match = re.fullmatch(r"(.+?_+)awvalid", valid)
        if match is None or match[1] + "arvalid" not in ports:
            continue
        prefix = match[1]
        master = ports[valid][0] == "o"
        port = Port(prefix.rstrip("_"), master, prefix + "awlen" not in ports, {})
        for name, members in _MEMBERS.items():
            channel = Channel(prefix + name, (name in _FROM_MASTER) == master)
            for member in members:
                if prefix + name + member in ports:
                    width = ports[prefix + name + member][1]
                    channel.members[member] = [channel.width, width]
                    channel.width += width
            channel.in_bit, channel.out_bit = in_bit, out_bit
            in_bit, out_bit = in_bit + 1, out_bit + 1
            port.channels[name] = channel
        table[port.name] = port
    return table


def _pulses(ports):
    """Single wires out of the core that agents count: interrupts."""
    return [name for name, (way, width) in ports.items()
            if way == "o" and width == 1 and name.startswith("irq_")]


def wrap(verilog, ports, core):
    """Return (Verilog of core and wrapper, ports of the wrapper, description for `bench.bus`).

    ``ports`` are those of module ``core`` in ``verilog``. Ports that belong to no AXI interface are
    passed through. ``bench_out`` has the core's own VALID and READY, then its interrupt wires, then
    one bit that tells of a broken rule; ``bench_wake`` is high while any of it wants attention.
    """
    table, pulses = channel_table(ports), _pulses(ports)
    if not table:
        raise ValueError(f"{core} has no AXI port; its ports are {', '.join(ports)}")
    channels = [channel for port in table.values() for channel in port.channels.values()]
    gathered = {f"{channel.name}{member}" for channel in channels
                for member in [*channel.members, "valid", "ready"]}
    outer = {name: place for name, place in ports.items() if name not in gathered}
    outs = [f"{c.name}{'valid' if c.driven else 'ready'}" for c in channels] + pulses
    ins = [f"{c.name}{'ready' if c.driven else 'valid'}" for c in channels]
    driven = [channel for channel in channels if channel.driven]
    for channel in channels:
        outer[f"{channel.name}_payload"] = ("o" if channel.driven else "i", channel.width)
    outer["bench_in"] = ("i", len(ins))
    outer["bench_out"] = ("o", len(outs) + 1)
    outer["bench_wake"] = ("o", 1)
    outer["bench_broken"] = ("o", 2 * len(driven))

    lines = [f"module {BENCH}({', '.join(outer)});"]
    lines += [f"  {_way(way)} [{width - 1}:0] {name};" if width > 1 else f"  {_way(way)} {name};"
              for name, (way, width) in outer.items()]
    for name, (_, width) in ports.items():
        if name in gathered:
            lines.append(f"  wire [{width - 1}:0] {name};")
    for channel in channels:
        members = ", ".join(f"{channel.name}{member}" for member in reversed(channel.members))
        left, right = f"{channel.name}_payload", f"{{{members}}}"
        lines.append(f"  assign {left} = {right};" if channel.driven
                     else f"  assign {right} = {left};")
    lines.append(f"  assign {{{', '.join(reversed(ins))}}} = bench_in;")
    lines += _watch(driven)
    lines.append(f"  assign bench_out = {{|bench_broken, {', '.join(reversed(outs))}}};")
    wake = [f"{channel.name}valid" for channel in driven] + pulses
    lines.append(f"  assign bench_wake = {' | '.join([*wake, '(|bench_broken)'])};")
    lines.append(f"  {core} {core} ({', '.join(f'.{name}({name})' for name in ports)});")
    lines.append("endmodule")
    description = {
        "ports": [{"name": port.name, "master": port.master, "lite": port.lite,
                   "channels": {name: vars(channel) for name, channel in port.channels.items()}}
                  for port in table.values()],
        "pulses": {name: len(channels) + index for index, name in enumerate(pulses)},
        "broken": len(outs),
        "watched": [channel.name for channel in driven],
    }
    return verilog + "\n" + "\n".join(lines) + "\n", outer, description


def _way(direction):
    return "input" if direction == "i" else "output"


def _watch(driven):
    """Check each channel that the core drives; a broken rule is a pulse, one clock later.

    Bit 2n: the payload of channel n changed, or VALID fell, before READY. Bit 2n + 1: VALID was
    high in the clock after one with reset.
    """
    lines = ["  reg was_reset = 0;", f"  reg [{2 * len(driven) - 1}:0] broken = 0;",
             "  assign bench_broken = broken;"]
    body = ["    was_reset <= rst;"]
    for index, channel in enumerate(driven):
        name, wait, before = channel.name, f"waits_{index}", f"before_{index}"
        lines += [f"  reg {wait} = 0;", f"  reg [{channel.width - 1}:0] {before} = 0;"]
        body += [f"    {wait} <= {name}valid & ~{name}ready & ~rst;",
                 f"    if ({name}valid) {before} <= {name}_payload;",
                 f"    broken[{2 * index}] <= ~rst & {wait} & "
                 f"(~{name}valid | ({name}_payload != {before}));",
                 f"    broken[{2 * index + 1}] <= was_reset & {name}valid;"]
    return [*lines, "  always @(posedge clk) begin", *body, "  end"]
