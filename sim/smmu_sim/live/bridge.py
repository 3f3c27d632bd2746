"""The process beside QEMU: what the guest wants of its SMMU and devices, a backend does.

:func:`serve` is host code: it runs on a :class:`smmu_sim.backend.ModelBackend` directly, and inside
a simulation of the core by :func:`smmu_sim.bench.core.run_host`.
"""

import time
from pathlib import Path

from smmu.formats.core import plain
from smmu.formats.registers import BY_NAME, CR0
from smmu_sim.live.frame import RegisterFrame
from smmu_sim.live.guest_clock import GuestClock
from smmu_sim.live.layout import SPI_CMDQ_SYNC, SPI_EVENTQ, SPI_GERROR, Layout
from smmu_sim.live.qemu_control import InterruptWires, Monitor
from smmu_sim.live.recorder import Recorder
from smmu_sim.live.rogue import Rogue
from smmu_sim.live.selector_watch import SelectorWatch
from smmu_sim.live.shared_memory import SharedMemory
from smmu_sim.live.statistics import Statistics
from smmu_sim.live.virtio.block import Block
from smmu_sim.live.virtio.frame import VirtioFrame
from smmu_sim.live.virtio.net import Net
from smmu_sim.live.virtio.port import DevicePort
from smmu_sim.live.virtio.rng import RNG

__all__ = ["Bridge", "serve"]

_SPI = {"eventq": SPI_EVENTQ, "gerror": SPI_GERROR, "cmdq_sync": SPI_CMDQ_SYNC}
_CR0, _CMDQ_PROD, _CMDQ_CONS = (BY_NAME[name].offset for name in ("CR0", "CMDQ_PROD", "CMDQ_CONS"))
_BUSY_LOOKS = 2000       # looks without a pause after something happened
_PAUSE_SECONDS = 0.0002  # between looks while nothing happens
_REPORT_SECONDS = 1.0
_MONITOR_SECONDS = 0.1


def serve(backend, report, *, folder, ram_mib, disk, timeout, trace=None):
    """Let the guest run, and serve it until it ends.

    Parameters
    ----------
    backend, report
        The SMMU, after reset; and a function that takes progress as a dict.
    folder
        Where QEMU's sockets and the file ``ram`` are.
    disk
        Path of the block device's contents, read at the start and not written.
    timeout
        Seconds after which serving ends.
    trace
        Path of a trace to write, or None.

    Returns ``{"ended": why, "statistics": dict}``. ``ended`` is ``"timeout"`` or of
    :class:`smmu_sim.live.qemu_control.Monitor`.
    """
    bridge = Bridge(backend, report, Path(folder), Layout(ram_mib),
                    bytearray(Path(disk).read_bytes()), Path(trace) if trace else None)
    ended = bridge.run(timeout)
    return {"ended": ended, "statistics": bridge.finish()}


def _attach_memory(backend, memory, tables):
    """Put the guest's memory behind a backend: ``tables`` is what the SMMU itself sees of it."""
    backend.memory = memory
    if hasattr(backend, "tables"):  # the RTL: its ports
        backend.tables.memory = tables
        for port in backend.memories:
            port.memory = memory
            port.records = None  # they would gather all the time
        backend.tables.records = None
    else:
        backend.model = type(backend.model)(backend.params, tables, 0)


