"""The cocotb side of :func:`bench.core.run_on_core`."""

import importlib
import json
import os

import cocotb
from cocotb.task import bridge

from smmu_sim.bench.backend import RTLBackend
from smmu_sim.bench.core import HOST_VARIABLE, core_params


@cocotb.test()
async def host_code(dut):
    """Call the function that was asked for in a thread of its own, and keep its result."""
    host = json.loads(os.environ[HOST_VARIABLE])
    module, _, name = host["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    options = {key: tuple(value) if isinstance(value, list) else value
               for key, value in host["options"].items()}
    backend = RTLBackend(dut, core_params(), **options)
    await backend.bus.reset()
    with open(host["reports"] or os.devnull, "w", buffering=1) as reports:
        def report(value):
            reports.write(json.dumps(value) + "\n")

        result = await bridge(function)(backend, report, **host["arguments"])
    with open(host["result"], "w") as file:
        json.dump(result, file)
