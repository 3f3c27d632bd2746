"""Where the selector watch puts its watchpoints, and when."""

import pytest
from smmu_sim.live import selector_watch
from smmu_sim.live.selector_watch import SelectorWatch


class Stub:
    """A debugger port that notes what it is told."""

    def __init__(self, path):
        self.log, self.hit = [], []

    def system_register(self, name, cpu):
        return 0

    def watch(self, addr, size):
        self.log.append(("watch", addr))

    def unwatch(self, addr, size):
        self.log.append(("unwatch", addr))

    def step_over(self, addr, size, thread):
        self.log.append(("step", thread))

    def hits(self):
        found, self.hit = self.hit, []
        return found


class Monitor:
    ended = None

    def __init__(self):
        self.log = []

    def command(self, name, **_):
        self.log.append(name)
        return [{}, {}] if name == "query-cpus-fast" else {}


class Frame:
    selector, shown_status = 0x5C12_0030, 0

    def __init__(self):
        self.selected_times = 0

    def selected(self):
        self.selected_times += 1


@pytest.fixture
def watch(monkeypatch):
    """A watch whose kernel has mapped the device at ``watch.page``, or at no known place."""
    monkeypatch.setattr(selector_watch, "GDBStub", Stub)
    frame, monitor = Frame(), Monitor()
    watch = SelectorWatch("gdb", None, monitor, [frame])
    watch.frame, watch.monitor, watch.page = frame, monitor, 0xFFFF_8000_0001_0000
    monkeypatch.setattr(selector_watch, "virtual_address", lambda *_: watch.page)
    return watch


def test_a_device_is_watched_once_the_kernel_has_found_it(watch):
    assert not watch.poll() and watch._stub is None
    watch.frame.shown_status = 1
    assert watch.poll() and not watch.poll()
    assert watch._stub.log == [("watch", 0xFFFF_8000_0001_0030)]
    assert watch.monitor.log[0] == "stop" and watch.monitor.log[-1] == "cont"


def test_a_device_is_watched_even_if_its_driver_has_begun_already(watch):
    watch.frame.shown_status = 0xF
    assert watch.poll() and watch._stub is None
    watch.frame.shown_status = 0xB    # a new driver; nobody saw the status that the core sets
    watch.poll()
    assert watch._stub.log == [("watch", 0xFFFF_8000_0001_0030)]
    watch.monitor.log.clear()
    watch.frame.shown_status = 3
    assert watch.poll() and watch.monitor.log == []


def test_a_hit_changes_the_frame_before_the_guest_goes_on(watch):
    watch.frame.shown_status = 1
    watch.poll()
    watch.monitor.log.clear()
    watch._stub.hit = [(0xFFFF_8000_0001_0030, "p01.02")]
    assert watch.poll()
    assert watch.frame.selected_times == watch.hits == 1
    assert watch._stub.log[-1] == ("step", "p01.02") and watch.monitor.log == ["cont"]


def test_while_the_kernels_tables_are_out_of_reach_it_tries_again(watch):
    page, watch.page = watch.page, None
    watch.frame.shown_status = 1
    assert watch.poll() and watch.poll()
    assert watch._stub.log == [] and "0x5c120030" in watch.problem
    watch.page = page
    watch.poll()
    assert watch._stub.log == [("watch", page + 0x30)] and watch.problem is None


def test_a_known_place_is_kept_until_another_is_found(watch):
    watch.frame.shown_status = 1
    watch.poll()
    old, watch.page = watch.page, None
    watch.frame.shown_status = 0
    watch.poll()
    watch.frame.shown_status = 1
    watch.poll()
    assert watch._stub.log == [("watch", old + 0x30)]
    watch.page = old + 0x5_0000
    watch.poll()
    assert watch._stub.log[1:] == [("unwatch", old + 0x30), ("watch", old + 0x5_0030)]
