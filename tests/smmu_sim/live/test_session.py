"""Sessions that are refused, and QEMU itself up to the first instruction."""

import os

import pytest
from smmu_sim.live.errors import LiveError
from smmu_sim.live.layout import Layout
from smmu_sim.live.machine import QEMUMachine
from smmu_sim.live.qemu_control import InterruptWires, Monitor
from smmu_sim.live.session import Session
from smmu_sim.live.tools import MissingTool
from tests.smmu_sim.live.needs import NEEDS_QEMU


@pytest.fixture
def files(tmp_path):
    """A kernel and an initramfs that nobody will run."""
    kernel, initramfs = tmp_path / "Image", tmp_path / "initramfs"
    kernel.write_bytes(bytes(4096))
    initramfs.write_bytes(bytes(512))
    return kernel, initramfs


@pytest.mark.parametrize("options, message", [
    ({"backend": "verilog"}, "'verilog': expected 'rtl' or 'model'"),
    ({"backend": "model", "waves": True}, "needs backend='rtl'"),
    ({"cpus": 3}, "cpus is 3: expected 1 or 2"),
    ({"ram_mib": 100}, "ram_mib is 100"),
    ({"settings": "oas=33"}, "oas = 33"),
])
def test_what_cannot_be_is_refused_at_once(files, options, message):
    with pytest.raises(ValueError, match=message):
        Session(*files, **options)


def test_a_missing_program_ends_the_session_with_its_package(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="apt install qemu-system-arm"):
        Session(*files, backend="model", out_folder=tmp_path / "out").run(5)


@NEEDS_QEMU
def test_qemu_waits_with_our_machine_and_leaves_nothing_behind(files):
    with QEMUMachine(Layout(256), *files, cpus=2, msi=True) as machine:
        monitor = Monitor(machine.path("qmp"))
        assert monitor.command("query-status")["running"] is False
        assert len(monitor.command("query-cpus-fast")) == 2
        wires = InterruptWires(machine.path("qtest"), monitor)
        wires.write32(machine.layout.ram_base, 0x1234_5678)
        wires.settle()
        with open(machine.path("ram"), "rb") as ram:
            assert ram.read(4) == bytes.fromhex("78563412")
        wires.pulse(200)
        wires.settle()
        tree = (machine.folder / "live.dts").read_text()
        assert 'compatible = "arm,smmu-v3"' in tree and "msi-parent = <0x" in tree
        folder = machine.folder
    assert not folder.exists()


@NEEDS_QEMU
def test_a_kernel_that_is_not_there_is_named(files, tmp_path):
    with pytest.raises(LiveError, match=f"{tmp_path}{os.sep}none: no such file"):
        with QEMUMachine(Layout(256), tmp_path / "none", files[1]):
            raise AssertionError("QEMU started without a kernel")
