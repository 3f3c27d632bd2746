"""The command: what it refuses, and what it makes of a session."""

import json

import pytest
from click.testing import CliRunner

from smmu.params import Params
from smmu_sim.live import __main__ as command
from smmu_sim.live.layout import Layout
from smmu_sim.live.session import SessionResult
from tests.smmu_sim.live.debian_files import ALL_MODULES, FakeArchive, deb, image, kernel_files
from tests.smmu_sim.live.test_checks import CONSOLE, STATISTICS

NAME = "linux-image-6.1.0-50-arm64"


class FakeSession:
    """A session whose guest does what a good one does."""

    console, ending, made = CONSOLE, (True, "the guest powered off"), None

    def __init__(self, kernel_image, initramfs, **options):
        type(self).made = options | {"kernel_image": kernel_image, "initramfs": initramfs}
        self.params, self.layout = Params(), Layout()

    def run(self, timeout_seconds):
        self.made["on_progress"]({"text": "booting"})
        for line in self.console.splitlines():
            self.made["on_console_line"](line)
            self.made["on_progress"]({"text": "5 commands", "seconds": 1})
        return SessionResult(self.console, STATISTICS, *self.ending, {"console": "console.txt"})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command with a fake archive and a fake session."""
    monkeypatch.setattr(command, "missing_tools", dict)
    monkeypatch.setattr(command, "Session", FakeSession)
    fake = FakeArchive(tmp_path / "mirror")
    fake.add("bookworm", NAME, "6.1.176-1", deb(kernel_files(ALL_MODULES)))
    fake.add("bookworm", "busybox-static", "1.35", deb({"bin/busybox": b"\x7fELF"}))
    fake.publish()
    with fake.served() as url:
        yield lambda *arguments: CliRunner().invoke(
            command.main, ["--mirror", url, "--out", str(tmp_path / "out"), "--disk-kib", "1024",
                           *arguments], catch_exceptions=False)


def test_a_good_boot_ends_with_status_0_a_table_and_json(run, tmp_path):
    result = run()
    assert result.exit_code == 0, result.output
    assert "all as expected" in result.output and "pings answered" in result.output
    assert str(tmp_path / "out/run/console.txt") in result.output
    report = json.loads((tmp_path / "out/run/result.json").read_text())
    assert report["ok"] and report["run"]["kernel"] == f"{NAME} 6.1.176-1"


def test_stages_are_told_where_there_is_no_terminal(run):
    lines = run().output.splitlines()
    stages = [lines.index(text) for text in
              ("making the initramfs", "kernel boots", "kernel and SMMU driver",
               "accesses to unmapped addresses")]
    assert stages == sorted(stages)


def test_a_failed_check_ends_with_status_1(run, monkeypatch):
    monkeypatch.setattr(FakeSession, "console",
                        CONSOLE.replace("CHECK ping ok", "CHECK ping failed"))
    result = run()
    assert result.exit_code == 1 and "1 WRONG" in result.output


def test_a_boot_that_hangs_ends_with_status_1(run, monkeypatch):
    monkeypatch.setattr(FakeSession, "ending", (False, "not done after 1 s"))
    result = run()
    assert result.exit_code == 1 and "not done after 1 s" in result.output


def test_options_reach_the_session(run):
    run("--backend", "model", "--variant", "lazy", "--cpus", "1", "--msi", "--record",
        "--append", "quiet")
    made = FakeSession.made
    assert (made["backend"], made["cpus"], made["msi"], made["record"]) == ("model", 1, True, True)
    assert "iommu.strict=0" in made["append"] and " quiet " in made["append"]
    assert "smmu_check.stray=0x120:0x40123458:1,0x20:0xdeadbeef0:2" in made["append"]
    assert made["cpu"] == "cortex-a57" and len(made["disk_bytes"]) == 1 << 20


def test_a_kernel_with_16_kb_pages_gets_a_processor_that_has_them(run, tmp_path):
    (tmp_path / "Image").write_bytes(image(page_size_code=2))
    result = run("--kernel", str(tmp_path / "Image"))
    assert FakeSession.made["cpu"] == "cortex-a76"
    assert result.exit_code == 1 and "page size, KB" in result.output


@pytest.mark.parametrize("arguments, message", [
    (["--kernel", "5.10"], "error: KERNEL=5.10: expected 6.1"),
    (["--set", "oas=43"], "error: "),
    (["--set", "nonsense"], "error: "),
    (["--backend", "model", "--waves"], "error: waveforms need --backend rtl"),
    (["--shell"], "error: a shell in the guest needs a terminal"),
    (["--mirror", "http://127.0.0.1:9"], "error: cannot load http://127.0.0.1:9"),
    (["--backend", "qemu"], "Invalid value"),
])
def test_bad_input_is_refused_with_status_2_and_a_reason(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.output
    assert "Traceback" not in result.output


def test_a_missing_program_names_the_package(run, monkeypatch):
    monkeypatch.setattr(command, "missing_tools", lambda: {"dtc": "device-tree-compiler"})
    result = run()
    assert result.exit_code == 2
    assert "dtc not found" in result.output and "apt install device-tree-compiler" in result.output