class Bridge:
    """Registers, devices, interrupts of one guest, served by one loop."""

    def __init__(self, backend, report, folder, layout, disk, trace):
        self.backend, self._report = backend, report
        self.memory = SharedMemory(folder / "ram", layout)
        self.recorder = Recorder(self.memory, layout, trace) if trace else None
        _attach_memory(backend, self.memory, self.recorder.tables if trace else self.memory)
        backend.reset()
        self.statistics = Statistics(backend, self.memory)
        self.monitor = Monitor(str(folder / "qmp"))
        self.wires = InterruptWires(str(folder / "qtest"), self.monitor)
        self.clock = GuestClock(self.monitor, self.statistics)
        self._pulses = backend.interrupts()
        self._enabled, self._problems = 0, {}
        self.frame = RegisterFrame(backend, self.memory, layout.smmu,
                                   self._before_write, self._after_write)
        self.rogue = Rogue(self.memory, layout.rogue, self.perform)
        self.devices = self._make_devices(layout, disk)
        self.watch = SelectorWatch(str(folder / "gdb"), self.memory, self.monitor, [
            device for device in self.devices.values() if device.device.queues > 1])

    def _make_devices(self, layout, disk):
        made = {}
        for kind, place in layout.devices.items():
            port = DevicePort(self.perform, place.sid)
            device = {"rng": lambda port=port: RNG(port), "net": lambda port=port: Net(port),
                      "blk": lambda port=port: Block(port, disk)}[kind]()
            made[kind] = VirtioFrame(place, self.memory, port, device,
                                     lambda spi=place.spi: self.wires.pulse(spi))
        self._first_md5 = made["blk"].device.md5
        return made

    # The loop

    def run(self, timeout):
        """Let the guest run until it ends, at most ``timeout`` seconds; why it ended."""
        self.monitor.command("cont")
        self.clock.start()
        quiet, next_report, next_look = 0, 0.0, 0.0
        while True:
            busy = False
            while self.frame.poll():  # until nothing waits: only then the guest goes on
                busy = True
                self._deliver_interrupts()
            busy |= self.watch.poll()  # before the guest goes on: it may have been stopped there
            self.clock.looked()
            for device in self.devices.values():
                busy |= device.poll()
            busy |= self.rogue.poll()
            quiet = 0 if busy else quiet + 1
            if quiet > _BUSY_LOOKS:
                time.sleep(_PAUSE_SECONDS)
            now = self.statistics.seconds
            if now >= next_look:
                self.monitor.look()
                if self.monitor.ended:
                    return self.monitor.ended
                if now > timeout:
                    return "timeout"
                next_look = now + _MONITOR_SECONDS
            if now >= next_report:
                self._report(self.statistics.brief())
                next_report = now + _REPORT_SECONDS

    def finish(self):
        """Write the trace, and return the statistics."""
        self.clock.close()
        for kind, frame in self.devices.items():
            problem = self._problems[kind] if self.statistics.shut_down else frame.problem
            self.statistics.devices[kind] = {
                "chains": frame.chains, "interrupts": frame.interrupts, "problem": problem}
        block, net = self.devices["blk"].device, self.devices["net"].device
        self.statistics.devices["blk"] |= {
            "bytes": len(block.data), "read": block.reads, "written": block.writes,
            "md5_first": self._first_md5, "md5_last": block.md5}
        self.statistics.devices["net"] |= {
            "sent": net.sent, "received": net.received, "echoes": net.echoes}
        self.statistics.devices["rng"]["bytes"] = self.devices["rng"].device.delivered
        self.statistics.devices["net"] |= {
            "selector_stops": self.watch.hits, "watch_problem": self.watch.problem}
        self.statistics.devices["rogue"] = {"accesses": self.rogue.accesses}
        if self.recorder:
            self.statistics.devices["trace"] = self.recorder.save(self.backend.params)
        return self.statistics.as_dict()

    # Registers

    def _before_write(self, offset, value):
        self.statistics.register_writes += 1
        if offset == _CMDQ_PROD:
            self.statistics.published(value)
        elif offset == _CMDQ_CONS:
            self.statistics.queue_restarted(value)
        if self.recorder:
            self.recorder.begin()
        self._write_began = time.monotonic()

    def _after_write(self, offset, value):
        if offset == _CR0:
            self._follow_enable(plain(CR0).SMMUEN(value))
        self.statistics.register_write_seconds += time.monotonic() - self._write_began
        if self.recorder:
            self.recorder.register_written(offset, value, self.backend)

    def _follow_enable(self, enabled):
        """Note when the kernel switches the SMMU off, as it does at the end.

        It doesn't stop all devices before that; what these still ask for then aborts.
        """
        self.statistics.shut_down = self._enabled and not enabled
        if self.statistics.shut_down:
            self._problems = {kind: frame.problem for kind, frame in self.devices.items()}
        self._enabled = enabled

    # Devices

    def perform(self, transactions):
        """Perform transactions of a device on the backend."""
        start = time.monotonic()
        if self.recorder:
            results = self.recorder.perform(self.backend, transactions)
        elif hasattr(self.backend, "dma_all"):
            results = self.backend.dma_all(transactions)
        else:
            results = [self.backend.dma(transaction) for transaction in transactions]
        self.statistics.performed(transactions, results, time.monotonic() - start)
        if not all(result.ok for result in results):
            self.backend.idle()
            self.frame.refresh()
        if self.memory.messages or not all(result.ok for result in results):
            self._deliver_interrupts()
        return results

    def _deliver_interrupts(self):
        """Hand on what the SMMU has raised: first what it wrote as messages, then its wires.

        Its registers are in the frame already: the handler looks at them at once.
        """
        messages, self.memory.messages = self.memory.messages, []
        for addr, data, device_id in messages:
            who = "SMMU" if device_id is None else f"DeviceID {device_id:#x}"
            self.statistics.messages[who] += 1
            self.wires.write32(addr, data)
        pulses = self.backend.interrupts()
        for name, spi in _SPI.items():
            if getattr(pulses, name) != getattr(self._pulses, name):
                self.statistics.interrupts[name] += 1
                self.wires.pulse(spi)
        self._pulses = pulses
