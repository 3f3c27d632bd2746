"""Worlds to pass devices through in, and a check for refusals."""

import pytest

from smmu_sim.linux_error import LinuxError
from tests.smmu_sim.vfio.world import World

GIOVA, GDB, BUFFER = 0xFFFF_0000, 0x0809_0000, 0x4400_0000


@pytest.fixture
def world():
    """Return a function that makes a :class:`World`."""
    return World


@pytest.fixture
def guest():
    """Return a function that makes a :class:`World` with a guest: ``vfio`` is its device 0x42.

    Its stage 1 maps 1 MiB at 0x10_0000, and a doorbell; ``table=False`` leaves stage 1 off.
    """
    def make(generation="V15", *, doorbell=GIOVA, table=True, **options):
        w = World(generation, **options)
        w.vfio = w.add()
        w.join(w.vfio)
        w.map_guest_ram()
        w.guest.stage1.map(0x10_0000, BUFFER, 0x10_0000)
        if doorbell is not None:
            w.map_doorbell(doorbell, GDB)
        w.domain = w.container.attachments.domains[0]
        if table:
            w.table()
        return w
    return make


@pytest.fixture
def refused():
    """Return a function that checks that a call is refused with an errno."""
    def check(name, call, *arguments, **options):
        with pytest.raises(LinuxError) as caught:
            call(*arguments, **options)
        assert caught.value.name == name, f"{caught.value}, not {name}"
        return caught.value
    return check


@pytest.fixture
def nested():
    """Return a function that makes a world with device 0x42 in a container for nesting."""
    def make(generation, **options):
        w = World(generation)
        w.vfio = w.add(**options)
        w.join(w.vfio)
        w.domain = w.container.attachments.domains[0]
        return w
    return make


@pytest.fixture
def two():
    """Return a function that makes a world with two domains: 0x42, and 0x43 of another SMMU."""
    def make(generation):
        w = World(generation)
        w.smmu = w.second_smmu()
        w.a, w.b = w.add(0x42), w.add(0x43, smmu=w.smmu)
        w.join(w.a, w.b)
        return w
    return make


@pytest.fixture
def plain():
    """A world with a device, ``vfio``, in a container without nesting."""
    w = World()
    w.vfio = w.add()
    w.join(w.vfio, type=3)
    return w
