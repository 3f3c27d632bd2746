"""Programs of the distribution that a live boot needs."""

import shutil

from smmu_sim.live.errors import LiveError

__all__ = ["MissingTool", "find_tool", "missing_tools"]

_PACKAGES = {"qemu-system-aarch64": "qemu-system-arm", "dtc": "device-tree-compiler"}


class MissingTool(LiveError):
    """A program that is not installed. The message names Debian's package."""

    def __init__(self, name, package):
        super().__init__(f"{name} is not installed: it is in Debian's package {package} "
                         f"(apt install {package})")


def missing_tools():
    """Return ``{program: Debian's package}`` of what is not installed."""
    return {name: package for name, package in _PACKAGES.items() if shutil.which(name) is None}


def find_tool(name):
    """Return the path of a program, or raise :exc:`MissingTool`."""
    path = shutil.which(name)
    if path is None:
        raise MissingTool(name, _PACKAGES[name])
    return path
