"""QEMU's sockets: monitor, interrupt wires, debugger port."""

import json
import time

import pytest
from smmu_sim.live.errors import LiveError
from smmu_sim.live.gdb_stub import GDBStub
from smmu_sim.live.guest_clock import PATIENCE_SECONDS, GuestClock
from smmu_sim.live.qemu_control import InterruptWires, Monitor

from tests.smmu_sim.live.fake_qemu import FakeQEMU

GREETING = '{"QMP": {}}\n'


def qmp(text):
    """Answer as a monitor does, with an event before each answer."""
    command = json.loads(text)
    if command["execute"] == "qom-list":
        return '{"return": [{"name": "device[3]", "type": "child<pl011>"}, ' \
               '{"name": "device[4]", "type": "child<arm_gic>"}]}\n'
    if command["execute"] == "nonsense":
        return '{"error": {"desc": "never heard of it"}}\n'
    return '{"event": "RESUME"}\n{"return": {}}\n'


@pytest.fixture
def qemu(tmp_path):
    made = []

    def make(answer, greeting=""):
        made.append(FakeQEMU(tmp_path / f"socket{len(made)}", answer, greeting))
        return made[-1]

    yield make
    for each in made:
        each.close()


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_monitor_returns_answers_and_passes_events_over(qemu):
    monitor = Monitor(qemu(qmp, GREETING).path)
    assert monitor.command("cont") == {}
    assert monitor.ended is None


def test_what_qemu_refuses_is_an_error(qemu):
    monitor = Monitor(qemu(qmp, GREETING).path)
    with pytest.raises(LiveError, match="nonsense: never heard of it"):
        monitor.command("nonsense")


def test_the_monitor_tells_how_the_guest_ended(qemu):
    far = qemu(qmp, GREETING)
    monitor = Monitor(far.path)
    far.send('{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}\n')
    until(lambda: monitor.look() or monitor.ended)
    assert monitor.ended == "guest-reset"
    assert monitor.command("cont") is None


def test_the_monitor_notices_that_qemu_is_gone(qemu):
    far = qemu(qmp, GREETING)
    monitor = Monitor(far.path)
    far.close()
    until(lambda: monitor.look() or monitor.ended)
    assert monitor.ended == "gone"


def test_interrupts_are_pulses_at_the_interrupt_controller(qemu):
    far = qemu(lambda text: "OK\n" * text.count("\n"))
    wires = InterruptWires(far.path, Monitor(qemu(qmp, GREETING).path))
    wires.pulse(200)
    wires.write32(0x0802_0040, 0x50)
    wires.settle()
    gic = "/machine/unattached/device[4]"
    assert "".join(far.received) == (
        f"set_irq_in {gic} unnamed-gpio-in 200 1\nset_irq_in {gic} unnamed-gpio-in 200 0\n"
        "writel 0x8020040 0x50\n")


def test_a_refused_interrupt_is_an_error(qemu):
    wires = InterruptWires(qemu(lambda text: "FAIL no such line\n").path,
                           Monitor(qemu(qmp, GREETING).path))
    with pytest.raises(LiveError, match="no such line"):
        wires.pulse(9999)
        wires.settle()


class Counts:
    pauses, paused_seconds = 0, 0.0


def commands(far):
    return [json.loads(text)["execute"] for text in far.received]


def test_the_guest_is_stopped_while_an_answer_takes_long(qemu):
    far, counts = qemu(qmp, GREETING), Counts()
    clock = GuestClock(Monitor(far.path), counts)
    clock.start()
    for _ in range(10):  # quick answers
        clock.looked()
        time.sleep(PATIENCE_SECONDS / 10)
    assert "stop" not in commands(far)
    until(lambda: "stop" in commands(far))
    assert "cont" not in commands(far)
    clock.looked()
    clock.close()
    assert commands(far)[-2:] == ["stop", "cont"]
    assert counts.pauses == 1 and counts.paused_seconds > 0


def packet(text):
    return f"${text}#{sum(text.encode()) & 0xFF:02x}"


def gdb(text):
    """Answer as a debugger port does."""
    if text == "+":
        return None
    request = text.lstrip("+")[1:-3]
    answers = {"qXfer:features:read:target.xml:0,800": "l<target/>",
               "Hgp1.2": "OK", "p4d": "1080000000000000"}
    if request.startswith("qXfer:features:read:system-registers.xml:"):
        start = int(request.split(":")[-1].split(",")[0], 16)
        whole = '<reg name="TCR_EL1" bitsize="64" regnum="77" group="cp_regs"/>'
        part = whole[start:start + 40]
        return "+" + packet(("m" if start + 40 < len(whole) else "l") + part)
    if request.startswith("vCont;s"):
        return "+" + packet("T05thread:p01.02;")
    if request.startswith(("Z2,", "z2,")):
        return "+" + packet("OK" if request[3:] == "ffff800008005030,4" else "E22")
    return "+" + packet(answers.get(request, ""))


def test_system_registers_are_found_by_name(qemu):
    stub = GDBStub(qemu(gdb).path)
    assert stub.system_register("TCR_EL1", 1) == 0x8010
    with pytest.raises(LiveError, match="no register NONE_EL1"):
        stub.system_register("NONE_EL1", 1)


def test_a_hit_is_stepped_over_with_the_watchpoint_away(qemu):
    far = qemu(gdb)
    stub = GDBStub(far.path)
    addr = 0xFFFF_8000_0800_5030
    stub.watch(addr, 4)
    assert stub.hits() == []
    far.send(packet("T02thread:p01.01;"))  # stopped by the monitor: no hit
    far.send(packet(f"T05thread:p01.02;watch:{addr:x};"))
    found = []
    until(lambda: found.extend(stub.hits()) or found)
    assert found == [(addr, "p01.02")]
    far.received.clear()
    stub.step_over(addr, 4, "p01.02")
    sent = "".join(far.received)
    assert sent.index("z2,") < sent.index("vCont;s:p01.02") < sent.index("Z2,")


def test_a_refused_watchpoint_is_an_error(qemu):
    with pytest.raises(LiveError, match="E22"):
        GDBStub(qemu(gdb).path).watch(0, 4)
