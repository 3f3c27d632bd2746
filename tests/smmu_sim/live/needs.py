"""What tests need that cannot be installed from Python packages."""

import pytest

from smmu_sim.live.tools import missing_tools

__all__ = ["NEEDS_QEMU"]

NEEDS_QEMU = pytest.mark.skipif(
    bool(missing_tools()),
    reason="not installed: " + ", ".join(f"{name} (Debian: {package})"
                                         for name, package in missing_tools().items()))
