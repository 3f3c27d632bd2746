"""A backend whose SMMU is off, so that addresses pass as they are, and a function on it."""

import pytest

from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.devices import PCIFunction
from smmu_sim.memory import Memory


class Recorder(ModelBackend):
    """Keeps the transactions."""

    def __init__(self):
        super().__init__(Params(), Memory())
        self.reset()
        self.transactions = []

    def dma(self, transaction):
        self.transactions.append(transaction)
        return super().dma(transaction)


class Bump:
    """Hands out memory whose address for the device is the same but for an offset of 0."""

    def __init__(self, base=0x10_0000):
        self.next = base

    def __call__(self, size):
        addr, self.next = self.next, self.next + -(-size // 64) * 64
        return addr, addr


@pytest.fixture
def backend():
    return Recorder()


@pytest.fixture
def function(backend):
    return PCIFunction(backend, 0x42, name="A", vectors=4)


@pytest.fixture
def dma_alloc():
    return Bump()
