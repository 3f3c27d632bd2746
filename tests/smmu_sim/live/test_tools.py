"""Programs that are not installed."""

import pytest

from smmu_sim.live.tools import MissingTool, find_tool, missing_tools


def test_a_missing_program_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_tools() == {
        "qemu-system-aarch64": "qemu-system-arm", "dtc": "device-tree-compiler"}
    with pytest.raises(MissingTool, match="dtc is not installed.*apt install device-tree-compiler"):
        find_tool("dtc")


def test_what_is_installed_is_found(monkeypatch, tmp_path):
    program = tmp_path / "dtc"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tool("dtc") == str(program)
    assert missing_tools() == {"qemu-system-aarch64": "qemu-system-arm"}
