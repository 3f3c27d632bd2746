"""A guest's memory in a file, without a guest."""

import pytest

from smmu_sim.live.layout import Layout
from smmu_sim.live.shared_memory import SharedMemory


@pytest.fixture
def layout():
    return Layout(256)


@pytest.fixture
def memory(layout, tmp_path):
    path = tmp_path / "ram"
    with open(path, "wb") as file:
        file.truncate(layout.ram_bytes)
    memory = SharedMemory(path, layout)
    yield memory
    memory.close()
